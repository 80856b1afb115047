/**
 * The messages of the SSH agent protocol: their numbers, their frames, and the answers.
 *
 * A message is its length in four bytes, a byte that says which it is, and its content. A client sends one, waits for the
 * answer, and may go on; requests on one connection are answered in their order.
 *
 * Source: IETF draft-ietf-sshm-ssh-agent, sections 3 and 5.
 */

import { SshFormatError, sshString, uint32 } from '../ssh/ssh-encoding.ts';

export const requests = { identities: 11, sign: 13, lock: 22, unlock: 23, extension: 27 } as const;
const answers = { failure: 5, success: 6, identities: 12, signature: 14, extensionFailure: 28, extension: 29 } as const;

/** In a request to sign with an RSA key: which hash. Without one it would be SHA-1. */
export const signFlags = { rsaSha256: 2, rsaSha512: 4 } as const;

/** As OpenSSH's own agent has it: far above any request, and little to keep for each connection. */
const maxMessageBytes = 256 * 1024;

export interface OfferedKey {
  /** As in SSH's wire format. */
  readonly blob: Buffer;
  readonly comment: string;
}

export const failure = Buffer.of(answers.failure);
export const success = Buffer.of(answers.success);
/** An extension that is known here did not do what it was asked for. */
export const extensionFailure = Buffer.of(answers.extensionFailure);

export function identitiesAnswer(keys: readonly OfferedKey[]): Buffer {
  const entries = keys.flatMap(({ blob, comment }) => [sshString(blob), sshString(comment)]);
  return Buffer.concat([Buffer.of(answers.identities), uint32(keys.length), ...entries]);
}

export function signatureAnswer(signature: Buffer): Buffer {
  return Buffer.concat([Buffer.of(answers.signature), sshString(signature)]);
}

export function extensionAnswer(name: string, contents: readonly string[]): Buffer {
  return Buffer.concat([Buffer.of(answers.extension), sshString(name), ...contents.map(sshString)]);
}

export function framed(message: Buffer): Buffer {
  return sshString(message);
}

/** Cuts what a client sends into messages. */
export class MessageFrames {
  #received = Buffer.alloc(0);

  /** @returns The messages that are complete now. @throws SshFormatError for one that is too long or empty. */
  *take(chunk: Buffer): Generator<Buffer> {
    this.#received = Buffer.concat([this.#received, chunk]);
    while (this.#received.length >= 4) {
      const length = this.#received.readUInt32BE();
      if (length === 0 || length > maxMessageBytes) {
        throw new SshFormatError(`a message of ${length} bytes, and it can be 1 to ${maxMessageBytes}`);
      }
      if (this.#received.length < 4 + length) return;
      const message = this.#received.subarray(4, 4 + length);
      this.#received = this.#received.subarray(4 + length);
      yield message;
    }
  }
}
