/**
 * A lane: one session with the token, served from one pipe by one thread, one frame after the other.
 *
 * The frames that have arrived are carried out before their replies are written, in one write: at depth, a system call
 * serves several calls. Replies do not wait long for others: after `maxReplies`, `maxReplyDelayMs` or `maxReplyBytes` what there is
 * goes out. Plaintexts are wiped from every buffer here once their reply is written.
 */

import { type CarriedKeyOutline, calls, type MaterialOutline, maxMacsAtOnce, replyCodes } from '../../calls.ts';
import { type Frame, FrameError, FrameReader, FrameWriter } from '../../frames.ts';
import type { CarriedKey } from '../../key-carrying.ts';
import type { KeyStoreCapabilities } from '../../key-store.ts';
import type { VendorProfile } from '../../vendor-profile.ts';
import { CarriedKeyCalls } from '../calls/carried-keys.ts';
import { DataKeyPairs } from '../calls/data-key-pairs.ts';
import { generateWrappingKey, ImportCalls, type ImportContext } from '../calls/imports.ts';
import { KeyCalls } from '../calls/key-calls.ts';
import { whyNotGenerated } from '../calls/key-generation.ts';
import { MovedKeyCalls } from '../calls/moved-keys.ts';
import { PairCalls } from '../calls/pair-calls.ts';
import { SecretCalls } from '../calls/secret-calls.ts';
import { WrappedKeyCalls } from '../calls/wrapped-keys.ts';
import { ChangeLock } from '../token/change-lock.ts';
import type { Handle } from '../token/cryptoki.ts';
import { HostFailure } from '../token/failures.ts';
import { type FoundKey, KeyTable } from '../token/key-table.ts';
import { initializedCryptoki } from '../token/loaded-libraries.ts';
import { assertInPlace, type OpenedFile } from '../token/opened-files.ts';
import { ReturnValues } from '../token/return-values.ts';
import { TokenSession } from '../token/token-session.ts';
import type { Pipe } from './pipe.ts';

const maxReplyBytes = 64 * 1024;
/**
 * So that the API process has replies to deal with while the host carries out the rest of what arrived; else the two wait for each other
 * in turn. 16 AES calls whose replies come five at a time take 4 to 13 % less (p50, measured) than with one write for all, and with
 * eight or four, or by time alone, less of that. A quarter of a millisecond is for calls that take longer: five signatures on P-256.
 */
const maxReplies = 5;
const maxReplyDelayMs = 0.25;

/** What the main thread found out, handed to the thread of each lane; structured cloning must be able to copy it. */
export interface OpenedToken {
  readonly library: string;
  readonly slot: Handle;
  readonly profile: VendorProfile;
  readonly keys: readonly FoundKey[];
  readonly capabilities: KeyStoreCapabilities;
  /** That the library has open. */
  readonly files: readonly OpenedFile[];
  /** The memory of the lanes' `ChangeLock`. */
  readonly changeLock: SharedArrayBuffer;
}

type Handler = (fields: readonly Buffer[]) => readonly Uint8Array[];
type CallNumberedBy = (typeof calls)[keyof typeof calls];
interface NumberedHandler {
  readonly call: CallNumberedBy;
  readonly handle: Handler;
}

export class Lane {
  readonly #pipe: Pipe;
  readonly #reader = new FrameReader();
  readonly #writer = new FrameWriter();
  /** What may hold a plaintext after a call. */
  readonly #holders: readonly { wipe(): void }[];
  readonly #handlers: ReadonlyMap<number, NumberedHandler>;
  readonly #session: TokenSession;
  readonly #table: KeyTable;
  readonly #files: readonly OpenedFile[];

