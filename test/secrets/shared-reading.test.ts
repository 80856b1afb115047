/** What is given to the kernel past a stream, with a client that takes nothing for a while. */

import { once } from 'node:events';
import { rmSync } from 'node:fs';
import { connect, createServer, type Socket } from 'node:net';
import { join } from 'node:path';
import { TLSSocket } from 'node:tls';
import { expect, onTestFinished, test } from 'vitest';
import { writeNow } from '../../src/secrets/shared-reading.ts';
import { temporaryFolder } from '../audit/events.ts';

async function connected(): Promise<{ readonly client: Socket; readonly served: Socket }> {
  const path = join(temporaryFolder(), 'socket');
  const server = createServer().listen(path);
  await once(server, 'listening');
  const client = connect(path);
  const [served] = (await once(server, 'connection')) as [Socket];
  onTestFinished(() => {
    client.destroy();
    served.destroy();
    server.close();
    rmSync(path, { force: true });
  });
  return { client, served };
}

test('A client that takes nothing for a while gets all bytes in their order, whichever way they went', async () => {
  const { client, served } = await connected();
  const sent: Buffer[] = [];
  const taken: number[] = [];
  for (let index = 0; index < 200; index++) {
    const text = String.fromCharCode(0x80 + (index % 64)).repeat(8_000 + index);
    const piece = Buffer.from(text, 'latin1');
    const count = writeNow(served, index % 2 === 0 ? text : piece);
    if (count < piece.length) served.write(piece.subarray(count));
    sent.push(piece);
    taken.push(piece.length - count);
  }
  expect(taken[0]).toBe(0);
  expect(taken.at(-1)).toBeGreaterThan(0);
  served.end();
  const received = Buffer.concat(await client.toArray());
  expect(received.equals(Buffer.concat(sent))).toBe(true);
});

test('Nothing is written past a stream to a client that is gone, or to a socket that is closed', async () => {
  const { client, served } = await connected();
  served.on('error', () => undefined);
  const isClosed = once(served, 'close');
  client.destroy();
  await isClosed;
  expect(writeNow(served, 'text')).toBe(0);
});

test('Nothing is written past TLS', async () => {
  const { client, served } = await connected();
  const secured = new TLSSocket(served, { isServer: true });
  expect(writeNow(secured, 'text')).toBe(0);
  secured.destroy();
  expect(await client.toArray()).toEqual([]);
});
