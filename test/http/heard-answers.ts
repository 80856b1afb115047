/** What a client hears whose bytes come in pieces, without what differs from answer to answer: for comparing servers. */

import type { ByteStream } from './byte-streams.ts';
import { RawClient } from './wire.ts';

/** @param endpoint A socket's path, or `http://HOST:PORT`. */
export async function heardFrom(endpoint: string, { bytes, lengths }: ByteStream): Promise<string> {
  const client = new RawClient(endpoint);
  await new Promise((resolve) => client.socket.once('connect', resolve));
  let from = 0;
  for (const length of lengths) {
    client.send(bytes.subarray(from, from + length));
    from += length;
    await new Promise((resolve) => setImmediate(resolve));
  }
  client.send(bytes.subarray(from));
  client.socket.end();
  return normal(await client.closed);
}

function normal(received: string): string {
  return received
    .replace(/x-amzn-RequestId: [0-9a-f-]{36}/g, 'x-amzn-RequestId: ID')
    .replace(/(?<!key\/)[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[0-9a-f]{4}-[0-9a-f]{12}/g, 'ID')
    .replace(/\nDate: [^\r]*/g, '\nDate: DATE')
    .replace(/signature (was|is)[^"]*/gi, 'SIGNATURE');
}
