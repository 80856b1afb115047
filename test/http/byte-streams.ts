/**
 * What connections may send, for comparing servers: requests of the front's own kind and of others, damaged in ways that parsers
 * have disagreed about, cut anywhere, one behind the other.
 */

import { createHash, createHmac } from 'node:crypto';
import fc from 'fast-check';
import { accessKey } from './wire.ts';

export interface AccessKey {
  readonly accessKeyId: string;
  readonly secretAccessKey: string;
}

export interface ByteStream {
  readonly bytes: Buffer;
  /** Where it is cut: lengths of the pieces but the last, in bytes. */
  readonly lengths: readonly number[];
}

type Field = readonly [name: string, value: string];

const crlf = '\r\n';

const bodies = fc.oneof(
  fc.constantFrom('', '{}', '{"KeyId":"k"}', crlf, `${crlf}${crlf}`, 'POST / HTTP/1.1\r\n\r\n', 'é{}', '\0\0\0'),
  fc.string({ maxLength: 40 }),
  fc.integer({ min: 1, max: 20_000 }).map((length) => 'y'.repeat(length)),
);

const operations = fc.constantFrom('Encrypt', 'Decrypt', 'ListKeys', 'A', 'x'.repeat(64));

/** What stands in a request without changing what it is. */
const others = fc.constantFrom<Field>(
  ['Host', 'kms'],
  ['host', 'kms:1'],
  ['Accept', '*/*'],
  ['accept-encoding', 'identity'],
  ['User-Agent', 'aws-sdk-js/3.1 os/linux#5 lang/js'],
  ['amz-sdk-request', 'attempt=1; max=3'],
  ['amz-sdk-invocation-id', '0f7e7a3c-0000-4000-8000-000000000000'],
  ['Connection', 'keep-alive'],
  ['connection', 'Keep-Alive'],
  ['X-Amz-Security-Token', 'abc/+='],
  ['x', '!'],
);

/** What is no business of the front, and what looks like it. */
const strange = fc.constantFrom<Field>(
  ['Connection', 'close'],
  ['Connection', 'keep-alive, foo'],
  ['Connection', 'upgrade'],
  ['Connection', ''],
  ['Upgrade', 'websocket'],
  ['Expect', '100-continue'],
  ['Expect', 'something'],
  ['Transfer-Encoding', 'chunked'],
  ['Transfer-Encoding', 'identity'],
  ['Transfer-Encoding', 'xchunked'],
  ['Trailer', 'x'],
  ['TE', 'trailers'],
  ['Keep-Alive', 'timeout=5'],
  ['Proxy-Connection', 'close'],
  ['Content-Length', '0'],
  ['Content-Length', '2'],
  ['Content-Length', '02'],
  ['Content-Length', '+2'],
  ['Content-Length', '2, 2'],
  ['Content-Length', '2 '],
  ['Content-Length', '\t2'],
  ['Content-Length', '-1'],
  ['Content-Length', '0x2'],
  ['Content-Length', '9999999'],
  ['Content-Length', '99999999999999999999'],
  ['Content_Length', '5'],
  ['Content-Type', 'application/json'],
  ['Content-Type', 'application/x-amz-json-1.1; charset=utf-8'],
  ['X-Amz-Target', 'TrentService.Other'],
  ['X-Amz-Target', 'TrentService.'],
  ['X-Amz-Target', 'Foo.Bar'],
  ['User-Agent', 'second'],
  ['User-Agent', 'bytes \xe9\xff'],
  ['X-Space', '  two'],
  ['X-Tab', 'a\tb'],
  ['X-Control', 'a\x01b'],
  ['X-Delete', 'a\x7fb'],
  ['X-Null', 'a\0b'],
  ['X-Empty', ''],
  ['X-Folded', 'a\r\n b'],
  ['X-Return', 'a\rb'],
  ['X-Feed', 'a\nb'],
  ['X Space', 'in its name'],
  ['X-Colon ', 'behind a space'],
  [' X-Leading', 'space'],
  ['', 'no name'],
  ['X-Long', 'z'.repeat(9_000)],
  ['X-Longer', 'z'.repeat(17_000)],
  ['(Comment)', 'a token all the same: no'],
  ["X'!#$%&*+.^_`|~", 'a token'],
);

