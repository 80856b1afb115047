import { readFileSync } from 'node:fs';
import { setTimeout as delay } from 'node:timers/promises';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { awsRequest, httpRequest, parseAnswers, RawClient, startWire, type Wire } from './wire.ts';

const uuid = /^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/;
const awsJson = 'application/x-amz-json-1.1';
/** As `/proc/net/tcp` says it. */
const established = '01';
const root = 'arn:aws:iam::000000000000:root';

let wire: Wire;
beforeAll(async () => {
  wire = await startWire();
});
afterAll(() => wire.close());
afterEach(() => {
  wire.noted.length = 0;
  wire.hold = Promise.resolve();
});

async function exchange(text: string) {
  const client = new RawClient(wire.path).send(text);
  const answer = await client.answer();
  client.socket.destroy();
  return answer;
}

describe('an operation', () => {
  test('is run for POST / with its target, and answered in AWS JSON with a request id', async () => {
    const answer = await exchange(awsRequest('Encrypt', '{"KeyId":"k"}', { 'User-Agent': 'tester/1' }));
    expect(answer).toMatchObject({
      status: 200,
      body: '{"ran":"Encrypt","bytes":13}',
    });
    expect(answer.headers['content-type']).toBe(awsJson);
    expect(answer.headers['x-amzn-requestid']).toMatch(uuid);
    expect(wire.noted).toEqual([
      {
        operationName: 'Encrypt',
        requestId: answer.headers['x-amzn-requestid'],
        caller: root,
        body: '{"KeyId":"k"}',
        unknownMembers: 'ignore',
        userAgent: 'tester/1',
      },
    ]);
  });

  test.each([
    ['with a charset', 'application/x-amz-json-1.1; charset=utf-8'],
    ['in capitals', 'Application/X-Amz-JSON-1.1'],
  ])('may come with its content type %s', async (_name, contentType) => {
    expect(await exchange(awsRequest('ListKeys', '{}', { 'Content-Type': contentType }))).toMatchObject({
      status: 200,
    });
  });

  test.each([
    ["curl's default", { 'Content-Type': 'application/x-www-form-urlencoded' }],
    ['JSON', { 'Content-Type': 'application/json' }],
    ['nothing', {}],
    ['what is no content type', { 'Content-Type': '///' }],
  ])('is run for POST /v1/NAME with %s as content type, and refuses unknown members', async (_name, headers) => {
    const answer = await exchange(httpRequest('POST', '/v1/Encrypt', headers, '{"a":1}'));
    expect(answer).toMatchObject({
      status: 200,
      body: '{"ran":"Encrypt","bytes":7}',
    });
    expect(answer.headers['content-type']).toBe('application/json');
    expect(wire.noted).toMatchObject([{ operationName: 'Encrypt', unknownMembers: 'refuse', body: '{"a":1}' }]);
  });

  test('is run with an empty body, whose meaning is not for the wire to judge', async () => {
    expect(await exchange(httpRequest('POST', '/v1/ListKeys'))).toMatchObject({
      status: 200,
    });
    expect(wire.noted).toMatchObject([{ operationName: 'ListKeys', body: '' }]);
  });

  test('is answered when the client says that it sends no more', async () => {
    const client = new RawClient(wire.path).send(awsRequest('Last'));
    client.socket.end();
    expect(parseAnswers(await client.closed)).toMatchObject([{ status: 200, body: '{"ran":"Last","bytes":2}' }]);
  });

  test('may come in chunks of one byte', async () => {
    const body = [...'{"KeyId":"x"}'].map((character) => `1\r\n${character}\r\n`).join('');
    const headers = { 'Transfer-Encoding': 'chunked', 'Content-Length': '' };
    const { 'Content-Length': _none, ...chunked } = headers;
    const answer = await exchange(awsRequest('Encrypt', `${body}0\r\n\r\n`, chunked));
    expect(answer.status).toBe(200);
    expect(wire.noted).toMatchObject([{ body: '{"KeyId":"x"}' }]);
  });

  test('may have a body of exactly 262,144 bytes', async () => {
    expect(await exchange(awsRequest('PutKeyPolicy', 'x'.repeat(262_144)))).toMatchObject({ status: 200 });
  });
});

