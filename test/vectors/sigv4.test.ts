/**
 * AWS's signing test suite, judged by the code that checks signatures: each request once with its signature in the header
 * and once presigned. Source and licence are in `README.md`.
 *
 * The suite also has requests that are signed as only S3 does it, without normalizing the path. Such a signature holds
 * here only where there was nothing to normalize. And it has a session token that is added after signing: in a header that
 * is taken, because a token of ours says by itself whose key it belongs to (`test/identity/unsigned-token.test.ts`).
 */

import { readFileSync } from 'node:fs';
import { describe, expect, test } from 'vitest';
import { ScopedKeys } from '../../src/identity/scoped-keys.ts';
import { assertSignature, readSignature, type ServiceName, type SignedRequestParts } from '../../src/identity/sigv4.ts';
import { canonicalRequest } from '../../src/identity/sigv4-signature.ts';
import { KmsError } from '../../src/kms/errors.ts';
import { Secret } from '../../src/secrets/secret-bytes.ts';

interface Case {
  readonly name: string;
  readonly context: {
    readonly credentials: {
      readonly access_key_id: string;
      readonly secret_access_key: string;
      readonly token?: string;
    };
    readonly expiration_in_seconds: number;
    readonly normalize: boolean;
    readonly region: string;
    readonly service: string;
    readonly sign_body: boolean;
    readonly timestamp: string;
    readonly omit_session_token?: boolean;
  };
  readonly headerSignedRequest: string;
  readonly headerCanonicalRequest: string;
  readonly headerSignature: string;
  readonly querySignedRequest: string;
  readonly queryCanonicalRequest: string;
  readonly querySignature: string;
}

const members = [
  ...['name', 'context', 'headerSignedRequest', 'headerCanonicalRequest', 'headerSignature'],
  ...['querySignedRequest', 'queryCanonicalRequest', 'querySignature'],
];
const contextMembers = [
  ...['credentials', 'expiration_in_seconds', 'normalize', 'region', 'service', 'sign_body', 'timestamp'],
  'omit_session_token',
];

const file = new URL('./sigv4/aws-signing-test-suite.json', import.meta.url);
const { cases } = JSON.parse(readFileSync(file, 'utf8')) as { readonly cases: readonly Case[] };

const mismatch = 'The request signature we calculated does not match the signature you provided.';

/** Why a signature of the suite is refused here, by form; everything else is taken. */
const refusals: Readonly<Record<string, { readonly header?: string; readonly query: string }>> = {
  'get-relative-relative-unnormalized': { header: mismatch, query: mismatch },
  'get-relative-unnormalized': { header: mismatch, query: mismatch },
  'get-slash-dot-slash-unnormalized': { header: mismatch, query: mismatch },
  'get-slash-pointless-dot-unnormalized': { header: mismatch, query: mismatch },
  'get-slash-unnormalized': { header: mismatch, query: mismatch },
  'get-slashes-unnormalized': { header: mismatch, query: mismatch },
  'post-sts-header-after': { query: mismatch },
};

const forms = cases.flatMap((vector) => [
  {
    name: `${vector.name}, in its header`,
    vector,
    request: vector.headerSignedRequest,
    canonical: vector.headerCanonicalRequest,
    signature: vector.headerSignature,
    refusal: refusals[vector.name]?.header,
  },
  {
    name: `${vector.name}, in its query`,
    vector,
    request: vector.querySignedRequest,
    canonical: vector.queryCanonicalRequest,
    signature: vector.querySignature,
    refusal: refusals[vector.name]?.query,
  },
]);

/** A request as text, as an HTTP parser would give it: lines that begin with a space continue a header. */
function parseRequest(text: string): SignedRequestParts {
  const [head = '', ...body] = text.split('\n\n');
  const [first = '', ...lines] = head.replaceAll(/\n\s+/g, ' ').split('\n');
  const [, method = '', path = ''] = /^(\S+) (.*) HTTP\/1\.1$/.exec(first) ?? [];
  const rawHeaders = lines
    .filter((line) => line !== '')
    .flatMap((line) => [line.slice(0, line.indexOf(':')), line.slice(line.indexOf(':') + 1)]);
  return { method, path, rawHeaders, body: Buffer.from(body.join('\n\n')), sourceIp: '127.0.0.1' };
}

function secretOf({ context }: Case): Secret {
  const { secret_access_key: text } = context.credentials;
  const bytes = Buffer.alloc(text.length);
  bytes.write(text);
  return new Secret(bytes);
}

describe('a request of the published suite', () => {
  test('has no member that is not judged', () => {
    expect(cases).toHaveLength(38);
    for (const vector of cases) {
      expect(members).toEqual(expect.arrayContaining(Object.keys(vector)));
      expect(contextMembers).toEqual(expect.arrayContaining(Object.keys(vector.context)));
    }
    const names = cases.map(({ name }) => name);
    expect(names).toEqual(expect.arrayContaining(Object.keys(refusals)));
  });

  test.each(forms)('is judged as it has to be: $name', ({ vector, request, canonical, signature, refusal }) => {
    const { context } = vector;
    const judge = (): Buffer => {
      // The suite's service is called `service`.
      const service = context.service as ServiceName;
      const claim = readSignature(parseRequest(request), service, new Date(context.timestamp), [context.region]);
      expect(claim.accessKeyId).toBe(context.credentials.access_key_id);
      expect(claim.sessionToken).toBe(context.credentials.token);
      if (refusal === undefined) expect(canonicalRequest(claim.content, claim.signedHeaders)).toBe(canonical);
      return assertSignature(claim, ScopedKeys.of(secretOf(vector)));
    };
    if (refusal === undefined) {
      expect(judge().toString('hex')).toBe(signature);
    } else {
      expect(judge).toThrow(KmsError);
      expect(judge).toThrow(refusal);
    }
  });
});
