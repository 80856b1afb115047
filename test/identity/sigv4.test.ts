import { once } from 'node:events';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { DescribeKeyCommand, EncryptCommand, KMSClient, type KMSClientConfig } from '@aws-sdk/client-kms';
import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { Caller } from '../../src/identity/caller.ts';
import { RequestVerifier } from '../../src/identity/request-verifier.ts';
import { ScopedKeys } from '../../src/identity/scoped-keys.ts';
import type { FindSigningKey, SigningKey } from '../../src/identity/signing-key.ts';
import type { ServiceName, SignedRequestParts } from '../../src/identity/sigv4.ts';
import { KmsError } from '../../src/kms/errors.ts';
import { type Realm, rootArn } from '../../src/kms/names.ts';
import { Secret } from '../../src/secrets/secret-bytes.ts';

const realm: Realm = { region: 'us-east-1', account: '000000000000' };
const accessKeyId = 'AKIDEXAMPLE';
const secretAccessKey = 'wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY';
const caller = { type: 'Root', arn: rootArn(realm), accountId: realm.account } as const;

function signingKey(secret: string): SigningKey {
  const bytes = Buffer.alloc(Buffer.byteLength(secret));
  bytes.write(secret);
  return { keys: ScopedKeys.of(new Secret(bytes)), caller };
}

const key = signingKey(secretAccessKey);
const findKey: FindSigningKey = (id, sessionToken) =>
  id === accessKeyId && sessionToken === undefined ? key : undefined;

/** What the unmodified SDK sends, as it arrives at a real server. */
let server: Server;
let endpoint: string;
let received: SignedRequestParts | undefined;

beforeAll(async () => {
  server = createServer(async (message, response) => {
    const pieces: Buffer[] = [];
    for await (const piece of message) pieces.push(piece as Buffer);
    const { method = '', url: path = '', rawHeaders } = message;
    received = { method, path, rawHeaders, body: Buffer.concat(pieces), sourceIp: '127.0.0.1' };
    response.setHeader('content-type', 'application/x-amz-json-1.1').end('{}');
  }).listen(0, '127.0.0.1');
  await once(server, 'listening');
  endpoint = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
});

afterAll(() => {
  server.close();
});

async function signedBySdk(
  options: Partial<KMSClientConfig> = {},
  send: (client: KMSClient) => Promise<unknown> = (client) =>
    client.send(new EncryptCommand({ KeyId: 'alias/app', Plaintext: Buffer.from('attack at dawn') })),
): Promise<SignedRequestParts> {
  const client = new KMSClient({
    endpoint,
    region: realm.region,
    credentials: { accessKeyId, secretAccessKey },
    maxAttempts: 1,
    ...options,
  });
  received = undefined;
  await send(client);
  client.destroy();
  if (received === undefined) throw new Error('nothing arrived');
  return received;
}

/** What somebody else can do to a request on its way. */
const change = {
  header:
    (name: string, to: (value: string) => string) =>
    (request: SignedRequestParts): SignedRequestParts => ({
      ...request,
      rawHeaders: request.rawHeaders.map((text, index) =>
        index % 2 === 1 && request.rawHeaders[index - 1]?.toLowerCase() === name ? to(text) : text,
      ),
    }),
  without:
    (name: string) =>
    (request: SignedRequestParts): SignedRequestParts => ({
      ...request,
      rawHeaders: request.rawHeaders.filter(
        (_, index) => request.rawHeaders[index - (index % 2)]?.toLowerCase() !== name,
      ),
    }),
  plus:
    (...header: readonly [string, string]) =>
    (request: SignedRequestParts): SignedRequestParts => ({
      ...request,
      rawHeaders: [...request.rawHeaders, ...header],
    }),
  authorization: (pattern: RegExp | string, replacement: string) =>
    change.header('authorization', (value) => value.replace(pattern, replacement)),
};

/** As a daemon does that has been running for an hour. */
function verify(
  request: SignedRequestParts,
  now = new Date(),
  service: ServiceName = 'kms',
  find: typeof findKey = findKey,
): Caller {
  let nowMs = now.getTime() - 3_600_000;
  const verifier = new RequestVerifier({ regions: [realm.region], findKey: find, clock: () => nowMs });
  nowMs = now.getTime();
  const caller = verifier.verify(request, service);
  if (caller instanceof Promise) throw new TypeError('a key that is known is no promise');
  return caller;
}

const mismatch = new KmsError(
  'InvalidSignatureException',
  'The request signature we calculated does not match the signature you provided. Check your AWS Secret Access Key and signing method. Consult the service documentation for details.',
);
const unrecognized = new KmsError(
  'UnrecognizedClientException',
  'The security token included in the request is invalid.',
);
const missingToken = new KmsError('MissingAuthenticationTokenException', 'Missing Authentication Token');

