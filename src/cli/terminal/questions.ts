/**
 * Questions to the person at the terminal: a line, yes or no, a passphrase that is not shown.
 *
 * They go to stderr, since stdout is for what was asked for. Where nobody sits (a script, a pipe, a timer) nothing is asked, and
 * what a command does then is in its help. What is typed is kept as bytes, which can be wiped.
 */

import { note, printable } from './output.ts';

/** Longer than a passphrase or the name of a key; what is typed beyond it is dropped. */
const maxLineBytes = 4096;

const keys = { interrupt: 0x03, endOfFile: 0x04, backspace: 0x08, lineFeed: 0x0a, carriageReturn: 0x0d, delete: 0x7f };
const exitCodeOfSigint = 130;

/** What was typed before it was asked for. */
let ahead = Buffer.alloc(0);

/** Is there a person who sees the question and can answer it? */
export function canAsk(): boolean {
  return process.stdin.isTTY === true && process.stderr.isTTY === true;
}

/** What was typed, without blanks around it; empty when the terminal ended instead. Only where `canAsk`. */
export async function ask(question: string): Promise<string> {
  process.stderr.write(printable(question));
  return (await readLine()).toString('utf8').trim();
}

/** No is what it means when something else than yes is typed, or nothing. */
export async function confirm(question: string): Promise<boolean> {
  return /^y(?:es)?$/i.test(await ask(`${question} [y/N] `));
}

/** The bytes are the caller's to wipe. From then on the process leaves no core file, in which they would be. */
export async function askSecret(question: string): Promise<Buffer> {
  // Loaded here: it takes a library that most commands do without.
  const { disableCoreDumps } = await import('../../secrets/core-dumps.ts');
  disableCoreDumps();
  process.stderr.write(printable(question));
  process.stdin.setRawMode(true);
  try {
    return await readLine();
  } finally {
    process.stdin.setRawMode(false);
    note(''); // The line feed that was typed was not shown.
  }
}

/** A line without its end. In raw mode the terminal leaves its editing to us. */
function readLine(): Promise<Buffer> {
  const { stdin } = process;
  const line = Buffer.alloc(maxLineBytes);
  let length = 0;
  const { promise, resolve, reject } = Promise.withResolvers<Buffer>();
  const take = (piece: Buffer): void => {
    for (const [at, key] of piece.entries()) {
      if (key === keys.interrupt) interrupt();
      if (key === keys.lineFeed || key === keys.carriageReturn || key === keys.endOfFile) {
        ahead = Buffer.from(piece.subarray(at + 1));
        piece.fill(0);
        resolve(line.subarray(0, length));
        return;
      }
      if (key === keys.backspace || key === keys.delete) length = withoutLast(line, length);
      else if (length < maxLineBytes) line[length++] = key;
    }
    piece.fill(0);
  };
  const end = (): void => resolve(line.subarray(0, length));
  stdin.on('data', take).once('end', end).once('error', reject);
  const typedBefore = ahead;
  ahead = Buffer.alloc(0);
  take(typedBefore);
  if (stdin.readableEnded) end();
  stdin.resume();
  return promise.finally(() => stdin.pause().off('data', take).off('end', end).off('error', reject));
}

/** The length without the last character, which in UTF-8 may be several bytes. */
function withoutLast(line: Buffer, length: number): number {
  let shorter = length;
  do shorter = Math.max(0, shorter - 1);
  while (shorter > 0 && ((line[shorter] ?? 0) & 0xc0) === 0x80);
  return shorter;
}

/** In raw mode, Ctrl-C is a key like any other. */
function interrupt(): never {
  process.stdin.setRawMode(false);
  note('');
  process.exit(exitCodeOfSigint);
}