const startLines = fc.constantFrom(
  'GET / HTTP/1.1',
  'post / HTTP/1.1',
  'POST / HTTP/1.0',
  'POST / HTTP/1.2',
  'POST / HTTP/2.0',
  'POST  / HTTP/1.1',
  'POST / HTTP/1.1 ',
  'POST http://kms/ HTTP/1.1',
  'POST /?a HTTP/1.1',
  'POST /# HTTP/1.1',
  'POST * HTTP/1.1',
  'POST //  HTTP/1.1',
  'POST /v1/Encrypt HTTP/1.1',
  'HEAD / HTTP/1.1',
  'OPTIONS * HTTP/1.1',
  '\r\nPOST / HTTP/1.1',
  '\nPOST / HTTP/1.1',
  ' POST / HTTP/1.1',
  'POST / http/1.1',
  'PUT / HTTP/1.1',
);

const spelled = fc.constantFrom(
  (name: string) => name,
  (name: string) => name.toLowerCase(),
  (name: string) => name.toUpperCase(),
);

function textOf(startLine: string, fields: readonly Field[], body: string, end = crlf): string {
  const lines = fields.map(([name, value]) => `${name}: ${value}${end}`);
  return `${startLine}${end}${lines.join('')}${end}${body}`;
}

type OwnBodies = fc.Arbitrary<readonly [operation: string, body: string]>;

const ownFieldsOf = (ownBodies: OwnBodies) =>
  fc
    .record({ own: ownBodies, spell: spelled, extra: fc.array(others, { maxLength: 4 }) })
    .chain(({ own, spell, extra }) => {
      const [operation, body] = own;
      const fields: Field[] = [
        [spell('Content-Type'), 'application/x-amz-json-1.1'],
        [spell('X-Amz-Target'), `TrentService.${operation}`],
        [spell('Content-Length'), String(Buffer.byteLength(body, 'latin1'))],
        ...extra,
      ];
      return fc
        .shuffledSubarray(fields, { minLength: fields.length, maxLength: fields.length })
        .map((shuffled) => ({ fields: shuffled, body }));
    });

type Fields = ReturnType<typeof ownFieldsOf>;

/** What the front is there for. */
const ownOf = (ownFields: Fields) => ownFields.map(({ fields, body }) => textOf('POST / HTTP/1.1', fields, body));

/** The same but for one thing. */
const almostOf = (ownFields: Fields) =>
  fc.oneof(
    fc.tuple(ownFields, strange, fc.nat()).map(([{ fields, body }, field, at]) => {
      const place = at % (fields.length + 1);
      return textOf('POST / HTTP/1.1', [...fields.slice(0, place), field, ...fields.slice(place)], body);
    }),
    fc.tuple(ownFields, fc.nat(), strange).map(([{ fields, body }, at, field]) => {
      const place = at % fields.length;
      return textOf('POST / HTTP/1.1', [...fields.slice(0, place), field, ...fields.slice(place + 1)], body);
    }),
    fc.tuple(ownFields, fc.nat()).map(([{ fields, body }, at]) => {
      const place = at % fields.length;
      return textOf('POST / HTTP/1.1', [...fields.slice(0, place), ...fields.slice(place + 1)], body);
    }),
    fc.tuple(ownFields, fc.nat()).map(([{ fields, body }, at]) => {
      const place = at % fields.length;
      const twice = fields[place] as Field;
      return textOf('POST / HTTP/1.1', [...fields, twice], body);
    }),
    fc.tuple(startLines, ownFields).map(([line, { fields, body }]) => textOf(line, fields, body)),
    ownFields.map(({ fields, body }) => textOf('POST / HTTP/1.1', fields, body, '\n')),
    ownFields.map(({ fields, body }) => textOf('POST / HTTP/1.1', fields, body).replaceAll(': ', ':')),
    fc.tuple(ownFields, fc.integer({ min: 60, max: 70 })).map(([{ fields, body }, count]) => {
      const many = Array.from({ length: count }, (_, index): Field => [`X-${index}`, 'v']);
      return textOf('POST / HTTP/1.1', [...fields, ...many], body);
    }),
  );