describe('many requests', () => {
  test('on one connection, sent without waiting, are answered in their order', async () => {
    const count = 1000;
    const client = new RawClient(wire.path);
    client.send(Array.from({ length: count }, (_, index) => awsRequest(`Op${index}`)).join(''));
    const answers = await client.answers(count);
    client.socket.destroy();
    expect(answers.map(({ body }) => JSON.parse(body).ran)).toEqual(answers.map((_, index) => `Op${index}`));
    expect(new Set(answers.map(({ headers }) => headers['x-amzn-requestid'])).size).toBe(count);
  });

  test('without waiting for answers are begun 32 at a time', async () => {
    let release = (): void => undefined;
    wire.hold = new Promise((resolve) => {
      release = resolve;
    });
    const client = new RawClient(wire.path);
    // Some hundred of them are in each piece that is read.
    client.send(Array.from({ length: 2000 }, () => awsRequest('Held')).join(''));
    await expect.poll(() => wire.noted.length).toBe(32);
    await delay(200);
    expect(wire.noted.length).toBe(32);
    release();
    expect((await client.answers(2000)).length).toBe(2000);
    client.socket.destroy();
  });

  test('from 500 clients at once are all answered', async () => {
    const clients = Array.from({ length: 500 }, (_, index) => new RawClient(wire.path).send(awsRequest(`Op${index}`)));
    const answers = await Promise.all(clients.map((client) => client.answer()));
    for (const client of clients) client.socket.destroy();
    expect(answers.map(({ body }) => JSON.parse(body).ran)).toEqual(answers.map((_, index) => `Op${index}`));
  });

  test('from 700 clients at once on a loopback address keep none waiting outside', async () => {
    const tcp = await startWire({}, 'tcp');
    const clients = Array.from({ length: 700 }, () => new RawClient(tcp.endpoint));
    // By now each has been to the kernel, and nobody has accepted one. What it does not take asks again a second later.
    await new Promise((resolve) => void process.nextTick(resolve));
    const port = Number(new URL(tcp.endpoint).port).toString(16).toUpperCase().padStart(4, '0');
    const lines = readFileSync('/proc/net/tcp', 'utf8').split('\n');
    const states = lines
      .map((line) => line.trim().split(/\s+/))
      .filter(([, , remote]) => remote === `0100007F:${port}`);
    expect(states.filter(([, , , state]) => state === established)).toHaveLength(700);
    for (const client of clients) client.socket.destroy();
    await tcp.close();
  });

  test('are answered beside a client that never reads its answers, which is not read without end', async () => {
    const deaf = new RawClient(wire.path);
    deaf.socket.pause();
    let sent = 0;
    const text = awsRequest('Deaf');
    while (deaf.socket.write(text) || deaf.socket.writableLength < 4 * 1024 * 1024) sent++;
    await expect.poll(() => wire.noted.length).toBeGreaterThan(0);
    expect(await exchange(awsRequest('Other'))).toMatchObject({ status: 200 });
    await delay(300);
    const ran = wire.noted.length;
    await delay(300);
    expect(wire.noted.length).toBe(ran);
    expect(ran).toBeLessThan(sent);
    deaf.socket.destroy();
  });
});

