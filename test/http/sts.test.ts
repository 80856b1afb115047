/** STS and signed requests on a real loopback listener, and on a Unix socket. */

import { createHash } from 'node:crypto';
import { KMSClient } from '@aws-sdk/client-kms';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { type Answer, accessKey, httpRequest, parseAnswers, RawClient, startWire, type Wire } from './wire.ts';

let tcp: Wire;
let unix: Wire;
beforeAll(async () => {
  tcp = await startWire({}, 'tcp');
  unix = await startWire();
});
afterAll(async () => {
  await tcp?.close();
  await unix?.close();
});

const form = 'application/x-www-form-urlencoded; charset=utf-8';
const whoAmI = 'Action=GetCallerIdentity&Version=2011-06-15';

/** What a presigned request keeps out of its query. */
const inHeaders = new Set(['x-amz-target', 'x-amz-content-sha256']);

interface Plain {
  readonly method: string;
  readonly path: string;
  readonly headers: Record<string, string>;
  readonly body: string;
}

interface Signable {
  readonly query: Record<string, string>;
  readonly headers: Record<string, string>;
  readonly [member: string]: unknown;
}

/** The signer of the unmodified SDK. */
async function sign(
  { method, path, headers, body }: Plain,
  scope: { service?: string; region?: string; at?: Date; presigned?: boolean; secret?: string } = {},
): Promise<Plain> {
  const credentials = { ...accessKey, secretAccessKey: scope.secret ?? accessKey.secretAccessKey };
  const client = new KMSClient({ region: scope.region ?? 'us-east-1', credentials });
  const signer = await client.config.signer();
  const query = Object.fromEntries(new URLSearchParams(path.split('?')[1] ?? ''));
  const { hostname, port } = new URL(tcp.server.address);
  const request: Signable = {
    ...{ method, protocol: 'http:', hostname, port: Number(port), path: '/', query, body },
    headers: { ...headers, host: `${hostname}:${port}` },
  };
  const options = { signingDate: scope.at ?? new Date(), signingService: scope.service ?? 'sts' };
  // The SDK's types name an interface without `presign`, which its own signer has.
  const full = signer as unknown as {
    sign(request: Signable, options: object): Promise<Signable>;
    presign(request: Signable, options: object): Promise<Signable>;
  };
  const signed = scope.presigned
    ? await full.presign(request, { ...options, expiresIn: 60, unhoistableHeaders: inHeaders })
    : await full.sign(request, options);
  client.destroy();
  const search = new URLSearchParams(signed.query).toString().replaceAll('+', '%20');
  return { method, path: search === '' ? '/' : `/?${search}`, headers: signed.headers, body };
}

async function send(wire: Wire, { method, path, headers, body }: Plain): Promise<Answer> {
  const { host: _, ...others } = headers;
  const text = httpRequest(method, path, { ...others, Connection: 'close' }, body);
  const hosted = headers['host'] === undefined ? text : text.replace('Host: kms', `Host: ${headers['host']}`);
  const [answer] = parseAnswers(await new RawClient(wire.endpoint).send(hosted).closed);
  if (answer === undefined) throw new Error('there is no answer');
  return answer;
}

const post = (body: string): Plain => ({ method: 'POST', path: '/', headers: { 'content-type': form }, body });

const rootAnswer = (requestId = '') =>
  '<GetCallerIdentityResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><GetCallerIdentityResult>' +
  '<Arn>arn:aws:iam::000000000000:root</Arn><UserId>000000000000</UserId><Account>000000000000</Account>' +
  `</GetCallerIdentityResult><ResponseMetadata><RequestId>${requestId}</RequestId></ResponseMetadata></GetCallerIdentityResponse>`;

const errorAnswer = (code: string, message: string, requestId = '') =>
  '<ErrorResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><Error><Type>Sender</Type>' +
  `<Code>${code}</Code><Message>${message}</Message></Error><RequestId>${requestId}</RequestId></ErrorResponse>`;

const idOf = ({ headers }: Answer): string => headers['x-amzn-requestid'] ?? '';

