/**
 * Backing keys that live outside of the HSM: what the HSM wrapped under a domain key, and how a call names such a key.
 *
 * A call names its key by a field. For a token object it is the 16 bytes of its `CKA_ID`. A wrapped key goes along whole, since it is
 * no longer than what it is used on, and so any lane of any host can use it without having heard of it before:
 *
 *     16 bytes   id of the backing key, under which a lane keeps what it has unwrapped
 *     16 bytes   `CKA_ID` of the domain key that it is wrapped under
 *     1 + n      length and name of the KeySpec
 *     1 + n      length and name of the KeyUsage
 *     2 + n      length and bytes of the public key (SubjectPublicKeyInfo, DER; empty for a secret key)
 *     n          the blob: its format (1: RFC 5649, perhaps with zeros behind the key), and the wrapped key
 *
 * A blob says nothing of what it is: it has no room for an identity, and wrapping is deterministic. What it is a key for stands in
 * the record that it is in, under the record's MAC, and comes along here; the host holds the object that it unwrapped to it.
 */

import type { KeySpec, KeyUsage } from '../kms/key-specs.ts';
import type { BackingKeyId } from '../kms/names.ts';

/** The first byte of a blob: RFC 5649 under the domain key, over the secret or the PKCS#8, which may have zeros behind it. */
export const blobFormat = 1;

const idBytes = 16;

export interface WrappedKeyOutline {
  readonly domainKeyId: BackingKeyId;
  readonly keySpec: KeySpec;
  readonly keyUsage: KeyUsage;
  /** SubjectPublicKeyInfo, DER; `null` for a secret key. */
  readonly publicKey: Buffer | null;
  readonly blob: Buffer;
}

/** Of what is noted of wrapped keys that have ended (`ended-keys.ts`). */
export interface PageOfEnded {
  /** What there is of them since; `undefined` for nothing. */
  readonly ended: ReadonlyMap<BackingKeyId, WrappedKeyOutline | undefined>;
  readonly next: PageOfEnded | undefined;
}

/** Where its holder learns that a wrapped key has ended. */
export interface WatchedEnd {
  /** As it is noted there, by whatever name lanes keep it. */
  readonly backingKeyId: BackingKeyId;
  readonly from: PageOfEnded;
}

/** A wrapped key for as long as it may be used. */
export class WrappedKey {
  readonly #outline: WrappedKeyOutline;
  readonly #backingKeyId: BackingKeyId | undefined;
  /** From here on it may be noted that it has ended. */
  #page: PageOfEnded | undefined;
  #isEnded = false;

  /** @param watched Absent for one that ends by `end` alone. */
  constructor(outline: WrappedKeyOutline, watched?: WatchedEnd) {
    this.#outline = outline;
    this.#backingKeyId = watched?.backingKeyId;
    this.#page = watched?.from;
  }

  get domainKeyId(): BackingKeyId {
    return this.#outline.domainKeyId;
  }

