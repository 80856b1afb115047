import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import type { AuditEvent } from '../../src/audit/audit-log.ts';
import { chainStart } from '../../src/audit/chain.ts';
import { maxLineBytes, renderEvent, renderServiceEvent } from '../../src/audit/event-line.ts';
import { Plaintext } from '../../src/secrets/secret-bytes.ts';
import { chainLine } from './chained-line.ts';
import { arbitraryEvent } from './events.ts';
import { exampleEvent } from './example-event.ts';

const example = exampleEvent(1);
const lineOf = (event: AuditEvent) => chainLine(renderEvent(event), chainStart).line;
const parse = (event: AuditEvent) => JSON.parse(lineOf(event));
const parametersOf = (requestParameters: AuditEvent['requestParameters']) =>
  parse({ ...example, requestParameters }).requestParameters;

describe('an audit event', () => {
  test('is written in the shape of a CloudTrail event', () => {
    expect(parse(example)).toEqual({
      eventVersion: '1.11',
      userIdentity: {
        type: 'IAMUser',
        principalId: 'arn:aws:iam::000000000000:user/unix/alice',
        arn: 'arn:aws:iam::000000000000:user/unix/alice',
        accountId: '000000000000',
        userName: 'alice',
      },
      eventTime: '2027-01-15T08:00:00.001Z',
      eventSource: 'kms.amazonaws.com',
      eventName: 'Encrypt',
      awsRegion: 'us-east-1',
      sourceIPAddress: 'unix',
      userAgent: 'aws-sdk-js/3',
      requestParameters: { keyId: 'alias/payroll', encryptionContext: { department: 'payroll' } },
      responseElements: null,
      additionalEventData: {
        decision: { allowed: true, because: 'key policy statement "payroll"' },
        unixPeer: { uid: 1000, gid: 1001, pid: 4242 },
      },
      requestID: '00000000-0000-4000-8000-000000000001',
      eventID: expect.stringMatching(/^[0-9a-f-]{36}$/),
      readOnly: true,
      resources: [
        {
          accountId: '000000000000',
          type: 'AWS::KMS::Key',
          ARN: 'arn:aws:kms:us-east-1:000000000000:key/11111111-2222-3333-4444-555555555555',
        },
      ],
      eventType: 'AwsApiCall',
      managementEvent: true,
      recipientAccountId: '000000000000',
      eventCategory: 'Management',
      drawbridge: { sequence: 1, previousHash: '0'.repeat(64), hash: expect.stringMatching(/^[0-9a-f]{64}$/) },
    });
  });

  test('of the daemon itself is written as a service event of CloudTrail, with nothing that was not given', () => {
    const keyId = '11111111-2222-3333-4444-555555555555';
    const ARN = `arn:aws:kms:us-east-1:000000000000:key/${keyId}`;
    const event = {
      ...{ eventAtMs: 1_800_000_000_001, eventName: 'DeleteKey', awsRegion: 'us-east-1', accountId: '000000000000' },
      ...{ resources: [ARN], serviceEventDetails: { keyId, bytes: Buffer.from('secret') }, plaintext: 'secret' },
    };
    const { line } = chainLine(renderServiceEvent(event), chainStart);
    expect(JSON.parse(line)).toEqual({
      eventVersion: '1.11',
      userIdentity: { accountId: '000000000000', invokedBy: 'AWS Internal' },
      eventTime: '2027-01-15T08:00:00.001Z',
      eventSource: 'kms.amazonaws.com',
      eventName: 'DeleteKey',
      awsRegion: 'us-east-1',
      sourceIPAddress: 'AWS Internal',
      userAgent: 'AWS Internal',
      requestParameters: null,
      responseElements: null,
      eventID: expect.stringMatching(/^[0-9a-f-]{36}$/),
      readOnly: false,
      resources: [{ accountId: '000000000000', type: 'AWS::KMS::Key', ARN }],
      eventType: 'AwsServiceEvent',
      managementEvent: true,
      recipientAccountId: '000000000000',
      serviceEventDetails: { keyId, bytes: '[not recorded]' },
      eventCategory: 'Management',
      drawbridge: { sequence: 1, previousHash: '0'.repeat(64), hash: expect.stringMatching(/^[0-9a-f]{64}$/) },
    });
  });

  test('says to whom the credentials were issued that it was signed with, and not who is connected', () => {
    const { unix: _, ...signer } = example.identity;
    const issuedTo = { kind: 'unix', uid: 1000, gid: 1001, pid: 7, groups: [27], issuedAtMs: 1_800_000_000_000 };
    const dataOf = (identity: AuditEvent['identity']) => parse({ ...example, identity }).additionalEventData;
    expect(dataOf({ ...signer, accessKeyId: 'ASIA', issuedTo })).toEqual({
      decision: example.decision,
      credentialsIssuedTo: { uid: 1000, gid: 1001, pid: 7, issuedAt: '2027-01-15T08:00:00.000Z' },
    });
    expect(dataOf({ ...signer, accessKeyId: 'AKIA' })).toEqual({ decision: example.decision });
  });

  test('says what failed and how the decision was made when it failed', () => {
    expect(
      parse({
        ...example,
        identity: {
          type: 'Root',
          principalId: '000000000000',
          arn: 'arn:aws:iam::000000000000:root',
          accountId: '000000000000',
          accessKeyId: 'AK1',
        },
        resources: [],
        errorCode: 'AccessDeniedException',
        errorMessage: 'User: … is not authorized',
        decision: { allowed: false, because: 'no statement allows it' },
      }),
    ).toMatchObject({
      userIdentity: { type: 'Root', principalId: '000000000000', accessKeyId: 'AK1' },
      errorCode: 'AccessDeniedException',
      errorMessage: 'User: … is not authorized',
      additionalEventData: { decision: { allowed: false, because: 'no statement allows it' } },
      resources: [],
    });
  });

  test('has no other members than these, whatever the object carries', () => {
    const careless = {
      ...example,
      plaintext: 'c2VjcmV0',
      identity: { ...example.identity, secretAccessKey: 'secret' },
      decision: { ...example.decision, policy: 'secret' },
    } as AuditEvent;
    expect(lineOf(careless)).not.toMatch(/secret|c2VjcmV0/);
  });

  test.each<[string, unknown, unknown]>([
    ['bytes', Buffer.from('secret'), '[not recorded]'],
    ['typed arrays', new Uint8Array([1, 2, 3]), '[not recorded]'],
    ['a plaintext', new Plaintext(Buffer.alloc(4)), '[not recorded]'],
    ['a function', () => 'secret', '[not recorded]'],
    ['a bigint', 1n, '[not recorded]'],
    ['an object that spells itself', { toJSON: () => 'secret' }, { toJSON: '[not recorded]' }],
    ['not a number', Number.NaN, null],
    [
      'something deep',
      { a: { b: { c: { d: { e: { f: {} } } } } } },
      { a: { b: { c: { d: { e: '[not recorded: too deep]' } } } } },
    ],
    ['a long text', 'x'.repeat(8_200), `${'x'.repeat(8_192)}…[cut 8 characters]`],
    ['a long list', Array(66).fill(0), [...Array(64).fill(0), '…[2 more cut]']],
    ['nothing', undefined, undefined],
    ['a half of a character', '\ud83d', '\ud83d'],
  ])('keeps of its parameters what is fit for a log: %s', (_what, value, recorded) => {
    expect(parametersOf({ value })).toEqual(recorded === undefined ? {} : { value: recorded });
  });

  test('keeps the first members of a parameter that has too many', () => {
    const many = Object.fromEntries(Array.from({ length: 70 }, (_, index) => [`k${index}`, index]));
    const recorded = parametersOf({ many }).many;
    expect(Object.keys(recorded)).toHaveLength(65);
    expect(recorded['…']).toBe('[more members cut]');
  });

  test('keeps a name that means something to JavaScript as a name', () => {
    const line = lineOf({ ...example, requestParameters: JSON.parse(`{"__proto__":"${'x'.repeat(9_000)}"}`) });
    expect(line).toContain(`"requestParameters":{"__proto__":"${'x'.repeat(8_192)}…[cut 808 characters]"}`);
  });

  test('says so when its parameters are too long even after cutting', () => {
    const long = Object.fromEntries(Array.from({ length: 60 }, (_, index) => [`k${index}`, '\0'.repeat(9_000)]));
    expect(parametersOf(long)).toEqual({ notRecorded: 'too long' });
    const cut = Object.fromEntries(Array.from({ length: 10 }, (_, index) => [`k${index}`, 'x'.repeat(9_000)]));
    expect(parametersOf(cut).k9).toBe(`${'x'.repeat(128)}…[cut 8872 characters]`);
  });

  test('is one line of valid JSON, whatever a caller sends', () => {
    fc.assert(
      fc.property(arbitraryEvent, (event) => {
        const line = lineOf(event);
        expect(line).not.toMatch(/[\n\r\0]/);
        expect(JSON.parse(line)).toMatchObject({
          eventName: event.eventName,
          userAgent: event.userAgent,
          errorMessage: event.errorMessage,
        });
      }),
    );
  });

  test('is what it would be if its caller had no event before it', () => {
    const { identity } = example;
    const few = <Value>(...values: readonly Value[]) => fc.constantFrom(...values);
    const events = fc.record({
      requestId: few('00000000-0000-4000-8000-000000000001', 'quoted "id"'),
      eventId: few('00000000-0000-4000-8000-000000000002', '\u0000'),
      receivedAtMs: few(0, 999, 1_000, 1_800_000_000_001, -1, 0.5),
      eventSource: few('kms.amazonaws.com', 'sts.amazonaws.com'),
      eventName: few('Encrypt', 'Decrypt'),
      awsRegion: few('us-east-1', 'eu-west-1'),
      readOnly: fc.boolean(),
      sourceIPAddress: few('unix', '127.0.0.1'),
      userAgent: few(null, 'aws-sdk-js/3', 'of "another" program'),
      requestParameters: few(null, { keyId: 'alias/payroll' }),
      responseElements: few(null, { keyId: 'other' }),
      resources: few<readonly string[]>(
        [],
        ['arn:aws:kms:a'],
        ['arn:aws:kms:b'],
        ['arn:aws:kms:"b"'],
        ['arn:aws:iam:c'],
        ['arn:aws:kms:a', 'arn:aws:iam:c'],
      ),
      errorCode: few(null, 'AccessDeniedException'),
      errorMessage: few(null, 'no'),
      decision: few(
        null,
        { allowed: true, because: 'a' },
        { allowed: false, because: 'a' },
        { allowed: true, because: 'b' },
      ),
      intent: few(undefined, { intentId: 'i', outcome: 'done' as const }),
      counted: few({}, { counting: { payer: 'uid 1', eventName: 'Encrypt', errorCode: 'no' } }),
    });
    fc.assert(
      fc.property(fc.array(events, { maxLength: 20, size: 'max' }), (all) => {
        for (const { counted, ...others } of all) {
          const members = { ...others, ...counted };
          const line = renderEvent({ ...members, identity });
          expect(line).toBe(renderEvent({ ...members, identity: { ...identity } }));
          const { eventTime, eventName, userAgent, readOnly, additionalEventData, resources } = JSON.parse(`${line}}`);
          expect({ eventTime, eventName, userAgent, readOnly }).toEqual({
            eventTime: new Date(members.receivedAtMs).toISOString(),
            eventName: members.eventName,
            userAgent: members.userAgent,
            readOnly: members.readOnly,
          });
          expect(additionalEventData.decision).toEqual(members.decision);
          expect(resources.map(({ ARN }: { ARN: string }) => ARN)).toEqual(members.resources);
        }
      }),
    );
    expect(() => renderEvent({ ...example, receivedAtMs: Number.NaN })).toThrow(RangeError);
  });

  test('stays under the longest line when everything in it is as long and as costly as it can be', () => {
    const costly = '\0'.repeat(10_000);
    const many = Object.fromEntries(Array.from({ length: 100 }, (_, index) => [`${index}${costly}`, costly]));
    const unix = { uid: 2 ** 32, gid: 2 ** 32, pid: 2 ** 32 };
    for (const members of [{ a: costly.slice(0, 4_000) }, { a: '\u0fff'.repeat(8_000) }, many]) {
      const event: AuditEvent = {
        requestId: costly,
        receivedAtMs: 0,
        eventName: costly,
        awsRegion: costly,
        readOnly: true,
        identity: {
          type: 'AssumedRole',
          principalId: costly,
          arn: costly,
          accountId: costly,
          userName: costly,
          accessKeyId: costly,
          unix,
        },
        sourceIPAddress: costly,
        userAgent: costly,
        requestParameters: members,
        responseElements: members,
        resources: Array(20).fill(costly),
        errorCode: costly,
        errorMessage: costly,
        decision: { allowed: false, because: costly },
      };
      expect(Buffer.byteLength(`${lineOf(event)}\n`)).toBeLessThanOrEqual(maxLineBytes);
    }
  });
});
