/** What commands print: tables for people, JSON for programs. */

import { unwritable } from './file-error.ts';

let isWatched = false;

/** Lines. What of them others chose, a daemon that was taken over among them, does not steer the terminal. */
export function print(text: string): void {
  if (!isWatched) {
    isWatched = true;
    // A reader that has seen enough (`drawbridge keys list | head -1`) is no reason to complain.
    process.stdout.on('error', (error: NodeJS.ErrnoException) => {
      if (error.code === 'EPIPE') process.exit(0);
      process.stderr.write(`drawbridge: ${unwritable(undefined, error).message}\n`);
      process.exit(1);
    });
  }
  const inert = text
    .split(/([\n\t])/)
    .map((part) => (part === '\n' || part === '\t' ? part : printable(part)))
    .join('');
  process.stdout.write(inert.endsWith('\n') ? inert : `${inert}\n`);
}

export function printJson(value: unknown): void {
  print(inertJson(JSON.stringify(value, null, 2)));
}

/**
 * JSON that means the same and has no character in it that a terminal would follow: it stands for each as an escape. A carriage return, behind which
 * a line would be written over, stands between its parts alone, where a blank means the same.
 */
export function inertJson(text: string): string {
  return text
    .replaceAll('\r', ' ')
    .replace(
      /[\u007f-\u009f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]/g,
      (character) => `\\u${character.charCodeAt(0).toString(16).padStart(4, '0')}`,
    );
}

/** A note for the person at the terminal, which a program that reads stdout does not get to see. */
export function note(text: string): void {
  process.stderr.write(`${text.split('\n').map(printable).join('\n')}\n`);
}

/** Columns as wide as their widest cell; the last one runs free. */
export function table(header: readonly string[], rows: readonly (readonly string[])[]): string {
  const widths = header.map((title, column) =>
    rows.reduce((width, row) => Math.max(width, printable(row[column] ?? '').length), title.length),
  );
  return [header, ...rows]
    .map((row) =>
      row
        .map((cell, column) =>
          column === header.length - 1 ? printable(cell) : printable(cell).padEnd(widths[column] ?? 0),
        )
        .join('  ')
        .trimEnd(),
    )
    .join('\n');
}

/** `name  value` lines. */
export function facts(pairs: readonly (readonly [string, string | number | boolean | null])[]): string {
  const width = Math.max(...pairs.map(([name]) => name.length));
  return pairs.map(([name, value]) => `${name.padEnd(width)}  ${printable(String(value ?? '-'))}`.trimEnd()).join('\n');
}

/** A time of the API, in seconds since the epoch, for people. */
export function timeText(seconds: unknown): string {
  return new Date(Number(seconds) * 1000).toISOString();
}

/** Text that others chose (descriptions, labels, user agents) cannot steer the terminal. */
export function printable(text: string): string {
  // biome-ignore lint/suspicious/noControlCharactersInRegex: control characters are what is replaced here.
  return text.replace(/[\u0000-\u001f\u007f-\u009f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]/g, '\ufffd');
}
