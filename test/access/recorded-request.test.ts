/** A request read back from the audit log names its key, also where a ciphertext or a grant's token named it. */

import { expect, test } from 'vitest';
import { readRequest } from '../../src/access/recorded-request.ts';
import type { RecordedEvent } from '../../src/audit/read-audit-log.ts';

const first = 'arn:aws:kms:us-east-1:000000000000:key/first';
const second = 'arn:aws:kms:us-east-1:000000000000:key/second';

/** As far as it is read. */
function eventOf(eventName: string, requestParameters: object, resources: readonly string[]): RecordedEvent {
  return {
    eventName,
    eventTime: '2030-01-01T00:00:00Z',
    eventSource: 'kms.amazonaws.com',
    sourceIPAddress: 'unix',
    userIdentity: { arn: 'arn:aws:iam::000000000000:root' },
    requestParameters,
    resources: resources.map((ARN) => ({ ARN })),
    additionalEventData: { decision: { allowed: true } },
    drawbridge: { sequence: 1 },
    // Safe: the reader takes these members alone.
  } as unknown as RecordedEvent;
}

test.each<[string, object, readonly string[], object]>([
  ['Decrypt', {}, [first], { KeyId: first }],
  ['Decrypt', { keyId: 'alias/a' }, [first], { KeyId: 'alias/a' }],
  ['ReEncrypt', { destinationKeyId: 'd' }, [first, second], { SourceKeyId: first, DestinationKeyId: 'd' }],
  ['RetireGrant', {}, [first], { KeyId: first }],
  ['Encrypt', { keyId: 'alias/a' }, [first], { KeyId: 'alias/a' }],
  ['CreateAlias', { aliasName: 'alias/a', targetKeyId: 't' }, [second], { AliasName: 'alias/a', TargetKeyId: 't' }],
  ['GenerateRandom', {}, [], {}],
  ['NoSuchOperation', {}, [first], {}],
])('%s with %j, about %j, is read as %j', (operation, parameters, resources, members) => {
  expect(readRequest(eventOf(operation, parameters, resources))?.members).toEqual(members);
});

test('A request is asked about again over the transport on which it came', () => {
  const event = eventOf('ListKeys', {}, []);
  const details = { tlsDetails: { tlsVersion: 'TLSv1.3', cipherSuite: 'TLS_AES_128_GCM_SHA256' } };
  const transports = [event, { ...event, sourceIPAddress: '::1' }, { ...event, sourceIPAddress: '::1', ...details }];
  expect(transports.map((each) => readRequest(each)?.transport)).toEqual(['unix', 'tcp', 'tls']);
});
