/**
 * What age and its plugins say to each other: stanzas, each a line with a type and arguments, and a body in base64.
 *
 * Source: C2SP, age-plugin.md and age.md ("stanza"): the body is unpadded base64 in lines of 64 columns, the last of which is shorter.
 */

import { createInterface } from 'node:readline';
import type { Readable, Writable } from 'node:stream';

const columns = 64;
/** A message holds a key, a recipient or a sentence: nothing is near to it. */
const maxBodyBytes = 1024 * 1024;

export interface Stanza {
  readonly type: string;
  readonly args: readonly string[];
  readonly body: Buffer;
}

export class AgeStanzaError extends Error {
  override readonly name = 'AgeStanzaError';
}

/** The conversation with one client. */
export class AgeStanzas {
  readonly #lines: AsyncIterator<string>;
  readonly #output: Writable;

  constructor(input: Readable, output: Writable) {
    this.#lines = createInterface({ input, crlfDelay: 0 })[Symbol.asyncIterator]();
    this.#output = output;
  }

  /** The next one; `undefined` when the client has gone. @throws AgeStanzaError for what is none. */
  async read(): Promise<Stanza | undefined> {
    const first = await this.#lines.next();
    if (first.done) return undefined;
    const [arrow, type, ...args] = first.value.split(' ');
    if (arrow !== '->' || type === undefined || type === '') throw new AgeStanzaError('a line begins no stanza');
    let text = '';
    for (;;) {
      const line = await this.#lines.next();
      if (line.done) throw new AgeStanzaError('a stanza ends too early');
      text += line.value;
      if (text.length > maxBodyBytes) throw new AgeStanzaError('a stanza is too long');
      if (line.value.length < columns) break;
    }
    const body = Buffer.from(text, 'base64');
    if (unpadded(body) !== text) throw new AgeStanzaError('the body of a stanza is not base64');
    return { type, args, body };
  }

  write(type: string, args: readonly string[] = [], body: Uint8Array = Buffer.alloc(0)): void {
    const text = unpadded(body);
    const lines: string[] = text.match(/.{1,64}/g) ?? [];
    // A body that fills its last line is ended by an empty one.
    if (text.length % columns === 0) lines.push('');
    this.#output.write(`-> ${[type, ...args].join(' ')}\n${lines.join('\n')}\n`);
  }

  /** Writes one, and waits for what the client says to it: `ok`, `fail` or `unsupported`. */
  async ask(type: string, args: readonly string[], body?: Uint8Array): Promise<Stanza | undefined> {
    this.write(type, args, body);
    return this.read();
  }
}

function unpadded(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString('base64').replace(/=+$/, '');
}
