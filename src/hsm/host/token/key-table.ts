/**
 * The table from a backing key's id to the handle to use: the reason why `C_FindObjects` is not on the hot path.
 *
 * It is filled by one sweep over the token at connection. An id that it lacks (another lane or host made the key) is
 * looked up once by `CKA_ID`. INVARIANT: a handle is returned only for an id that exactly one secret or private key
 * object of ours had when it was looked up; an ambiguous id is refused, never guessed.
 *
 * Where the profile says so, a key is used through a session copy. A copy that does not read back as sensitive and not
 * extractable is destroyed and the token object used instead. Copies are bounded; the least recently used one goes.
 * Accepted: a key that another process destroyed works in a lane that has a copy until `forgetKey` or `destroyKey`
 * comes, which is why the API process sends them to every lane.
 *
 * A key that lives outside of the token comes along with the call that uses it (`wrapped-key.ts`): what names it is longer than an id, and
 * begins with one. It is unwrapped when it is first used, and kept like a session copy (`unwrapped-keys.ts`).
 */

import { maxUnwrappedKeys } from '../../kept-keys.ts';
import type { VendorProfile } from '../../vendor-profile.ts';
import type { ChangeLock } from './change-lock.ts';
import { constant, type Handle, returnValueOf } from './cryptoki.ts';
import { curveOfParams } from './curves.ts';
import { HostFailure } from './failures.ts';
import { labelPrefix, readAttribute, ulong } from './key-attributes.ts';
import { KeyWrapping } from './key-wrapping.ts';
import {
  assertOpened,
  type CheckedObjects,
  copyRefusals,
  firstOpened,
  isGone,
  isSessionObject,
  maxAsked,
} from './login-check.ts';
import type { KeyFacts } from './object-facts.ts';
import { mlDsaParameterSet } from './parameter-sets.ts';
import { privateKeyUsageAttributes } from './pkcs11-key-specs.ts';
import type { TokenSession } from './token-session.ts';
import { UnwrappedKeys } from './unwrapped-keys.ts';
import { WrappedKeyReader } from './wrapped-key-reader.ts';

const idBytes = 16;
/** The objects that are keys to us. The public half of a pair is not: its `CKA_ID` is that of the private one. */
const keyClasses: readonly string[] = ['CKO_SECRET_KEY', 'CKO_PRIVATE_KEY'];
/** Handles per `C_FindObjects`. */
const findBatch = 512;

const aes = constant('CKK_AES');
const isNotExtractable = { type: constant('CKA_EXTRACTABLE'), value: false };

/** A key object of ours, as a sweep finds it. `id` is the 16 bytes of its `CKA_ID`, one character each. */
export interface FoundKey {
  readonly id: string;
  readonly label: string;
  readonly handle: Handle;
  /** Where they are known without asking the token. */
  readonly facts?: KeyFacts;
}

interface Entry {
  readonly handle: Handle;
  /** More than one object has this id. */
  readonly ambiguous: boolean;
  /** What to use: the session copy or `handle`; `null` until first used. */
  working: Handle | null;
  lastUsed: number;
  /** Once they were asked for: to read one attribute costs SoftHSM2 as much as a signature (40 µs). */
  facts: KeyFacts | null;
}

export class KeyTable {
  readonly #session: TokenSession;
  readonly #lock: ChangeLock | null;
  readonly #maxCopies: number;
  readonly #copiedKeyTypes: ReadonlySet<number>;
  readonly #entries = new Map<string, Entry>();
  /** The entries that hold a session copy. */
  readonly #copied = new Set<Entry>();
  readonly #wrapping: KeyWrapping;
  readonly #unwrapped: UnwrappedKeys;
  readonly #reader = new WrappedKeyReader();
  #clock = 0;
  /** INVARIANT: the handles here are those of this session number; `#follow` keeps it before any of them is used. */
  #sessionNumber: number;

  /** @param maxCopies Of token objects, and as many wrapped keys: what the API process counts along with (`lane-choice.ts`), or fewer. */
  constructor(
    session: TokenSession,
    profile: VendorProfile,
    maxCopies = maxUnwrappedKeys,
    lock: ChangeLock | null = null,
  ) {
    this.#lock = lock;
    this.#session = session;
    this.#maxCopies = maxCopies;
    this.#sessionNumber = session.number;
    this.#wrapping = new KeyWrapping(session, profile);
    this.#unwrapped = new UnwrappedKeys(session, maxCopies);
    this.#copiedKeyTypes = new Set(profile.sessionCopies.map(constant));
  }

