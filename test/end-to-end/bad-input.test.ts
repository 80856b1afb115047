/**
 * Hostile and broken clients over raw sockets, while an honest SDK client goes on working.
 *
 * Every case ends with the same question: does the honest client still get right answers, and has the daemon kept its
 * memory? The honest client runs through the whole file and is asked at the end of each test.
 */

import { readFileSync } from 'node:fs';
import type { Socket } from 'node:net';
import { afterAll, afterEach, beforeAll, expect, test } from 'vitest';
import { kmsOver } from './support/connect.ts';
import { describeDaemon, newKey, present } from './support/daemon.ts';
import { call, errorIn, open, readUntilClosed, send } from './support/wire.ts';

const plaintext = Buffer.from('x').toString('base64');
/** What a refusal may cost. The body of 1 GB below would be four times this. */
const memoryAllowanceBytes = 256 * 1024 * 1024;
const head = (length: number | string, extra = ''): string =>
  `POST / HTTP/1.1\r\nHost: kms\r\nContent-Type: application/x-amz-json-1.1\r\nX-Amz-Target: TrentService.ListKeys\r\nContent-Length: ${length}\r\n${extra}\r\n`;

describeDaemon('Bad input', (daemon) => {
  let honest: HonestClient;
  let startMemoryBytes = 0;
  const opened: Socket[] = [];
  const openTracked = async (): Promise<Socket> => {
    const socket = await open(daemon().socket);
    opened.push(socket);
    return socket;
  };

  beforeAll(async () => {
    honest = new HonestClient(daemon().socket);
    await honest.start();
    startMemoryBytes = residentBytes(daemon().instance.pid);
  });
  afterEach(async () => {
    for (const socket of opened.splice(0)) socket.destroy();
    await honest.roundTrips(3);
    expect(honest.failures).toEqual([]);
    expect(residentBytes(daemon().instance.pid) - startMemoryBytes).toBeLessThan(memoryAllowanceBytes);
  });
  afterAll(() => honest.stop());

  /** Sends bytes and gives back what the daemon says before it closes or answers. */
  const exchange = async (bytes: string | Buffer): Promise<string> => {
    const socket = await openTracked();
    const answer = readUntilClosed(socket);
    socket.end(bytes);
    return answer;
  };

  test.each([
    ['not HTTP at all', 'hello, is this the HSM?\r\n\r\n'],
    ['zeros', Buffer.alloc(4096)],
    ['a TLS handshake', Buffer.from('16030100c8010000c40303', 'hex')],
    ['a request line alone', 'POST\r\n\r\n'],
    ['a path with a blank', 'POST /v1/List Keys HTTP/1.1\r\nHost: kms\r\nContent-Length: 2\r\n\r\n{}'],
    ['another protocol', 'POST / SPDY/9\r\n\r\n'],
    ['a header without a colon', 'POST / HTTP/1.1\r\nHost kms\r\n\r\n'],
    ['a header with a zero byte', 'POST / HTTP/1.1\r\nHost: k\0ms\r\n\r\n'],
    ['a length that is no number', head('many')],
    ['a negative length', head(-1)],
    ['two lengths that differ', head(2, 'Content-Length: 3\r\n')],
    ['a length and chunks', head(2, 'Transfer-Encoding: chunked\r\n')],
    [
      'a chunk size that is no number',
      `${head(0).replace('Content-Length: 0', 'Transfer-Encoding: chunked')}zz\r\n{}\r\n`,
    ],
    [
      'a chunk size beyond all numbers',
      `${head(0).replace('Content-Length: 0', 'Transfer-Encoding: chunked')}fffffffffffffffff\r\n`,
    ],
  ])('%s is answered with a client error or a closed connection', async (_, bytes) => {
    const answer = await exchange(bytes);
    expect(answer === '' || /^HTTP\/1\.1 4\d\d /.test(answer)).toBe(true);
  });

  test('a flood of headers is refused', async () => {
    const headers = Array.from({ length: 20_000 }, (_, index) => `X-Flood-${index}: ${'y'.repeat(20)}`).join('\r\n');
    expect(await exchange(`${head(2, `${headers}\r\n`)}{}`)).toMatch(/^HTTP\/1\.1 4\d\d |^$/);
  });

  test('one endless header is refused', async () => {
    expect(await exchange(`${head(2, `X-Long: ${'y'.repeat(1024 * 1024)}\r\n`)}{}`)).toMatch(/^HTTP\/1\.1 4\d\d |^$/);
  });

  test('a body that says it will be 1 GB is refused before it comes', async () => {
    const socket = await openTracked();
    const answer = readUntilClosed(socket);
    socket.write(head(1_000_000_000));
    expect(await answer).toMatch(/^HTTP\/1\.1 4\d\d /);
  });

  test('a body of 1 GB that is sent all the same is not kept', async () => {
    const socket = await openTracked();
    const answer = readUntilClosed(socket);
    socket.write(head(1_000_000_000));
    await flood(socket, Buffer.alloc(1024 * 1024, ' '), 1000);
    expect(await answer).toMatch(/^HTTP\/1\.1 4\d\d |^$/);
  });

  test('a chunked body without an end is refused', async () => {
    const socket = await openTracked();
    const answer = readUntilClosed(socket);
    socket.write(head(0).replace('Content-Length: 0', 'Transfer-Encoding: chunked'));
    const megabyte = Buffer.concat([Buffer.from('100000\r\n'), Buffer.alloc(1024 * 1024, ' '), Buffer.from('\r\n')]);
    await flood(socket, megabyte, 1000);
    expect(await answer).toMatch(/^HTTP\/1\.1 4\d\d |^$/);
  });

  test.each([
    ['lists', '['.repeat(100_000)],
    ['closed lists', '['.repeat(50_000) + ']'.repeat(50_000)],
    ['objects', '{"a":'.repeat(30_000)],
    [
      'an encryption context of objects',
      `{"KeyId":"x","Plaintext":"eA==","EncryptionContext":${'{"a":'.repeat(20_000)}1${'}'.repeat(20_000)}}`,
    ],
  ])('deeply nested %s cannot be read', async (_, body) => {
    const answer = await call(daemon().socket, 'Encrypt', body);
    expect(answer.status).toBe(400);
    expect(errorIn(answer).name).toBe('SerializationException');
  });

  test('an unknown member may be nested without harm', async () => {
    const lists = `{"Limit":1,"Unknown":${'['.repeat(20_000)}${']'.repeat(20_000)}}`;
    const objects = `${'{"a":'.repeat(20_000)}1${'}'.repeat(20_000)}`;
    for (const body of [lists, objects]) expect((await call(daemon().socket, 'ListKeys', body)).status).toBe(200);
  });

  test('the prototype of objects cannot be reached through a request', async () => {
    const { socket } = daemon();
    for (const member of ['__proto__', 'constructor', 'prototype']) {
      const body = `{"${member}":{"KeyId":"alias/x","Limit":1,"prototype":{"polluted":true}}}`;
      expect(errorIn(await call(socket, 'DescribeKey', body)).name).toBe('ValidationException');
      expect((await call(socket, 'ListKeys', body)).status).toBe(200);
      expect((await call(socket, 'CreateKey', `{"Tags":[{"${member}":{"TagKey":"a","TagValue":"b"}}]}`)).status).toBe(
        400,
      );
    }
  });

  test('a member that stands twice counts once', async () => {
    const answer = await call(daemon().socket, 'ListKeys', '{"Limit":0,"Limit":1}');
    expect([200, 400]).toContain(answer.status);
  });

  test.each([
    [
      'an encryption context of many pairs',
      () => ({
        EncryptionContext: Object.fromEntries(Array.from({ length: 5000 }, (_, index) => [`name-${index}`, 'v'])),
      }),
    ],
    ['an encryption context of one long pair', () => ({ EncryptionContext: { a: 'v'.repeat(200_000) } })],
    ['a thousand grant tokens', () => ({ GrantTokens: Array(1000).fill('t') })],
    ['a grant token of 100,000 letters', () => ({ GrantTokens: ['t'.repeat(100_000)] })],
  ])('%s is a client error', async (_, members) => {
    const body = { KeyId: honest.keyId, Plaintext: plaintext, ...members() };
    const answer = await call(daemon().socket, 'Encrypt', body);
    expect(answer.status).toBe(400);
    expect(answer.body.length).toBeLessThan(10_000);
  });

  test.each(['GET', 'PUT', 'DELETE', 'PATCH', 'OPTIONS', 'HEAD'])(
    '%s on the operations is a client error',
    async (method) => {
      const answer = await send(daemon().socket, { method, headers: { 'x-amz-target': 'TrentService.ListKeys' } });
      expect(answer.status).toBeGreaterThanOrEqual(400);
      expect(answer.status).toBeLessThan(500);
    },
  );

  test.each(['/other', '/v1', '/v1/', '/v1/../v1/ListKeys', '/v1/%2e%2e/x', '/%00', `/${'p'.repeat(10_000)}`])(
    'the path %s is a client error',
    async (path) => {
      const answer = await exchange(
        `POST ${path} HTTP/1.1\r\nHost: kms\r\nConnection: close\r\nContent-Length: 2\r\n\r\n{}`,
      );
      expect(answer).toMatch(/^HTTP\/1\.1 4\d\d /);
    },
  );

  test.each(['text/plain', 'application/xml', 'multipart/form-data; boundary=x', 'application/x-amz-json-9.9', ''])(
    'the content type %j never reaches an operation',
    async (type) => {
      const headers = { 'content-type': type, 'x-amz-target': 'TrentService.CreateAlias' };
      const body = JSON.stringify({ AliasName: 'alias/by-content-type', TargetKeyId: honest.keyId });
      const answer = await send(daemon().socket, { headers, body });
      expect(answer.status).toBe(400);
    },
  );

  test('clients that stop in the middle of a request leave nothing behind', async () => {
    const body = `{"KeyId":"${honest.keyId}","Plaintext":"${plaintext}"}`;
    const whole = head(body.length).replace('ListKeys', 'Encrypt') + body;
    for (let cut = 1; cut < whole.length; cut += 7) {
      const socket = await openTracked();
      socket.on('error', () => socket.destroy());
      socket.write(whole.slice(0, cut));
      socket.destroy();
    }
    await honest.roundTrips(5);
  });

  test('a client that sends one byte at a time is served', async () => {
    const socket = await openTracked();
    const body = '{"Limit":1}';
    const answer = readUntilClosed(socket);
    socket.setNoDelay(true);
    for (const letter of head(body.length, 'Connection: close\r\n') + body) {
      socket.write(letter);
      await new Promise((resolve) => setImmediate(resolve));
    }
    expect(await answer).toMatch(/^HTTP\/1\.1 200 /);
  });

  test('clients that never read do not keep the daemon busy or its memory', async () => {
    const body = '{"Limit":1000}';
    const request = head(body.length) + body;
    for (let client = 0; client < 8; client += 1) {
      const socket = await openTracked();
      socket.on('error', () => socket.destroy());
      socket.pause();
      for (let count = 0; count < 500 && !socket.destroyed; count += 1) socket.write(request);
    }
    await honest.roundTrips(20);
  });

  test('requests that are sent together on one connection are answered in their order', async () => {
    const bodies = ['{"Limit":1}', '{"Limit":0}', 'no json', '{"Limit":1}'];
    const requests = bodies.map(
      (body, index) => head(body.length, index === bodies.length - 1 ? 'Connection: close\r\n' : '') + body,
    );
    const answer = await exchange(requests.join(''));
    expect([...answer.matchAll(/HTTP\/1\.1 (\d\d\d) /g)].map((match) => match[1])).toEqual([
      '200',
      '400',
      '400',
      '200',
    ]);
  });

  test('500 clients at once are all answered', async () => {
    const answers = await Promise.all(
      Array.from({ length: 500 }, async (_, index) => {
        const text = `client ${index}`;
        const answer = await call(daemon().socket, 'Encrypt', {
          KeyId: honest.keyId,
          Plaintext: Buffer.from(text).toString('base64'),
        });
        return answer.status;
      }),
    );
    expect(answers.filter((status) => status === 200)).toHaveLength(500);
  });

  test('500 clients that connect and say nothing do not keep others out', async () => {
    await Promise.all(
      Array.from({ length: 500 }, async () => {
        const socket = await openTracked();
        socket.on('error', () => socket.destroy());
      }),
    );
    await honest.roundTrips(20);
  });
});