const odd = fc.constantFrom(0, 9, 10, 13, 32, 44, 45, 48, 57, 58, 127, 128, 255);

/** One byte is another, or is not there, or is there twice. */
const damagedOf = (own: fc.Arbitrary<string>) =>
  fc.tuple(own, fc.nat(), odd, fc.constantFrom('other', 'gone', 'more')).map(([text, at, byte, how]) => {
    const headBytes = text.indexOf('\r\n\r\n') + 4;
    const place = at % headBytes;
    const kept = how === 'more' ? 0 : 1;
    const put = how === 'gone' ? '' : String.fromCharCode(byte);
    return text.slice(0, place) + put + text.slice(place + kept);
  });

/** What was always the back's. */
const foreign = fc.oneof(
  fc.constantFrom(
    'GET /health HTTP/1.1\r\n\r\n',
    'GET /nowhere HTTP/1.1\r\nHost: kms\r\n\r\n',
    'POST /v1/Encrypt HTTP/1.1\r\nContent-Length: 2\r\n\r\n{}',
    'POST /v1/Encrypt HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n',
    'POST / HTTP/1.1\r\nContent-Type: application/x-www-form-urlencoded\r\nContent-Length: 24\r\n\r\nAction=GetCallerIdentity',
    'CONNECT kms:443 HTTP/1.1\r\nHost: kms\r\n\r\n',
    'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n',
    '\r\n',
    'nonsense\r\n\r\n',
    '\x16\x03\x01\x02\x00\x01\x00',
    '\0',
  ),
);

function requestsOf(ownBodies: OwnBodies): fc.Arbitrary<string[]> {
  const ownFields = ownFieldsOf(ownBodies);
  const own = ownOf(ownFields);
  const almost = almostOf(ownFields);
  const all = fc.oneof({ arbitrary: own, weight: 6 }, { arbitrary: almost, weight: 3 }, damagedOf(own), foreign);
  return fc.array(all, { minLength: 1, maxLength: 5 });
}

/** Of a server of these tests: larger bodies are refused. */
export const maxBodyBytes = 10_000;

function saysClose(text: string): boolean {
  return /close|HTTP\/(?!1\.[12])/i.test(text);
}

function endsWithItsBody(text: string): boolean {
  const [, length] = /content-length: (\d+)\r\n/i.exec(text) ?? [];
  return text.indexOf('\r\n\r\n') + 4 + Number(length) === text.length;
}

function endsConnection(text: string): boolean {
  const lengths = [...text.matchAll(/content-length:\s*(\d+)/gi)].map(([, length]) => Number(length));
  return saysClose(text) || lengths.some((length) => length > maxBodyBytes);
}

/** @param ownBodies Bodies of the front's own kind, each with the operation that it is for. */
export const byteStreamsOf = (ownBodies: OwnBodies): fc.Arbitrary<ByteStream> =>
  fc
    .record({
      sent: requestsOf(ownBodies),
      missing: fc.oneof({ arbitrary: fc.constant(0), weight: 4 }, { arbitrary: fc.nat({ max: 300 }), weight: 1 }),
      lengths: fc.array(fc.oneof(fc.integer({ min: 1, max: 8 }), fc.integer({ min: 1, max: 600 })), { maxLength: 7 }),
    })
    .map(({ sent, missing, lengths }) => {
      // What is behind a request that ends the connection is looked at or not, as it comes: with the front, and without it.
      const all = sent.filter((text) => !saysClose(text) || endsWithItsBody(text));
      const endsAt = all.findIndex(endsConnection);
      const looked = endsAt < 0 ? all : all.slice(0, endsAt + 1);
      const bytes = Buffer.from(looked.join(''), 'latin1');
      return { bytes: bytes.subarray(0, Math.max(1, bytes.length - (endsAt < 0 ? missing : 0))), lengths };
    });

