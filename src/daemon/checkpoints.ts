/**
 * Ties metadata and audit log to each other while the daemon runs: the log states which epoch of the metadata it has seen, the
 * metadata notes up to where the log was synced. So neither is put back, cut or edited without the other telling
 * (`standing.ts`).
 *
 * The outcome of a change states the epoch that it led to. What changes without an intent (counters, last uses) is stated by a
 * line of its own at the latest a second later, and at a stop; the same line is written again when so much else was logged that
 * the next start, which reads the last megabyte of the log, would find none.
 *
 * INVARIANT: nothing is noted before `begin`, which is called when both were found to fit: what a start refuses stays refused.
 */

import type { AuditHead, AuditLog } from '../audit/audit-log.ts';
import type { Logger } from '../kms/logger.ts';
import type { MetadataStore } from '../store/metadata-store.ts';

export interface CheckpointParts {
  readonly audit: Pick<AuditLog, 'append' | 'changesAtOpening' | 'syncedHead'>;
  readonly store: Pick<MetadataStore, 'standing' | 'noteAuditHead'>;
  readonly log: Logger;
  /** How often it is looked at; a second unless given. */
  readonly everyMs?: number;
}

const defaultEveryMs = 1_000;
/** A quarter of what a start reads. */
const maxBytesBetween = 256 * 1024;

export class Checkpoints {
  readonly #parts: CheckpointParts;
  #timer: NodeJS.Timeout | undefined;
  #hasBegun = false;
  /** What the log states. */
  #epoch = 0;
  /** How long the log was when it did. */
  #bytes = 0;
  #writing: Promise<void> | undefined;

  constructor(parts: CheckpointParts) {
    this.#parts = parts;
  }

  /** @param head Of the log, that is known to be on disk. */
  noteHead(head: AuditHead): void {
    if (this.#hasBegun) this.#parts.store.noteAuditHead(head);
  }

  /** Both fit: from now on each is told of the other. Without effect when it has begun. */
  begin(): void {
    if (this.#hasBegun) return;
    const { audit } = this.#parts;
    const { store } = audit.changesAtOpening();
    this.#hasBegun = true;
    // The end of the last run has said it mostly.
    if (store !== null && store.records !== null) this.#epoch = store.epoch;
    this.#bytes = audit.syncedHead().bytes;
    this.noteHead(audit.syncedHead());
    this.#timer = setInterval(() => void this.#writeIfDue(), this.#parts.everyMs ?? defaultEveryMs).unref();
  }

  /** At a stop, when nothing changes any more. Never rejects. */
  async stop(): Promise<void> {
    clearInterval(this.#timer);
    await this.#writing;
    if (this.#hasBegun) await this.#writeIfDue();
  }

  async #writeIfDue(): Promise<void> {
    if (this.#writing !== undefined) return;
    // While the records are read once more, because a token went away in a start, nothing says where they stand.
    this.#writing = this.#writeWhatIsDue().catch((error: unknown) => {
      this.#parts.log.warn({ err: error }, 'where the metadata stands could not be put on record; it is tried again');
    });
    await this.#writing;
    this.#writing = undefined;
  }

  async #writeWhatIsDue(): Promise<void> {
    const { audit, store } = this.#parts;
    const isDue = store.standing().epoch !== this.#epoch || audit.syncedHead().bytes - this.#bytes > maxBytesBetween;
    if (isDue) await this.#write();
  }

  async #write(): Promise<void> {
    const { audit, store } = this.#parts;
    const { epoch, treeHash, intentId } = store.standing();
    const { bytes } = audit.syncedHead();
    const checkpoint = { epoch, records: treeHash, intentId };
    await audit.append({ statement: { checkpoint }, eventAtMs: Date.now() }, 'written');
    this.#epoch = epoch;
    this.#bytes = bytes;
  }
}
