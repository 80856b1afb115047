/**
 * One token of a key store that has several: whether it serves, what is in it, and why not.
 *
 * It serves once it was proven to be ours, by a key that it holds and not by what it calls itself. That is asked over each of its
 * connections before anything else is, because somebody may have put another one in its place since the others were made. A token that is away is tried for ever. One
 * that refuses the PIN, or has none of our keys, is left alone after one attempt until an operator says otherwise (`reconnect`): a wrong
 * PIN locks HSMs, and what is not ours does not become so by being asked again; only the token that was ours is asked twice, since it shows no
 * key either while it is pulled out. One that *has left* stays connected and serves nothing: it is
 * there to be emptied, and is looked at again, because it may have joined anew.
 */

import type { BackingKeyId } from '../../kms/names.ts';
import { type KeyStore, KeyStoreError, type MemberStatus } from '../key-store.ts';
import { LoginGate } from '../login-gate.ts';
import type { BegunToken } from '../open-key-store.ts';
import type { ConnectionEvents } from '../pipe-key-store.ts';
import type { TokenConnection } from '../token-connection.ts';
import { Inventory } from './inventory.ts';
import { LeftError } from './left-error.ts';
import type { MemberParts } from './member-parts.ts';
import { statusOf } from './member-status.ts';
import { Punctuality } from './punctuality.ts';

/** Between two attempts to look at one that is connected and does not tell. */
const retryMs = 2_000;
/** How often one that serves is looked at: it may have hung while it had no calls, or another token be in its place. */
const lookMs = 10_000;
/** Between two looks at one that lacked a key which another one had. */
const doubtPauseMs = 1_000;

export class Member {
  readonly name: string;
  /** What has overdue calls is looked at, so that its connections that have none, and hang too, are not found only when they get some. */
  readonly punctuality = new Punctuality(() => void this.reexamine());
  readonly #parts: MemberParts;
  readonly #gate = new LoginGate();
  #attached: KeyStore | undefined;
  #proveAgain: BegunToken['proveAgain'] = async () => undefined;
  #inventory: Inventory | undefined;
  #isAdmitted = false;
  #admissions = 0;
  #admittedSerial = '';
  /** Had the token that was ours none of our keys when it was connected last? */
  #isDoubted = false;
  #isClosed = false;
  /** Why it is not ours, or could not be begun or looked at. */
  #problem: string | null = null;
  #isNotOurs = false;
  #hasLeft = false;
  /** Did a connection show that it has left, since what is attached was last proven by calls of its own? */
  #mayHaveLeft = false;
  /** Has an attempt failed since it was begun? */
  #hasFailed = false;
  #lostAtMs: number | null = null;
  #examination: Promise<void> | undefined;
  #examinesAgain = false;
  #doubtedAtMs = Number.NEGATIVE_INFINITY;
  readonly #look: NodeJS.Timeout;
  #calls = 0;
  /** Those that it had before, while they end. */
  readonly #closing = new Map<KeyStore, Promise<void>>();

  constructor(parts: MemberParts) {
    this.name = parts.name;
    this.#parts = parts;
    this.#look = setInterval(() => void this.reexamine(), lookMs).unref();
  }

  begin(): void {
    this.#isNotOurs = false;
    this.#hasLeft = false;
    this.#mayHaveLeft = false;
    this.#hasFailed = false;
    this.#problem = null;
    try {
      const events: ConnectionEvents = {
        connected: () => void this.#examine(),
        failed: () => this.#failed(),
        pinRefused: () => this.#failed(),
      };
      const gate = this.#gate;
      const begun = this.#parts.begin({ events, gate, admit: (connection) => this.#admit(connection, begun.keyStore) });
      this.#attached = begun.keyStore;
      this.#proveAgain = begun.proveAgain;
    } catch (error) {
      this.#problem = messageOf(error);
      this.#failed();
    }
  }

  /** Is it ours, and connected? */
  get isServing(): boolean {
    return this.#isAdmitted;
  }

  /** How often it began to serve: more than before, and it was away meanwhile. */
  get admissions(): number {
    return this.#admissions;
  }

  /** Calls that it has; its queue. */
  get calls(): number {
    return this.#calls;
  }

  /** Has an attempt to connect it failed since it was begun? */
  get hasFailed(): boolean {
    return this.#hasFailed;
  }

  /** Comes it back by itself? */
  get isOut(): boolean {
    return (
      this.#isNotOurs || this.#hasLeft || this.#attached === undefined || this.#attached.status().state === 'pinRefused'
    );
  }

  /** Was it found to be none of ours, and is left alone? */
  get isStranger(): boolean {
    return this.#isNotOurs;
  }

  /** Was it found to have left? It may be connected, for whoever empties it. */
  get hasLeft(): boolean {
    return this.#hasLeft;
  }

  /** Was its PIN refused? It may still serve, by the hosts that are connected, and has no others before an operator's word. */
  get isRefused(): boolean {
    return this.#gate.refusal !== null;
  }

  /** When it was lost, by the monotonic clock; `null` while it serves, and before it ever did. */
  get lostAtMs(): number | null {
    return this.#lostAtMs;
  }

