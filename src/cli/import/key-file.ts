/**
 * A person's file with a key in it, as the key material that `ImportKeyMaterial` takes for a KeySpec.
 *
 *     KeySpec               the file                                                        the material
 *     SYMMETRIC_DEFAULT,    exactly so many bytes; or hexadecimal digits or base64 of       the bytes
 *     HMAC_…                them, where the person says so
 *     RSA_…, ECC_…          PKCS#8, PKCS#1 or SEC1, in PEM or DER, perhaps encrypted        PKCS#8, DER
 *
 * What a file is not, is said before anything is sent, in terms of what it is. Nothing is guessed of a secret: a text that could be the
 * digits of a key is not taken for its bytes, nor the other way round. The HSM's side checks everything again.
 *
 * Accepted: Node.js keeps a private key that it has read in memory that OpenSSL wipes when the object is collected, and this program
 * ends soon.
 */

import { createPrivateKey, type KeyObject } from 'node:crypto';
import type { KeySpec } from '../../kms/key-specs.ts';
import { decodeSecret, encodingsOf, type SecretEncoding } from './digits.ts';

/** Ten times an encrypted RSA-4096 key in PEM. */
export const maxKeyFileBytes = 64 * 1024;

interface PrivateKind {
  /** As `KeyObject.asymmetricKeyType`. */
  readonly type: 'rsa' | 'ec' | 'ed25519';
  readonly modulusBits?: number;
  /** OpenSSL's name. */
  readonly namedCurve?: string;
}

type Kind = { readonly secretBytes: number } | PrivateKind;

const rsa = (modulusBits: number): Kind => ({ type: 'rsa', modulusBits });
const ec = (namedCurve: string): Kind => ({ type: 'ec', namedCurve });

/** Source: AWS KMS developer guide, "Importing key material", requirements for imported key material. */
const kinds: ReadonlyMap<string, Kind> = new Map(
  Object.entries({
    SYMMETRIC_DEFAULT: { secretBytes: 32 },
    HMAC_224: { secretBytes: 28 },
    HMAC_256: { secretBytes: 32 },
    HMAC_384: { secretBytes: 48 },
    HMAC_512: { secretBytes: 64 },
    RSA_2048: rsa(2048),
    RSA_3072: rsa(3072),
    RSA_4096: rsa(4096),
    ECC_NIST_P256: ec('prime256v1'),
    ECC_NIST_P384: ec('secp384r1'),
    ECC_NIST_P521: ec('secp521r1'),
    ECC_SECG_P256K1: ec('secp256k1'),
    ECC_NIST_EDWARDS25519: { type: 'ed25519' },
  } satisfies Partial<Record<KeySpec, Kind>>),
);

export interface KeyFile {
  /** What messages call it: the path, or `-`. */
  readonly path: string;
  readonly bytes: Buffer;
  /** `undefined` where the person did not say. */
  readonly encoding: SecretEncoding | undefined;
  /** Asked only when the file is encrypted. The bytes are wiped here. */
  readonly passphrase: () => Promise<Buffer>;
}

/** @throws Error for a KeySpec whose files are not known here. Called before any file is read. */
export function assertReadable(keySpec: string): void {
  if (kinds.has(keySpec)) return;
  throw new Error(`\`keys import\` knows no files with keys of ${keySpec}; there are ${[...kinds.keys()].join(', ')}`);
}

/** Is the material a secret, which fits into one RSA operation, or a private key, which may not? */
export function isSecret(keySpec: string): boolean {
  const kind = kinds.get(keySpec);
  return kind !== undefined && 'secretBytes' in kind;
}

