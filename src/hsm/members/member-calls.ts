/**
 * Which member gets a call, and what becomes of it when that one fails.
 *
 * A call goes to the member with the shortest queue, of those that serve and have the objects that it needs. When it fails there for a
 * reason that another member need not have, it goes to the next, until each that serves has had it; when none is there that could, it waits
 * for one that was lost just now. The table says for each call whether it may be made again where it is not known what became of it.
 *
 * | call | again in another member? | why |
 * | --- | --- | --- |
 * | all that use a key, `random`, `examineImport`, `generateDataKeyPair`, `generateWrappedKey`, `importWrappedKey`, `wrapKey`, `giveKey` | yes | nothing is left in a token; of two results one is dropped |
 * | `importKey` | in the member with its wrapping pair alone | it keeps what it finds, and only that member can open the material |
 * | `generateKey`, `generateWrappingKey` | no | the first member may have made it: two keys of one id in two members would each decrypt what the other cannot |
 * | `keepWrappedKey` | no | the key would be kept in both, and be destroyed when it is gone from both |
 * | `destroyKey` | it is made in every member | it is done when the object is in none |
 * | `generateDomainKey` | never made in one of several | it has to be in all of them before anything is wrapped under it |
 * | `generateJoiningPair`, `receiveKey` | made in the member that is meant alone | the pair and what was wrapped for it are of one HSM |
 *
 * A call that a member refused without having done anything (`keyUnavailable`, `unsupported`, `tokenFull`, `busy`) goes on to the next, whatever it is.
 *
 * A call that a member does not answer for long is made in another one besides where that leaves nothing in a token, and the first answer
 * counts; what may take long anywhere, which is an RSA pair, is not. A member with such a call gets no others while there is another one: its
 * queue counts as full. Of a key that it generates that is not said: it may wait there behind an RSA pair, which keeps nothing else.
 * A call that crashes or hangs hosts does so in each member once: that is the price of not failing one that does not.
 */

import type { BackingKeyId } from '../../kms/names.ts';
import { Plaintext } from '../../secrets/secret-bytes.ts';
import { failed } from '../call-words.ts';
import { type Call, type CallName, calls } from '../calls.ts';
import { type KeyStore, KeyStoreError, type KeyStoreFailure } from '../key-store.ts';
import type { Member } from './member.ts';

export interface MemberCall<Result> {
  readonly name: CallName;
  /** Objects that the member has to have; none: any member will do. */
  readonly needs: readonly BackingKeyId[];
  /** Of the members that have them, those that may have it; all unless given. */
  readonly suits?: ((member: Member) => boolean) | undefined;
  /** `false`: not in another member where it is not known what became of it, though the call itself may be repeated. */
  readonly isRepeated?: false | undefined;
  /** Of one that generates: that takes no longer than what does not. */
  readonly generatesQuickly?: boolean | undefined;
  readonly make: (keyStore: KeyStore) => Promise<Result>;
}

/** How often somebody else is looked for who could answer what is overdue. */
const lookAgainMs = 250;

/** Members that had a call, and what they said. */
type Tried = Map<Member, { readonly error: KeyStoreError; readonly admissions: number }>;

/** What another member need not say. `true`: nothing was done; `false`: it is not known what was. */
const passing: ReadonlyMap<KeyStoreFailure, boolean> = new Map([
  ['keyUnavailable', true],
  ['unsupported', true],
  ['tokenFull', true],
  ['busy', true],
  ['unavailable', false],
  ['timeout', false],
  ['internal', false],
]);

export class MemberCalls {
  readonly #keyStore: string;
  readonly #members: readonly Member[];
  readonly #waitMs: number;
  #change = Promise.withResolvers<void>();

  /** @param waitMs For so long after it was lost a member is waited for where no other has what a call needs. */
  constructor(keyStore: string, members: readonly Member[], waitMs: number) {
    this.#keyStore = keyStore;
    this.#members = members;
    this.#waitMs = waitMs;
  }

  /** A member serves that did not, or the other way round. */
  changed(): void {
    this.#change.resolve();
    this.#change = Promise.withResolvers();
  }

