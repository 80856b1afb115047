/** Begins to connect the members of a key store that has several, as `beginKeyStore` does with one token. */

import type { Logger } from '../../kms/logger.ts';
import { KeyStoreError } from '../key-store.ts';
import { defaultLimits } from '../key-store-limits.ts';
import type { BegunKeyStore, BegunToken } from '../open-key-store.ts';
import type { ConnectionEvents } from '../pipe-key-store.ts';
import type { TokenConnection } from '../token-connection.ts';
import { JoinedKeyStore } from './joined-key-store.ts';
import { Member } from './member.ts';
import { MemberCalls } from './member-calls.ts';
import type { ConnectionTerms } from './member-parts.ts';

export interface MemberOpening {
  readonly name: string;
  /**
   * Begins to connect it, for as long as it takes, and throws in words for operators where that cannot even be begun. Its calls must not wait
   * for a host while another member could have them: `callsWaitNot`.
   */
  readonly begin: (terms: ConnectionTerms) => BegunToken;
}

/** Limits of a member: a call that has lost its last host goes to another member at once, and waits here where there is none. */
export const callsWaitNot = { reconnectWaitMs: -1 } as const;

export interface JoinedKeyStoreOptions {
  readonly name: string;
  readonly members: readonly MemberOpening[];
  /** Is asked over each connection to a member, which serves nothing before. Throws as `ConnectionProof`. */
  readonly prove: (connection: TokenConnection, member: string) => Promise<void>;
  /** Is told of what becomes of the key store as a whole: `connected` of each member that begins to serve. */
  readonly events?: ConnectionEvents | undefined;
  readonly log: Logger;
}

export interface BegunJoinedKeyStore extends BegunKeyStore {
  readonly keyStore: JoinedKeyStore;
}

/** For so long the others have a chance to serve as well when the first one does: who begins asks what is in all of them. */
const othersMs = 2_000;

/**
 * `connected` resolves when the first member serves. It rejects when none will without an operator, or `isWaitedFor` says so after an attempt with
 * each has failed.
 */
export function beginJoinedKeyStore(
  options: JoinedKeyStoreOptions,
  isWaitedFor: (reason: KeyStoreError) => boolean = () => false,
): BegunJoinedKeyStore {
  const { name, log, events } = options;
  const connected = Promise.withResolvers<void>();
  connected.promise.catch(() => undefined); // Whoever waits for it is told.
  let isBeginning = true;
  const members = options.members.map(
    ({ name: member, begin }) =>
      new Member({
        keyStore: name,
        name: member,
        begin,
        prove: (connection) => options.prove(connection, member),
        changed: () => tell(),
        admitted: () => {
          const admitted = members.find((each) => each.name === member);
          if (admitted !== undefined) keyStore.admitted(admitted);
        },
        log,
      }),
  );
  const calls = new MemberCalls(name, members, defaultLimits.reconnectWaitMs);
  const keyStore = new JoinedKeyStore(name, members, calls);
  let serving = 0;
  let isServed = false;

  function tell(): void {
    calls.changed();
    if (isBeginning) return;
    const before = serving;
    serving = members.filter((member) => member.isServing).length;
    if (serving > before) events?.connected();
    if (serving < before) events?.failed();
    if (serving > 0) {
      if (members.every((member) => member.isServing || member.hasFailed)) connected.resolve();
      else if (!isServed) setTimeout(connected.resolve, othersMs).unref();
      isServed = true;
      return;
    }
    const error = new KeyStoreError('unavailable', `key store \`${name}\`: ${whyNone(keyStore)}`);
    const isHopeless = members.every((member) => member.isOut);
    if (isHopeless) events?.pinRefused(error.message);
    if (isHopeless || (members.every((member) => member.hasFailed) && !isWaitedFor(error))) connected.reject(error);
  }

  for (const member of members) member.begin();
  isBeginning = false;
  tell();
  return { keyStore, connected: connected.promise };
}

/** Of each of its members: whoever reads it has to act on all of them. */
function whyNone(keyStore: JoinedKeyStore): string {
  const told = keyStore.status().members?.flatMap(({ name, lastFailure }) => {
    return lastFailure === null ? [] : [`member \`${name}\`: ${lastFailure}`];
  });
  return told === undefined || told.length === 0 ? 'no member is connected' : told.join('; ');
}