function refusal(attempt: () => unknown): { name: string; message: string } {
  try {
    attempt();
  } catch (error) {
    if (error instanceof KmsError) return { name: error.name, message: error.message };
    throw error;
  }
  throw new Error('the request was taken');
}

const named = ({ name, message }: KmsError) => ({ name, message });

describe('a request that the AWS SDK signed', () => {
  test('is its access key’s owner’s', async () => {
    expect(verify(await signedBySdk())).toEqual({
      ...caller,
      proof: { kind: 'sigv4', accessKeyId, region: realm.region, sourceIp: '127.0.0.1' },
    });
  });

  test.each([
    ['without a body to speak of', (client: KMSClient) => client.send(new DescribeKeyCommand({ KeyId: 'x' }))],
    [
      'with text beyond ASCII in its body',
      (client: KMSClient) =>
        client.send(
          new EncryptCommand({ KeyId: 'ü€😀', Plaintext: Buffer.alloc(4096), EncryptionContext: { ключ: '値' } }),
        ),
    ],
  ])('is taken %s', async (_, send) => {
    expect(verify(await signedBySdk({}, send)).arn).toBe(caller.arn);
  });

  test('is taken from an endpoint with a path and a query', async () => {
    const request = await signedBySdk({ endpoint: `${endpoint}/a b/%C3%BC/./x//y~z*(1)?b=2&a=%20x&a=1&empty` });
    expect(verify(request).arn).toBe(caller.arn);
  });

  test('is refused after it was taken, where it waits and its access key is revoked', async () => {
    let isRevoked = false;
    const { proof } = verify(await signedBySdk(), new Date(), 'kms', (...asked) => {
      const key = findKey(...asked);
      return key && { ...key, isRevoked: () => isRevoked };
    });
    const refusalNow = () => (proof.kind === 'sigv4' ? proof.refusal?.() : undefined);
    expect(refusalNow()).toBeUndefined();
    isRevoked = true;
    expect(refusalNow()).toEqual(unrecognized);
  });

  test('is refused when it was signed with another secret', async () => {
    const request = await signedBySdk({ credentials: { accessKeyId, secretAccessKey: `${secretAccessKey}x` } });
    expect(refusal(() => verify(request))).toEqual(named(mismatch));
  });

  test('is refused when its access key is not known', async () => {
    const request = await signedBySdk({ credentials: { accessKeyId: 'AKIDOTHER', secretAccessKey } });
    expect(refusal(() => verify(request))).toEqual(named(unrecognized));
  });

  test('is refused when it carries a session token that does not go with its access key', async () => {
    const request = await signedBySdk({ credentials: { accessKeyId, secretAccessKey, sessionToken: 'token' } });
    expect(refusal(() => verify(request))).toEqual(named(unrecognized));
  });

  test('is refused when it was signed for another Region', async () => {
    const request = await signedBySdk({ region: 'eu-central-1' });
    expect(refusal(() => verify(request))).toEqual({
      name: 'InvalidSignatureException',
      message: "Credential should be scoped to a valid region, not 'eu-central-1'.",
    });
  });

  test('is good for five minutes before and after, to the second', async () => {
    const request = await signedBySdk();
    const text =
      request.rawHeaders[request.rawHeaders.findIndex((name) => name.toLowerCase() === 'x-amz-date') + 1] ?? '';
    const atMs = Date.parse(text.replace(/^(....)(..)(..)T(..)(..)(..)Z$/, '$1-$2-$3T$4:$5:$6Z'));
    const basic = (ms: number): string => new Date(ms).toISOString().replace(/[-:]/g, '').replace('.000', '');
    const minutes = 60_000;
    expect(verify(request, new Date(atMs + 5 * minutes)).arn).toBe(caller.arn);
    expect(verify(request, new Date(atMs - 5 * minutes)).arn).toBe(caller.arn);
    expect(refusal(() => verify(request, new Date(atMs + 5 * minutes + 1000)))).toEqual({
      name: 'InvalidSignatureException',
      message: `Signature expired: ${text} is now earlier than ${basic(atMs + 1000)} (${basic(atMs + 5 * minutes + 1000)} - 5 min.)`,
    });
    expect(refusal(() => verify(request, new Date(atMs - 5 * minutes - 1000)))).toEqual({
      name: 'InvalidSignatureException',
      message: `Signature not yet current: ${text} is still later than ${basic(atMs - 1000)} (${basic(atMs - 5 * minutes - 1000)} + 5 min.)`,
    });
  });
});

