/** Requests that say when they were signed in HTTP's own `Date` header, which no SDK does and AWS takes. */

import { describe, expect, test } from 'vitest';
import { ScopedKeys, signingKeyOf } from '../../src/identity/scoped-keys.ts';
import { assertSignature, readSignature, type SignedRequestParts } from '../../src/identity/sigv4.ts';
import { canonicalRequest, computeSignature } from '../../src/identity/sigv4-signature.ts';
import { KmsError } from '../../src/kms/errors.ts';
import type { Realm } from '../../src/kms/names.ts';
import { Secret } from '../../src/secrets/secret-bytes.ts';

const realm: Realm = { region: 'us-east-1', account: '000000000000' };
const accessKeyId = 'AKIDEXAMPLE';
const secret = 'wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY';
const mismatch = {
  name: 'InvalidSignatureException',
  message:
    'The request signature we calculated does not match the signature you provided. Check your AWS Secret Access Key and signing method. Consult the service documentation for details.',
};

/** `undefined`: it is taken. */
function refusalOf(request: SignedRequestParts, now: Date): { name: string; message: string } | undefined {
  try {
    assertSignature(readSignature(request, 'kms', now, [realm.region]), ScopedKeys.of(new Secret(Buffer.from(secret))));
    return undefined;
  } catch (error) {
    if (error instanceof KmsError) return { name: error.name, message: error.message };
    throw error;
  }
}

describe('a request with a Date header and no X-Amz-Date', () => {
  const timestamp = '20150830T123600Z';
  const signed = (date: string): SignedRequestParts => {
    const headers = { host: 'kms.example', date };
    const content = { method: 'POST', path: '/', body: Buffer.alloc(0) };
    const values = new Map(Object.entries(headers).map(([name, value]) => [name, [value]] as const));
    const canonical = canonicalRequest({ ...content, headers: values }, ['host', 'date']);
    const scope = { date: '20150830', region: realm.region, service: 'kms' };
    const signature = computeSignature(
      signingKeyOf(new Secret(Buffer.from(secret)), scope),
      scope,
      timestamp,
      canonical,
    ).toString('hex');
    const credential = `${accessKeyId}/20150830/us-east-1/kms/aws4_request`;
    const authorization = `AWS4-HMAC-SHA256 Credential=${credential}, SignedHeaders=date;host, Signature=${signature}`;
    const rawHeaders = [...Object.entries(headers).flat(), 'Authorization', authorization];
    return { ...content, rawHeaders, sourceIp: '127.0.0.1' };
  };
  const when = new Date('2015-08-30T12:36:00Z');

  test.each([timestamp, 'Sun, 30 Aug 2015 12:36:00 GMT'])('is of the moment that it says: %s', (date) => {
    const request = signed(date);
    expect(refusalOf(request, when)).toBeUndefined();
    expect(refusalOf(request, new Date(when.getTime() + 301_000))).toEqual({
      name: 'InvalidSignatureException',
      message: `Signature expired: ${timestamp} is now earlier than 20150830T123601Z (20150830T124101Z - 5 min.)`,
    });
  });

  test('is refused when that is another moment than the one that was signed', () => {
    for (const date of ['20150830T123601Z', 'Sun, 30 Aug 2015 12:36:01 GMT']) {
      expect(refusalOf(signed(date), when)).toEqual(mismatch);
    }
  });

  test.each(['today', 'Sun, 30 Aug 2015 25:36:00 GMT', 'Mon, 30 Aug 2015 12:36:00 GMT', 'Invalid Date'])(
    'is refused when that is no moment: %s',
    (date) => {
      expect(refusalOf(signed(date), when)).toEqual({
        name: 'IncompleteSignatureException',
        message: `Date must be in ISO-8601 'basic format'. Got '${date}'. See http://en.wikipedia.org/wiki/ISO_8601`,
      });
    },
  );
});
