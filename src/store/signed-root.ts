/**
 * The root: one row that says which records there are, under a key of the HSM.
 *
 * A record's MAC says that the record was written by us, and not that it is still in force: a policy that was removed from the file
 * with its Deny, an access key that was revoked and put back, a whole file of last week would each verify. The root knows the sum
 * over all records (`record-sum.ts`), and every transaction that writes records writes it anew with a higher epoch. INVARIANT: what `load`
 * returns has the sum that the root in the same file says, unless an operator has accepted another state by its name.
 *
 * What the file cannot tell by itself is that all of it, its root included, is an older one, or never had a root because a version
 * before roots wrote it. The audit log tells: it has statements of the epochs (and the root has the head of the log that was
 * last noted, so that neither is put back without the other).
 *
 * The row is authenticated by HMAC-SHA-256 over its canonical form (`record-mac.ts`), in which the ids of the service keys and of
 * the node stand too; the key is derived in the HSM, once for each start, so that a write costs no call to it.
 */

import { createHmac, createSecretKey, type KeyObject } from 'node:crypto';
import { type CompiledQuery, type Kysely, sql } from 'kysely';
import type { BackingKeyId } from '../kms/names.ts';
import type { AuditHead, CopiedStore, StoreStanding } from './metadata-store.ts';
import { CanonicalForm, isMacEqual } from './record-mac.ts';
import type { Tables } from './record-statements.ts';
import { RecordSums, replacedInSum, subkey } from './record-sum.ts';
import { StoreError } from './store-error.ts';
import type { Replaced, Write } from './transactions.ts';

/** What a root is about beside the records. */
export interface RootParts {
  readonly db: Kysely<Tables>;
  readonly nodeId: string;
  /** By purpose; those of the moment in which a root is made. */
  readonly serviceKeys: ReadonlyMap<string, BackingKeyId>;
}

/** The columns of the row, in their order. An intent or head that there is none of is an empty text. */
const columnNames = ['epoch', 'intentId', 'records', 'auditSequence', 'auditHash', 'auditBytes'] as const;
const form = new CanonicalForm('root', [...columnNames, 'nodeId', 'serviceKeys'], 1);

interface Row {
  readonly epoch: number;
  readonly intentId: string;
  /** The hash of the sum. */
  readonly records: string;
  readonly auditSequence: number;
  readonly auditHash: string;
  readonly auditBytes: number;
}

const blank: Row = { epoch: 0, intentId: '', records: '', auditSequence: 0, auditHash: '', auditBytes: 0 };

/** A root that is about to be written. */
export interface NextRoot {
  readonly write: Write;
  readonly row: Row;
  readonly sum: bigint;
}

/** All rows of the root's table: there should be one. */
export function rootRows(db: Kysely<Tables>): CompiledQuery {
  return db
    .selectFrom('root')
    .select([...columnNames, 'mac'])
    .compile();
}

/** What the file says of its records, and what they are. */
export type RootFinding =
  /** The root is ours, and of these records. */
  | 'signed'
  /** There is none: the file is new, or of a version before roots, or it was removed. */
  | 'absent'
  /** The root is ours, and of other records. */
  | 'otherRecords'
  /** The root is not ours, or of another node or other service keys, or there are several. */
  | 'forged';

export class SignedRoot {
  readonly sums: RecordSums;
  readonly #parts: RootParts;
  readonly #macKey: KeyObject;
  #row: Row = blank;
  #sum = 0n;
  /** Of the row in the file, by which it is found; `null`: there is none that is ours. */
  #mac: string | null = null;
  /** Noted since the last write. */
  #head: AuditHead | undefined;

  /** @param key 32 bytes, derived for this purpose. */
  constructor(parts: RootParts, key: Buffer) {
    this.#parts = parts;
    this.sums = new RecordSums(subkey(key, 'records'));
    this.#macKey = createSecretKey(subkey(key, 'root'));
  }

