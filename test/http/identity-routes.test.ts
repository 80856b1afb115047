import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { httpRequest, parseAnswers, RawClient, startWire, type Wire } from './wire.ts';

let wire: Wire;
beforeAll(async () => {
  wire = await startWire();
});
afterAll(() => wire.close());

async function exchange(method: string, path: string, body = ''): Promise<{ status: number; body: unknown }> {
  const text = await new RawClient(wire.path).send(httpRequest(method, path, { Connection: 'close' }, body)).closed;
  const [answer] = parseAnswers(text);
  if (answer === undefined) throw new Error('there is no answer');
  return { status: answer.status, body: JSON.parse(answer.body) };
}

const refused = (type: string, message: string) => ({ status: 400, body: { __type: type, message } });

describe('access keys', () => {
  test('are made, listed and revoked over the socket, each on record', async () => {
    wire.noted.length = 0;
    const principal = 'arn:aws:iam::000000000000:user/app';
    const made = await exchange('POST', '/access-keys', JSON.stringify({ Principal: principal }));
    const described = {
      AccessKeyId: 'AKIAAAAAAAAAAAAAAAA0',
      Principal: principal,
      CreateDate: '1970-01-01T00:00:00.000Z',
    };
    expect(made).toEqual({ status: 200, body: { ...described, SecretAccessKey: `secret of ${principal}` } });
    expect(await exchange('GET', '/access-keys')).toEqual({ status: 200, body: { AccessKeys: [described] } });
    expect(await exchange('DELETE', `/access-keys/${described.AccessKeyId}`)).toEqual({ status: 200, body: {} });
    expect(await exchange('GET', '/access-keys')).toEqual({ status: 200, body: { AccessKeys: [] } });
    expect(wire.noted.map(({ operationName }) => operationName)).toEqual([
      'CreateAccessKey',
      'ListAccessKeys',
      'DeleteAccessKey',
      'ListAccessKeys',
    ]);
  });

  test('that are not there cannot be revoked', async () => {
    expect(await exchange('DELETE', '/access-keys/AKIANONE')).toEqual(refused('NotFoundException', 'no AKIANONE'));
  });

  test.each([
    ['no body', '', 'ValidationException', 'Principal must be the ARN of a user or of the account.'],
    ['no principal', '{}', 'ValidationException', 'Principal must be the ARN of a user or of the account.'],
    ['a number', '{"Principal":1}', 'ValidationException', 'Principal must be the ARN of a user or of the account.'],
    ['a name', '{"Principal":"app"}', 'ValidationException', 'Principal must be the ARN of a user or of the account.'],
    ['a typing error', '{"Principle":"x"}', 'ValidationException', '`Principle` is not known here.'],
    ['a list', '[]', 'SerializationException', 'The request body is not a JSON object'],
    [
      'more than 4 KB',
      `{}${' '.repeat(4095)}`,
      'RequestEntityTooLargeException',
      'The request body must not be larger than 4096 bytes.',
    ],
    [
      '4 KB of nothing',
      `{}${' '.repeat(4094)}`,
      'ValidationException',
      'Principal must be the ARN of a user or of the account.',
    ],
    ['what is no JSON', '{"secret"', 'SerializationException', 'The request body is not JSON'],
  ])('are not made for %s', async (_, body, type, message) => {
    expect(await exchange('POST', '/access-keys', body)).toEqual(refused(type, message));
  });
});

describe('credentials', () => {
  test('are issued to whoever asks, for as long as they like within bounds', async () => {
    const uid = process.getuid?.();
    const answered = (Expiration: string) => ({
      status: 200,
      body: { AccessKeyId: 'ASIA', SecretAccessKey: 'secret', SessionToken: `uid ${uid}`, Expiration },
    });
    expect(await exchange('POST', '/credentials')).toEqual(answered('1970-01-01T01:00:00.000Z'));
    expect(await exchange('POST', '/credentials', '{"DurationSeconds":900}')).toEqual(
      answered('1970-01-01T00:15:00.000Z'),
    );
  });

  test.each(['899', '3601', '900.5', '"900"', 'null', '1e400'])('are not issued for %s seconds', async (duration) => {
    expect(await exchange('POST', '/credentials', `{"DurationSeconds":${duration}}`)).toEqual(
      refused('ValidationException', 'DurationSeconds must be a whole number from 900 to 3600.'),
    );
  });
});
