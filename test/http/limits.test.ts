import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { chmodSync } from 'node:fs';
import { dirname } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterEach, describe, expect, onTestFinished, test } from 'vitest';
import { runsAsRoot, sayIfNotRoot, unixUsers } from '../end-to-end/support/unix-users.ts';
import type { ConnectAs } from '../identity/connect-as.ts';
import { awsRequest, httpRequest, parseAnswers, RawClient, startWire, type Wire } from './wire.ts';

const connectAs = fileURLToPath(new URL('../identity/connect-as.ts', import.meta.url));
let wire: Wire | undefined;
afterEach(() => wire?.close());

const tooSlow = {
  __type: 'SerializationException',
  message: 'The request did not arrive completely in time.',
};

describe('a client that stops', () => {
  test.each([
    ['inside of its headers', 'POST / HTTP/1.1\r\nHost: kms\r\nX-Amz-'],
    ['inside of its body', awsRequest('Encrypt', '{"KeyId"', { 'Content-Length': '100' })],
  ])('%s is told so and closed', async (_name, text) => {
    wire = await startWire({ headersTimeoutMs: 300, requestTimeoutMs: 300 });
    const answers = parseAnswers(await new RawClient(wire.path).send(text).closed);
    expect(answers).toMatchObject([{ status: 400, headers: { connection: 'close' } }]);
    expect(JSON.parse(answers[0]?.body ?? '')).toEqual(tooSlow);
    expect(wire.noted).toMatchObject([{ refusal: 'SerializationException' }]);
  });

  test('before it says anything is closed', async () => {
    wire = await startWire({ headersTimeoutMs: 300, requestTimeoutMs: 300 });
    await new RawClient(wire.path).closed;
  });

  test('after an answer is closed when it was idle for long enough', async () => {
    wire = await startWire({ keepAliveTimeoutMs: 300 });
    expect(parseAnswers(await new RawClient(wire.path).send(awsRequest('A')).closed)).toHaveLength(1);
  });

  test('reading its answers is closed', async () => {
    wire = await startWire({ stalledTimeoutMs: 300 });
    const client = new RawClient(wire.path);
    client.socket.pause();
    const text = awsRequest('Deaf');
    while (client.socket.writableLength < 1024 * 1024) client.socket.write(text);
    await new Promise((resolve) => client.socket.once('close', resolve).once('error', resolve));
  });

  test('waiting for an answer that takes long gets it', async () => {
    wire = await startWire({ stalledTimeoutMs: 100 });
    let release = (): void => undefined;
    wire.hold = new Promise((resolve) => {
      release = resolve;
    });
    const { noted, path } = wire;
    const patient = new RawClient(path).send(awsRequest('Slow'));
    await expect.poll(() => noted.length).toBe(1);
    // Those that are closed for their silence came later.
    await new RawClient(path).closed;
    await new RawClient(path).closed;
    release();
    expect((await patient.answer()).status).toBe(200);
    patient.socket.destroy();
  });

  test('in the middle of a request leaves nothing behind when it goes away', async () => {
    wire = await startWire();
    const client = new RawClient(wire.path).send(awsRequest('Encrypt', '{"KeyId"', { 'Content-Length': '100' }));
    client.socket.end();
    await client.closed;
    const next = new RawClient(wire.path).send(awsRequest('Next'));
    expect((await next.answer()).status).toBe(200);
    next.socket.destroy();
    expect(wire.noted.filter(({ refusal }) => refusal === undefined)).toMatchObject([{ operationName: 'Next' }]);
  });
});

test('a connection too many is closed, and the others go on', async () => {
  wire = await startWire({}, 'unix', { connections: { total: 2, perPayer: 4, reserved: 1 } });
  const clients = [1, 2, 3].map(() => new RawClient(wire?.path ?? ''));
  for (const client of clients) await client.send(awsRequest('A')).answer();
  expect(await new RawClient(wire.path).closed).toBe('');
  for (const client of clients) {
    expect(await client.send(awsRequest('B')).answers(2)).toHaveLength(2);
    client.socket.destroy();
  }
});

sayIfNotRoot('Connections that others hold');
test.skipIf(!runsAsRoot)('others who hold all connections do not keep root out', async () => {
  const patient = { headersTimeoutMs: 60_000, requestTimeoutMs: 60_000 };
  wire = await startWire(patient, 'unix', { connections: { total: 2, perPayer: 2, reserved: 1 } });
  const { path } = wire;
  chmodSync(dirname(path), 0o711);
  chmodSync(path, 0o666);
  const others = [unixUsers.nobody, unixUsers.daemon, unixUsers['www-data']].map(({ uid, gid }) => {
    const silent: ConnectAs = { path, uid, gid, groups: [], afterwards: 'nothing' };
    const child = spawn(process.execPath, [connectAs, JSON.stringify(silent)]);
    onTestFinished(() => void child.kill('SIGKILL'));
    return child;
  });
  // Each ends when its connection is closed: only the one that was one too many does.
  await Promise.race(others.map((child) => once(child, 'exit')));
  expect(others.filter(({ exitCode }) => exitCode !== null)).toHaveLength(1);
  const operator = new RawClient(path);
  expect((await operator.send(httpRequest('GET', '/health')).answer()).status).toBe(200);
  expect(await new RawClient(path).closed).toBe('');
  operator.socket.destroy();
});

test('a payer with too many connections cannot open more, until one of them closes', async () => {
  wire = await startWire({}, 'unix', { connections: { total: 9, perPayer: 2, reserved: 1 } });
  const { path } = wire;
  const [first, second] = [new RawClient(path), new RawClient(path)];
  await first.send(awsRequest('A')).answer();
  await second.send(awsRequest('A')).answer();
  expect(await new RawClient(path).closed).toBe('');
  first.socket.destroy();
  await first.closed;
  await expect
    .poll(async () => {
      const third = new RawClient(path).send(awsRequest('B'));
      return Promise.race([third.answer().then(({ status }) => status), third.closed]).catch(() => '');
    })
    .toBe(200);
  second.socket.destroy();
});

describe('a server that stops', () => {
  test('answers what it has accepted, takes no new connection, and removes its socket', async () => {
    wire = await startWire();
    let release = (): void => undefined;
    const { noted, path, server } = wire;
    wire.hold = new Promise((resolve) => {
      release = resolve;
    });
    const busy = new RawClient(path).send(awsRequest('Busy'));
    const idle = new RawClient(path).send(httpRequest('GET', '/health'));
    await idle.answer();
    await expect.poll(() => noted.length).toBe(1);
    const stopped = server.stop(10_000);
    await idle.closed;
    const late = new RawClient(path);
    await new Promise((resolve) => late.socket.once('close', resolve));
    expect(late.received).toBe('');
    release();
    const [answer] = parseAnswers(await busy.closed);
    expect(answer).toMatchObject({
      status: 200,
      headers: { connection: 'close' },
    });
    await stopped;
  });

  test('cuts off after its bound what does not end', async () => {
    wire = await startWire();
    wire.hold = new Promise(() => undefined);
    const client = new RawClient(wire.path).send(awsRequest('Stuck'));
    const { noted } = wire;
    await expect.poll(() => noted.length).toBe(1);
    await wire.server.stop(100);
    expect(await client.closed).toBe('');
  });
});
