/**
 * The calls that make, remove and look at key objects. Rare, so they ask the token instead of the table wherever the
 * answer matters.
 */

import type { BackingKeyAttributes } from '../key-store.ts';
import type { VendorProfile } from '../vendor-profile.ts';
import type { ChangeLock } from './change-lock.ts';
import { constant, type Handle, returnValueOf } from './cryptoki.ts';
import { HostFailure } from './failures.ts';
import { deviations, labelPrefix, readKeyAttributes, secretKeyTemplate } from './key-attributes.ts';
import { generationRow, type HostKeySpec, type UsageRow } from './key-specs.ts';
import type { FoundKey, KeyTable } from './key-table.ts';
import type { TokenSession } from './token-session.ts';

const maxLabelBytes = 100;
/** Well under a frame (256 KiB), whatever labels other programs gave their objects. */
const maxPageBytes = 128 * 1024;

interface NewKey {
  readonly id: Buffer;
  readonly label: string;
  readonly row: HostKeySpec;
  readonly usage: UsageRow;
}

export class KeyCalls {
  readonly #session: TokenSession;
  readonly #keys: KeyTable;
  readonly #profile: VendorProfile;
  readonly #lock: ChangeLock;
  #listing: readonly FoundKey[] = [];

  constructor(session: TokenSession, keys: KeyTable, profile: VendorProfile, lock: ChangeLock) {
    this.#lock = lock;
    this.#session = session;
    this.#keys = keys;
    this.#profile = profile;
  }

  /**
   * Generates a token object and reads it back; one that is weaker than asked is destroyed again (`internal`). The id is
   * looked for first: NSS softoken would replace an object that has it.
   */
  generate(request: { id: Buffer; label: string; keySpec: string; keyUsage: string }): BackingKeyAttributes {
    const { id, label } = request;
    const { row, usage } = generationRow(request.keySpec, request.keyUsage);
    if (!label.startsWith(labelPrefix) || !/^[\x20-\x7e]+$/.test(label) || label.length > maxLabelBytes)
      throw new HostFailure('internal', `a label is ${labelPrefix}… and at most ${maxLabelBytes} bytes of ASCII`);
    return this.#lock.hold(() => this.#generate({ id, label, row, usage }));
  }

  #generate({ id, label, row, usage }: NewKey): BackingKeyAttributes {
    if (this.#session.run(() => this.#keys.find(id)).length > 0)
      throw new HostFailure('internal', 'an object with this CKA_ID is in the token already');

    const { cryptoki, handle: session } = this.#session;
    const mechanism = { mechanism: constant(row.generation ?? '') };
    let key: Handle;
    let wrong: readonly string[];
    let attributes: BackingKeyAttributes;
    this.#session.step = `${row.generation} C_GenerateKey`;
    try {
      key = cryptoki.C_GenerateKey(session, mechanism, secretKeyTemplate({ row, usage, id, label }, this.#profile));
    } catch (error) {
      throw this.#session.failureFrom(error);
    }
    this.#session.step = 'C_GetAttributeValue';
    try {
      attributes = readKeyAttributes(cryptoki, session, key);
      wrong = deviations(attributes, { row, usage, id }, this.#profile);
    } catch (error) {
      const failure = this.#session.failureFrom(error);
      this.#destroy(key);
      throw failure;
    }
    if (wrong.length === 0) return attributes;
    this.#destroy(key);
    throw new HostFailure('internal', `the new key is not as asked and was destroyed again: ${wrong.join(', ')}`);
  }

  /** Destroys every object of ours with this id; that there is none is success. */
  destroy(id: Buffer): void {
    this.#keys.forget(id);
    this.#lock.hold(() =>
      this.#session.run(() => {
        for (const { handle } of this.#keys.find(id)) this.#destroy(handle);
      }),
    );
  }

  describe(id: Buffer): BackingKeyAttributes {
    return this.#session.run(() => {
      const found = this.#keys.find(id);
      const key = found[0];
      if (key === undefined) throw this.#keys.missing();
      if (found.length > 1)
        throw new HostFailure('keyUnavailable', 'more than one object in the token has this CKA_ID');
      return readKeyAttributes(this.#session.cryptoki, this.#session.handle, key.handle);
    });
  }

  /** One page from entry `offset` of the sweep that `offset` 0 makes anew; `[]` is the end. */
  list(offset: number): readonly { readonly backingKeyId: string; readonly label: string }[] {
    if (offset === 0) this.#listing = this.#session.run(() => this.#keys.sweep());
    const page: { backingKeyId: string; label: string }[] = [];
    let pageBytes = 0;
    for (const { id, label } of this.#listing.slice(offset)) {
      const line = { backingKeyId: Buffer.from(id, 'latin1').toString('hex'), label: label.slice(0, maxLabelBytes) };
      pageBytes += Buffer.byteLength(JSON.stringify(line)) + 1;
      if (pageBytes > maxPageBytes) break;
      page.push(line);
    }
    if (page.length === 0) this.#listing = [];
    return page;
  }

  #destroy(key: Handle): void {
    this.#session.step = 'C_DestroyObject';
    try {
      this.#session.cryptoki.C_DestroyObject(this.#session.handle, key);
    } catch (error) {
      // Somebody else was faster: it is gone, which is what is wanted.
      if (returnValueOf(error) !== constant('CKR_OBJECT_HANDLE_INVALID')) throw error;
    }
  }
}