/** The material, in memory of its own, which is the caller's to wipe. @throws Error */
export async function readKeyMaterialFile(file: KeyFile, keySpec: string): Promise<Buffer> {
  assertReadable(keySpec);
  const kind = kinds.get(keySpec) as Kind; // That was asserted.
  if ('secretBytes' in kind) return secretOf(file, keySpec, kind.secretBytes);
  const { encoding } = file;
  if (encoding !== 'hex' && encoding !== 'base64') return privateKeyOf(file, keySpec, kind);
  const bytes = decoded(file, encoding);
  try {
    return await privateKeyOf({ ...file, bytes }, keySpec, kind);
  } finally {
    bytes.fill(0);
  }
}

function decoded({ path, bytes }: KeyFile, encoding: 'hex' | 'base64'): Buffer {
  const decodedBytes = decodeSecret(bytes, encoding);
  if (decodedBytes === undefined) throw new Error(`\`${path}\` is not ${encoding}`);
  return decodedBytes;
}

function secretOf(file: KeyFile, keySpec: string, wantedBytes: number): Buffer {
  const { path, bytes, encoding } = file;
  const found = encoding === 'hex' || encoding === 'base64' ? decoded(file, encoding) : Buffer.alloc(bytes.length);
  if (encoding === undefined || encoding === 'raw') bytes.copy(found);
  try {
    if (found.length !== wantedBytes) {
      const hint = encoding === undefined ? whatElseItIs(bytes, wantedBytes) : '';
      throw new Error(`${keySpec} takes ${wantedBytes} bytes, and \`${path}\` has ${found.length}${hint}`);
    }
    const [digits] = encoding === undefined ? encodingsOf(bytes) : [];
    if (digits !== undefined) {
      throw new Error(
        `\`${path}\` could be ${digits} as well as the ${wantedBytes} bytes of a key; say which with --encoding ${digits} or --encoding raw`,
      );
    }
  } catch (error) {
    found.fill(0);
    throw error;
  }
  return found;
}

/** For somebody whose file has not the length of a secret. */
function whatElseItIs(bytes: Buffer, wantedBytes: number): string {
  if (pemLabels(bytes).length > 0) return ': it is PEM, and this key takes no private key';
  for (const encoding of ['hex', 'base64'] as const) {
    const secret = decodeSecret(bytes, encoding);
    secret?.fill(0);
    if (secret?.length === wantedBytes) return `; if it is ${encoding} of them, say --encoding ${encoding}`;
  }
  if (bytes.length === wantedBytes + 1 && bytes.at(-1) === 0x0a) return ': the last is a line feed';
  return '';
}

async function privateKeyOf(file: KeyFile, keySpec: string, wanted: PrivateKind): Promise<Buffer> {
  const key = await readPrivateKey(file);
  const { asymmetricKeyType: type, asymmetricKeyDetails: details } = key;
  const isWanted =
    type === wanted.type &&
    (wanted.modulusBits === undefined || details?.modulusLength === wanted.modulusBits) &&
    (wanted.namedCurve === undefined || details?.namedCurve === wanted.namedCurve);
  if (!isWanted) throw new Error(`\`${file.path}\` is ${describeKey(key)}, and the key is ${keySpec}`);
  const pkcs8 = key.export({ type: 'pkcs8', format: 'der' });
  if (type === 'ec' && !namesItsCurve(pkcs8)) {
    pkcs8.fill(0);
    throw new Error(
      `\`${file.path}\` describes its curve instead of naming it; \`openssl ec -in … -param_enc named_curve -out …\` writes one that does`,
    );
  }
  return pkcs8;
}

function describeKey({ asymmetricKeyType: type, asymmetricKeyDetails: details }: KeyObject): string {
  if (type === 'rsa') return `an RSA key of ${details?.modulusLength} bits`;
  if (type === 'rsa-pss') return 'an RSA key that its file reserves for PSS (rsaEncryption is what can be imported)';
  if (type === 'ec') return `an EC key on ${details?.namedCurve ?? 'a curve without a name'}`;
  return `a key of type ${type}`;
}

const idEcPublicKey = Buffer.from('06072a8648ce3d0201', 'hex');
const objectIdentifierTag = 0x06;