describe('a signed request that somebody changed is refused:', () => {
  test.each<[string, (request: SignedRequestParts) => SignedRequestParts]>([
    ['another operation', change.header('x-amz-target', () => 'TrentService.ScheduleKeyDeletion')],
    ['another host', change.header('host', () => 'kms.us-east-1.amazonaws.com')],
    ['another method', (request) => ({ ...request, method: 'PUT' })],
    ['another path', (request) => ({ ...request, path: '/v1/Encrypt' })],
    ['a query', (request) => ({ ...request, path: '/?a=b' })],
    ['a query that is another signature', (request) => ({ ...request, path: '/?X-Amz-Signature=00' })],
    ['a query with the name of another signature encoded', (request) => ({ ...request, path: '/?X%2DAmz-Signature' })],
    ['an empty body', (request) => ({ ...request, body: Buffer.alloc(0) })],
    ['a longer body', (request) => ({ ...request, body: Buffer.concat([request.body, Buffer.from(' ')]) })],
    [
      'another date on the same day',
      change.header('x-amz-date', (text) => text.replace(/(\d)Z$/, (_, d) => `${(Number(d) + 1) % 10}Z`)),
    ],
    ['a second target', change.plus('X-Amz-Target', 'TrentService.Decrypt')],
    ['a second host', change.plus('host', 'x')],
    ['no target', change.without('x-amz-target')],
    ['no host', change.without('host')],
    ['a signature in capitals', change.authorization(/[0-9a-f]{64}$/, 'A'.repeat(64))],
    ['a signature that is too short', change.authorization(/.$/, '')],
    ['a signature that is too long', change.authorization(/$/, '0')],
    ['a signature of nothing but zeros', change.authorization(/[0-9a-f]{64}$/, '0'.repeat(64))],
    ['a body that is said to be unsigned', change.header('x-amz-content-sha256', () => 'UNSIGNED-PAYLOAD')],
  ])('%s', async (_, changed) => {
    const request = await signedBySdk();
    expect(verify(request).arn).toBe(caller.arn);
    expect(refusal(() => verify(changed(request)))).toEqual(named(mismatch));
  });

  test('any bit of body, signature, host, target or date', async () => {
    const request = await signedBySdk();
    const flip = (text: string, at: number, bit: number): string => {
      const index = at % text.length;
      return text.slice(0, index) + String.fromCharCode(text.charCodeAt(index) ^ (1 << bit)) + text.slice(index + 1);
    };
    const place = fc.constantFrom('body', 'authorization', 'host', 'x-amz-target', 'x-amz-date', 'content-type');
    fc.assert(
      fc.property(place, fc.nat(), fc.nat(6), (where, at, bit) => {
        const isInSpace = (text: string): boolean => /^\s/.test(text) || /\s$/.test(text);
        const changed =
          where === 'body'
            ? { ...request, body: Buffer.from(flip(request.body.toString('latin1'), at, bit), 'latin1') }
            : change.header(where, (text) => (isInSpace(flip(text, at, bit)) ? `${text}x` : flip(text, at, bit)))(
                request,
              );
        // Names of signed headers are compared without regard to case, and the space between parameters is free.
        const authorizationOf = ({ rawHeaders }: SignedRequestParts): string =>
          rawHeaders[rawHeaders.findIndex((name) => name.toLowerCase() === 'authorization') + 1] ?? '';
        fc.pre(
          authorizationOf(changed).toLowerCase() !== authorizationOf(request).toLowerCase() ||
            where !== 'authorization',
        );
        expect(() => verify(changed)).toThrow(KmsError);
      }),
      { numRuns: 2000 },
    );
  });
});