  /** Opens the lane's session. The library is initialised and logged in to already. Throws `HostFailure`. */
  constructor(pipe: Pipe, token: OpenedToken) {
    this.#pipe = pipe;
    const cryptoki = initializedCryptoki(token.library);
    // Structured cloning turns a Buffer into a plain Uint8Array, which pkcs11js does not take.
    const slot = Buffer.from(token.slot);
    const session = new TokenSession({ cryptoki, slot, returnValues: new ReturnValues(token.profile) });
    const lock = new ChangeLock(token.changeLock, token.profile.sessionsAreParallel);
    const table = new KeyTable(session, token.profile, undefined, lock);
    table.fill(token.keys.map((key) => ({ ...key, handle: Buffer.from(key.handle) })));
    const { profile } = token;
    const { capabilities } = token.capabilities;
    const secrets = new SecretCalls(session, table);
    const pairs = new PairCalls(session, table, secrets, profile);
    const whyNot = (keySpec: string) => whyNotGenerated(capabilities, { keySpec, keyUsage: null });
    const dataKeyPairs = new DataKeyPairs(session, secrets, profile, whyNot);
    const keys = new KeyCalls(session, table, { profile, capabilities }, lock);
    const context = { profile, capabilities, imports: token.capabilities.imports };
    const wrapped = new WrappedKeyCalls(session, table, secrets, context);
    const imports = new ImportCalls(session, table, secrets, context);
    const moved = new MovedKeyCalls(session, table, secrets, { context, wrapped });
    const importing = { imports, keys, lock, session, context, wrapped, moved };
    const carried = new CarriedKeyCalls(session, table, { secrets, keys, lock, profile });
    this.#session = session;
    this.#table = table;
    this.#files = token.files;
    this.#holders = [secrets, pairs, dataKeyPairs];
    this.#handlers = handlers({ secrets, pairs, dataKeyPairs, keys, table, carried, importing });
  }

  /** Serves calls until the peer is gone (returns) or the token is (returns, after the reply that says so). */
  serve(): void {
    for (;;) {
      this.#pipe.fill(this.#reader);
      let waitingSinceMs = performance.now();
      let replies = 0;
      for (let frame = this.#reader.next(); frame !== undefined; frame = this.#reader.next()) {
        if (this.#answer(frame) === 'end') {
          this.#flush();
          return;
        }
        const nowMs = performance.now();
        const mayWait = this.#writer.pendingBytes < maxReplyBytes && nowMs - waitingSinceMs < maxReplyDelayMs;
        if (++replies < maxReplies && mayWait) continue;
        this.#flush();
        replies = 0;
        waitingSinceMs = nowMs;
      }
      this.#flush();
      this.#reader.wipeRead();
    }
  }

  #answer(frame: Frame): 'continue' | 'end' {
    const { requestId, fields } = frame;
    const entry = this.#handlers.get(frame.code);
    if (entry === undefined) throw new FrameError(`there is no call ${frame.code} on an open lane`);
    if (fields.length !== entry.call.request.length)
      throw new FrameError(`call ${frame.code} has ${entry.call.request.length} fields, not ${fields.length}`);
    try {
      this.#writer.append(requestId, replyCodes.success, this.#carryOut(entry, fields));
    } catch (error) {
      if (!(error instanceof HostFailure)) throw error;
      this.#writer.append(requestId, error.replyCode, [Buffer.from(error.message)]);
      if (error.endsHost) return 'end';
    } finally {
      for (const holder of this.#holders) holder.wipe();
    }
    return 'continue';
  }