describe('STS', () => {
  test('says over a Unix socket whom the kernel vouches for, signed or not', async () => {
    unix.noted.length = 0;
    const answer = await send(unix, post(whoAmI));
    expect(answer).toMatchObject({ status: 200, body: rootAnswer(idOf(answer)) });
    expect(answer.headers['content-type']).toBe('text/xml');
    expect((await send(unix, await sign(post(whoAmI)))).status).toBe(200);
    expect(unix.noted.map(({ operationName }) => operationName)).toEqual(['GetCallerIdentity', 'GetCallerIdentity']);
  });

  test('says over the loopback listener who signed', async () => {
    const answer = await send(tcp, await sign(post(whoAmI)));
    expect(answer).toMatchObject({ status: 200, body: rootAnswer(idOf(answer)) });
  });

  test('takes a presigned URL', async () => {
    const get = { method: 'GET', path: `/?${whoAmI}`, headers: {}, body: '' };
    expect((await send(tcp, await sign(get, { presigned: true }))).status).toBe(200);
  });

  test.each<[string, () => Promise<Plain>, number, string, string]>([
    ['no signature', async () => post(whoAmI), 403, 'MissingAuthenticationToken', 'Missing Authentication Token'],
    [
      'a signature for KMS',
      () => sign(post(whoAmI), { service: 'kms' }),
      403,
      'SignatureDoesNotMatch',
      "Credential should be scoped to correct service: 'sts'.",
    ],
    [
      'another action',
      () => sign(post('Action=ListRoles&Version=2011-06-15')),
      400,
      'InvalidAction',
      'Could not find operation ListRoles for version 2011-06-15',
    ],
    [
      'an action of STS that is not here',
      () => sign(post('Action=GetSessionToken&Version=2011-06-15')),
      400,
      'InvalidAction',
      'GetSessionToken is not supported by this version of Drawbridge: `drawbridge credentials` gives temporary credentials, and AssumeRole.',
    ],
    [
      'an action of STS that is not signed, and not here',
      async () => post('Action=AssumeRoleWithWebIdentity&Version=2011-06-15&RoleArn=x'),
      400,
      'InvalidAction',
      'AssumeRoleWithWebIdentity is not supported by this version of Drawbridge: no identity provider vouches for anybody here.',
    ],
    [
      'a role that nobody can be named by',
      () => sign(post('Action=AssumeRole&Version=2011-06-15&RoleArn=x')),
      400,
      'ValidationError',
      "2 validation errors detected: Value 'x' at 'roleArn' failed to satisfy constraint: Member must have length greater than or equal to 20; Value null at 'roleSessionName' failed to satisfy constraint: Member must not be null",
    ],
    [
      'a parameter that nobody knows',
      () => sign(post('Action=AssumeRole&Version=2011-06-15&policy=x')),
      400,
      'ValidationError',
      '`policy` is no parameter of AssumeRole.',
    ],
    [
      'a parameter that is there twice',
      () => sign(post('Action=AssumeRole&Version=2011-06-15&Policy=x&Policy=y')),
      400,
      'ValidationError',
      'Policy is there twice.',
    ],
    [
      'more parameters than any action has',
      () => sign(post(`${whoAmI}&${Array.from({ length: 63 }, (_, n) => `a${n}=`).join('&')}`)),
      400,
      'ValidationError',
      'A request must not have more than 64 parameters.',
    ],
    [
      'a form that is longer than any action has',
      () => sign(post(`${whoAmI}&a=${'x'.repeat(16 * 1024)}`)),
      400,
      'ValidationError',
      'The request body must not be larger than 16384 bytes.',
    ],
    [
      'an action that would be XML',
      () => sign(post('Action=%3C%26%3E%00&Version=2011-06-15')),
      400,
      'InvalidAction',
      'Could not find operation &lt;&amp;&gt;\ufffd for version 2011-06-15',
    ],
    [
      'another version',
      () => sign(post('Action=GetCallerIdentity&Version=2010-01-01')),
      400,
      'InvalidAction',
      'Could not find operation GetCallerIdentity for version 2010-01-01',
    ],
    [
      'another secret',
      () => sign(post(whoAmI), { secret: 'other' }),
      403,
      'SignatureDoesNotMatch',
      'The request signature we calculated does not match the signature you provided. Check your AWS Secret Access Key and signing method. Consult the service documentation for details.',
    ],
    [
      'an access key that nobody has',
      async () => {
        const signed = await sign(post(whoAmI));
        const authorization = signed.headers['authorization']?.replace(accessKey.accessKeyId, 'AKIANOBODY') ?? '';
        return { ...signed, headers: { ...signed.headers, authorization } };
      },
      403,
      'InvalidClientTokenId',
      'The security token included in the request is invalid.',
    ],
  ])('refuses %s as STS does', async (_, request, status, code, message) => {
    const answer = await send(tcp, await request());
    const body = Buffer.from(answer.body, 'latin1').toString();
    expect({ status: answer.status, body }).toEqual({ status, body: errorAnswer(code, message, idOf(answer)) });
  });

  test('leaves a form that is an operation of KMS to KMS', async () => {
    const headers = { 'content-type': form, 'x-amz-target': 'TrentService.ListKeys' };
    const answer = await send(unix, { method: 'POST', path: '/', headers, body: '{}' });
    expect(answer).toMatchObject({ status: 400, body: expect.stringContaining('UnknownOperationException') });
  });
});