describe('a request that is not signed as it has to be is refused in AWS’s words:', () => {
  const incomplete = (message: string): KmsError => new KmsError('IncompleteSignatureException', message);
  const invalid = (message: string): KmsError => new KmsError('InvalidSignatureException', message);
  const requires = (name: string): string => `Authorization header requires '${name}' parameter.`;
  const signedHeader = (name: string): KmsError =>
    invalid(`'${name}' must be a 'SignedHeader' in the AWS Authorization.`);
  const notSigned = (name: string) => change.authorization(new RegExp(`(SignedHeaders=.*?);?\\b${name}\\b`), '$1');

  test.each<[string, (request: SignedRequestParts) => SignedRequestParts, KmsError]>([
    ['no Authorization', change.without('authorization'), missingToken],
    ['an empty Authorization', change.header('authorization', () => ''), missingToken],
    ['a password', change.header('authorization', () => 'Basic dXNlcjpwYXNz'), missingToken],
    ['two Authorizations', change.plus('Authorization', 'AWS4-HMAC-SHA256 x=y'), missingToken],
    [
      'only the algorithm',
      change.header('authorization', () => 'AWS4-HMAC-SHA256'),
      incomplete(['Credential', 'Signature', 'SignedHeaders'].map(requires).join(' ')),
    ],
    ['no Credential', change.authorization(/Credential=[^,]*,/, ''), incomplete(requires('Credential'))],
    ['an empty Signature', change.authorization(/Signature=.*/, 'Signature='), incomplete(requires('Signature'))],
    ['no SignedHeaders', change.authorization(/SignedHeaders=[^,]*,/, ''), incomplete(requires('SignedHeaders'))],
    [
      'a parameter without a value',
      change.authorization(/Credential=[^,]*,/, 'Credential,'),
      incomplete("'Credential' not a valid key=value pair (missing equal-sign) in Authorization header."),
    ],
    [
      'two Signatures',
      change.authorization(/$/, `, Signature=${'0'.repeat(64)}`),
      incomplete("Authorization header has the 'Signature' parameter twice."),
    ],
    [
      'no date',
      change.without('x-amz-date'),
      incomplete("Authorization header requires existence of either a 'X-Amz-Date' or a 'Date' header."),
    ],
    ...['today', '2015-08-30T12:36:00Z', '20151330T123600Z', '20150830T123600', '20150830T123600Z '].map(
      (text): [string, (request: SignedRequestParts) => SignedRequestParts, KmsError] => [
        `the date ${JSON.stringify(text)}`,
        change.header('x-amz-date', () => text),
        incomplete(`Date must be in ISO-8601 'basic format'. Got '${text}'. See http://en.wikipedia.org/wiki/ISO_8601`),
      ],
    ),
    [
      'a host that is not signed',
      notSigned('host'),
      invalid("'Host' or ':authority' must be a 'SignedHeader' in the AWS Authorization."),
    ],
    ['an operation that is not signed', notSigned('x-amz-target'), signedHeader('x-amz-target')],
    ['a date that is not signed', notSigned('x-amz-date'), signedHeader('x-amz-date')],
    ['a header of AWS that was added', change.plus('X-Amz-Other', 'x'), signedHeader('x-amz-other')],
    [
      'another algorithm',
      change.authorization('AWS4-HMAC-SHA256', 'AWS4-HMAC-SHA1'),
      incomplete("Unsupported AWS 'algorithm': 'AWS4-HMAC-SHA1'."),
    ],
    [
      'a credential of two parts',
      change.authorization(/Credential=[^,]*/, 'Credential=AKIDEXAMPLE/20150830'),
      incomplete(
        "Credential must have exactly 5 slash-delimited elements, e.g. keyid/date/region/service/term, got 'AKIDEXAMPLE/20150830'",
      ),
    ],
    [
      'another service',
      change.authorization('/kms/', '/s3/'),
      invalid("Credential should be scoped to correct service: 'kms'."),
    ],
    [
      'another terminator',
      change.authorization('aws4_request', 'aws5_request'),
      invalid("Credential should be scoped with a valid terminator: 'aws4_request', not 'aws5_request'."),
    ],
    ['no access key id', change.authorization('AKIDEXAMPLE', ''), unrecognized],
    [
      'an access key id that is a member of every object',
      change.authorization('AKIDEXAMPLE', '__proto__'),
      unrecognized,
    ],
  ])('%s', async (_, changed, expected) => {
    const request = changed(await signedBySdk());
    expect(refusal(() => verify(request))).toEqual(named(expected));
  });

  test('the day of another signature', async () => {
    const request = await signedBySdk();
    const [, today] = /Credential=[^/]*\/(\d{8})/.exec(request.rawHeaders.join('\n')) ?? [];
    expect(refusal(() => verify(change.authorization(/\/\d{8}\//, '/20150830/')(request))).message).toMatch(
      `Date in Credential scope does not match YYYYMMDD from ISO-8601 version of date from HTTP: '20150830' != '${today}', from '${today}T`,
    );
  });

  test('what a caller wrote is not repeated at length', async () => {
    const request = change.authorization(/Credential=[^,]*/, `Credential=${'x'.repeat(10_000)}`)(await signedBySdk());
    expect(refusal(() => verify(request)).message.length).toBeLessThan(200);
  });

  test('any text in the place of the header', () => {
    fc.assert(
      fc.property(
        fc.oneof(
          fc.string(),
          fc.string().map((text) => `AWS4-HMAC-SHA256 ${text}`),
        ),
        (text) => {
          const rawHeaders = ['Host', 'x', 'X-Amz-Date', '20150830T123600Z', 'Authorization', text];
          const request: SignedRequestParts = {
            method: 'POST',
            path: '/',
            rawHeaders,
            body: Buffer.alloc(0),
            sourceIp: '::1',
          };
          expect(() => verify(request)).toThrow(KmsError);
        },
      ),
    );
  });
});
