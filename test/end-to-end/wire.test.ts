/** The AWS JSON 1.1 protocol and its second spelling under `/v1/`, byte for byte, as SDKs rely on it. */

import { randomBytes } from 'node:crypto';
import { readdirSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { beforeAll, expect, test } from 'vitest';
import { awsRequest, httpRequest, RawClient } from '../http/wire.ts';
import { uuid } from './support/arns.ts';
import { describeDaemon, newKey } from './support/daemon.ts';
import { examples } from './support/examples.ts';
import { hasInMemory } from './support/process-memory.ts';
import { invalid, problem, refusal } from './support/refusals.ts';
import { call, callV1, errorIn, json, send } from './support/wire.ts';

const plaintext = Buffer.from('x').toString('base64');
const builtOperations = examples.map(({ operation }) => operation);

/** Every operation that the SDK knows, read from its files: one command, one file. */
function sdkOperations(): string[] {
  const main = createRequire(import.meta.url).resolve('@aws-sdk/client-kms');
  const commands = join(dirname(dirname(main)), 'dist-types', 'commands');
  return readdirSync(commands)
    .filter((name) => name.endsWith('Command.d.ts'))
    .map((name) => name.slice(0, -'Command.d.ts'.length));
}

describeDaemon('The wire', (daemon) => {
  let id: string;
  beforeAll(async () => {
    id = (await newKey(daemon().kms)).id;
  });

  test('an answer is AWS JSON 1.1 with a request id', async () => {
    const answer = await call(daemon().socket, 'ListKeys', {});
    expect(answer.status).toBe(200);
    expect(answer.headers['content-type']).toBe('application/x-amz-json-1.1');
    expect(answer.headers['x-amzn-requestid']).toMatch(uuid);
    expect(Number(answer.headers['content-length'])).toBe(Buffer.byteLength(answer.body));
  });

  test.skipIf(process.getuid?.() !== 0)(
    'a plaintext is nowhere in the memory of the daemon once it is encrypted',
    async () => {
      const { instance, socket } = daemon();
      const canary = randomBytes(48);
      const body = JSON.stringify({ KeyId: id, Plaintext: canary.toString('base64') });
      const whole = awsRequest('Encrypt', body);
      const inPieces = new RawClient(socket).send(whole.slice(0, -40));
      await delay(20);
      inPieces.send(whole.slice(-40));
      await inPieces.answers(1);
      const many = new RawClient(socket).send(whole.repeat(40));
      await many.answers(40);
      const toNode = new RawClient(socket).send(
        httpRequest('GET', '/health') + whole + httpRequest('POST', '/v1/Encrypt', {}, body),
      );
      expect((await toNode.answers(3)).map(({ status }) => status)).toEqual([200, 200, 200]);
      // The search finds what there is: of a body that is not all there, what came.
      const begun = randomBytes(24).toString('hex');
      const stays = new RawClient(socket).send(awsRequest('Encrypt', begun, { 'Content-Length': '1000' }));
      await expect.poll(() => hasInMemory(instance.pid, Buffer.from(begun))).toBe(true);
      expect(hasInMemory(instance.pid, canary)).toBe(false);
      expect(hasInMemory(instance.pid, Buffer.from(canary.toString('base64')))).toBe(false);
      for (const { socket: client } of [inPieces, many, toNode, stays]) client.destroy();
    },
  );

  test.skipIf(process.getuid?.() !== 0)(
    'the password of a custom key store is in no memory of the daemon once its request was answered',
    async () => {
      const { instance, socket } = daemon();
      const canary = `pw-${randomBytes(12).toString('hex')}`;
      const request = JSON.stringify({
        ...{ CustomKeyStoreName: 'payments', CloudHsmClusterId: 'cluster-1a23b4cdefg' },
        ...{ TrustAnchorCertificate: 'none', KeyStorePassword: canary },
      });
      const update = JSON.stringify({ CustomKeyStoreId: 'cks-1234567890abcdef0', KeyStorePassword: canary });
      const asked = [
        ['CreateCustomKeyStore', request],
        ['CreateCustomKeyStore', request.slice(0, -1)],
        ['UpdateCustomKeyStore', update],
      ] as const;
      for (const [operation, body] of asked) {
        const client = new RawClient(socket).send(awsRequest(operation, body));
        expect((await client.answers(1)).map(({ status }) => status)).toEqual([400]);
        client.socket.destroy();
      }
      expect(hasInMemory(instance.pid, Buffer.from(canary))).toBe(false);
    },
  );

  test('an error is status 400, a type without a namespace, a message and a request id', async () => {
    const answer = await call(daemon().socket, 'DescribeKey', { KeyId: 'nothing' });
    expect(answer.status).toBe(400);
    expect(json(answer)).toEqual({ __type: 'NotFoundException', message: "Invalid keyId 'nothing'" });
    expect(answer.headers['content-type']).toBe('application/x-amz-json-1.1');
    expect(answer.headers['x-amzn-requestid']).toMatch(uuid);
  });

  test('the SDK hands on the request id, of answers and of errors, and no two are equal', async () => {
    const { kms } = daemon();
    const answered = (await kms.listKeys({ Limit: 1 })).$metadata;
    expect(answered.requestId).toMatch(uuid);
    const failed = await kms.describeKey({ KeyId: 'nothing' }).then(
      () => undefined,
      (error: { $metadata: { requestId?: string; httpStatusCode?: number } }) => error.$metadata,
    );
    expect(failed).toMatchObject({ requestId: expect.stringMatching(uuid), httpStatusCode: 400 });
    expect(failed?.requestId).not.toBe(answered.requestId);
  });

  test.each(builtOperations)('%s is there', async (operation) => {
    const { name } = errorIn(await call(daemon().socket, operation, '{'));
    expect(name).toBe('SerializationException');
  });

  test.each(sdkOperations().filter((name) => !builtOperations.includes(name)))(
    '%s, which is not there yet, is refused by name',
    async (operation) => {
      const answer = await call(daemon().socket, operation, { KeyId: id });
      expect(answer.status).toBe(400);
      const { name, message } = errorIn(answer);
      expect(name).toBe('UnsupportedOperationException');
      expect(message).toContain(operation);
    },
  );

  test.each(['FrobnicateKey', 'encrypt', 'ENCRYPT', '__proto__', 'constructor', 'toString', 'Encrypt.json'])(
    'the operation %j is unknown',
    async (operation) => {
      const answer = await call(daemon().socket, operation, { KeyId: id, Plaintext: plaintext });
      expect(answer.status).toBe(400);
      expect(errorIn(answer).name).toBe('UnknownOperationException');
    },
  );

  test.each([
    ['another service', 'DynamoDB_20120810.Encrypt'],
    ['no service', 'Encrypt'],
    ['nothing', ''],
    ['a service alone', 'TrentService.'],
    ['a service in another case', 'trentservice.Encrypt'],
  ])('a target with %s is unknown', async (_, target) => {
    const answer = await send(daemon().socket, {
      headers: { 'content-type': 'application/x-amz-json-1.1', 'x-amz-target': target },
      body: '{}',
    });
    expect(answer.status).toBe(400);
    expect(errorIn(answer).name).toBe('UnknownOperationException');
  });

  test('a request without a target is unknown', async () => {
    const answer = await send(daemon().socket, {
      headers: { 'content-type': 'application/x-amz-json-1.1' },
      body: '{}',
    });
    expect(answer.status).toBe(400);
    expect(errorIn(answer).name).toBe('UnknownOperationException');
  });

  test.each([
    ['text', 'not json'],
    ['nothing but a bracket', '{'],
    ['single quotes', "{'KeyId':'x'}"],
    ['a trailing comma', '{"KeyId":"x",}'],
    ['two objects', '{}{}'],
    ['bytes that are no UTF-8', Buffer.from([0x7b, 0x22, 0xff, 0xfe, 0x22, 0x3a, 0x31, 0x7d])],
    ['a list', '[]'],
    ['a string', '"KeyId"'],
    ['a number', '7'],
    ['null', 'null'],
    ['true', 'true'],
  ])('a body that is %s cannot be read', async (_, body) => {
    const answer = await call(daemon().socket, 'DescribeKey', body);
    expect(answer.status).toBe(400);
    expect(errorIn(answer).name).toBe('SerializationException');
  });

  test.each([
    ['a number for a string', 'DescribeKey', { KeyId: 7 }],
    ['a boolean for a string', 'DescribeKey', { KeyId: true }],
    ['a list for a string', 'DescribeKey', { KeyId: ['x'] }],
    ['an object for a string', 'DescribeKey', { KeyId: {} }],
    ['a string for a number', 'ListKeys', { Limit: '10' }],
    ['a fraction for a whole number', 'ListKeys', { Limit: 1.5 }],
    ['a number beyond 32 bits', 'ListKeys', { Limit: 4_294_967_297 }],
    ['a string for a boolean', 'Encrypt', { KeyId: 'x', Plaintext: plaintext, DryRun: 'true' }],
    ['a number for a boolean', 'Encrypt', { KeyId: 'x', Plaintext: plaintext, DryRun: 1 }],
    ['a number for a blob', 'Encrypt', { KeyId: 'x', Plaintext: 7 }],
    ['a list of bytes for a blob', 'Encrypt', { KeyId: 'x', Plaintext: [1, 2, 3] }],
    ['an object for a list', 'CreateKey', { Tags: { TagKey: 'a', TagValue: 'b' } }],
    ['a string for a list', 'Encrypt', { KeyId: 'x', Plaintext: plaintext, GrantTokens: 'token' }],
    ['a number in a list of strings', 'Encrypt', { KeyId: 'x', Plaintext: plaintext, GrantTokens: [1] }],
    ['a string in a list of objects', 'CreateKey', { Tags: ['a=b'] }],
    ['null in a list', 'CreateKey', { Tags: [null] }],
    ['a list for a map', 'Encrypt', { KeyId: 'x', Plaintext: plaintext, EncryptionContext: ['a', 'b'] }],
    ['a string for a map', 'Encrypt', { KeyId: 'x', Plaintext: plaintext, EncryptionContext: 'a=b' }],
    ['a number in a map of strings', 'Encrypt', { KeyId: 'x', Plaintext: plaintext, EncryptionContext: { a: 1 } }],
    ['null in a map of strings', 'Encrypt', { KeyId: 'x', Plaintext: plaintext, EncryptionContext: { a: null } }],
    ['an object in a map of strings', 'Encrypt', { KeyId: 'x', Plaintext: plaintext, EncryptionContext: { a: {} } }],
  ])('%s cannot be read', async (_, operation, body) => {
    const answer = await call(daemon().socket, operation, body);
    expect(answer.status).toBe(400);
    expect(errorIn(answer).name).toBe('SerializationException');
    expect(errorIn(answer).message.length).toBeGreaterThan(0);
  });

  test.each(['x', '====', 'YQ', 'YQ=', 'Y Q==', 'YQ==\n', 'YQ==YQ==', 'YQ-_', '💥', 'data:;base64,YQ=='])(
    '%j is not base64',
    async (Plaintext) => {
      const answer = await call(daemon().socket, 'Encrypt', { KeyId: id, Plaintext });
      expect(answer.status).toBe(400);
      expect(errorIn(answer).name).toBe('SerializationException');
      expect(errorIn(answer).message).not.toContain(Plaintext);
    },
  );

  test('a lone surrogate is no text', async () => {
    const body = `{"KeyId":"${id}","Plaintext":"${plaintext}","EncryptionContext":{"a":"\\ud800"}}`;
    expect(errorIn(await call(daemon().socket, 'Encrypt', body)).name).toBe('SerializationException');
  });

  test('members that are null are absent', async () => {
    const body = {
      KeyId: id,
      Plaintext: plaintext,
      EncryptionContext: null,
      GrantTokens: null,
      DryRun: null,
      EncryptionAlgorithm: null,
    };
    expect((await call(daemon().socket, 'Encrypt', body)).status).toBe(200);
  });

  test('everything that is wrong with a request stands in one error', async () => {
    const answer = await call(daemon().socket, 'CreateAlias', { AliasName: 'alias/no spaces', TargetKeyId: '' });
    const { name, message } = errorIn(answer);
    expect(name).toBe('ValidationException');
    const [, problems] = /^2 validation errors detected: (.*)$/.exec(message) ?? [];
    expect(problems?.split('; ').sort()).toEqual(
      [
        "Value 'alias/no spaces' at 'aliasName' failed to satisfy constraint: Member must satisfy regular expression pattern: ^[a-zA-Z0-9:/_-]+$",
        problem.tooShort('', 'targetKeyId', 1),
      ].sort(),
    );
  });

  test('everything that is missing stands in one error', async () => {
    const { message } = errorIn(await call(daemon().socket, 'Encrypt', {}));
    const [, problems] = /^2 validation errors detected: (.*)$/.exec(message) ?? [];
    expect(problems?.split('; ').sort()).toEqual([problem.missing('keyId'), problem.missing('plaintext')].sort());
  });

  test('a sensitive value is not repeated in the error about it', async () => {
    const secret = Buffer.alloc(5000, 's').toString('base64');
    const answer = await call(daemon().socket, 'Encrypt', { KeyId: id, Plaintext: secret });
    expect(errorIn(answer)).toEqual(invalid(problem.blobTooLong('plaintext', 4096)));
    expect(answer.body.length).toBeLessThan(500);
  });

  test('a member that a newer SDK may send is ignored on the AWS wire and is a typing error under /v1/', async () => {
    const body = { KeyId: id, Plaintext: plaintext, EncryptionContxt: { a: 'b' } };
    expect((await call(daemon().socket, 'Encrypt', body)).status).toBe(200);
    const answer = await callV1(daemon().socket, 'Encrypt', body);
    expect(answer.status).toBe(400);
    expect(errorIn(answer).name).toBe('ValidationException');
    expect(errorIn(answer).message).toContain('EncryptionContxt');
  });

  test('/v1/ speaks plain JSON with the same members, without any header', async () => {
    const { socket } = daemon();
    const encrypted = await callV1(socket, 'Encrypt', { KeyId: id, Plaintext: plaintext });
    expect(encrypted.status).toBe(200);
    const CiphertextBlob = json(encrypted)['CiphertextBlob'];
    const decrypted = await callV1(socket, 'Decrypt', { CiphertextBlob });
    expect(json(decrypted)['Plaintext']).toBe(plaintext);
    expect(decrypted.headers['x-amzn-requestid']).toMatch(uuid);
  });

  test('text that was wrapped by `base64` is refused with the reason, and not with the text', async () => {
    const wrapped = Buffer.alloc(80, 's').toString('base64').replace(/.{76}/, '$&\n');
    const { name, message } = errorIn(
      await callV1(daemon().socket, 'Encrypt', `{"KeyId":"${id}","Plaintext":"${wrapped}"}`),
    );
    expect(name).toBe('SerializationException');
    expect(message).toMatch(/not JSON: see position \d+; a string has a line break .*`base64 -w0`/);
    expect(message).not.toContain('c3Nz');
  });

  test("/v1/ takes curl's own content type, and JSON's", async () => {
    for (const type of ['application/x-www-form-urlencoded', 'application/json', 'text/plain']) {
      const answer = await send(daemon().socket, {
        path: '/v1/ListKeys',
        headers: { 'content-type': type },
        body: '{}',
      });
      expect(answer.status).toBe(200);
    }
  });

  test('/v1/ has the same errors', async () => {
    const { socket } = daemon();
    expect(errorIn(await callV1(socket, 'DescribeKey', { KeyId: 'nothing' })).name).toBe('NotFoundException');
    for (const operation of sdkOperations().filter((name) => !builtOperations.includes(name))) {
      expect(errorIn(await callV1(socket, operation, {})).name).toBe('UnsupportedOperationException');
    }
    expect(errorIn(await callV1(socket, 'FrobnicateKey', {})).name).toBe('UnknownOperationException');
    expect(errorIn(await callV1(socket, 'DescribeKey', 'not json')).name).toBe('SerializationException');
  });

  test('one connection carries one request after the other, refused ones too', async () => {
    const { kms } = daemon();
    for (let round = 0; round < 20; round += 1) {
      await kms.describeKey({ KeyId: id });
      expect((await refusal(kms.describeKey({ KeyId: 'nothing' }))).name).toBe('NotFoundException');
    }
  });
});
