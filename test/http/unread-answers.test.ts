/**
 * What clients cost who send without waiting and without reading: attackers are processes of their own, under other users,
 * and bounds are small, so that few connections show what many would do.
 */

import type { ChildProcess } from 'node:child_process';
import { setTimeout as delay } from 'node:timers/promises';
import { afterEach, expect, onTestFinished, test } from 'vitest';
import { runsAsRoot, sayIfNotRoot } from '../end-to-end/support/unix-users.ts';
import { openToAll, users } from './as-user.ts';
import { type DeafClients, startDeafClients } from './deaf-clients.ts';
import { awsRequest, httpRequest, RawClient, startWire, type Wire } from './wire.ts';

const { mallory } = users;
const tiny = 'GET /x HTTP/1.1\r\n\r\n';

let wire: Wire;
afterEach(() => wire.close());

const cutOff = (): number => wire.warnings.filter((warning) => warning.startsWith('a connection is cut off')).length;

function attack(clients: Omit<DeafClients, 'path' | 'uid'>): ChildProcess {
  const child = startDeafClients({ path: wire.path, uid: mallory, ...clients });
  onTestFinished(() => void child.kill('SIGKILL'));
  return child;
}

async function isServed(): Promise<boolean> {
  const client = new RawClient(wire.path).send(awsRequest('Other'));
  const { status } = await client.answer();
  client.socket.destroy();
  return status === 200;
}

sayIfNotRoot('Clients who do not read');
test.skipIf(!runsAsRoot)('Clients who send and never read make the daemon hold no more than their budget', async () => {
  const unreadBytesPerPayer = 512 * 1024;
  wire = await startWire({}, 'unix', { unreadBytesPerPayer, requestBytesPerPayer: 8 * 1024 * 1024 });
  openToAll(wire.path);
  // A long answer: what it cannot be is a request, and its text is repeated.
  wire.answer = 'x'.repeat(100_000);
  const before = process.memoryUsage().arrayBuffers + process.memoryUsage().heapUsed;
  attack({ connections: 24, request: awsRequest('Deaf') });
  await expect.poll(cutOff, { timeout: 170_000 }).toBeGreaterThan(24);
  expect(await isServed()).toBe(true);
  const held = process.memoryUsage().arrayBuffers + process.memoryUsage().heapUsed - before;
  // Held requests are 64 KB a connection, and answers their budget; the rest is the engine's.
  expect(held).toBeLessThan(100 * 1024 * 1024);
});

test.skipIf(!runsAsRoot)(
  'Clients who send the smallest requests and never read are begun a bounded number of',
  async () => {
    wire = await startWire({}, 'unix', { unansweredPerConnection: 4, unansweredPerPayer: 20 });
    openToAll(wire.path);
    wire.hold = new Promise(() => undefined);
    attack({ connections: 10, request: tiny, requests: 3000 });
    await expect.poll(() => wire.noted.length).toBeGreaterThanOrEqual(20);
    await delay(300);
    // One for each connection that was late, and those of the first ones.
    expect(wire.noted.length).toBeLessThanOrEqual(20 + 10);
  },
);

test.skipIf(!runsAsRoot)('Thousands of requests of one payer stand before nobody: a share of them does', async () => {
  const beginsPerTurn = 4;
  wire = await startWire({}, 'unix', { beginsPerTurn });
  openToAll(wire.path);
  const other = new RawClient(wire.path);
  await other.send(httpRequest('GET', '/health')).answer();
  attack({ connections: 20, request: tiny, requests: 3000 });
  // It is in full flood, with tens of thousands to come.
  await expect.poll(() => wire.noted.length, { interval: 1 }).toBeGreaterThan(200);
  const before = wire.noted.length;
  other.send(awsRequest('Mine'));
  await other.answers(2);
  const mine = wire.noted.findIndex(({ operationName }) => operationName === 'Mine');
  // Some turns of the event loop pass in this process until it is sent, and until it is read.
  expect(mine - before).toBeLessThan(20 * beginsPerTurn);
  other.socket.destroy();
});

test('A client who takes a long answer in time has all of it', async () => {
  wire = await startWire({}, 'unix', { unreadBytesPerPayer: 9 * 1024 * 1024 });
  wire.answer = 'x'.repeat(4 * 1024 * 1024);
  const client = new RawClient(wire.path).send(awsRequest('Long') + awsRequest('Next'));
  const answers = await client.answers(2);
  expect(answers.map(({ body }) => body.length)).toEqual([wire.answer.length, wire.answer.length]);
  expect(cutOff()).toBe(0);
  client.socket.destroy();
});

test('Bodies that are on their way are bounded for each payer, and one too many is throttled, on record', async () => {
  wire = await startWire({}, 'unix', { requestBytesPerPayer: 300_000 });
  const half = awsRequest('PutKeyPolicy', 'x'.repeat(1000), { 'Content-Length': '200000' });
  const first = new RawClient(wire.path).send(half);
  await delay(50);
  const second = new RawClient(wire.path).send(half);
  const answer = await second.answer();
  expect(JSON.parse(answer.body)).toEqual({ __type: 'ThrottlingException', message: 'Rate exceeded' });
  expect(wire.noted).toMatchObject([{ operationName: 'PutKeyPolicy', refusal: 'ThrottlingException' }]);
  first.send('x'.repeat(199_000));
  expect((await first.answer()).status).toBe(200);
  // They were given back.
  const third = new RawClient(wire.path).send(half).send('x'.repeat(199_000));
  expect((await third.answer()).status).toBe(200);
  for (const client of [first, second, third]) client.socket.destroy();
});
