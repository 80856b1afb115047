/**
 * What the log says about itself:
 *
 *   - `tornEnd`: what a crash had left behind the last record was set aside in a file;
 *   - `accepted`: an operator goes on behind a place at which the log was tampered with, or damaged;
 *   - `checkpoint`: where the metadata stands, so that neither it nor the log is put back without the other;
 *   - `metadataAccepted`: an operator takes the metadata as it is, whatever was on record of it;
 *   - `tornLine`, written by former versions, which left an incomplete line where it was: the line before this one is it.
 */

/** Some bytes, wherever they are, and their SHA-256 in hexadecimal. */
export interface KnownBytes {
  readonly bytes: number;
  readonly sha256: string;
}

/** What is wrong at a place of the log's file: these bytes, from this offset on. */
export interface WrongBytes extends KnownBytes {
  readonly offset: number;
}

/** The end of the chain at some moment, as it was noted. */
export interface NotedLink {
  readonly sequence: number;
  /** Of the record's hash the first twelve digits at least. */
  readonly hash: string;
}

export interface AcceptedPlace extends WrongBytes {
  /** As it was named: `place.ts`. */
  readonly place: string;
  readonly what: string;
  /** A head that the metadata had noted and that the log does not hold. */
  readonly missing?: NotedLink;
}

/** Where the metadata stands. */
export interface StoreMark {
  /** Raised with each transaction that writes records. */
  readonly epoch: number;
  /** The hash over all records; `null` where only the epoch is known. */
  readonly records: string | null;
  /** Of the last change that had an intent. */
  readonly intentId: string | null;
}

export interface Statements {
  readonly tornEnd: WrongBytes & { readonly file: string };
  readonly accepted: AcceptedPlace & { readonly by: { readonly uid: number } };
  readonly checkpoint: StoreMark;
  readonly metadataAccepted: StoreMark & { readonly by: { readonly uid: number } };
  readonly tornLine: KnownBytes;
}

/** A statement with its content, as a member of its own name. */
export type LogStatement = {
  readonly [Name in keyof Statements]: { readonly [Member in Name]: Statements[Name] };
}[keyof Statements];

/** One that is to be put on record. */
export interface StatementEvent {
  readonly statement: LogStatement;
  /** Milliseconds since the epoch. */
  readonly eventAtMs: number;
}
