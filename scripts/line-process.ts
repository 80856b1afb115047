/**
 * A child process that is talked to in lines: a command in, lines out.
 *
 * What it prints on standard error is kept for the message when it ends early. Closing ends its input and waits for it;
 * one that does not end by itself is ended by its own pid, and so is one that this process leaves behind.
 */

import { type ChildProcessWithoutNullStreams, type SpawnOptionsWithoutStdio, spawn } from 'node:child_process';
import { createInterface } from 'node:readline';

const keptErrorCharacters = 4000;

export class LineProcess {
  readonly #child: ChildProcessWithoutNullStreams;
  readonly #lines: AsyncIterator<string>;
  readonly #ended: Promise<void>;
  readonly #name: string;
  #errors = '';

  constructor(name: string, command: readonly string[], options: SpawnOptionsWithoutStdio = {}) {
    const [program = '', ...args] = command;
    this.#name = name;
    this.#child = spawn(program, args, options);
    const killAtExit = (): void => void this.#child.kill('SIGKILL');
    process.once('exit', killAtExit);
    this.#child.once('close', () => process.off('exit', killAtExit));
    this.#ended = new Promise((resolve) => {
      this.#child.once('close', () => resolve());
      this.#child.once('error', (error) => {
        this.#errors += error.message;
        resolve();
      });
    });
    this.#child.stdin.on('error', () => undefined); // It ended: the next read says so, with what it printed.
    this.#child.stderr.setEncoding('utf8').on('data', (text: string) => {
      this.#errors = (this.#errors + text).slice(-keptErrorCharacters);
    });
    this.#lines = createInterface({ input: this.#child.stdout })[Symbol.asyncIterator]();
  }

  get pid(): number {
    return this.#child.pid ?? 0;
  }

  /** Whatever it printed on standard error last. */
  get errors(): string {
    return this.#errors;
  }

  write(text: string): void {
    this.#child.stdin.write(text);
  }

  endInput(text = ''): void {
    this.#child.stdin.end(text);
  }

  async nextLine(): Promise<string> {
    const line = await this.#lines.next();
    if (line.done) {
      await this.#ended;
      throw new Error(`${this.#name} ended early${this.#errors === '' ? '' : `:\n${this.#errors.trim()}`}`);
    }
    return line.value;
  }

  async nextJson<T>(): Promise<T> {
    return JSON.parse(await this.nextLine()) as T;
  }

  /** Everything that it still prints, when it has ended. */
  async rest(): Promise<string> {
    this.endInput();
    const lines: string[] = [];
    for (let line = await this.#lines.next(); !line.done; line = await this.#lines.next()) lines.push(line.value);
    await this.#ended;
    if (lines.length === 0) throw new Error(`${this.#name} printed nothing:\n${this.#errors.trim()}`);
    return lines.join('\n');
  }

  /** Ends a daemon, whatever became of what was measured. */
  [Symbol.asyncDispose](): Promise<void> {
    return this.close('SIGTERM');
  }

  /** Ends it: by the end of its input, or by a signal where it does not watch that. */
  async close(signal?: NodeJS.Signals): Promise<void> {
    this.#child.stdin.end();
    if (signal !== undefined) this.#child.kill(signal);
    const late = setTimeout(() => this.#child.kill('SIGKILL'), 10_000);
    await this.#ended;
    clearTimeout(late);
  }
}
