import { afterEach, describe, expect, test } from 'vitest';
import { awsRequest, httpRequest, parseAnswers, RawClient, startWire, type Wire } from './wire.ts';

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
    // Long enough that what it sent is read in time, also where the machine stands still before.
    wire = await startWire({ headersTimeoutMs: 1_500, requestTimeoutMs: 1_500 });
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
