/**
 * The contract of the metadata store: how records (`records/records.ts`) are read and written.
 *
 * Every record authorizes something, so every record is authenticated: with it is stored a MAC over its canonical form,
 * computed by a service key in the HSM. INVARIANT: a record that `load()` returns has a MAC that verified; one that has
 * not is quarantined, named, and never used. Writes are one transaction each, on disk when the promise resolves.
 * Who may change what, and what a record means, is decided above; the store keeps and protects.
 *
 * No record is written over unseen: a write says which version of it was decided on, and the store refuses it when another
 * one is there. What a change is made of, and how it takes its turn, stands in `records/changes.ts` and `turns.ts`.
 */

import type { QuarantinedRecord } from './quarantined-record.ts';
import type { RecordSource } from './record-source.ts';
import type { Change } from './records/changes.ts';
import type { MetadataRecords, RecordKind } from './records/records.ts';
import type { StoreIndexes } from './store-indexes.ts';

export type LoadedMetadata = { readonly [Kind in RecordKind]: readonly MetadataRecords[Kind][] } & {
  readonly quarantined: readonly QuarantinedRecord[];
};

/** What a key is derived for. */
export type DerivedKeyPurpose = 'grant-tokens' | 'import-tokens' | 'metadata-root' | 'backup';

/** Where the audit log stood. */
export interface AuditHead {
  /** Of its last line. */
  readonly sequence: number;
  /** The same line's: 64 hexadecimal digits. */
  readonly hash: string;
  /** How much of the file is known to be synced. */
  readonly bytes: number;
}

/** Which state the records are in, as their root says (`signed-root.ts`). */
export interface StoreStanding {
  /** Raised by 1 with each transaction that writes records; 0: the file has no root. */
  readonly epoch: number;
  /** Of the last change that had one. */
  readonly intentId: string | null;
  /** Of all records: 64 hexadecimal digits, the same for the same records. An operator names a state by its first 16. */
  readonly treeHash: string;
  /** As last noted. */
  readonly audit: AuditHead | null;
}

/** Computes the MAC of each message, in their order: HMAC-SHA-256 (32 bytes) under the service key for metadata. */
export type RecordMacs = (messages: readonly Buffer[]) => Promise<readonly Buffer[]>;

export interface LoadOptions {
  /**
   * Of records that are not those which were written last: the state (`treeHash`, or its first 16 digits at least) that is taken all
   * the same, for `accept`. Nothing is written anew then.
   */
  readonly acceptedState?: string;
  /** Called with where the file stands before anything is written; what it throws, `load` rejects with. */
  readonly assertFits?: (standing: StoreStanding) => void;
  /** What keys that were read and verified may take in memory, packed, so that they are not read again; 0 unless given. */
  readonly packedKeyBytes?: number;
}

/** How many records are written anew so far, of how many. */
export type Progress = (written: number, total: number) => void;

/** What a start has read, and where the rest is. */
export interface BegunMetadata {
  /** All records; or, where there is a source of them, what a start has to know of those kinds (`record-loads.ts`). */
  readonly loaded: LoadedMetadata;
  readonly source: RecordSource | undefined;
  readonly indexes: Omit<StoreIndexes, 'follow'>;
}

export interface MetadataStore {
  /** Who writes here, as the owner of intents: 32 hexadecimal digits, the same at each start. */
  readonly nodeId: string;
  /**
   * 32 bytes that depend on the service key and the purpose alone, computed by the HSM: for what must be authenticated
   * more often than the HSM should be asked, and authorizes nothing by itself.
   */
  deriveKey(purpose: DerivedKeyPurpose): Promise<Buffer>;
  /**
   * Reads and verifies everything, in no order, and writes records of former formats anew in today's. Called once, at start; a
   * `write` before it reads and verifies by itself.
   * @param progress Is told now and then how many records were written anew, of how many: the HSM computes a MAC for each.
   * @throws StoreError `altered` for records that are not those which were written last; it names their state.
   */
  load(progress?: Progress, options?: LoadOptions): Promise<LoadedMetadata>;
  /**
   * As `load`, but for a store with more than so many KMS keys: of that, it reads what a start has to know, and gives a source of the
   * rest.
   */
  begin(maxKeysInMemory: number, progress?: Progress, options?: LoadOptions): Promise<BegunMetadata>;
  /** After `load` or `begin`: where the store stands now. */
  standing(): StoreStanding;
  /** Where the file stood when it was loaded, before anything was written. */
  standingAtLoad(): StoreStanding;
  /**
   * Goes into the root, so that the log is not put back without the metadata: with the next write, by a write of its own a second
   * later when there is none, or at the end. What a full disk keeps from it is not lost: a later head says the same.
   */
  noteAuditHead(head: AuditHead): void;
  /**
   * Signs the records as they were loaded, whatever the file said of them, and the head of the audit log that was noted.
   * @param epoch Higher than any that the store or the audit log has had. It is on record by now.
   * @param changes Written with it, as the epoch after that one.
   */
  accept(epoch: number, changes?: readonly Change[]): Promise<void>;
  /**
   * Writes all changes in one transaction and waits for the disk. Rejects, having changed nothing: with a `StoreError`
   * when the disk or the database refuses, or (`conflict`) when a record is not there in the version that the change was
   * decided on; with the MAC's own error when the HSM refuses, and with a `TypeError` when a text has a lone surrogate or
   * a number is not whole, which callers make sure of. Only `Turns` calls it.
   * @param options.intentId Of the intent in the audit log that says what is written.
   */
  write(changes: readonly Change[], options?: { readonly intentId: string | undefined }): Promise<void>;
  /** After a conflict: the same records as they are now, as changes that make them so. */
  reread(changes: readonly Change[]): Promise<readonly Change[]>;
  /**
   * Writes a copy of the file as it is at one moment, while it is used: to `path`, where nothing may be, readable by its owner alone.
   * It has to be on another path than any that this process has open.
   */
  copyTo(path: string): Promise<CopiedStore>;
  /**
   * Sees to it that what was removed or replaced is not in the database's file any more, nor in its write-ahead log. The first time since the
   * start it takes as long as to read the file; then as long as what was written since the last time.
   * @throws StoreError when that cannot be done.
   */
  scrub(): Promise<void>;
  close(): Promise<void>;
}

/** What a copy says of itself. Nothing of it is verified before somebody loads the copy. */
export interface CopiedStore {
  readonly epoch: number;
  /** As `StoreStanding.treeHash`. */
  readonly treeHash: string;
  readonly audit: AuditHead | null;
}