describe('what is no operation', () => {
  const unknown: [string, string, string][] = [
    ['no target', httpRequest('POST', '/', { 'Content-Type': awsJson }, '{}'), 'Unknown'],
    [
      "another service's target",
      httpRequest('POST', '/', {
        'Content-Type': awsJson,
        'X-Amz-Target': 'DynamoDB.Scan',
      }),
      'Scan',
    ],
    ['no content type', httpRequest('POST', '/', { 'X-Amz-Target': 'TrentService.Encrypt' }, '{}'), 'Encrypt'],
    ['plain JSON', awsRequest('Encrypt', '{}', { 'Content-Type': 'application/json' }), 'Encrypt'],
    ['what is no content type', awsRequest('Encrypt', '{}', { 'Content-Type': '///' }), 'Encrypt'],
    ['GET /', httpRequest('GET', '/'), 'Unknown'],
    ['GET /v1/ListKeys', httpRequest('GET', '/v1/ListKeys'), 'ListKeys'],
    [
      'PUT /',
      httpRequest('PUT', '/', { 'Content-Type': awsJson, 'X-Amz-Target': 'TrentService.Encrypt' }, '{}'),
      'Encrypt',
    ],
    ['POST to another path', httpRequest('POST', '/other', {}, '{}'), 'Unknown'],
    ['POST /v1/', httpRequest('POST', '/v1/', {}, '{}'), 'Unknown'],
    ['a path that cannot be decoded', httpRequest('POST', '/v1/%zz', {}, '{}'), '%zz'],
    ['DELETE', httpRequest('DELETE', '/v1/Encrypt'), 'Encrypt'],
  ];
  test.each(unknown)(
    '(%s) is refused with UnknownOperationException, and on record',
    async (_name, text, operationName) => {
      const answer = await exchange(text);
      expect(answer.status).toBe(400);
      expect(JSON.parse(answer.body)).toMatchObject({
        __type: 'UnknownOperationException',
      });
      expect(answer.headers['x-amzn-requestid']).toMatch(uuid);
      expect(wire.noted).toMatchObject([
        {
          operationName,
          refusal: 'UnknownOperationException',
          caller: root,
          requestId: answer.headers['x-amzn-requestid'],
        },
      ]);
    },
  );

  const broken: [string, string, string][] = [
    ['what is not HTTP', '\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n', 'The request is not valid HTTP.'],
    ['a line of noise', 'hello\r\n\r\n', 'The request is not valid HTTP.'],
    ['a header without a colon', 'POST / HTTP/1.1\r\nHost kms\r\n\r\n', 'The request is not valid HTTP.'],
    [
      'two lengths',
      'POST / HTTP/1.1\r\nHost: k\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n',
      'The request is not valid HTTP.',
    ],
    ['a negative length', awsRequest('Encrypt', '', { 'Content-Length': '-1' }), 'The request is not valid HTTP.'],
    [
      'one huge header',
      awsRequest('Encrypt', '{}', { 'X-Flood': 'x'.repeat(100_000) }),
      'The headers of the request are too large.',
    ],
    [
      'ten thousand headers',
      awsRequest(
        'Encrypt',
        '{}',
        Object.fromEntries(Array.from({ length: 10_000 }, (_, index) => [`X-${index}`, 'y'])),
      ),
      'The headers of the request are too large.',
    ],
    ['a URL of 100 KB', httpRequest('POST', `/v1/${'a'.repeat(100_000)}`), 'The headers of the request are too large.'],
  ];
  test.each(broken)(
    '(%s) is refused with SerializationException, on record, and the connection closed',
    async (_name, text, message) => {
      const client = new RawClient(wire.path).send(text);
      const [answer] = parseAnswers(await client.closed);
      expect(answer).toMatchObject({
        status: 400,
        headers: { connection: 'close', 'content-type': awsJson },
      });
      expect(JSON.parse(answer?.body ?? '')).toEqual({
        __type: 'SerializationException',
        message,
      });
      expect(answer?.headers['x-amzn-requestid']).toMatch(uuid);
      expect(wire.noted).toMatchObject([
        {
          operationName: 'Unknown',
          refusal: 'SerializationException',
          caller: root,
        },
      ]);
    },
  );

  test('comes after answers to earlier requests of the same connection, never before them', async () => {
    let release = (): void => undefined;
    wire.hold = new Promise((resolve) => {
      release = resolve;
    });
    const client = new RawClient(wire.path).send(`${awsRequest('First')}nonsense\r\n\r\n`);
    await expect.poll(() => wire.noted.length).toBeGreaterThan(0);
    await delay(50);
    expect(client.received).toBe('');
    release();
    const answers = parseAnswers(await client.closed);
    expect(answers.map(({ status }) => status)).toEqual([200, 400]);
    expect(wire.noted.length).toBe(2);
    expect(JSON.parse(answers[0]?.body ?? '').ran).toBe('First');
  });
});