describe('a request that is presigned for KMS', () => {
  const encrypt: Plain = {
    method: 'POST',
    path: '/',
    headers: {
      'content-type': 'application/x-amz-json-1.1',
      'x-amz-target': 'TrentService.GenerateRandom',
      'x-amz-content-sha256': createHash('sha256').update('{"NumberOfBytes":32}').digest('hex'),
    },
    body: '{"NumberOfBytes":32}',
  };
  const presign = (at?: Date) =>
    sign(encrypt, { service: 'kms', presigned: true, ...(at === undefined ? {} : { at }) });
  const mismatch = 'The request signature we calculated does not match the signature you provided.';

  test('is taken', async () => {
    expect(await send(tcp, await presign())).toMatchObject({
      status: 200,
      body: '{"ran":"GenerateRandom","bytes":20}',
    });
  });

  test.each<[string, (request: Plain) => Plain, string, string]>([
    [
      'with another body',
      (request) => ({ ...request, body: '{"NumberOfBytes":33}' }),
      'InvalidSignatureException',
      mismatch,
    ],
    [
      'with another operation',
      (request) => ({ ...request, headers: { ...request.headers, 'x-amz-target': 'TrentService.ListKeys' } }),
      'InvalidSignatureException',
      mismatch,
    ],
    [
      'for longer than it was signed for',
      (request) => ({ ...request, path: request.path.replace('X-Amz-Expires=60', 'X-Amz-Expires=61') }),
      'InvalidSignatureException',
      mismatch,
    ],
    [
      'with a word that is no time',
      (request) => ({ ...request, path: request.path.replace('X-Amz-Expires=60', 'X-Amz-Expires=soon') }),
      'IncompleteSignatureException',
      'X-Amz-Expires should be a number',
    ],
    [
      'for less than no time',
      (request) => ({ ...request, path: request.path.replace('X-Amz-Expires=60', 'X-Amz-Expires=-1') }),
      'IncompleteSignatureException',
      'X-Amz-Expires must be non-negative',
    ],
    [
      'for more than a week',
      (request) => ({ ...request, path: request.path.replace('X-Amz-Expires=60', 'X-Amz-Expires=604801') }),
      'IncompleteSignatureException',
      'X-Amz-Expires must be less than a week (in seconds) that is (604800)',
    ],
    [
      'without its date and headers',
      (request) => ({ ...request, path: request.path.replaceAll(/X-Amz-(?:Date|SignedHeaders)=[^&]*&?/g, '') }),
      'IncompleteSignatureException',
      "AWS query-string parameters must include 'X-Amz-SignedHeaders'. AWS query-string parameters must include 'X-Amz-Date'. Re-examine the query-string parameters.",
    ],
    [
      'with two signatures',
      (request) => ({ ...request, path: `${request.path}&X-Amz-Signature=${'0'.repeat(64)}` }),
      'IncompleteSignatureException',
      "The query string has the 'X-Amz-Signature' parameter twice.",
    ],
    [
      'with more in its query',
      (request) => ({ ...request, path: `${request.path}&a=b` }),
      'InvalidSignatureException',
      mismatch,
    ],
  ])('is refused %s', async (_, change, type, message) => {
    const presigned = await presign();
    const { status, body } = await send(tcp, change(presigned));
    const answered = JSON.parse(body) as { __type: string; message: string };
    expect({ status, type: answered.__type }).toEqual({ status: 400, type });
    expect(answered.message).toContain(message);
  });

  test('is refused when its time is over, which it chose itself', async () => {
    const { status, body } = await send(tcp, await presign(new Date(Date.now() - 61_000)));
    expect(status).toBe(400);
    expect(JSON.parse(body)).toMatchObject({
      __type: 'InvalidSignatureException',
      message: expect.stringMatching(
        /^Signature expired: \d{8}T\d{6}Z is now earlier than \d{8}T\d{6}Z \(.* - 60 sec\.\)$/,
      ),
    });
  });
});

describe('the loopback listener', () => {
  test.each([
    ['POST', '/credentials', 'IssueCredentials'],
    ['POST', '/access-keys', 'CreateAccessKey'],
    ['GET', '/access-keys', 'ListAccessKeys'],
    ['DELETE', '/access-keys/AKIA', 'DeleteAccessKey'],
  ])('makes no credentials of credentials: %s %s', async (method, path, operation) => {
    const client = new KMSClient({ region: 'us-east-1', credentials: accessKey });
    const signer = (await client.config.signer()) as unknown as {
      sign(request: object, options: object): Promise<{ headers: Record<string, string> }>;
    };
    const host = new URL(tcp.server.address).host;
    const request = { method, protocol: 'http:', hostname: '127.0.0.1', path, query: {}, headers: { host }, body: '' };
    const { headers } = await signer.sign(request, { signingService: 'kms' });
    client.destroy();
    const { status, body } = await send(tcp, { method, path, headers, body: '' });
    expect({ status, body: JSON.parse(body) }).toEqual({
      status: 400,
      body: {
        __type: 'AccessDeniedException',
        message: `drawbridge:${operation} is allowed over the Unix socket only, where the kernel says who is calling`,
      },
    });
  });

  test('tells everybody whether it is healthy, and nobody anything else', async () => {
    expect((await send(tcp, { method: 'GET', path: '/health', headers: {}, body: '' })).status).toBe(200);
    for (const path of ['/status', '/access-keys', '/v1/ListKeys', '/']) {
      const { status, body } = await send(tcp, { method: 'GET', path, headers: {}, body: '' });
      expect({ status, body: JSON.parse(body) }).toMatchObject({
        status: 400,
        body: { __type: 'MissingAuthenticationTokenException', message: 'Missing Authentication Token' },
      });
    }
  });
});
