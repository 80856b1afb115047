/** A stream of several messages, one after the other: what each of them decrypts to comes out in their order. */

import { Duplex } from 'node:stream';
import { Base64Input } from './base64-input.ts';
import { MessageCutter } from './message-cutter.ts';
import type { MessageDecipher } from './required-context.ts';

export class MessagesStream extends Duplex {
  readonly #open: () => MessageDecipher;
  readonly #input = new Base64Input();
  readonly #cutter = new MessageCutter();
  #current: MessageDecipher | undefined;
  #messages = 0;

  /** @param open Makes the stream that decrypts one message. */
  constructor(open: () => MessageDecipher) {
    super();
    this.#open = open;
  }

  /** How many came out whole. */
  get messages(): number {
    return this.#messages;
  }

  /** Of the message that is being read. */
  get keys(): readonly string[] {
    return this.#cutter.keys;
  }

  /** Of the same. */
  get hasCommitment(): boolean {
    return this.#cutter.hasCommitment;
  }

  override _write(chunk: Buffer, _encoding: string, done: (error?: Error | null) => void): void {
    this.#feed(() => this.#input.take(chunk)).then(() => done(), done);
  }

  override _final(done: (error?: Error | null) => void): void {
    this.#finish().then(() => done(), done);
  }

  override _read(): void {
    this.#current?.resume();
  }

  override _destroy(error: Error | null, done: (error?: Error | null) => void): void {
    this.#current?.destroy();
    done(error);
  }

  async #feed(read: () => Buffer): Promise<void> {
    for (const { bytes, endsMessage, isSignature } of this.#cutter.take(read())) {
      const message = this.#current ?? this.#begin();
      // What a message's stream fails with ends this one, so a write that is never answered keeps nobody waiting.
      if (isSignature && message.takeSignature !== undefined) message.takeSignature(bytes);
      else await new Promise<void>((resolve) => message.write(bytes, () => resolve()));
      if (endsMessage) await this.#end(message);
    }
  }

  async #finish(): Promise<void> {
    await this.#feed(() => this.#input.end());
    // An input of nothing is a message that is cut off.
    const last = this.#current ?? (this.#messages === 0 ? this.#begin() : undefined);
    if (last !== undefined) await this.#end(last);
    this.push(null);
  }

  #begin(): MessageDecipher {
    const message = this.#open();
    this.#current = message;
    message.on('data', (piece: Buffer) => {
      if (!this.push(piece)) message.pause();
    });
    message.on('error', (error) => this.destroy(error));
    return message;
  }

  async #end(message: MessageDecipher): Promise<void> {
    await new Promise<void>((resolve) => {
      message.once('end', resolve);
      message.end();
    });
    this.#current = undefined;
    this.#messages++;
  }
}