/** RFC 5480 2.1.1 and PKCS#8: behind the algorithm stands the curve's name, or all that a curve has. */
function namesItsCurve(pkcs8: Buffer): boolean {
  const at = pkcs8.indexOf(idEcPublicKey);
  return at >= 0 && pkcs8[at + idEcPublicKey.length] === objectIdentifierTag;
}

async function readPrivateKey(file: KeyFile): Promise<KeyObject> {
  const labels = pemLabels(file.bytes);
  if (labels.length === 0) return readDer(file);
  const { path, bytes } = file;
  const privateLabels = labels.filter((label) => label.endsWith('PRIVATE KEY'));
  const [label] = privateLabels;
  if (label === undefined) throw new Error(`\`${path}\` has a ${labels[0]} in it, and no private key`);
  if (privateLabels.length > 1) throw new Error(`\`${path}\` has ${privateLabels.length} private keys in it, not one`);
  if (label === 'OPENSSH PRIVATE KEY') {
    throw new Error(
      `\`${path}\` is in the format of OpenSSH; \`ssh-keygen -p -m PKCS8 -f …\` writes it as PKCS#8, in its place`,
    );
  }
  const isEncrypted = label === 'ENCRYPTED PRIVATE KEY' || bytes.includes('\nProc-Type: 4,ENCRYPTED');
  const read = (passphrase?: Buffer) =>
    createPrivateKey({ key: bytes, format: 'pem', ...(passphrase === undefined ? {} : { passphrase }) });
  if (isEncrypted) return withPassphrase(file, read);
  return orUnreadable(path, 'is no private key, or a damaged one', read);
}

/** A DER file does not say what it is, so each is tried. */
async function readDer(file: KeyFile): Promise<KeyObject> {
  const { path, bytes } = file;
  for (const type of ['pkcs8', 'pkcs1', 'sec1'] as const) {
    try {
      return createPrivateKey({ key: bytes, format: 'der', type });
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'ERR_MISSING_PASSPHRASE') {
        return withPassphrase(file, (passphrase) => createPrivateKey({ key: bytes, format: 'der', type, passphrase }));
      }
    }
  }
  const hint = isPkcs12(bytes)
    ? ': it is PKCS#12, out of which `openssl pkcs12 -in … -nocerts -out …` takes the key'
    : '';
  throw new Error(`\`${path}\` is no private key in PEM or DER (PKCS#8, PKCS#1 or SEC1)${hint}`);
}

/** RFC 7292 4: a PFX begins with its version, 3. */
function isPkcs12(bytes: Buffer): boolean {
  const start = bytes.subarray(0, 8);
  return start[0] === 0x30 && start.includes(Buffer.from('020103', 'hex'));
}

async function withPassphrase(
  { path, passphrase }: KeyFile,
  read: (passphrase: Buffer) => KeyObject,
): Promise<KeyObject> {
  const secret = await passphrase();
  try {
    return orUnreadable(path, 'cannot be decrypted: wrong passphrase, or a damaged file', () => read(secret));
  } finally {
    secret.fill(0);
  }
}

function orUnreadable(path: string, problem: string, read: () => KeyObject): KeyObject {
  try {
    return read();
  } catch (error) {
    throw new Error(`\`${path}\` ${problem}`, { cause: error });
  }
}

const pemBegin = '-----BEGIN ';

/** What the blocks of a PEM file are; none for another file. */
function pemLabels(bytes: Buffer): readonly string[] {
  const labels: string[] = [];
  for (let at = bytes.indexOf(pemBegin); at >= 0; at = bytes.indexOf(pemBegin, at + 1)) {
    const end = bytes.indexOf('-----', at + pemBegin.length);
    if (end >= 0) labels.push(bytes.toString('latin1', at + pemBegin.length, Math.min(end, at + 64)));
  }
  return labels;
}
