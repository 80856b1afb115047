/**
 * The pieces in which Node's parser gets what a connection sends: whatever they are, and however long each waits, the requests
 * are those that the parser makes of the whole.
 */

import { createServer, type Server } from 'node:http';
import { setTimeout as delay } from 'node:timers/promises';
import fc from 'fast-check';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { awsRequest, httpRequest, parseAnswers, RawClient, startWire, type Wire } from './wire.ts';

let wire: Wire;
let plain: Server;
let plainPath: string;

beforeAll(async () => {
  wire = await startWire({}, 'unix', { unansweredPerConnection: 2, beginsPerTurn: 1 });
  plainPath = `${wire.path}.plain`;
  plain = createServer({ requireHostHeader: false }, (message, response) => {
    let body = '';
    message.setEncoding('latin1').on('data', (text: string) => {
      body += text;
    });
    message.on('end', () => response.end(`${message.method} ${message.url} ${body.length}`));
  });
  await new Promise<void>((resolve) => plain.listen(plainPath, resolve));
});
afterAll(async () => {
  plain.closeAllConnections();
  plain.close();
  await wire.close();
});

const text = fc.constantFrom(
  '',
  'x',
  '\r\n\r\n',
  '\r',
  '\n',
  '\r\n\r',
  `${httpRequest('GET', '/inside')}`,
  'y'.repeat(300),
);
const request = fc.oneof(
  fc.constant('GET /x HTTP/1.1\r\n\r\n'),
  text.map((body) => awsRequest('Encrypt', body)),
  text.map((body) => httpRequest('POST', '/v1/Encrypt', { Expect: '100-continue' }, body)),
  fc.array(text.filter(Boolean), { maxLength: 4 }).map((chunks) => {
    const body = chunks.map((chunk) => `${chunk.length.toString(16)}\r\n${chunk}\r\n`).join('');
    return httpRequest('POST', '/v1/Encrypt', { 'Transfer-Encoding': 'chunked' }, `${body}0\r\n\r\n`);
  }),
  fc.constant(httpRequest('POST', '/v1/Encrypt', { 'Transfer-Encoding': 'chunked' }, '0\r\nTrailer: a\r\n\r\n')),
  fc.constant('\r\n\r\nGET /x HTTP/1.1\r\n\r\n'),
  fc.constant('\r\nGET /x HTTP/1.1\r\n\r\n'),
);
const lengths = fc.array(fc.integer({ min: 1, max: 400 }), { maxLength: 5 });

test('The requests of a connection are the same, however they are cut and held', async () => {
  const requests = fc.array(request, { minLength: 1, maxLength: 8 });
  await fc.assert(
    fc.asyncProperty(requests, lengths, async (sent, cuts) => {
      const bytes = Buffer.from(sent.join(''), 'latin1');
      const [ours, nodes] = await Promise.all([answersTo(wire.path, bytes, cuts), answersTo(plainPath, bytes, [])]);
      expect(ours).toBe(nodes);
    }),
    { numRuns: 100, endOnFailure: true },
  );
});

test('Requests are run in the order in which they were sent, bodies that came in pieces included', async () => {
  wire.noted.length = 0;
  const names = Array.from({ length: 40 }, (_, index) => `Number${index}`);
  const sent = names.map((name, index) =>
    index % 3 === 0
      ? httpRequest('POST', `/v1/${name}`, { 'Transfer-Encoding': 'chunked' }, '1\r\nx\r\n0\r\n\r\n')
      : awsRequest(name, 'x'.repeat(index * 7)),
  );
  const bytes = Buffer.from(sent.join(''), 'latin1');
  expect(await answersTo(wire.path, bytes, [10, 200, 500, 1000])).toBe(names.length);
  expect(wire.noted.map(({ operationName }) => operationName)).toEqual(names);
});

test('What a body contains is not taken for the end of headers that ended across two pieces', async () => {
  wire.noted.length = 0;
  const bodyBytes = 60_006;
  const client = new RawClient(wire.path);
  await new Promise((resolve) => client.socket.once('connect', resolve));
  client.send(`POST /v1/Encrypt HTTP/1.1\r\nHost: x\r\nContent-Length: ${bodyBytes}\r\n\r`);
  await delay(50);
  client.send(`\n${'a'.repeat(bodyBytes - 6)}\r\n\r\na`);
  await delay(50);
  let release = (): void => undefined;
  wire.hold = new Promise((resolve) => {
    release = resolve;
  });
  client.send(`a${awsRequest('Held').repeat(300)}`);
  await expect.poll(() => wire.noted.length).toBe(2);
  await delay(200);
  expect(wire.noted.length).toBe(2);
  release();
  client.socket.end();
  expect(parseAnswers(await client.closed).length).toBe(301);
});

/** How many answers come before the server has answered all of it and closes. */
async function answersTo(path: string, bytes: Buffer, lengths: readonly number[]): Promise<number> {
  const client = new RawClient(path);
  await new Promise((resolve) => client.socket.once('connect', resolve));
  let rest = bytes;
  for (const length of lengths) {
    client.send(rest.subarray(0, length));
    rest = rest.subarray(length);
    await delay(0);
  }
  client.send(rest);
  client.socket.end();
  return parseAnswers(await client.closed).length;
}
