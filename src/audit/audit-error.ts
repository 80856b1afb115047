/** Why the audit log could not take an event, or not be opened. Messages are for operators. */

export type AuditFailure =
  /** Used after `close()`. */
  | 'closed'
  /** More events wait for the disk than are allowed to, of all or of this payer. */
  | 'overloaded'
  /** The disk has no more room than what is kept for others. */
  | 'full'
  /** The event, or an earlier one that it is chained to, did not get to the file or to the disk. */
  | 'notWritten'
  /** Another process has the log open. */
  | 'locked'
  /** Others could get at the file or its folder, or it is not what it has to be. */
  | 'notPrivate'
  /** What is in the file does not fit together: it was tampered with, or damaged. */
  | 'damaged'
  /** What is to be accepted is not wrong. */
  | 'noSuchPlace'
  /** The file or folder cannot be opened. */
  | 'io';

export class AuditError extends Error {
  override readonly name = 'AuditError';
  readonly failure: AuditFailure;

  constructor(failure: AuditFailure, message: string, options?: ErrorOptions) {
    super(message, options);
    this.failure = failure;
  }
}
