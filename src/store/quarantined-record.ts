/** A record that does not verify: it is named, and never used. */

import type { RecordKind } from './records/records.ts';

export interface QuarantinedRecord {
  readonly kind: RecordKind;
  /** The last member of its primary key. */
  readonly id: string;
  /** Of those that have one. */
  readonly region: string | null;
  /** The key that it belongs to, as its row says; absent where that is not known. */
  readonly keyId?: string;
  readonly reason: string;
}
