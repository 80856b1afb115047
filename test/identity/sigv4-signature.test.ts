/**
 * The signatures that AWS has published for known requests under a known key.
 *
 * Source of the numbers: `ListUsers` is the worked example of the IAM user guide ("Examples of signed requests"); the
 * others are cases of the "AWS Signature Version 4 test suite", named as there. Facts, written down request by request;
 * no file of either is copied.
 */

import { createHash } from 'node:crypto';
import { expect, test } from 'vitest';
import { signingKeyOf } from '../../src/identity/scoped-keys.ts';
import { canonicalRequest, computeSignature, type SignedContent } from '../../src/identity/sigv4-signature.ts';
import { Secret } from '../../src/secrets/secret-bytes.ts';

const secretAccessKey = 'wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY';
const bytes = Buffer.alloc(secretAccessKey.length);
bytes.write(secretAccessKey);
const secret = new Secret(bytes);
const timestamp = '20150830T123600Z';

interface Published {
  readonly name: string;
  readonly service?: string;
  readonly method?: string;
  readonly path?: string;
  readonly host?: string;
  /** Beside `Host` and `X-Amz-Date`. */
  readonly headers?: Readonly<Record<string, readonly string[]>>;
  readonly body?: string;
  readonly signature: string;
}

const form = 'application/x-www-form-urlencoded';

const published: readonly Published[] = [
  {
    name: 'ListUsers',
    service: 'iam',
    host: 'iam.amazonaws.com',
    path: '/?Action=ListUsers&Version=2010-05-08',
    headers: { 'content-type': [`${form}; charset=utf-8`] },
    signature: '5d672d79c15b13162d9279b0855cfba6789a8edb4c82c400e06b5924a6f2b5d7',
  },
  { name: 'get-vanilla', signature: '5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31' },
  {
    name: 'post-vanilla',
    method: 'POST',
    signature: '5da7c1a2acd57cee7505fc6676e4e544621c30862966e37dddb68e92efbe5d6b',
  },
  {
    name: 'get-vanilla-query-order-key-case',
    path: '/?Param2=value2&Param1=value1',
    signature: 'b97d918cfa904a5beff61c982a1b6f458b799221646efd99d3219ec94cdf2500',
  },
  {
    name: 'get-utf8',
    path: '/ሴ',
    signature: '8318018e0b0f223aa2bbf98705b62bb787dc9c0e678f255a891fd03141be5d85',
  },
  {
    name: 'get-unreserved',
    path: '/-._~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz',
    signature: '07ef7494c76fa4850883e2b006601f940f8a34d404d0cfa977f52a65bbf5f24f',
  },
  {
    name: 'get-header-value-trim',
    headers: { 'my-header1': [' value1'], 'my-header2': [' "a   b   c"'] },
    signature: 'acc3ed3afb60bb290fc8d2dd0098b9911fcaa05412b367055dee359757a9c736',
  },
  {
    name: 'post-x-www-form-urlencoded',
    method: 'POST',
    headers: { 'content-type': [form] },
    body: 'Param1=value1',
    signature: 'ff11897932ad3f4e8b18135d722051e5ac45fc38421b1da7b9d196a0fe09473a',
  },
];

function contentOf({ method = 'GET', path = '/', host = 'example.amazonaws.com', headers = {}, body = '' }: Published) {
  const all = new Map<string, readonly string[]>([
    ['host', [host]],
    ['x-amz-date', [timestamp]],
    ...Object.entries(headers),
  ]);
  const content: SignedContent = { method, path, headers: all, body: Buffer.from(body) };
  return { content, names: [...all.keys()] };
}

test.each(published)('the published request $name has the published signature', (vector) => {
  const { content, names } = contentOf(vector);
  const scope = { date: '20150830', region: 'us-east-1', service: vector.service ?? 'service' };
  const canonical = canonicalRequest(content, names);
  expect(computeSignature(signingKeyOf(secret, scope), scope, timestamp, canonical).toString('hex')).toBe(
    vector.signature,
  );
});

test('the canonical form of ListUsers has the published hash', () => {
  const [listUsers] = published;
  if (listUsers === undefined) throw new Error('no ListUsers');
  const { content, names } = contentOf(listUsers);
  const hash = createHash('sha256').update(canonicalRequest(content, names)).digest('hex');
  expect(hash).toBe('f536975d06c0309214f805bb90ccff089219ecd68b2577efef23edd43b7e1a59');
});

test.each([
  ['/', '/'],
  ['', '/'],
  ['/a//b/', '/a/b/'],
  ['/a/./b', '/a/b'],
  ['/a/../b', '/b'],
  ['/..', '/'],
  ['/a%20b', '/a%2520b'],
  ["/a b!'()*~", '/a%20b%21%27%28%29%2A~'],
  ['/\ud800', '/%EF%BF%BD'],
])('the path %j is canonically %j', (path, expected) => {
  const content: SignedContent = { method: 'GET', path, headers: new Map(), body: Buffer.alloc(0) };
  expect(canonicalRequest(content, []).split('\n')[1]).toBe(expected);
});

test.each([
  ['', ''],
  ['a', 'a='],
  ['b=2&a=1', 'a=1&b=2'],
  ['a=2&a=1&A=3', 'A=3&a=1&a=2'],
  ['a=%7e', 'a=~'],
  ['a=b=c', 'a=b%3Dc'],
  ['a=+', 'a=%2B'],
  ['a=%', 'a=%25'],
  ['a=%ff', 'a=%25ff'],
  ['&&a=1&', 'a=1'],
])('the query %j is canonically %j', (query, expected) => {
  const content: SignedContent = { method: 'GET', path: `/?${query}`, headers: new Map(), body: Buffer.alloc(0) };
  expect(canonicalRequest(content, []).split('\n')[2]).toBe(expected);
});
