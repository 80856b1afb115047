/**
 * Why the metadata store could not do what it was asked, as one closed set, and the translation from SQLite's codes.
 *
 * Messages are for operators: they name a path and what to do, never the content of a record.
 *
 * Source: SQLite, "Result and Error Codes" (https://www.sqlite.org/rescode.html).
 */

export type StoreFailure =
  /** Used after `close()`. */
  | 'closed'
  /** The disk, or the quota, has no room. */
  | 'full'
  /** The file or its file system cannot be written. */
  | 'readOnly'
  /** Another process has the store open. */
  | 'locked'
  /** Others could get at the file or its folder, or it is not what it has to be. */
  | 'notPrivate'
  /** A record is not there in the version that a change was decided on. */
  | 'conflict'
  /** Records of former formats would come into another Region than those that were written anew before. */
  | 'otherRegion'
  /** The turn of a change did not come in time. */
  | 'busy'
  /** A newer Drawbridge wrote this store. */
  | 'newerSchema'
  /** The file is no SQLite database, or a damaged one. */
  | 'damaged'
  /** Somebody edited the file: its schema is not ours, or it does not do what a statement says. */
  | 'altered'
  /** A service key of this purpose is already named. */
  | 'serviceKeyNamed'
  /** Anything else that the disk or SQLite refused. */
  | 'io';

export class StoreError extends Error {
  override readonly name = 'StoreError';
  readonly failure: StoreFailure;

  constructor(failure: StoreFailure, message: string, options?: ErrorOptions) {
    super(message, options);
    this.failure = failure;
  }
}

/** By SQLite's primary result code (the low byte of what it reports). */
const failureByCode: ReadonlyMap<number, { readonly failure: StoreFailure; readonly advice: string }> = new Map([
  [5, { failure: 'locked', advice: 'another process has it open; is a daemon already running on this folder?' }],
  [6, { failure: 'locked', advice: 'another process has it open; is a daemon already running on this folder?' }],
  [8, { failure: 'readOnly', advice: 'make the file and its file system writable' }],
  [10, { failure: 'io', advice: 'look at the disk and the kernel log' }],
  [11, { failure: 'damaged', advice: 'restore it from a backup' }],
  [13, { failure: 'full', advice: 'make room on the disk' }],
  [14, { failure: 'io', advice: 'look at the folder and its permissions' }],
  [26, { failure: 'damaged', advice: 'it is not a database; restore it from a backup' }],
]);

/** What SQLite (or Kysely on top of it) threw, as a `StoreError`; errors of other kinds are given back as they are. */
export function asStoreError(error: unknown, doing: string, path: string): unknown {
  if (!(error instanceof Error) || !('errcode' in error) || typeof error.errcode !== 'number') return error;
  const known = failureByCode.get(error.errcode & 0xff);
  const advice = known === undefined ? '' : `; ${known.advice}`;
  return new StoreError(known?.failure ?? 'io', `cannot ${doing} \`${path}\`: ${error.message}${advice}`, {
    cause: error,
  });
}