  get sessionCopies(): number {
    return this.#copied.size;
  }

  get unwrappedKeys(): number {
    return this.#unwrapped.count;
  }

  /** Starts anew with what a sweep found. */
  fill(keys: readonly FoundKey[]): void {
    this.#entries.clear();
    this.#copied.clear();
    for (const { id, handle, facts = null } of keys) {
      const ambiguous = this.#entries.has(id);
      this.#entries.set(id, { handle, ambiguous, working: null, lastUsed: 0, facts });
    }
  }

  /** The handle to use for a key. Throws `HostFailure` (`keyUnavailable`), or an error of the library. */
  resolve(id: Buffer): Handle {
    this.#follow();
    const name = id.toString('latin1', 0, idBytes);
    if (isWrapped(id)) return this.#unwrapped.find(name) ?? this.#unwrap(id, name);
    return this.#tokenObject(id, name);
  }

  #tokenObject(id: Buffer, name: string): Handle {
    const known = this.#entries.get(name);
    if (known?.working) {
      known.lastUsed = ++this.#clock;
      return known.working;
    }
    const entry = this.#whileCopying(() => this.#prepare(id, name));
    entry.lastUsed = ++this.#clock;
    return entry.working ?? entry.handle;
  }

  /** The handle of a key that wraps others and does nothing else. Throws as `resolve`, and for an object that is none. */
  domainKey(id: Buffer, name = id.toString('latin1', 0, idBytes)): Handle {
    this.#follow();
    let handle: Handle;
    try {
      handle = this.#tokenObject(id, name);
    } catch (error) {
      if (!(error instanceof HostFailure && error.failure === 'keyUnavailable')) throw error;
      throw new HostFailure('keyUnavailable', `the domain key ${id.toString('hex')}: ${error.message}`, {
        cause: error,
      });
    }
    const { keyType, usages } = this.#objectFacts(name);
    if (keyType === aes && usages.has('CKA_UNWRAP') && !usages.has('CKA_DECRYPT')) return handle;
    throw new HostFailure('keyUnavailable', `the object ${id.toString('hex')} is not a domain key`);
  }

  #unwrap(id: Buffer, name: string): Handle {
    const fields = this.#reader.read(id);
    if (fields === undefined) throw new HostFailure('internal', 'the field of a wrapped key is none');
    const domainKey = this.domainKey(fields.domainKeyId, fields.domainKeyName);
    return this.#unwrapped.keep(name, this.#wrapping.unwrap(domainKey, fields));
  }

  /** One lane at a time (`ChangeLock` says why), and none waits here for a key that another one generates. */
  #prepare(id: Buffer, name: string): Entry {
    const entry = this.#entries.get(name) ?? this.#lookUp(id, name);
    if (entry.ambiguous) throw new HostFailure('keyUnavailable', 'more than one object in the token has this CKA_ID');
    entry.working ??= this.#copyOf(entry) ?? entry.handle;
    return entry;
  }

  /** Drops what is known of a key, and its session object. Of one that is named whole, also what is known of its domain key. */
  forget(id: Buffer): void {
    this.#follow();
    const name = id.toString('latin1', 0, idBytes);
    this.#unwrapped.drop(name);
    const domainKeyId = isWrapped(id) ? this.#reader.read(id)?.domainKeyId : undefined;
    if (domainKeyId !== undefined) this.forget(domainKeyId);
    const entry = this.#entries.get(name);
    if (entry === undefined) return;
    this.#entries.delete(name);
    if (this.#copied.has(entry)) this.#dropCopy(entry);
  }

  /** Every secret and private key object of ours: one sweep. */
  sweep(): FoundKey[] {
    return this.#find([]);
  }

  /** The secret and private key objects of ours that have this id. */
  find(id: Buffer): FoundKey[] {
    return this.#find([{ type: constant('CKA_ID'), value: id }]);
  }

  /** With the public halves of pairs. */
  findWithPublicKeys(id: Buffer): FoundKey[] {
    return this.#find([{ type: constant('CKA_ID'), value: id }], [...keyClasses, 'CKO_PUBLIC_KEY']);
  }

  /** What the token says of a key that `resolve` has just found. */
  facts(id: Buffer): KeyFacts {
    const unwrapped = isWrapped(id) ? this.#unwrapped.facts(id.toString('latin1', 0, idBytes)) : undefined;
    return unwrapped ?? this.#objectFacts(id.toString('latin1', 0, idBytes));
  }

  #objectFacts(name: string): KeyFacts {
    const entry = this.#entries.get(name);
    if (entry === undefined) throw this.missing();
    entry.facts ??= this.#readFacts(entry.working ?? entry.handle);
    return entry.facts;
  }

  /** The failure for an id that no object has. Throws another (`tokenGone`) where that is not the reason. */
  missing(id?: Buffer): HostFailure {
    this.assertAbsent(id);
    return new HostFailure('keyUnavailable', 'no object in the token has this CKA_ID');
  }

  /** Throws `HostFailure` (`tokenGone`) where no object of this id was found for another reason than that there is none. */
  assertAbsent(id?: Buffer): void {
    this.#session.assertLoggedIn();
    firstOpened(this.#session, this.#checked(false, id?.toString('latin1', 0, idBytes)));
  }

  /** An object that opens for this login; none where that cannot be told. Throws `HostFailure` (`tokenGone`): see `login-check.ts`. */
  openedObject(): Handle | undefined {
    this.#follow();
    return this.#whileCopying(() => firstOpened(this.#session, this.#checked(this.#copiedKeyTypes.size > 0)));
  }

  /** Throws as `openedObject`, which has found this one; where it found none, what was made is the first that can be asked for. */
  assertOpened(object: Handle | undefined): void {
    if (object === undefined && this.#entries.size === 0) this.fill(this.#whileCopying(() => this.sweep()));
    if (object === undefined) return;
    this.#whileCopying(() => assertOpened(this.#session, object, this.#copiedKeyTypes.size > 0));
  }

  /** Throws `HostFailure` where the object of a key that was resolved is not there any more: its copy works all the same. */
  assertThere(id: Buffer): void {
    const entry = this.#entries.get(id.toString('latin1', 0, idBytes));
    if (entry === undefined || !isGone(this.#session, entry.handle)) return;
    firstOpened(this.#session, this.#checked(false));
    this.forget(id);
    throw this.missing(id);
  }

  #whileCopying<Result>(work: () => Result): Result {
    return this.#lock === null ? work() : this.#lock.copying(work);
  }

  /** The oldest first, without the one of that name. */
  #checked(areCopied: boolean, without?: string): CheckedObjects {
    const objects: Handle[] = [];
    for (const [name, { handle, ambiguous }] of this.#entries) {
      if (objects.length === maxAsked) break;
      if (!ambiguous && name !== without) objects.push(handle);
    }
    return { objects, areCopied };
  }

  /** After a new session: its session copies are gone, and handles are resolved again. */
  #follow(): void {
    if (this.#sessionNumber === this.#session.number) return;
    this.#entries.clear();
    this.#copied.clear();
    this.#unwrapped.forgetAll();
    this.fill(this.sweep());
    this.#sessionNumber = this.#session.number;
  }

  #readFacts(handle: Handle): KeyFacts {
    const { cryptoki, handle: session } = this.#session;
    this.#session.step = 'C_GetAttributeValue';
    const read = (name: string) => readAttribute(cryptoki, session, handle, name);
    const ecParams = read('CKA_EC_PARAMS');
    const keyType = ulong(read('CKA_KEY_TYPE')) ?? -1;
    const isMlDsa = keyType === constant('CKK_ML_DSA');
    return {
      keyType,
      usages: new Set(privateKeyUsageAttributes.filter((name) => read(name)?.[0] === 1)),
      curve: ecParams === undefined ? undefined : curveOfParams(ecParams),
      parameterSet: isMlDsa ? mlDsaParameterSet(ulong(read('CKA_PARAMETER_SET'))) : undefined,
    };
  }

  #lookUp(id: Buffer, name: string): Entry {
    const found = this.find(id);
    const first = found[0];
    if (first === undefined) throw this.missing();
    const entry: Entry = {
      handle: first.handle,
      ambiguous: found.length > 1,
      working: null,
      lastUsed: 0,
      facts: null,
    };
    // An ambiguous id is looked up anew each time: an operator may be removing the other object.
    if (!entry.ambiguous) this.#entries.set(name, entry);
    return entry;
  }

  /** Token objects only: a session copy has the `CKA_ID` of its original. */
  #find(template: readonly { type: number; value: Buffer }[], classes: readonly string[] = keyClasses): FoundKey[] {
    const { cryptoki, handle: session } = this.#session;
    const handles: Handle[] = [];
    this.#session.step = 'C_FindObjects';
    cryptoki.C_FindObjectsInit(session, [{ type: constant('CKA_TOKEN'), value: true }, ...template]);
    for (;;) {
      const batch = cryptoki.C_FindObjects(session, findBatch);
      handles.push(...batch);
      if (batch.length === 0) break;
    }
    cryptoki.C_FindObjectsFinal(session);
    this.#session.step = 'C_GetAttributeValue';
    return handles.flatMap((handle) => this.#describe(handle, classes) ?? []);
  }

  /** `undefined` for what is not a key of ours, or is gone again. */
  #describe(handle: Handle, classes: readonly string[]): FoundKey | undefined {
    const { cryptoki, handle: session } = this.#session;
    const read = (name: string) => readAttribute(cryptoki, session, handle, name);
    try {
      const objectClass = ulong(read('CKA_CLASS'));
      if (!classes.some((name) => constant(name) === objectClass)) return undefined;
      const label = read('CKA_LABEL')?.toString('utf8') ?? '';
      const id = read('CKA_ID');
      if (!label.startsWith(labelPrefix) || id?.length !== idBytes) return undefined;
      return { id: id.toString('latin1'), label, handle };
    } catch (error) {
      // Another process destroyed it between C_FindObjects and now.
      if (returnValueOf(error) === constant('CKR_OBJECT_HANDLE_INVALID')) return undefined;
      throw error;
    }
  }

  /** A session copy, or `null` where the token object is to be used. */
  #copyOf(entry: Entry): Handle | null {
    if (this.#copiedKeyTypes.size === 0) return null;
    const { cryptoki, handle: session } = this.#session;
    const read = (object: Handle, name: string) => readAttribute(cryptoki, session, object, name);
    this.#session.step = 'C_GetAttributeValue';
    const keyType = ulong(read(entry.handle, 'CKA_KEY_TYPE'));
    if (keyType === undefined || !this.#copiedKeyTypes.has(keyType)) return null;
    if (this.#copied.size >= this.#maxCopies) this.#evict();
    this.#session.step = 'C_CopyObject';
    let copy: Handle;
    try {
      // The copy of a key that may be given to other HSMs goes nowhere.
      const tightened = read(entry.handle, 'CKA_EXTRACTABLE')?.[0] === 0 ? [] : [isNotExtractable];
      copy = cryptoki.C_CopyObject(session, entry.handle, [isSessionObject, ...tightened]);
    } catch (error) {
      // A key that cannot be copied (it was made elsewhere, not modifiable or not copyable) still works, only slower.
      const code = returnValueOf(error);
      if (copyRefusals.some((name) => constant(name) === code)) return null;
      if (code !== undefined) firstOpened(this.#session, this.#checked(true));
      this.#session.step = 'C_CopyObject';
      throw error;
    }
    const isStrong =
      read(copy, 'CKA_SENSITIVE')?.[0] === 1 &&
      read(copy, 'CKA_EXTRACTABLE')?.[0] === 0 &&
      read(copy, 'CKA_PRIVATE')?.[0] === 1 &&
      read(copy, 'CKA_TOKEN')?.[0] === 0;
    if (!isStrong) {
      cryptoki.C_DestroyObject(session, copy);
      return null;
    }
    this.#copied.add(entry);
    return copy;
  }

  #evict(): void {
    let oldest: Entry | undefined;
    for (const entry of this.#copied) if (oldest === undefined || entry.lastUsed < oldest.lastUsed) oldest = entry;
    if (oldest !== undefined) this.#dropCopy(oldest);
  }

  #dropCopy(entry: Entry): void {
    const copy = entry.working;
    this.#copied.delete(entry);
    entry.working = null;
    if (copy === null) return;
    try {
      this.#session.cryptoki.C_DestroyObject(this.#session.handle, copy);
    } catch (error) {
      // The copy is stale; not being there any more is what is wanted.
      if (returnValueOf(error) === undefined) throw error;
    }
  }
}

/** What names a key that lives outside of the token is longer than its id. */
export function isWrapped(key: Buffer): boolean {
  return key.length > idBytes;
}