  /** What is in it, as far as that is known: it was there once. */
  get inventory(): Inventory | undefined {
    return this.#inventory;
  }

  /** What its calls go to, whether it serves or not: for whoever makes it one of ours. `undefined` while there is none. */
  get attached(): KeyStore | undefined {
    return this.#attached;
  }

  /** Resolves when nothing here uses the wrapped key any more, nor can. */
  async forgetWrappedKey(backingKeyId: BackingKeyId): Promise<void> {
    const attached = this.#attached === undefined ? [] : [this.#attached];
    const all = [...attached, ...this.#closing.keys()];
    await Promise.all(all.map((keyStore) => keyStore.forgetWrappedKey({ backingKeyId })));
  }

  stopGenerating(because: string): void {
    this.#attached?.stopGenerating(because);
  }

  /** @param domainKeys Those that any member has. */
  status(domainKeys: Iterable<BackingKeyId> = []): Omit<MemberStatus, 'hasLeft'> {
    const lacks = this.#isAdmitted ? [...domainKeys].filter((id) => !this.#inventory?.has(id)) : [];
    return statusOf({
      name: this.name,
      keyStore: this.#parts.keyStore,
      attached: this.#attached?.status(),
      standing: this.#isNotOurs ? 'notOurs' : this.#hasLeft ? 'left' : this.#isAdmitted ? 'serving' : 'waiting',
      problem: this.#problem,
      calls: this.#calls,
      token: this.capabilities()?.token ?? null,
      lacks,
    });
  }

  /** What was found out at its last connection; `null` when there never was one. */
  capabilities() {
    try {
      return this.#attached?.capabilities() ?? null;
    } catch (error) {
      if (error instanceof KeyStoreError) return null;
      throw error;
    }
  }

  /** @throws KeyStoreError `unavailable` when it is not connected. */
  async call<Result>(make: (keyStore: KeyStore) => Promise<Result>): Promise<Result> {
    const attached = this.#attached;
    if (attached === undefined) throw new KeyStoreError('unavailable', this.#describe('it is not connected'));
    this.#calls++;
    try {
      return await make(attached);
    } catch (error) {
      // A call learns of the end of the last host before its supervisor does, and is to be waited for then, not failed.
      if (attached === this.#attached && attached.status().lanes === 0) this.#lost();
      throw error;
    } finally {
      this.#calls--;
    }
  }

  /** It lacked a key that it should have, and that another one had: somebody may have put another token in its place. */
  async doubt(backingKeyId: BackingKeyId): Promise<void> {
    const nowMs = performance.now();
    if (!this.#isAdmitted || nowMs - this.#doubtedAtMs < doubtPauseMs) return;
    this.#doubtedAtMs = nowMs;
    await this.#examine();
    if (!this.#isAdmitted) return;
    // Some of its hosts may be connected to the one, and some to the other: all of them anew, to the one that is there now.
    if (this.capabilities()?.token.serial !== this.#admittedSerial) this.#beginAnew();
    // It may also be a key that it has, and cannot use: that is no reason to keep others from it.
    else if (await this.#hasLost(backingKeyId)) this.#inventory?.remove(backingKeyId);
  }

  async #hasLost(backingKeyId: BackingKeyId): Promise<boolean> {
    try {
      await this.#attached?.describeKey({ backingKeyId });
      return false;
    } catch (error) {
      if (error instanceof KeyStoreError) return error.failure === 'keyUnavailable';
      throw error;
    }
  }

  /**
   * An operator's word. Resolves when it serves, and what is in it is known anew.
   * @throws KeyStoreError `unavailable`, with why, when it does not.
   */
  async reconnect(): Promise<void> {
    if (this.#isClosed) return;
    // It may have taken in keys since it was listed.
    if (this.#isAdmitted && this.#attached?.status().state === 'connected') return this.relist();
    // What it is connected to was found to have left; another one may be in its place.
    if (this.#hasLeft) this.#detach();
    if (this.#attached === undefined) this.begin();
    // Of one that is none of ours nothing stays open, which fails this, too: what it is stands in its problem.
    const cause: unknown = await this.#attached?.reconnect().catch((error) => error);
    if (cause === undefined) await this.#examine();
    if (cause === undefined && this.isServing && !this.isRefused) return;
    const told = cause !== undefined && !this.#isNotOurs ? messageOf(cause) : this.#problem;
    const why = told ?? this.#attached?.status().lastFailure ?? 'it is not connected';
    throw new KeyStoreError('unavailable', this.#describe(why), { cause });
  }

  /** Finds out anew what is in it; connects nothing. @throws KeyStoreError `unavailable` when it does not serve. */
  async relist(): Promise<void> {
    if (!this.#isAdmitted && !this.#hasLeft)
      throw new KeyStoreError('unavailable', this.#describe('it is not connected'));
    this.#inventory = new Inventory(await this.call((keyStore) => keyStore.listKeys()));
  }

  /** Looks again whether it is ours, because more is known now of what ours have. */
  async reexamine(): Promise<void> {
    if (this.#isAdmitted || this.#hasLeft || this.#examination !== undefined) await this.#examine();
  }

  async close(): Promise<void> {
    this.#isClosed = true;
    clearInterval(this.#look);
    this.#detach();
    await Promise.all(this.#closing.values());
  }

  /** One at a time; who comes meanwhile has another one made after it. Never rejects. */
  #examine(): Promise<void> {
    if (this.#examination !== undefined) {
      this.#examinesAgain = true;
      return this.#examination;
    }
    this.#examination = (async () => {
      do {
        this.#examinesAgain = false;
        await this.#examineOnce();
      } while (this.#examinesAgain);
    })().finally(() => {
      this.#examination = undefined;
    });
    return this.#examination;
  }

  async #examineOnce(): Promise<void> {
    const attached = this.#attached;
    if (attached === undefined || this.#isClosed || attached.status().lanes === 0) return;
    const { log, keyStore } = this.#parts;
    try {
      await this.#proveAgain();
      // A connection that was just made is not asked again by that.
      if (this.#mayHaveLeft) await this.#parts.prove(attached);
      this.#mayHaveLeft = false;
      const isNews = !this.#isAdmitted;
      // It changes by our own calls while it serves, and a token of many keys takes seconds to list.
      const inventory = isNews ? new Inventory(await attached.listKeys()) : this.#inventory;
      if (attached !== this.#attached || attached.status().lanes === 0) return;
      this.#inventory = inventory;
      this.#isDoubted = false;
      this.#admittedSerial = this.#isAdmitted ? this.#admittedSerial : attached.capabilities().token.serial;
      if (isNews) this.#admissions++;
      this.#isAdmitted = true;
      this.#hasLeft = false;
      this.#lostAtMs = null;
      this.#problem = null;
      if (isNews) log.info({ keyStore, member: this.name }, 'a member of a key store serves');
      if (isNews) this.#parts.admitted();
    } catch (error) {
      if (attached !== this.#attached) return;
      this.#problem = messageOf(error);
      const shown = { keyStore, member: this.name, problem: this.#problem };
      if (error instanceof KeyStoreError) {
        log.warn(shown, 'a member of a key store could not be looked at; it is tried again');
        setTimeout(() => void this.#examine(), retryMs).unref();
      } else if (error instanceof LeftError) {
        await this.#becomesLeft(shown);
      } else {
        // A host whose token was pulled out from under it finds nothing in it, as in one that is not ours: the next host will see.
        log.warn(shown, 'a member of a key store has lost its keys, and is connected anew');
        this.#beginAnew();
      }
    }
    this.#parts.changed();
  }

  /** It is connected still, and serves nothing from now on. */
  async #becomesLeft(shown: object): Promise<void> {
    this.#hasFailed = true;
    this.#lost();
    this.#lostAtMs = null;
    this.#mayHaveLeft = true;
    if (this.#hasLeft) return;
    this.#hasLeft = true;
    this.#parts.log.error(shown, 'a member of a key store has left, and is not used');
    // For whoever empties it; of one that does not tell it stays unknown.
    await this.relist().catch(() => undefined);
  }

  /** Before a connection serves: what another one of the same member has shown says nothing about it. */
  async #admit(connection: TokenConnection, attached: KeyStore): Promise<void> {
    try {
      await this.#parts.prove(connection);
    } catch (error) {
      // While others are connected to ours, this one is tried again as one that is away.
      if (error instanceof LeftError && (!this.#isAdmitted || attached.status().lanes === 0)) {
        this.#mayHaveLeft = true;
        return this.#lost();
      }
      if (!(error instanceof KeyStoreError) && attached === this.#attached && attached.status().lanes === 0) {
        // Ours that is pulled out while a host connects shows no key either: the next host decides.
        this.#isDoubted = !this.#isDoubted && connection.capabilities().token.serial === this.#admittedSerial;
        if (!this.#isDoubted) this.#leaveAlone(messageOf(error));
      }
      throw error;
    }
  }

  #leaveAlone(problem: string): void {
    const { log, keyStore, changed } = this.#parts;
    this.#problem = problem;
    this.#isNotOurs = true;
    this.#hasFailed = true;
    this.#detach();
    log.error({ keyStore, member: this.name, problem }, 'a member of a key store is not used; the others are');
    changed();
  }

  #failed(): void {
    this.#hasFailed = true;
    if ((this.#attached?.status().lanes ?? 0) === 0) this.#lost();
    this.#parts.changed();
  }

  #lost(): void {
    if (this.#isAdmitted) this.#lostAtMs = performance.now();
    this.#isAdmitted = false;
  }

  #beginAnew(): void {
    this.#detach();
    if (!this.#isClosed) this.begin();
  }

  #detach(): void {
    const attached = this.#attached;
    this.#attached = undefined;
    this.#lost();
    if (attached === undefined) return;
    this.#closing.set(
      attached,
      attached.close().finally(() => this.#closing.delete(attached)),
    );
  }

  #describe(problem: string): string {
    return `key store \`${this.#parts.keyStore}\`, member \`${this.name}\`: ${problem}`;
  }
}

function messageOf(error: unknown): string {
  return String(error instanceof Error ? error.message : error);
}