  async call<Result>(call: MemberCall<Result>): Promise<Result> {
    const { repeatable }: Call = calls[call.name];
    const isRepeated = repeatable && call.isRepeated !== false;
    const tried: Tried = new Map();
    // Each member once, and one of them once more: it may have come back.
    for (let attempts = 0; attempts <= this.#members.length; attempts++) {
      const member = (await this.#next(call, tried)) ?? (await this.#comingBack(call, tried));
      if (member === undefined) break;
      try {
        const result = await this.#ask(call, member, tried);
        this.#doubtThoseThatLackIt(call.needs, tried);
        return result;
      } catch (error) {
        if (!(error instanceof KeyStoreError)) throw error;
        if (!passing.has(error.failure) || !(didNothing(error.failure) || isRepeated)) throw error;
        tried.set(member, { error, admissions: member.admissions });
      }
    }
    const failures = [...tried.values()].map(({ error }) => error);
    throw this.#failure(call, failures);
  }

  /** Would a call that needs these objects fail with `away`, as far as that is known without a look into a token? */
  isAway(needs: readonly BackingKeyId[]): boolean {
    const serving = this.#members.filter((member) => member.isServing);
    if (serving.length === 0 || serving.some((member) => hasAll(member, needs))) return false;
    const away = this.#members.filter((member) => !member.isServing && mayHave(member, needs));
    const nowMs = performance.now();
    return away.length > 0 && away.every((member) => this.#waitsUntilMs(member, needs) <= nowMs);
  }

  /** In this member, and in another one besides when it is overdue. */
  async #ask<Result>(call: MemberCall<Result>, member: Member, tried: Tried): Promise<Result> {
    const answer = member.call(call.make);
    const { repeatable, changesKeys, generates }: Call = calls[call.name];
    const isQuick = generates !== true || call.generatesQuickly === true;
    const mayBeMadeTwice = repeatable && call.isRepeated !== false && changesKeys !== true && isQuick;
    if (!mayBeMadeTwice || this.#members.length === 1) return answer;
    if (!(await member.punctuality.follow(call.name, answer, { saysHung: generates !== true }))) return answer;
    const error = new KeyStoreError('timeout', failed(call.name, `member \`${member.name}\` has not answered yet`));
    const asked: Tried = new Map(tried).set(member, { error, admissions: member.admissions });
    let other = await this.#next(call, asked);
    // One more call does not help those that have overdue ones themselves, but they may answer, or another one come back, before this one does.
    while (other === undefined || other.punctuality.isOverdue) {
      if (await isSettledWithin(answer, lookAgainMs)) return answer;
      other = this.#punctual(call, asked);
    }
    return firstAnswer([answer, this.#ask(call, other, asked)]);
  }

  /** As `#next`, of those that have no overdue calls; looks into no token. */
  #punctual<Result>(call: MemberCall<Result>, tried: Tried): Member | undefined {
    const suitable = this.#suitable(call, tried).filter(({ punctuality }) => !punctuality.isOverdue);
    return best(
      call,
      suitable.filter((member) => hasAll(member, call.needs)),
    );
  }

  /** The member with the shortest queue of those that could have it and have not. */
  async #next<Result>(call: MemberCall<Result>, tried: Tried): Promise<Member | undefined> {
    const suitable = this.#suitable(call, tried);
    const known = suitable.filter((member) => hasAll(member, call.needs));
    if (known.length > 0) return best(call, known);
    // Something else than this daemon may have put it there since it was listed.
    for (const member of suitable) if (await findsAll(member, call.needs)) return member;
    return undefined;
  }

  #suitable<Result>({ suits }: MemberCall<Result>, tried: Tried): readonly Member[] {
    const serving = this.#members.filter((member) => member.isServing && !isTried(member, tried));
    return suits === undefined ? serving : serving.filter(suits);
  }

  /** Waits for a member that was lost a moment ago. @returns `undefined` when none is coming back that could have it. */
  async #comingBack<Result>(call: MemberCall<Result>, tried: Tried): Promise<Member | undefined> {
    for (;;) {
      const untilMs = Math.max(...this.#members.map((member) => this.#waitsUntilMs(member, call.needs)));
      const forMs = untilMs - performance.now();
      if (!(forMs > 0)) return undefined;
      await withTimeout(this.#change.promise, forMs);
      const next = await this.#next(call, tried);
      if (next !== undefined) return next;
    }
  }

  #waitsUntilMs(member: Member, needs: readonly BackingKeyId[]): number {
    if (member.isServing || member.isOut || member.lostAtMs === null) return Number.NEGATIVE_INFINITY;
    if (member.inventory !== undefined && !hasAll(member, needs)) return Number.NEGATIVE_INFINITY;
    return member.lostAtMs + this.#waitMs;
  }

  /** A key that another member had: what is in these is not what should be. */
  #doubtThoseThatLackIt(needs: readonly BackingKeyId[], tried: Tried): void {
    for (const [member, { error }] of tried)
      if (error.failure === 'keyUnavailable') for (const backingKeyId of needs) void member.doubt(backingKeyId);
  }