  /** Takes up what was read. @param rows As `rootRows` gives them. @param sum Of all records. */
  take(rows: readonly (readonly unknown[])[], sum: bigint): RootFinding {
    this.#sum = sum;
    this.#row = { ...blank, records: this.sums.hashOf(sum) };
    this.#mac = null;
    const [found, ...others] = rows;
    if (found === undefined) return 'absent';
    const row = rowOf(found);
    const mac = found[columnNames.length];
    if (others.length > 0 || row === undefined || !isMacEqual(this.#macOf(row), mac)) return 'forged';
    const isOfThese = row.records === this.#row.records;
    this.#row = { ...row, records: this.#row.records };
    this.#mac = String(mac);
    return isOfThese ? 'signed' : 'otherRecords';
  }

  standing(): StoreStanding {
    const { epoch, intentId, records } = this.#row;
    return { epoch, intentId: intentId === '' ? null : intentId, treeHash: records, audit: headIn(this.#row) };
  }

  /** It goes into the file with the next root. */
  note(head: AuditHead): void {
    const { auditHash, auditBytes } = this.#row;
    this.#head = head.hash === auditHash && head.bytes === auditBytes ? undefined : head;
  }

  /** Does the file have a root of ours? */
  isInFile(): boolean {
    return this.#mac !== null;
  }

  /** Is there anything to write beside records? */
  hasNews(): boolean {
    return this.#head !== undefined;
  }

  /** The root after a transaction. @param intentId Of the change; `undefined`: the last one stays. */
  after({ replaced, put }: Replaced, intentId: string | undefined): NextRoot {
    const sum = replacedInSum(this.#sum, this.sums.sumOf(replaced), this.sums.sumOf(put));
    const epoch = this.#row.epoch + 1;
    return this.#next({ ...this.#row, epoch, ...(intentId !== undefined && { intentId }) }, sum);
  }

  /** The same root with the head of the audit log that was noted. A first root begins to count. */
  withHead(): NextRoot {
    return this.#next({ ...this.#row, epoch: Math.max(this.#row.epoch, 1) }, this.#sum);
  }

  /**
   * A root of the records as they are, whatever the file says of them, and of what a transaction makes of them.
   * @param epoch Higher than any before.
   */
  accepting({ replaced, put }: Replaced, epoch: number): NextRoot {
    const sum = replacedInSum(this.#sum, this.sums.sumOf(replaced), this.sums.sumOf(put));
    return this.#next({ ...this.#row, epoch }, sum);
  }

  /** It is on disk. */
  become({ row, sum, write }: NextRoot): void {
    this.#row = row;
    this.#sum = sum;
    this.#mac = write.mac ?? null;
    if (this.#head?.hash === row.auditHash) this.#head = undefined;
  }

  #next(row: Row, sum: bigint): NextRoot {
    const { db } = this.#parts;
    const head = this.#head;
    const next: Row = {
      ...row,
      records: this.sums.hashOf(sum),
      ...(head && { auditSequence: head.sequence, auditHash: head.hash, auditBytes: head.bytes }),
    };
    const mac = this.#macOf(next).toString('hex');
    const statement =
      this.#mac === null
        ? db.insertInto('root').values({ ...next, mac })
        : db
            .updateTable('root')
            .set({ ...next, mac })
            .where('mac', '=', this.#mac);
    return { row: next, sum, write: { statement: statement.compile(), mac } };
  }

  #macOf(row: Row): Buffer {
    const { nodeId, serviceKeys } = this.#parts;
    const named = [...serviceKeys].map(([purpose, id]) => `${purpose} ${id}`).sort();
    const values = [...columnNames.map((name) => row[name]), nodeId, named.join('\n')];
    return createHmac('sha256', this.#macKey).update(form.of(values)).digest();
  }
}

/** So many digits of a state's hash name it: enough that no two are alike by chance, and few enough to copy. */
const nameDigits = 16;

/**
 * @param standing What is there.
 * @param acceptedState An operator's name for the state that he wants.
 * @throws StoreError `altered`.
 */
export function assertRoot(
  found: RootFinding,
  { treeHash }: StoreStanding,
  path: string,
  acceptedState: string | undefined,
): void {
  const state = treeHash.slice(0, nameDigits);
  if (acceptedState !== undefined) {
    if (acceptedState.length >= nameDigits && treeHash.startsWith(acceptedState)) return;
    throw new StoreError(
      'altered',
      `the records in \`${path}\` are in the state \`${state}\`, not in \`${acceptedState}\``,
    );
  }
  if (found === 'signed' || found === 'absent') return;
  const what =
    found === 'otherRecords'
      ? `the records in \`${path}\` are not those that were written last: some were removed, put back or added past Drawbridge`
      : `the signature over the records in \`${path}\` does not verify: it was edited, or is of another node or of other service keys`;
  throw new StoreError(
    'altered',
    `${what} (their state is \`${state}\`); restore the file from a backup, or, once you know what happened and want the records as they are: drawbridge metadata accept --state ${state}`,
  );
}

/** Removes every root, of which there may be any number that are not ours. */
export function removalOfRoots(db: Kysely<Tables>, count: number): Write {
  return { statement: db.deleteFrom('root').where(sql<boolean>`true`).compile(), rows: count };
}

/** What the rows say was noted of the audit log, verified by nothing. */
export function claimedHead(rows: readonly (readonly unknown[])[]): AuditHead | null {
  const row = rows.length === 1 ? rowOf(rows[0] ?? []) : undefined;
  return row === undefined ? null : headIn(row);
}

/** The same of a copy: which state the file says that its records are in. A file without a root says nothing, as one of no records. */
export function claimedStanding(rows: readonly (readonly unknown[])[]): CopiedStore {
  const row = (rows.length === 1 ? rowOf(rows[0] ?? []) : undefined) ?? blank;
  return { epoch: row.epoch, treeHash: row.records, audit: headIn(row) };
}

function headIn({ auditSequence, auditHash, auditBytes }: Row): AuditHead | null {
  return auditHash === '' ? null : { sequence: auditSequence, hash: auditHash, bytes: auditBytes };
}

/** @returns `undefined` for what is no row of ours. */
function rowOf(columns: readonly unknown[]): Row | undefined {
  const row: Record<string, unknown> = {};
  for (const [index, name] of columnNames.entries()) {
    const column = columns[index];
    const value = typeof column === 'bigint' ? Number(column) : column;
    if (typeof value !== typeof blank[name]) return undefined;
    if (typeof value === 'number' && (!Number.isSafeInteger(value) || value < 0)) return undefined;
    row[name] = value;
  }
  return row as unknown as Row; // Each member is of the type that `blank` has.
}
