/** Bytes that a command was asked for, in the encoding that was asked for: signatures, MACs, keys, certificates. */

import { Option } from 'commander';
import { UsageError } from './cli-error.ts';
import { unwritable } from './file-error.ts';
import { isTerminal, openOutput } from './whole-file.ts';

const encodings = ['raw', 'base64', 'hex'] as const;
export type Encoding = (typeof encodings)[number];

/** Readable by all: signatures, public keys and certificates are no secrets. */
const publicMode = 0o666;

export function encodingOption(what: string): Option {
  return new Option('--encoding <encoding>', `of ${what}`).choices(encodings).default('raw' satisfies Encoding);
}

/** @throws UsageError when raw bytes would go to a terminal. Called before anything is signed. */
export function assertFitsOutput(out: string | undefined, isText: boolean, alternative: string): void {
  if (isTerminal(out) && !isText)
    throw new UsageError(`these bytes are not for a terminal; give ${alternative}, --out or a pipe`);
}

/** Text ends with a line feed; raw bytes are just those. */
export function encode(bytes: Buffer, encoding: Encoding): Buffer {
  return encoding === 'raw' ? bytes : Buffer.from(`${bytes.toString(encoding)}\n`);
}

/**
 * The bytes of a file in that encoding; white space in a text means nothing.
 * @throws Error for what is not of that encoding.
 */
export function decode(bytes: Buffer, encoding: Encoding, what: string): Buffer {
  if (encoding === 'raw') return bytes;
  const text = bytes.toString('latin1').replaceAll(/\s/g, '');
  const decoded = Buffer.from(text, encoding);
  // Buffer.from leaves off what it cannot read; whoever gave something else is told so.
  const again = encoding === 'hex' ? decoded.toString('hex') : decoded.toString('base64');
  if (again !== (encoding === 'hex' ? text.toLowerCase() : text)) throw new Error(`${what} is not ${encoding}`);
  return decoded;
}

/** RFC 7468. */
export function pem(der: Buffer, label: string): Buffer {
  const lines = der.toString('base64').match(/.{1,64}/g) ?? [];
  return Buffer.from(`-----BEGIN ${label}-----\n${lines.join('\n')}\n-----END ${label}-----\n`);
}

/** A named file is there completely or as it was. */
export async function writeWhole(out: string | undefined, bytes: Buffer): Promise<void> {
  const output = await openOutput(out, publicMode);
  try {
    const isStdout = output.stream === process.stdout;
    await new Promise<void>((resolve, reject) => {
      output.stream.once('error', reject);
      if (isStdout) output.stream.write(bytes, (error) => (error ? reject(error) : resolve()));
      else output.stream.end(bytes, resolve);
    });
    await output.complete();
  } catch (error) {
    await output.abandon();
    throw unwritable(out, error);
  }
}
