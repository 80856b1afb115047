/** What the directory of one Region's keys is made from. */

import type { WeighedPolicy } from '../authorization/language/compiled-policy.ts';
import type { KeyStore } from '../hsm/key-store.ts';
import type { Budgets } from '../kms/budgets.ts';
import type { Logger } from '../kms/logger.ts';
import type { Realm } from '../kms/names.ts';
import type { Turns } from '../store/turns.ts';
import type { CustomKeyStoreSource } from './custom-key-store.ts';
import type { EncryptionLimits } from './encryption-counter.ts';
import type { ExpiryClocks } from './expiry-watch.ts';
import type { DomainsOnRecord } from './key-stores-of-region.ts';
import type { StartNumbers } from './start-numbers.ts';

export type KeyBudgets = Pick<Budgets, 'quotas' | 'memory'>;

export interface KeysOfRegionOptions {
  /** The Region whose keys these are, and the account. */
  readonly realm: Realm;
  readonly turns: Turns;
  /** By name; beside them there are those of `customKeyStores`. */
  readonly keyStores: ReadonlyMap<string, KeyStore>;
  /** Those that may be away; absent: there are none. */
  readonly customKeyStores?: CustomKeyStoreSource | undefined;
  /** The name of the one in which keys are made for whoever names none. */
  readonly defaultKeyStore: string;
  /** Of all key stores; absent: none has one of another's. */
  readonly domains?: DomainsOnRecord | undefined;
  /** Parses a policy document; throws `MalformedPolicyDocumentException` when it is none. */
  readonly compilePolicy: (document: string) => WeighedPolicy;
  /** What there may be of keys, and of what belongs to them; the defaults unless given. */
  readonly budgets?: KeyBudgets | undefined;
  readonly log: Logger;
  readonly encryptionLimits?: EncryptionLimits | undefined;
  /** Those of all Regions; absent: there are none. */
  readonly startNumbers?: StartNumbers | undefined;
  /** By which imported material expires; this machine's unless given. */
  readonly expiryClocks?: ExpiryClocks | undefined;
  /** When this instance began to note uses of keys; absent: it always did. */
  readonly usageTrackedSinceMs?: number | undefined;
}
