/**
 * Messages whose header stores a part of their encryption context only: the AWS Encryption SDK writes them with its required encryption
 * context, and whoever reads them has to bring the rest.
 *
 * All of the context is bound to the data key, and the header is authenticated together with the part that it lacks:
 *
 *     header tag = AES-GCM(derived key, header IV, AAD = header ‖ the required pairs, serialized as in a header without their length)
 *
 * The library does not know of that. So the header is verified here; then it is given to the library with the tag that it would have
 * without required pairs, which is made with the same data key and goes nowhere else. A signature at the end of the message
 * covers the header as it was written: it is verified here too, over the bytes as they came. Whatever is in the message besides is the
 * library's to verify, as of any other message.
 *
 * INVARIANT: nothing is handed to the library before the header, with the pairs that were brought, is authentic.
 *
 * Source: AWS Encryption SDK specification, client-apis/decrypt.md ("Verify the header"), framework/required-encryption-context-cmm.md,
 * framework/structures.md ("Encryption Context", serialization).
 */

import { createPublicKey, createVerify, ECDH, type KeyObject, type Verify } from 'node:crypto';
import { Duplex } from 'node:stream';
import {
  getDecryptionHelper,
  getEncryptHelper,
  type KeyringNode,
  KeyringTraceFlag,
  NodeAlgorithmSuite,
  NodeDecryptionMaterial,
  NodeEncryptionMaterial,
  type NodeMaterialsManager,
} from '@aws-crypto/material-management-node';
import { deserializeFactory } from '@aws-crypto/serialize';

export type EncryptionContext = Readonly<Record<string, string>>;

/** One message: the bytes of its signature, where it has one, are given apart from the others. */
export interface MessageDecipher extends Duplex {
  takeSignature?(bytes: Buffer): void;
}

export interface RequiredContextParts {
  /** Opens data keys, with all of the encryption context. */
  readonly keyring: KeyringNode;
  /** What was brought. */
  readonly context: EncryptionContext;
  readonly allowsSuite: (suite: NodeAlgorithmSuite, messageId: string) => void;
  /** The library's stream for one message. */
  readonly open: (materials: NodeMaterialsManager | KeyringNode) => Duplex;
  /** @throws Error where what was brought is not the message's. */
  readonly compare: (stored: EncryptionContext) => void;
}

const deserialize = deserializeFactory(
  (bytes) => Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString('utf8'),
  NodeAlgorithmSuite,
);
type HeaderInfo = Exclude<ReturnType<typeof deserialize.deserializeMessageHeader>, false>;

/** Reads a message, whether or not its header lacks pairs that were brought. */
export class RequiredContextMessage extends Duplex implements MessageDecipher {
  readonly #parts: RequiredContextParts;
  #header: Buffer = Buffer.alloc(0);
  #inner: Duplex | undefined;
  /** Of a message whose header lacks pairs, and which is signed. */
  #verify: { readonly verify: Verify; readonly key: KeyObject } | undefined;
  #signature: Buffer[] = [];

  constructor(parts: RequiredContextParts) {
    super();
    this.#parts = parts;
  }

  override _write(chunk: Buffer, _encoding: string, done: (error?: Error | null) => void): void {
    this.#take(chunk).then(() => done(), done);
  }

