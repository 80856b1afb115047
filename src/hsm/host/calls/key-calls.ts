/**
 * The calls that make, remove and look at key objects. Rare, so they ask the token instead of the table wherever the
 * answer matters.
 */

import { joiningKeyLabelPrefix } from '../../key-carrying.ts';
import {
  type BackingKeyAttributes,
  type Capability,
  domainKeyLabelPrefix,
  serviceKeyLabelPrefix,
  wrappingKeyLabelPrefix,
} from '../../key-store.ts';
import type { VendorProfile } from '../../vendor-profile.ts';
import type { ChangeLock } from '../token/change-lock.ts';
import { type Attribute, constant, type Handle, returnValueOf } from '../token/cryptoki.ts';
import { HostFailure } from '../token/failures.ts';
import { deviations, labelPrefix, readKeyAttributes, readPublicKey } from '../token/key-attributes.ts';
import { type FoundKey, isWrapped, type KeyTable } from '../token/key-table.ts';
import { type HostKeySpec, type UsageRow, usageRow } from '../token/pkcs11-key-specs.ts';
import type { TokenSession } from '../token/token-session.ts';
import { type GeneratedObjects, generateObjects, whyNotGenerated } from './key-generation.ts';
import { type TrialResult, tryPair } from './pair-trials.ts';
import { wrappingUsages } from './unwrapping.ts';

const maxLabelBytes = 100;
/** Well under a frame (256 KiB), whatever labels other programs gave their objects. */
const maxPageBytes = 128 * 1024;

export interface NewKey {
  readonly id: Buffer;
  readonly label: string;
  readonly keySpec: string;
  readonly keyUsage: string;
  readonly row: HostKeySpec;
  readonly usage: UsageRow;
  readonly leaves?: 'underTrusted';
  readonly further?: readonly Attribute[];
}

export interface MadeKey {
  /** Of the secret key, or of the private half of a pair. */
  readonly attributes: BackingKeyAttributes;
  /** SubjectPublicKeyInfo, DER. */
  readonly publicKey: Buffer | null;
}

/** Given the private half and the SubjectPublicKeyInfo of a pair that was just made. */
type NewPairTrial = (handle: Handle, publicKey: Buffer) => TrialResult;

/** Of a wrapping pair: its public half is for others, and in the token for nothing. */
export function usageRowOfWrapping(profile: VendorProfile): UsageRow {
  return { attributes: wrappingUsages(profile), publicAttributes: [], algorithms: {} };
}

/** Every member of a domain has its service keys, so they have to be able to go there, where the token sees to it that they go nowhere else. */
export function leavingOf(label: string, { wrapping }: VendorProfile): { readonly leaves?: 'underTrusted' } {
  return label.startsWith(serviceKeyLabelPrefix) && wrapping?.wrapWithTrusted === true
    ? { leaves: 'underTrusted' }
    : {};
}

export class KeyCalls {
  readonly #session: TokenSession;
  readonly #keys: KeyTable;
  readonly #profile: VendorProfile;
  readonly #lock: ChangeLock;
  readonly #capabilities: readonly Capability[];
  #listing: readonly FoundKey[] = [];

  constructor(
    session: TokenSession,
    keys: KeyTable,
    { profile, capabilities }: { profile: VendorProfile; capabilities: readonly Capability[] },
    lock: ChangeLock,
  ) {
    this.#lock = lock;
    this.#session = session;
    this.#keys = keys;
    this.#profile = profile;
    this.#capabilities = capabilities;
  }