  /** `undefined` once it has ended. */
  get outline(): WrappedKeyOutline | undefined {
    if (!this.#isEnded && this.#page !== undefined) this.#read(this.#page);
    return this.#isEnded ? undefined : this.#outline;
  }

  /** Is it the same key, wrapped to the same bytes, and not ended? */
  isOf(other: WrappedKey | undefined): boolean {
    const [mine, theirs] = [this.outline, other?.outline];
    return mine !== undefined && theirs !== undefined && isSameWrapped(mine, theirs);
  }

  /** From now on nobody can use it who has it from here: its key is being destroyed. */
  end(): void {
    this.#isEnded = true;
    this.#page = undefined;
  }

  /** What was noted before `page` is not of this one: it is what is on record now. */
  readFrom(page: PageOfEnded): void {
    if (this.#page !== undefined) this.#page = page;
  }

  #read(from: PageOfEnded): void {
    const backingKeyId = this.#backingKeyId as BackingKeyId; // It came with the page.
    let last = from;
    for (let page: PageOfEnded | undefined = from; page !== undefined; page = page.next) {
      const now = page.ended.get(backingKeyId);
      if (page.ended.has(backingKeyId) && (now === undefined || !isSameWrapped(now, this.#outline))) {
        this.end();
        return;
      }
      last = page;
    }
    this.#page = last;
  }
}

/** Wrapping is deterministic: the same bytes are the same key. */
function isSameWrapped(one: WrappedKeyOutline, other: WrappedKeyOutline): boolean {
  return one.domainKeyId === other.domainKeyId && one.blob.equals(other.blob);
}

/** A key that the token has made and wrapped, and kept nothing of. */
export interface NewWrappedKey {
  readonly blob: Buffer;
  /** The public half of a pair, SubjectPublicKeyInfo in DER; `null` for a secret key. */
  readonly publicKey: Buffer | null;
}

/** A backing key: a token object, or what was wrapped. */
export interface BackingKeyReference {
  readonly backingKeyId: BackingKeyId;
  /** Absent: the key is a token object with this `CKA_ID`. */
  readonly wrapped?: WrappedKey | undefined;
}

/** The field of a call that names a wrapped key. */
export function wrappedKeyField(backingKeyId: BackingKeyId, outline: WrappedKeyOutline): Buffer {
  const { domainKeyId, keySpec, keyUsage, blob } = outline;
  const publicKeyBytes = outline.publicKey?.length ?? 0;
  const fixedBytes = 2 * idBytes + 1 + keySpec.length + 1 + keyUsage.length + 2;
  const field = Buffer.allocUnsafe(fixedBytes + publicKeyBytes + blob.length);
  let at = field.write(backingKeyId, 0, idBytes, 'hex');
  at += field.write(domainKeyId, at, idBytes, 'hex');
  for (const name of [keySpec, keyUsage]) {
    at = field.writeUInt8(name.length, at);
    at += field.write(name, at, 'latin1');
  }
  at = field.writeUInt16BE(publicKeyBytes, at);
  if (outline.publicKey !== null) field.set(outline.publicKey, at);
  field.set(blob, at + publicKeyBytes);
  return field;
}

/** By what name lanes keep the key that a field names, where it is a wrapped one: its id, a character for each byte. */
export function keptName(field: Uint8Array | undefined): string | undefined {
  if (field === undefined || field.length <= idBytes) return undefined;
  return Buffer.from(field.buffer, field.byteOffset, idBytes).toString('latin1');
}

/** What such a field says; its buffers are views of it. */
export interface WrappedKeyFields {
  readonly domainKeyId: Buffer;
  readonly keySpec: string;
  readonly keyUsage: string;
  /** Empty for a secret key. */
  readonly publicKey: Buffer;
  readonly blob: Buffer;
}

const noPublicKey = Buffer.alloc(0);

/** @returns `undefined` for what no `wrappedKeyField` made. */
export function parseWrappedKeyField(field: Buffer): WrappedKeyFields | undefined {
  const keySpecAt = 2 * idBytes + 1;
  const keyUsageAt = keySpecAt + (field[keySpecAt - 1] ?? 0) + 1;
  const publicKeyAt = keyUsageAt + (field[keyUsageAt - 1] ?? 0) + 2;
  if (publicKeyAt >= field.length) return undefined;
  const blobAt = publicKeyAt + field.readUInt16BE(publicKeyAt - 2);
  if (blobAt >= field.length) return undefined;
  return {
    domainKeyId: field.subarray(idBytes, 2 * idBytes),
    keySpec: field.toString('latin1', keySpecAt, keyUsageAt - 1),
    keyUsage: field.toString('latin1', keyUsageAt, publicKeyAt - 2),
    publicKey: blobAt === publicKeyAt ? noPublicKey : field.subarray(publicKeyAt, blobAt),
    blob: field.subarray(blobAt),
  };
}
