/** There is one method and one path for everything, and what is answered is on record. */

import { METHODS } from 'node:http';
import { afterAll, beforeAll, beforeEach, expect, test } from 'vitest';
import { awsRequest, httpRequest, parseAnswers, RawClient, startWire, type Wire } from './wire.ts';

let wire: Wire;
beforeAll(async () => {
  wire = await startWire({ requestTimeoutMs: 60_000 });
});
afterAll(() => wire.close());
beforeEach(() => {
  wire.noted.length = 0;
});

/** CONNECT has a test of its own, and PRI is the beginning of another protocol. */
const methods = METHODS.filter((method) => !['CONNECT', 'PRI'].includes(method));
const contentTypes = ['application/json', 'application/x-amz-json-1.1', '///', ''];
const paths = [
  '/',
  '/v1/Encrypt',
  '/v1/%45ncrypt',
  '/v1/',
  '/v1/a/b',
  '/credentials',
  '/access-keys',
  '/access-keys/A',
];
const others = [
  '/backup',
  '/census',
  '/census/orphans',
  '/domains/A/retire',
  '/domains/A/rotate',
  '/status',
  '/status/keys/known',
  '/upkeep',
  '/upkeep/confirm',
  '/access/explain',
  '/health',
];

/** What there is, beside operations; of these tests without a body. */
const known: Record<string, string> = {
  'POST /credentials': 'IssueCredentials',
  'GET /access-keys': 'ListAccessKeys',
  'POST /access-keys': 'CreateAccessKey',
  'DELETE /access-keys/A': 'DeleteAccessKey',
  'GET /status': 'GetDaemonStatus',
  'GET /status/keys/known': 'GetBackingKeys',
  'POST /backup': 'MakeBackup',
  'POST /census': 'TakeCensus',
  'POST /census/orphans': 'ListOrphans',
  'POST /domains/A/retire': 'RetireDomainKeys',
  'POST /domains/A/rotate': 'RotateDomainKey',
  'GET /upkeep': 'ListUpkeep',
  'POST /upkeep/confirm': 'ConfirmUpkeep',
  'POST /access/explain': 'ExplainAccess',
};

test.each([...paths, ...others])('%s is asked in one way, and every answer is on record', async (path) => {
  for (const method of methods) {
    for (const contentType of contentTypes) {
      wire.noted.length = 0;
      const headers = { 'Content-Type': contentType, Connection: 'close' };
      const answers = parseAnswers(await new RawClient(wire.path).send(httpRequest(method, path, headers)).closed);
      const asked = `${method} ${path} as '${contentType}'`;
      const isHealth = method === 'GET' && path === '/health';
      expect(wire.noted.length, asked).toBe(isHealth ? 0 : 1);
      if (method !== 'HEAD') expect(answers.length, asked).toBe(1);
      const [noted] = wire.noted;
      const isOperation = method === 'POST' && (path === '/v1/Encrypt' || path === '/v1/%45ncrypt');
      const name = isOperation ? 'Encrypt' : known[`${method} ${path}`];
      if (name !== undefined && contentType.startsWith('application'))
        expect(noted, asked).toMatchObject({ operationName: name });
      if (name === undefined && !isHealth) expect(noted?.refusal, asked).toBe('UnknownOperationException');
      // What is no content type is of no importance to `/v1/`, and changes no method into another.
      if (isOperation) expect(noted?.body, asked).toBe('');
      if (method !== 'POST') expect(noted?.body, asked).toBeUndefined();
    }
  }
});

test('CONNECT is refused, on record, and its connection is closed', async () => {
  const client = new RawClient(wire.path).send('CONNECT kms:443 HTTP/1.1\r\nHost: kms\r\n\r\nwhat would be tunnelled');
  const [answer] = parseAnswers(await client.closed);
  expect(JSON.parse(answer?.body ?? '')).toMatchObject({ __type: 'UnknownOperationException' });
  expect(wire.noted).toMatchObject([
    { refusal: 'UnknownOperationException', caller: 'arn:aws:iam::000000000000:root' },
  ]);
});

test('An upgrade is not made, and the request is run as what it is', async () => {
  const answer = await new RawClient(wire.path)
    .send(awsRequest('Encrypt', '{}', { Connection: 'Upgrade, close', Upgrade: 'websocket' }))
    .answer();
  expect(answer.status).toBe(200);
  expect(wire.noted).toMatchObject([{ operationName: 'Encrypt' }]);
});

test('A client who is told to go on, and goes away, is on record', async () => {
  const headers = { Expect: '100-continue', 'Content-Length': '100' };
  const client = new RawClient(wire.path).send(awsRequest('Encrypt', '', headers));
  await expect.poll(() => client.received).toBe('HTTP/1.1 100 Continue\r\n\r\n');
  client.socket.destroy();
  const refused = { operationName: 'Encrypt', refusal: 'SerializationException' };
  await expect.poll(() => wire.noted).toContainEqual(expect.objectContaining(refused));
});

test('Nobody is told to go on with a body that is too large', async () => {
  const headers = { Expect: '100-continue', 'Content-Length': '1000000' };
  const received = await new RawClient(wire.path).send(awsRequest('Encrypt', '', headers)).closed;
  expect(received).not.toContain('100 Continue');
  expect(wire.noted).toMatchObject([{ refusal: 'RequestEntityTooLargeException' }]);
});