  /**
   * Generates a token object, or both halves of a pair, and reads them back; what is weaker than asked, or a pair that does not
   * do what it is for, is destroyed again (`internal`). The id is looked for first: NSS softoken would replace an object that has it.
   */
  generate(request: { id: Buffer; label: string; keySpec: string; keyUsage: string }): MadeKey {
    const { id, label, keySpec, keyUsage } = request;
    const { row, usage } = usageRow(keySpec, keyUsage);
    this.assertLabel(label);
    const key = { id, label, keySpec, keyUsage, row, usage, ...leavingOf(label, this.#profile) };
    return this.generateAs(key, (handle, publicKey) => {
      const context = { profile: this.#profile, capabilities: this.#capabilities };
      return tryPair(this.#session, context, { keySpec, keyUsage, usage }, { handle, publicKey });
    });
  }

  /** The same for a pair with usages of its own, tried in its own way. */
  generateAs(key: NewKey, trial: NewPairTrial): MadeKey {
    assertOurs(key.label);
    const missing = whyNotGenerated(this.#capabilities, key);
    if (missing !== null) throw new HostFailure('unsupported', missing);
    return this.#lock.changing(() => this.#generate(key, trial));
  }

  /** Throws `HostFailure` (`internal`) for a label that no key which serves callers has. */
  assertLabel(label: string): void {
    assertOurs(label);
    for (const prefix of [wrappingKeyLabelPrefix, domainKeyLabelPrefix, joiningKeyLabelPrefix])
      if (label.startsWith(prefix))
        throw new HostFailure('internal', `${prefix}… is the label of another kind of keys alone`);
  }

  #generate(key: NewKey, trial: NewPairTrial): MadeKey {
    if (this.#session.run(() => this.#keys.findWithPublicKeys(key.id)).length > 0)
      throw new HostFailure('internal', 'an object with this CKA_ID is in the token already');
    let made: GeneratedObjects;
    try {
      made = generateObjects(this.#session, key, this.#profile);
    } catch (error) {
      throw this.#session.failureFrom(error);
    }
    let result: MadeKey;
    let wrong: readonly string[];
    this.#session.step = 'C_GetAttributeValue';
    try {
      result = this.#readBack(made, key.row);
      wrong = deviations(result.attributes, key, this.#profile);
    } catch (error) {
      const failure = this.#session.failureFrom(error);
      this.#destroyMade(made);
      throw failure;
    }
    if (wrong.length > 0) {
      this.#destroyMade(made);
      throw new HostFailure('internal', `the new key is not as asked and was destroyed again: ${wrong.join(', ')}`);
    }
    if (result.publicKey !== null) this.#tryPair(key, trial, made.key, result.publicKey);
    return result;
  }

  /** What the trial of a new pair finds wrong is destroyed, both halves of it. */
  #tryPair({ id }: NewKey, trial: NewPairTrial, handle: Handle, subjectPublicKeyInfo: Buffer): void {
    let isWhole = false;
    try {
      const why = trial(handle, subjectPublicKeyInfo);
      if (why !== null)
        throw new HostFailure('internal', `the new pair does not belong together and was destroyed again: ${why}`);
      isWhole = true;
    } finally {
      // By its id and not by its handles: the trial may have opened another session.
      if (!isWhole) this.discard(id);
    }
  }

  #readBack({ key, publicKey }: GeneratedObjects, row: HostKeySpec): MadeKey {
    const { cryptoki, handle: session } = this.#session;
    const attributes = readKeyAttributes(cryptoki, session, key);
    if (publicKey === null) return { attributes, publicKey: null };
    return { attributes, publicKey: readPublicKey(cryptoki, session, { publicKey, privateKey: key }, row) };
  }

  /** Destroys every object of ours with this id; that there is none is success, where it is not for the token being gone. */
  destroy(id: Buffer): void {
    this.#keys.forget(id);
    this.#lock.changing(() => {
      if (this.discard(id) === 0) this.#session.run(() => this.#keys.assertAbsent(id));
    });
  }

  /** Destroys every object of ours with this id. Only for whoever holds the lock of changes. @returns How many there were. */
  discard(id: Buffer): number {
    return this.#lock.withoutCopies(() =>
      this.#session.run(() => {
        const found = this.#keys.findWithPublicKeys(id);
        for (const { handle } of found) this.#destroy(handle);
        return found.length;
      }),
    );
  }

  /** @param id Of a wrapped key all that names it: the object that it is unwrapped into is what is described. */
  describe(id: Buffer): BackingKeyAttributes {
    if (isWrapped(id)) return this.#describeWrapped(id);
    return this.#session.run(() => {
      const found = this.#keys.find(id);
      const key = found[0];
      if (key === undefined) throw this.#keys.missing(id);
      if (found.length > 1)
        throw new HostFailure('keyUnavailable', 'more than one object in the token has this CKA_ID');
      return readKeyAttributes(this.#session.cryptoki, this.#session.handle, key.handle);
    });
  }

  #describeWrapped(id: Buffer): BackingKeyAttributes {
    const { cryptoki } = this.#session;
    return this.#session.run(() => {
      const key = this.#keys.resolve(id);
      this.#session.step = 'C_GetAttributeValue';
      const attributes = readKeyAttributes(cryptoki, this.#session.handle, key);
      // A session object has no id of its own; that of ours is 32 hexadecimal digits, as `parseBackingKeyId` wants them.
      const backingKeyId = id.toString('hex', 0, 16) as BackingKeyAttributes['backingKeyId'];
      return { ...attributes, backingKeyId };
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

  #destroyMade({ key, publicKey }: GeneratedObjects): void {
    this.#destroy(key);
    if (publicKey !== null) this.#destroy(publicKey);
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

function assertOurs(label: string): void {
  if (label.startsWith(labelPrefix) && /^[\x20-\x7e]+$/.test(label) && label.length <= maxLabelBytes) return;
  throw new HostFailure('internal', `a label is ${labelPrefix}… and at most ${maxLabelBytes} bytes of ASCII`);
}