describe('a body that is too large', () => {
  const refusal = {
    __type: 'RequestEntityTooLargeException',
    message: 'The request body must not be larger than 262144 bytes.',
  };

  test('is refused at its declared length, before it is sent', async () => {
    const client = new RawClient(wire.path).send(awsRequest('Encrypt', '', { 'Content-Length': '1073741824' }));
    const [answer] = parseAnswers(await client.closed);
    expect(answer).toMatchObject({
      status: 400,
      headers: { connection: 'close' },
    });
    expect(JSON.parse(answer?.body ?? '')).toEqual(refusal);
    expect(wire.noted).toMatchObject([{ operationName: 'Encrypt', refusal: refusal.__type, caller: root }]);
  });

  test.each([
    ['with its length', { 'Content-Length': '1073741824' }],
    ['in chunks', { 'Transfer-Encoding': 'chunked' }],
  ])('of 1 GB %s is given up early, and the client still gets the answer', async (_name, headers) => {
    const client = new RawClient(wire.path).send(awsRequest('Encrypt', '', headers));
    const piece = Buffer.alloc(64 * 1024, 'x');
    const chunk =
      'Content-Length' in headers ? piece : Buffer.concat([Buffer.from('10000\r\n'), piece, Buffer.from('\r\n')]);
    let isOpen = true;
    void client.closed.then(() => {
      isOpen = false;
    });
    let sentBytes = 0;
    while (isOpen && sentBytes < 1024 ** 3) {
      sentBytes += chunk.length;
      if (!client.socket.write(chunk)) {
        await Promise.race([client.closed, new Promise((resolve) => client.socket.once('drain', resolve))]);
      }
    }
    const answers = parseAnswers(await client.closed);
    expect(answers).toHaveLength(1);
    expect(JSON.parse(answers[0]?.body ?? '')).toEqual(refusal);
    expect(sentBytes).toBeLessThan(16 * 1024 * 1024);
  });

  test('takes no further request of its connection with it', async () => {
    const large = awsRequest('Large', 'x'.repeat(262_145));
    const answers = parseAnswers(await new RawClient(wire.path).send(`${large}${awsRequest('Smuggled')}`).closed);
    expect(answers).toHaveLength(1);
    expect(wire.noted.map(({ operationName }) => operationName)).toEqual(['Large']);
  });
});

describe('the daemon about itself', () => {
  test('says that it is healthy to whoever asks', async () => {
    const answer = await exchange(httpRequest('GET', '/health'));
    expect(answer).toMatchObject({
      status: 200,
      body: '{"status":"ok","reason":null}',
    });
    expect(answer.headers['x-amzn-requestid']).toMatch(uuid);
    expect(wire.noted).toEqual([]);
  });

  test("gives its status to the account's root", async () => {
    expect(await exchange(httpRequest('GET', '/status'))).toMatchObject({
      status: 200,
      body: '{"version":"test"}',
    });
    expect(await exchange(httpRequest('GET', '/status/keys/known'))).toMatchObject({
      status: 200,
      body: '{"keyId":"known"}',
    });
  });

  test('says so when there is no such key', async () => {
    const answer = await exchange(httpRequest('GET', '/status/keys/other'));
    expect(answer).toMatchObject({
      status: 400,
      body: '{"__type":"NotFoundException","message":"Key \'other\' does not exist"}',
    });
  });
});

test('A listener that cannot be opened says why, and what to do', async () => {
  // TEST-NET-1 (RFC 5737): no machine has it.
  await expect(startWire({}, 'tcp', {}, {}, { host: '192.0.2.1' })).rejects.toThrow(
    /^cannot listen on `192\.0\.2\.1:\d+`: EADDRNOTAVAIL: this machine has no such address; configure one that/,
  );
});