const anyBodies = fc.tuple(operations, bodies);

export const byteStreams = byteStreamsOf(anyBodies);

/** As programs sign; `nonce` makes each another one, because none is taken twice. */
function signedRequest(
  by: AccessKey,
  operation: string,
  body: string,
  nonce: string,
  damage: (text: string) => string,
): string {
  const amzDate = `${new Date().toISOString().replace(/[-:]/g, '').slice(0, 15)}Z`;
  const fields: Record<string, string> = {
    'amz-sdk-invocation-id': nonce,
    'content-type': 'application/x-amz-json-1.1',
    host: 'localhost',
    'x-amz-date': amzDate,
    'x-amz-target': `TrentService.${operation}`,
  };
  const names = Object.keys(fields).join(';');
  const digest = createHash('sha256').update(body, 'latin1').digest('hex');
  const canonical = Object.entries(fields).map(([name, value]) => `${name}:${value}\n`);
  const request = ['POST', '/', '', canonical.join(''), names, digest].join('\n');
  const scope = `${amzDate.slice(0, 8)}/us-east-1/kms/aws4_request`;
  const hashed = createHash('sha256').update(request).digest('hex');
  const toSign = ['AWS4-HMAC-SHA256', amzDate, scope, hashed].join('\n');
  const hmac = (key: Buffer | string, text: string): Buffer => createHmac('sha256', key).update(text).digest();
  const [day = '', ...rest] = scope.split('/');
  const key = rest.reduce(hmac, hmac(`AWS4${by.secretAccessKey}`, day));
  const signature = hmac(key, toSign).toString('hex');
  const authorization = `AWS4-HMAC-SHA256 Credential=${by.accessKeyId}/${scope}, SignedHeaders=${names}, Signature=${signature}`;
  const all = { ...fields, authorization, 'content-length': String(Buffer.byteLength(body, 'latin1')) };
  return damage(textOf('POST / HTTP/1.1', Object.entries(all), body));
}

const damages = fc.constantFrom(
  (text: string) => text,
  (text: string) => text,
  (text: string) => text.replace('Signature=', 'Signature=0'),
  (text: string) => text.replace('host: ', 'Host: '),
  (text: string) => text.replace('host: localhost', 'host: elsewhere'),
  (text: string) => text.replace('\r\n\r\n', '\r\nx-other: 1\r\nx-other: 2\r\n\r\n'),
  (text: string) => text.replace('\r\n\r\n', '\r\nhost: again\r\n\r\n'),
  (text: string) => text.replace(/authorization: .*?\r\n/, ''),
  (text: string) => text.replace('Encrypt', 'Decrypt'),
  (text: string) => text.replace('localhost', 'localhost '),
);

/** As `byteStreamsOf`. */
export function signedStreamsOf(by: AccessKey, ownBodies: OwnBodies): fc.Arbitrary<ByteStream> {
  return fc
    .record({
      sent: fc.array(fc.tuple(ownBodies, fc.uuid(), damages), { minLength: 1, maxLength: 3 }),
      foreign: fc.boolean(),
      lengths: fc.array(fc.integer({ min: 1, max: 900 }), { maxLength: 3 }),
    })
    .map(({ sent, foreign: health, lengths }) => {
      const texts = sent.map(([[operation, body], nonce, damage]) => signedRequest(by, operation, body, nonce, damage));
      const endsAt = texts.findIndex(endsConnection);
      if (endsAt >= 0) texts.length = endsAt + 1;
      else if (health) texts.push('GET /health HTTP/1.1\r\n\r\n');
      return { bytes: Buffer.from(texts.join(''), 'latin1'), lengths };
    });
}

export const signedStreams = signedStreamsOf(accessKey, anyBodies);
