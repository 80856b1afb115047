/**
 * What the policy language knows of condition keys: that they have a name, a type and values. Which keys there are, and
 * where their values come from, is passed in by those who know requests (`pipeline/condition-key-table.ts`).
 */

import { type Room, unbounded, type WorkBudget } from './work-budget.ts';

/** The types of the service authorization reference. */
export type ConditionType = 'String' | 'ARN' | 'Bool' | 'Numeric' | 'Date' | 'IPAddress';

export interface ConditionKey {
  /** As it is documented, without its parameter: `kms:EncryptionContext`. Names are compared without regard to case. */
  readonly name: string;
  /** What follows the name where the key is a family: the `Department` of `kms:EncryptionContext:Department`. */
  readonly parameter?: string;
  readonly type: ConditionType;
  /** A set, for `ForAllValues:` and `ForAnyValue:`. */
  readonly isMultivalued: boolean;
  /** What a request can have for it at most; absent: one short text. */
  readonly room?: Room;
}

/** Most values are names of KMS and of principals, or tags. */
const usualRoom: Room = { values: 1, characters: 256 };

/** Of a key that no request has, that of most. */
export function roomOf(key: ConditionKey | undefined): Room {
  return key?.room ?? usualRoom;
}

/** Finds a key by the name that a document uses; `undefined` where there is no such key here. */
export type ConditionVocabulary = (name: string) => ConditionKey | undefined;

/** The values that one request has, and what comparing them may cost. */
export interface ConditionValues extends WorkBudget {
  /** `undefined`: the key is not in the context of this request. A set may also be there and have no values. */
  valuesOf(key: ConditionKey): readonly string[] | undefined;
}

/** The context of a request of which nothing is known. */
export const noContext: ConditionValues = { ...unbounded, valuesOf: () => undefined };