/** An SDK client that encrypts and decrypts in a loop and notes whatever is not right. */
class HonestClient {
  readonly failures: string[] = [];
  keyId = '';
  readonly #kms;
  #count = 0;
  #running: Promise<void> | undefined;
  #stopping = false;

  constructor(socketPath: string) {
    this.#kms = kmsOver(socketPath, 1);
  }

  async start(): Promise<void> {
    this.keyId = (await newKey(this.#kms)).id;
    this.#running = this.#work();
  }

  /** Waits until so many more round trips are done. */
  async roundTrips(count: number): Promise<void> {
    const goal = this.#count + count;
    while (this.#count < goal && this.failures.length === 0) await new Promise((resolve) => setTimeout(resolve, 5));
  }

  async stop(): Promise<void> {
    this.#stopping = true;
    await this.#running;
    this.#kms.destroy();
  }

  async #work(): Promise<void> {
    while (!this.#stopping) {
      try {
        const text = `honest ${this.#count}`;
        const { CiphertextBlob } = await this.#kms.encrypt({ KeyId: this.keyId, Plaintext: Buffer.from(text) });
        const { Plaintext } = await this.#kms.decrypt({ CiphertextBlob: present(CiphertextBlob) });
        const back = Buffer.from(present(Plaintext)).toString();
        if (back !== text) this.failures.push(`${text} came back as ${back}`);
      } catch (error) {
        this.failures.push(String(error));
      }
      this.#count += 1;
      await new Promise((resolve) => setTimeout(resolve, 2));
    }
  }
}

/** Writes a block again and again, at the peer's pace, until it closes. */
async function flood(socket: Socket, block: Buffer, count: number): Promise<void> {
  for (let sent = 0; sent < count && !socket.destroyed; sent += 1) {
    if (socket.write(block)) continue;
    await new Promise<void>((resolve) => {
      const done = (): void => {
        socket.off('drain', done);
        socket.off('close', done);
        resolve();
      };
      socket.once('drain', done);
      socket.once('close', done);
      if (socket.destroyed) done();
    });
  }
  if (!socket.destroyed) socket.end();
}

function residentBytes(pid: number): number {
  const [, kilobytes] = /^VmRSS:\s+(\d+) kB$/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8')) ?? [];
  return Number(kilobytes) * 1024;
}
