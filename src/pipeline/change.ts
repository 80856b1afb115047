/**
 * How an operation that changes something runs. One order, for every such operation:
 *
 *   room → prepare → turn { permissions again → decide → room → intent on record → store → apply } → conclude
 *
 * and then, as for every request, outcome on record and answer (`pipeline.ts`). The operation decides and does nothing else
 * of this, so it can neither forget to ask again nor put what was true before it waited over what others wrote since.
 */

import type { KeyView } from '../keys/key-view.ts';
import type { KeyLife } from '../keys/life/key-life.ts';
import type { MemoryAccount } from '../keys/record-memory.ts';
import type { AnyChange, DecideUnder, Preparing } from '../operations/declaration/operation.ts';
import type { Announcer, Decided, Turns } from '../store/turns.ts';
import type { AuthorizedKeys } from './authorization.ts';

type Members = Record<string, unknown>;

/** What the permissions of one moment give. */
interface Permitted {
  readonly keys: AuthorizedKeys;
  readonly decideUnder: DecideUnder;
}

export interface ChangeParts {
  readonly operation: AnyChange;
  readonly turns: Turns;
  readonly life: KeyLife;
  /** What every part of the operation is given. */
  readonly given: Omit<Preparing<Members, string>, keyof Permitted | 'life'>;
  /** By the permissions of the moment when the request came. */
  readonly permitted: Permitted;
  /** Asks for every permission again; throws what the first refusal answers. */
  readonly permitAgain: () => Permitted;
  readonly memory: KeyView['memory'];
  /** On which the records are made. */
  readonly account: MemoryAccount;
  /** Puts on record, in the name of the caller, what is about to take effect. */
  readonly by: Announcer;
}

/** @throws whatever preparation, permissions, decision or store refuse with; nothing was changed then. */
export async function change(parts: ChangeParts): Promise<Members> {
  const { operation, turns, life, given, permitted, permitAgain, memory, account, by } = parts;
  if (operation.prepare !== undefined) memory.assertNotFull(account);
  const prepared = await operation.prepare?.({ ...given, ...permitted, life });
  let response: Members;
  let charged = 0;
  try {
    const decide = (): Decided<Members> => {
      // Where another node was faster it is decided anew.
      memory.giveBack(account.payer, charged);
      charged = 0;
      const decided = operation.decide({ ...given, ...permitAgain(), prepared, nowMs: Date.now() });
      charged = memory.charge(decided.changes, account);
      return decided;
    };
    response = await turns.take(decide, { by });
  } catch (error) {
    memory.giveBack(account.payer, charged);
    await prepared?.undo();
    throw error;
  }
  await operation.conclude?.({ request: given.request, response, prepared });
  return response;
}

/** A dry run is a decision that is dropped: it takes no turn, prepares nothing, and tells what would be refused. */
export function rehearseChange({
  operation,
  given,
  permitted,
}: Pick<ChangeParts, 'operation' | 'given' | 'permitted'>): void {
  operation.decide({ ...given, ...permitted, prepared: undefined, nowMs: Date.now() });
}
