/**
 * Writes over rows that were verified or written since the start, and over nothing else.
 *
 * A row is known by its form (`known-forms.ts`), and no more once it is replaced. One that somebody edited past the daemon has another
 * form than the one that is known: that one would stay known for good, and put back under a MAC that is in force it would be taken for a
 * record. So a write over such a row is undone.
 */

import type { MacsInForce } from './macs-in-force.ts';
import type { RecordReader } from './record-reader.ts';
import type { PreparedChange } from './record-statements.ts';
import type { RecordsOnDemand } from './records-on-demand.ts';
import type { Replaced, Transactions } from './transactions.ts';

export interface OverKnownParts {
  readonly reader: Pick<RecordReader, 'one'>;
  readonly transactions: Pick<Transactions, 'altered'>;
  readonly inForce: MacsInForce | undefined;
  /** Absent while all records are in memory: no row is read again then. */
  readonly onDemand: Pick<RecordsOnDemand, 'areKnown' | 'show'> | undefined;
}

/**
 * @param run Runs a transaction, in which it gives what is replaced before anything of it stays.
 * @throws StoreError `altered`, and what `run` and the HSM fail with.
 */
export async function writeOverKnown(
  { reader, transactions, inForce, onDemand }: OverKnownParts,
  changes: readonly PreparedChange[],
  run: (known: (records: Replaced) => Replaced) => void,
): Promise<void> {
  let isKnown = true;
  const known = (records: Replaced): Replaced => {
    isKnown = onDemand?.areKnown(records) !== false;
    if (!isKnown) throw transactions.altered();
    return records;
  };
  try {
    run(known);
  } catch (error) {
    if (isKnown) throw error;
    // What a change was decided on need not have been read since the start: nobody writes meanwhile.
    for (const change of changes) {
      const found = await reader.one(change.kind, change, inForce);
      if (found !== undefined && 'record' in found) onDemand?.show(change.kind, found.record);
    }
    run(known);
  }
}