  override _final(done: (error?: Error | null) => void): void {
    if (this.#verify !== undefined) {
      const { verify, key } = this.#verify;
      // Two bytes of length, and the signature in DER.
      if (!verify.verify(key, Buffer.concat(this.#signature).subarray(2))) {
        done(new Error('the signature of the message does not verify'));
        return;
      }
    }
    if (this.#inner === undefined) done(new Error('Incomplete Header'));
    else this.#inner.end(() => done());
  }

  override _read(): void {
    this.#inner?.resume();
  }

  override _destroy(error: Error | null, done: (error?: Error | null) => void): void {
    // As `spared` in `message-format.ts`: so the data key is wiped.
    this.#inner?.end();
    this.#inner?.resume();
    done(error);
  }

  takeSignature(bytes: Buffer): void {
    if (this.#verify !== undefined) this.#signature.push(bytes);
    else this.write(bytes);
  }

  async #take(chunk: Buffer): Promise<void> {
    if (this.#inner !== undefined) {
      this.#verify?.verify.update(chunk);
      await written(this.#inner, chunk);
      return;
    }
    this.#header = Buffer.concat([this.#header, chunk]);
    const info = deserialize.deserializeMessageHeader(this.#header, { maxEncryptedDataKeys: false });
    if (info === false) return;
    const all = this.#header;
    this.#header = Buffer.alloc(0);
    await this.#begin(info, all);
  }

  async #begin(info: HeaderInfo, all: Buffer): Promise<void> {
    const { keyring, context, open, compare, allowsSuite } = this.#parts;
    const { encryptionContext: stored, messageId } = info.messageHeader;
    const lacking = Object.entries(context).filter(([name]) => !Object.hasOwn(stored, name));
    compare(stored);
    if (lacking.length === 0) {
      await this.#go(open(keyring), all);
      return;
    }
    const suite = new NodeAlgorithmSuite(info.algorithmSuite.id);
    allowsSuite(suite, Buffer.from(messageId).toString('hex'));
    const { tag, materials } = await reauthenticate(info, suite, Object.fromEntries(lacking), keyring);
    if (suite.signatureHash !== undefined && suite.signatureHash !== null) {
      const verify = createVerify(suite.signatureHash).update(all);
      this.#verify = { verify, key: verificationKey(stored, suite) };
    }
    const { rawHeader, headerAuth } = info;
    const tagAt = rawHeader.byteLength + headerAuth.headerAuthLength - tag.length;
    const retagged = Buffer.concat([all.subarray(0, tagAt), tag, all.subarray(tagAt + tag.length)]);
    await this.#go(open(materials), retagged);
  }

  async #go(inner: Duplex, bytes: Buffer): Promise<void> {
    this.#inner = inner;
    inner.on('data', (piece: Buffer) => {
      if (!this.destroyed && !this.push(piece)) inner.pause();
    });
    inner.once('end', () => this.push(null));
    inner.on('error', (error) => this.destroy(error));
    await written(inner, bytes);
  }
}

function written(stream: Duplex, bytes: Buffer): Promise<void> {
  return new Promise((resolve) => stream.write(bytes, () => resolve()));
}

/**
 * The tag that the header would have without required pairs, and materials with the data key.
 * @throws Error where the header is not authentic, or the data key cannot be had.
 */
async function reauthenticate(
  { messageHeader, rawHeader, headerAuth }: HeaderInfo,
  suite: NodeAlgorithmSuite,
  required: EncryptionContext,
  keyring: KeyringNode,
): Promise<{ readonly tag: Buffer; readonly materials: NodeMaterialsManager }> {
  const { encryptionContext: stored, messageId, encryptedDataKeys } = messageHeader;
  const whole = new NodeDecryptionMaterial(suite, { ...stored, ...required });
  const opened = await keyring.onDecrypt(whole, [...encryptedDataKeys]);
  const trace = {
    keyNamespace: 'drawbridge',
    keyName: 'data key',
    flags: KeyringTraceFlag.WRAPPING_KEY_DECRYPTED_DATA_KEY,
  };
  const unsigned = withoutSignature(suite);
  const dataKey = (): Uint8Array => new Uint8Array(bytesOf(opened.getUnencryptedDataKey()));
  const suiteData = 'suiteData' in messageHeader ? messageHeader.suiteData : undefined;
  const decipher = getDecryptionHelper(opened).getDecipherInfo(messageId, suiteData)(headerAuth.headerIv);
  decipher.setAAD(Buffer.concat([rawHeader, serialize(required)]));
  decipher.setAuthTag(Buffer.from(headerAuth.headerAuthTag));
  decipher.final();

  const generated = { ...trace, flags: KeyringTraceFlag.WRAPPING_KEY_GENERATED_DATA_KEY };
  const writing = new NodeEncryptionMaterial(unsigned, { ...stored }).setUnencryptedDataKey(dataKey(), generated);
  const { getCipherInfo, dispose } = getEncryptHelper(writing);
  const cipher = getCipherInfo(messageId).getCipher(headerAuth.headerIv);
  cipher.setAAD(Buffer.from(rawHeader));
  cipher.final();
  const tag = cipher.getAuthTag();
  dispose();
  const material = new NodeDecryptionMaterial(unsigned, { ...stored }).setUnencryptedDataKey(dataKey(), trace);
  opened.zeroUnencryptedDataKey();
  return {
    tag,
    materials: {
      decryptMaterials: () => Promise.resolve(material),
      getEncryptionMaterials: () => Promise.reject(new TypeError('nothing is encrypted here')),
    },
  };
}

function bytesOf(dataKey: ReturnType<NodeDecryptionMaterial['getUnencryptedDataKey']>): Uint8Array {
  return dataKey instanceof Uint8Array ? dataKey : (dataKey as unknown as KeyObject).export();
}

/** The same suite for the library, which then takes the end of the message for what it does not look at. */
function withoutSignature(suite: NodeAlgorithmSuite): NodeAlgorithmSuite {
  const same = Object.assign(Object.create(NodeAlgorithmSuite.prototype), suite);
  return Object.freeze(Object.assign(same, { signatureCurve: undefined, signatureHash: undefined }));
}

/** Pairs in the order of their names' bytes: two bytes of their number, and for each name and value two of length. */
function serialize(pairs: EncryptionContext): Buffer {
  const sized = (text: string): Buffer => {
    const bytes = Buffer.from(text);
    const length = Buffer.alloc(2);
    length.writeUInt16BE(bytes.length);
    return Buffer.concat([length, bytes]);
  };
  const sorted = Object.entries(pairs).sort(([one], [other]) => Buffer.compare(Buffer.from(one), Buffer.from(other)));
  const count = Buffer.alloc(2);
  count.writeUInt16BE(sorted.length);
  return Buffer.concat([count, ...sorted.flatMap(([name, value]) => [sized(name), sized(value)])]);
}

/** Its compressed point stands in the encryption context, in base64. */
function verificationKey(stored: EncryptionContext, { signatureCurve }: NodeAlgorithmSuite): KeyObject {
  const [curve, crv] =
    signatureCurve === 'secp384r1' ? (['secp384r1', 'P-384'] as const) : (['prime256v1', 'P-256'] as const);
  const compressed = Buffer.from(stored['aws-crypto-public-key'] ?? '', 'base64');
  // `convertKey` gives bytes where it is told no encoding.
  const point = ECDH.convertKey(compressed, curve, undefined, undefined, 'uncompressed') as Buffer;
  const half = (point.length - 1) / 2;
  const coordinate = (from: number): string => point.subarray(from, from + half).toString('base64url');
  return createPublicKey({ key: { kty: 'EC', crv, x: coordinate(1), y: coordinate(1 + half) }, format: 'jwk' });
}