  /** What is made in the token, or wrapped by it, has to open in the next process that logs in, too; and what is destroyed, to be gone. */
  #carryOut({ call, handle }: NumberedHandler, fields: readonly Buffer[]): readonly Uint8Array[] {
    const destroys = call === calls.destroyKey;
    const changes = 'changesKeys' in call && !destroys;
    if (!changes && !destroys && !wrapping.has(call)) return handle(fields);
    assertInPlace(this.#files);
    const opened = changes ? this.#session.run(() => this.#table.openedObject()) : undefined;
    const reply = handle(fields);
    if (changes) this.#session.run(() => this.#table.assertOpened(opened));
    assertInPlace(this.#files);
    return reply;
  }

  #flush(): void {
    if (this.#writer.pendingBytes === 0) return;
    try {
      this.#pipe.write(this.#writer.view());
    } finally {
      this.#writer.wipe();
    }
  }
}

/** The reply is a key, of which nothing is left in the token: it works with what that has for its domain key. */
const wrapping = new Set<CallNumberedBy>([calls.generateWrappedKey, calls.importWrappedKey, calls.wrapKey]);

const nothing: readonly Uint8Array[] = [];
const empty = Buffer.alloc(0);

interface LaneCalls {
  readonly secrets: SecretCalls;
  readonly pairs: PairCalls;
  readonly dataKeyPairs: DataKeyPairs;
  readonly keys: KeyCalls;
  readonly table: KeyTable;
  readonly carried: CarriedKeyCalls;
  readonly importing: {
    readonly imports: ImportCalls;
    readonly keys: KeyCalls;
    readonly lock: ChangeLock;
    readonly session: TokenSession;
    readonly context: ImportContext;
    readonly wrapped: WrappedKeyCalls;
    readonly moved: MovedKeyCalls;
  };
}

/** Call number → what carries it out. `open` is not among them: it is a lane's first frame and no other. */
function handlers({ secrets, pairs, dataKeyPairs, keys, table, carried, importing }: LaneCalls) {
  const byName: Record<Exclude<keyof typeof calls, 'open'>, Handler> = {
    ping: () => nothing,
    random: ([lengthBytes]) => [secrets.random(u32(lengthBytes))],
    generateKey: ([id, label, keySpec, keyUsage]) => {
      const [labelText, keySpecText, keyUsageText] = [utf8(label), utf8(keySpec), utf8(keyUsage)];
      const key = { id: keyId(id), label: labelText, keySpec: keySpecText, keyUsage: keyUsageText };
      const { attributes, publicKey } = keys.generate(key);
      return [json(attributes), publicKey ?? empty];
    },
    destroyKey: ([id]) => {
      keys.destroy(keyId(id));
      return nothing;
    },
    forgetKey: ([id]) => {
      table.forget(keyId(id));
      return nothing;
    },
    describeKey: ([id]) => [json(keys.describe(keyOf(id)))],
    listKeys: ([offset]) => [json(keys.list(u32(offset)))],
    encrypt: ([id, aad, plaintext]) => {
      const { iv, ciphertext } = secrets.encrypt(keyOf(id), bytes(aad), bytes(plaintext));
      return [iv, ciphertext];
    },
    decrypt: ([id, aad, iv, ciphertext]) => [secrets.decrypt(keyOf(id), bytes(aad), bytes(iv), bytes(ciphertext))],
    generateDataKey: ([id, aad, lengthBytes]) => {
      const plaintext = secrets.random(u32(lengthBytes));
      const { iv, ciphertext } = secrets.encrypt(keyOf(id), bytes(aad), plaintext);
      return [iv, ciphertext, plaintext];
    },
    generateDataKeyWithoutPlaintext: ([id, aad, lengthBytes]) => {
      const { iv, ciphertext } = secrets.encrypt(keyOf(id), bytes(aad), secrets.random(u32(lengthBytes)));
      return [iv, ciphertext];
    },
    mac: ([id, algorithm, data]) => [secrets.mac(keyOf(id), utf8(algorithm), bytes(data))],
    macs: ([id, algorithm, packed]) => [secrets.macs(keyOf(id), utf8(algorithm), unpacked(bytes(packed)))],
    sign: ([id, algorithm, content, message]) => [
      pairs.sign({ id: keyOf(id), algorithm: utf8(algorithm), content: utf8(content), message: bytes(message) }),
    ],
    decryptAsymmetric: ([id, algorithm, ciphertext]) => [pairs.decrypt(keyOf(id), utf8(algorithm), bytes(ciphertext))],
    deriveSharedSecret: ([id, publicKey]) => [pairs.deriveSharedSecret(keyOf(id), bytes(publicKey))],
    generateDataKeyPair: ([id, aad, keyPairSpec, withPlaintext]) => {
      const { publicKey, iv, ciphertext, privateKey } = dataKeyPairs.generate(keyOf(id), bytes(aad), utf8(keyPairSpec));
      return [publicKey, iv, ciphertext, u32(withPlaintext) === 1 ? privateKey : empty];
    },
    generateWrappingKey: ([id, label, wrappingKeySpec]) => {
      const key = { id: keyId(id), label: utf8(label), wrappingKeySpec: utf8(wrappingKeySpec) };
      return [generateWrappingKey(key, importing)];
    },
    examineImport: ([wrappingKeyId, outline, wrapped]) => {
      const { fingerprint, publicKey } = importing.imports.examine(material(wrappingKeyId, outline, wrapped));
      return [fingerprint, publicKey ?? empty];
    },
    importKey: ([wrappingKeyId, outline, wrapped, id, label, fingerprint]) => {
      const key = { id: keyId(id), label: utf8(label), fingerprint: bytes(fingerprint) };
      const { attributes, publicKey } = importing.imports.keep(
        { ...material(wrappingKeyId, outline, wrapped), ...key },
        importing,
      );
      return [json(attributes), publicKey ?? empty];
    },
    generateDomainKey: ([id, label]) => [
      json(importing.wrapped.generateDomainKey({ id: keyId(id), label: utf8(label) }, importing)),
    ],
    generateWrappedKey: ([domainKeyId, keySpec, keyUsage]) => {
      const { blob, publicKey } = importing.wrapped.generate(keyId(domainKeyId), utf8(keySpec), utf8(keyUsage));
      return [blob, publicKey ?? empty];
    },
    importWrappedKey: ([wrappingKeyId, outline, wrapped, domainKeyId, fingerprint]) => {
      const wanted = { domainKeyId: keyId(domainKeyId), fingerprint: bytes(fingerprint) };
      const { blob, publicKey } = importing.imports.wrap(
        { ...material(wrappingKeyId, outline, wrapped), ...wanted },
        importing.wrapped,
      );
      return [blob, publicKey ?? empty];
    },
    wrapKey: ([key, domainKeyId, keySpec, keyUsage, publicKey]) => {
      const kind = { keySpec: utf8(keySpec), keyUsage: utf8(keyUsage), publicKey: bytes(publicKey) };
      return [importing.moved.wrap(keyOf(key), keyId(domainKeyId), kind), kind.publicKey];
    },
    keepWrappedKey: ([key, label]) => {
      importing.moved.keep(keyOf(key), utf8(label), importing);
      return nothing;
    },
    generateJoiningPair: ([id, label, padding]) => [carried.generateJoiningPair(keyId(id), utf8(label), utf8(padding))],
    giveKey: ([id, publicKey, trustedId, padding]) => [
      carried.give(keyId(id), { publicKey: bytes(publicKey), trustedId: keyId(trustedId), oaep: utf8(padding) }),
    ],
    receiveKey: ([joiningId, outline, wrapped, padding, keep]) => {
      const way = { joiningId: keyId(joiningId), wrapped: bytes(wrapped), oaep: utf8(padding), keep: u32(keep) === 1 };
      carried.receive(carriedKey(outline), way);
      return nothing;
    },
  };
  const byNumber = new Map<number, NumberedHandler>();
  for (const [name, handle] of Object.entries(byName)) {
    const call = calls[name as keyof typeof byName]; // `byName` has exactly these names as its keys.
    byNumber.set(call.number, { call, handle });
  }
  return byNumber;
}

/** `#answer` has counted the fields, so none is missing here. */
function bytes(field: Buffer | undefined): Buffer {
  if (field === undefined) throw new FrameError('a field is missing');
  return field;
}

function keyId(field: Buffer | undefined): Buffer {
  if (field?.length !== 16) throw new FrameError('an id has 16 bytes');
  return field;
}

/** An id, or a wrapped key, which begins with one. */
function keyOf(field: Buffer | undefined): Buffer {
  if (field === undefined || field.length < 16) throw new FrameError('a key is named by 16 bytes or more');
  return field;
}

function material(wrappingKeyId: Buffer | undefined, outline: Buffer | undefined, wrapped: Buffer | undefined) {
  // Safe: the API process, which alone writes into the pipe, made it of these members.
  const stated = JSON.parse(utf8(outline)) as MaterialOutline;
  return { ...stated, wrappingKeyId: keyId(wrappingKeyId), wrapped: bytes(wrapped) };
}

function carriedKey(outline: Buffer | undefined): CarriedKey {
  // Safe: the API process, which alone writes into the pipe, made it of these members.
  const stated = JSON.parse(utf8(outline)) as CarriedKeyOutline;
  return { ...stated, proof: Buffer.from(stated.proof, 'base64') };
}

function u32(field: Buffer | undefined): number {
  if (field?.length !== 4) throw new FrameError('a number has 4 bytes');
  return field.readUInt32BE(0);
}

function unpacked(field: Buffer): readonly Buffer[] {
  const messages: Buffer[] = [];
  for (let at = 0; at < field.length; ) {
    const end = at + 4 + u32(field.subarray(at, at + 4));
    if (end > field.length) throw new FrameError('a message ends behind its field');
    messages.push(field.subarray(at + 4, end));
    at = end;
  }
  if (messages.length > maxMacsAtOnce) throw new FrameError(`at most ${maxMacsAtOnce} MACs are made at once`);
  return messages;
}

function utf8(field: Buffer | undefined): string {
  return bytes(field).toString('utf8');
}

function json(value: unknown): Buffer {
  return Buffer.from(JSON.stringify(value));
}