  #failure<Result>({ name, needs }: MemberCall<Result>, failures: readonly KeyStoreError[]): KeyStoreError {
    const told = failures.find(({ failure }) => failure !== 'keyUnavailable' && failure !== 'unsupported');
    const away = this.#members.filter((member) => !member.isServing && mayHave(member, needs));
    const isThere = this.#members.some((member) => member.isServing && hasAll(member, needs));
    if (away.length === 0 || isThere) {
      const [first] = failures;
      const missing = new KeyStoreError(
        'keyUnavailable',
        failed(name, `no member of \`${this.#keyStore}\` has the key`),
      );
      return told ?? first ?? missing;
    }
    const names = away.map(describe).join(', ');
    const isAllAway = this.#members.every((member) => !member.isServing);
    const problem = isAllAway ? 'there is no connection to a token' : 'no member that is there has the key';
    // One that no member has that is there may be back with the others, while these serve everything else.
    const failure = isAllAway ? 'unavailable' : 'away';
    return new KeyStoreError(failure, failed(name, `key store \`${this.#keyStore}\`: ${problem}; ${names}`));
  }
}

function describe(member: Member): string {
  const { state, command } = member.status();
  return member.hasLeft
    ? `\`${member.name}\` has left the domain, and serves nothing (\`${command}\`)`
    : `\`${member.name}\` is ${state}`;
}

/** Does a member say by this that it has left everything as it was? */
export function didNothing(failure: KeyStoreFailure): boolean {
  return passing.get(failure) === true;
}

/** Could it have these objects? Of one that was never there nothing is known. */
export function mayHave(member: Member, needs: readonly BackingKeyId[]): boolean {
  return member.inventory === undefined || hasAll(member, needs);
}

function hasAll({ inventory }: Member, needs: readonly BackingKeyId[]): boolean {
  return needs.length === 0 || (inventory !== undefined && needs.every((id) => inventory.has(id)));
}

async function findsAll(member: Member, needs: readonly BackingKeyId[]): Promise<boolean> {
  for (const backingKeyId of needs) {
    if (member.inventory?.has(backingKeyId)) continue;
    try {
      await member.call((keyStore) => keyStore.describeKey({ backingKeyId }));
      member.inventory?.add(backingKeyId);
    } catch (error) {
      if (error instanceof KeyStoreError) return false;
      throw error;
    }
  }
  return true;
}

function best({ name }: Pick<MemberCall<unknown>, 'name'>, members: readonly Member[]): Member | undefined {
  // The only lane that is left to one that logs in no more may be the one that never generates.
  const { generates }: Call = calls[name];
  const generating = generates === true ? members.filter(({ isRefused }) => !isRefused) : [];
  return shortestQueue(generating.length > 0 ? generating : members);
}

function shortestQueue(members: readonly Member[]): Member | undefined {
  const punctual = members.filter(({ punctuality }) => !punctuality.isOverdue);
  return (punctual.length > 0 ? punctual : members).reduce<Member | undefined>(
    (best, member) => (best === undefined || member.calls < best.calls ? member : best),
    undefined,
  );
}

/** What passes in another member is no answer while another may come; the first attempt's failure when there is none. */
async function firstAnswer<Result>(attempts: readonly [Promise<Result>, Promise<Result>]): Promise<Result> {
  const answers = attempts.map(async (attempt): Promise<{ result: Result } | { error: unknown }> => {
    try {
      return { result: await attempt };
    } catch (error) {
      if (error instanceof KeyStoreError && passing.has(error.failure)) throw error;
      return { error };
    }
  });
  const first = await Promise.any(answers).catch(() => undefined);
  if (first === undefined) return attempts[0];
  for (const answer of answers)
    answer.then(
      (late) => late !== first && 'result' in late && wipe(late.result),
      () => undefined,
    );
  if ('error' in first) throw first.error;
  return first.result;
}

/** What nobody waits for any more. */
function wipe(result: unknown): void {
  const plaintext = typeof result === 'object' && result !== null && 'plaintext' in result ? result.plaintext : result;
  if (plaintext instanceof Plaintext) plaintext.wipe();
}

/** One that was away since is another one. */
function isTried(member: Member, tried: Tried): boolean {
  return tried.get(member)?.admissions === member.admissions;
}

async function isSettledWithin(promise: Promise<unknown>, withinMs: number): Promise<boolean> {
  const end = Promise.withResolvers<boolean>();
  const timer = setTimeout(end.resolve, withinMs, false);
  const settled = (): void => end.resolve(true);
  promise.then(settled, settled);
  const isSettled = await end.promise;
  clearTimeout(timer);
  return isSettled;
}

async function withTimeout(promise: Promise<void>, forMs: number): Promise<void> {
  const timeout = Promise.withResolvers<void>();
  const timer = setTimeout(timeout.resolve, forMs);
  await Promise.race([promise, timeout.promise]);
  clearTimeout(timer);
}
