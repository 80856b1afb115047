/**
 * Two whole daemons, over copies of one token, one data folder and one configuration: one as it is, the other in a Node.js without what
 * the front needs, so that `node:http` has each of its connections from the first byte. Whatever clients send, both answer the same, to
 * the byte, and put the same on record.
 *
 * `DRAWBRIDGE_FRONT_STREAMS=20000` compares so many streams instead; `DRAWBRIDGE_SEED` those of a seed that was printed.
 */

import { appendFileSync, cpSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { isDeepStrictEqual } from 'node:util';
import {
  CreateAliasCommand,
  CreateKeyCommand,
  type CreateKeyCommandInput,
  EncryptCommand,
  type KMSClient,
} from '@aws-sdk/client-kms';
import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { type AccessKey, type ByteStream, byteStreamsOf, signedStreamsOf } from '../http/byte-streams.ts';
import { heardFrom } from '../http/heard-answers.ts';
import { awsRequest } from '../http/wire.ts';
import { type Instance, missingForInstance, startInstance } from '../support/instance.ts';
import { type AuditLine, auditFolder } from './support/audit-trail.ts';
import { json, send } from './support/wire.ts';

const ordinaryCount = 200;
const streamCount = Number(process.env['DRAWBRIDGE_FRONT_STREAMS'] ?? ordinaryCount);
/** What is over a budget is counted, or refused, when its time has come: in a long run in other moments by either. */
const ampleBudgets = `
budgets:
  connections: { newPerSecond: 1000000 }
  refusals: { recorded: 1000000, recordedPerSecond: 1000000, looked: 1000000, lookedPerSecond: 1000000 }
`;
const seed = Number(process.env['DRAWBRIDGE_SEED'] ?? Date.now() % 1_000_000);
/** Compared at once, each on a connection of its own. */
const batchSize = 25;
const missing = missingForInstance();

/** A daemon, and up to where its audit log was looked at. */
interface Subject {
  readonly instance: Instance;
  readonly auditLog: string;
  lookedAtBytes: number;
}

describe.skipIf(missing !== null)('a daemon with the front and one without it', () => {
  const folder = mkdtempSync(join(tmpdir(), 'drawbridge-front-'));
  const subjects: Subject[] = [];
  let accessKey: AccessKey;
  let operations: fc.Arbitrary<readonly [operation: string, body: string]>;

  beforeAll(async () => {
    const one = join(folder, 'one');
    const two = join(folder, 'two');
    let first = await startInstance({ dir: one, tcp: true });
    const ciphertext = await makeKeys(first.sdkClient());
    accessKey = await makeAccessKey(first);
    // Nothing is written meanwhile, so it is what a daemon that was killed leaves.
    cpSync(one, two, { recursive: true, preserveTimestamps: true, filter: (path) => !path.endsWith('.sock') });
    for (const file of ['drawbridge.yaml', join('token', 'softhsm2.conf')]) {
      const path = join(two, file);
      writeFileSync(path, readFileSync(path, 'utf8').replaceAll(one, two), { mode: statSync(path).mode });
    }
    if (streamCount > ordinaryCount) {
      await first.stop();
      for (const dir of [one, two]) appendFileSync(join(dir, 'drawbridge.yaml'), ampleBudgets);
      first = await startInstance({ dir: one, tcp: true });
    }
    const preload = pathToFileURL(join(import.meta.dirname, 'support', 'without-front.mjs')).href;
    const second = await startInstance({ dir: two, tcp: true, env: { NODE_OPTIONS: `--import=${preload}` } });
    expect(second.log()).toContain('Pipe has no useUserBuffer\nTCP has no useUserBuffer\n');
    for (const instance of [first, second]) {
      const auditLog = join(auditFolder(instance.dir), 'audit.jsonl');
      subjects.push({ instance, auditLog, lookedAtBytes: statSync(auditLog).size });
    }
    operations = fc.constantFrom(...requests(ciphertext));
  });

  afterAll(async () => {
    await Promise.all(subjects.map(({ instance }) => instance.stop()));
    rmSync(folder, { recursive: true, force: true });
  });

  const overSocket = ({ instance }: Subject): string => instance.socket;
  const overTcp = ({ instance }: Subject): string => instance.endpoint ?? '';

  test('answer and record the same wherever two requests, and what the back serves between them, are cut', async () => {
    const bytes = Buffer.from(
      `${awsRequest('GenerateMac', mac)}GET /health HTTP/1.1\r\n\r\n${awsRequest('Encrypt', '{"KeyId":"alias/closed","Plaintext":"AA=="}')}`,
    );
    const cuts = Array.from({ length: bytes.length - 1 }, (_, index) => ({ bytes, lengths: [index + 1] }));
    await compareAll(subjects, overSocket, cuts);
  });

  test('answer and record the same, whatever is sent over the Unix socket', {
    timeout: 60_000 + streamCount * 50,
  }, async () => {
    await compareAll(subjects, overSocket, fc.sample(byteStreamsOf(operations), { numRuns: streamCount, seed }));
  });

  test('answer and record the same, whatever is sent over the loopback address', {
    timeout: 60_000 + streamCount * 50,
  }, async () => {
    const count = Math.ceil(streamCount / 4);
    await compareAll(subjects, overTcp, fc.sample(byteStreamsOf(operations), { numRuns: count, seed }));
    const signed = fc.sample(signedStreamsOf(accessKey, operations), { numRuns: count, seed });
    // None of them is taken twice.
    await compareAll(subjects, overTcp, signed, 1);
    // They were taken for whose they are.
    for (const { auditLog } of subjects) expect(readFileSync(auditLog, 'utf8')).toContain(accessKey.accessKeyId);
  });
});

const mac = '{"KeyId":"alias/mac","Message":"AAEC","MacAlgorithm":"HMAC_SHA_256"}';

/** @returns What was encrypted with one of them. */
async function makeKeys(client: KMSClient): Promise<string> {
  const closed = JSON.stringify({
    Version: '2012-10-17',
    Statement: [
      { Effect: 'Allow', Principal: { AWS: '*' }, Action: 'kms:*', Resource: '*' },
      { Sid: 'closed', Effect: 'Deny', Principal: { AWS: '*' }, Action: 'kms:Encrypt', Resource: '*' },
    ],
  });
  const make = async (name: string, ask: CreateKeyCommandInput): Promise<void> => {
    const { KeyMetadata } = await client.send(new CreateKeyCommand(ask));
    await client.send(new CreateAliasCommand({ AliasName: `alias/${name}`, TargetKeyId: KeyMetadata?.KeyId }));
  };
  await make('open', {});
  await make('closed', { Policy: closed });
  await make('mac', { KeySpec: 'HMAC_256', KeyUsage: 'GENERATE_VERIFY_MAC' });
  const encrypted = await client.send(
    new EncryptCommand({ KeyId: 'alias/open', Plaintext: Buffer.from('é\r\n\r\n'), EncryptionContext: { app: 'é' } }),
  );
  return Buffer.from(encrypted.CiphertextBlob ?? []).toString('base64');
}

/** Of the account's root: that of `dev` is another one at each start. */
async function makeAccessKey({ socket, account }: Instance): Promise<AccessKey> {
  const body = JSON.stringify({ Principal: `arn:aws:iam::${account}:root` });
  const headers = { 'content-type': 'application/json' };
  const made = json(await send(socket, { method: 'POST', path: '/access-keys', headers, body }));
  return { accessKeyId: String(made['AccessKeyId']), secretAccessKey: String(made['SecretAccessKey']) };
}

/** Those that succeed, and those that are refused for each reason, in few bytes and in many. In Latin-1, as streams are. */
function requests(ciphertext: string): readonly (readonly [operation: string, body: string])[] {
  const long = 'QUJD'.repeat(1_000);
  const context = Buffer.from('{"app":"é"}').toString('latin1');
  return [
    ['Encrypt', '{"KeyId":"alias/open","Plaintext":"QUJD"}'],
    ['Encrypt', `{"KeyId":"alias/open","Plaintext":"${long}","EncryptionContext":{"a":"\\u00e9"}}`],
    ['Encrypt', '{"KeyId":"alias/open","Plaintext":"QUJ"}'],
    ['Encrypt', '{"KeyId":"alias/closed","Plaintext":"QUJD"}'],
    ['Encrypt', '{"KeyId":"alias/none","Plaintext":"QUJD"}'],
    ['Encrypt', '{"KeyId":"alias/mac","Plaintext":"QUJD"}'],
    ['Encrypt', '{"KeyId":"alias/open","Plaintext":"QUJD","DryRun":true}'],
    ['Decrypt', `{"CiphertextBlob":"${ciphertext}","EncryptionContext":${context}}`],
    ['Decrypt', `{"CiphertextBlob":"${ciphertext}"}`],
    ['GenerateMac', mac],
    ['DescribeKey', '{"KeyId":"alias/open"}'],
    ['ListAliases', '{}'],
    ['ListKeys', ''],
    ['UpdateKeyDescription', '{"KeyId":"alias/open","Description":"described"}'],
    ['UpdateKeyDescription', '{"KeyId":"alias/open"}'],
    ['Sign', '{"KeyId":"alias/mac"}'],
    ['Nothing', '{}'],
    ['Encrypt', '{"KeyId":'],
    ['Encrypt', '{"KeyId":"\xff"}'],
    ['Encrypt', '\r\n\r\n'],
  ];
}

/** @param attempts For what is alone: more than one where a stream may be sent again. */
async function compareAll(
  subjects: readonly Subject[],
  endpointOf: (subject: Subject) => string,
  streams: readonly ByteStream[],
  attempts = 3,
): Promise<void> {
  for (let from = 0; from < streams.length; from += batchSize) {
    const batch = streams.slice(from, from + batchSize);
    if (await areAnsweredAlike(subjects, endpointOf, batch, attempts === 1)) continue;
    // Which one it was is seen when each is alone; what differs once in a while is whatever comes behind the end of a connection.
    for (const stream of batch) {
      let isAlike = false;
      for (let attempt = 1; attempt <= attempts && !isAlike; attempt++)
        isAlike = await areAnsweredAlike(subjects, endpointOf, [stream], attempt === attempts);
    }
  }
}

async function areAnsweredAlike(
  subjects: readonly Subject[],
  endpointOf: (subject: Subject) => string,
  streams: readonly ByteStream[],
  hasTo: boolean,
): Promise<boolean> {
  const [ours, nodes] = await Promise.all(
    subjects.map(async (subject) => {
      const heard = await Promise.all(streams.map((stream) => heardFrom(endpointOf(subject), stream)));
      return { heard: heard.map(withoutBlobs), recorded: recordedBy(subject) };
    }),
  );
  const isAlike = isDeepStrictEqual(ours, nodes);
  if (!isAlike && hasTo) assertSame(streams, ours, nodes);
  return isAlike;
}

/** Shows the first of what differs. */
function assertSame(streams: readonly ByteStream[], ours: Answered | undefined, nodes: Answered | undefined): void {
  for (const [index, { bytes, lengths }] of streams.entries()) {
    const sent = `${JSON.stringify(bytes.toString('latin1'))} cut into ${lengths}, seed ${seed}`;
    expect(ours?.heard[index], sent).toBe(nodes?.heard[index]);
  }
  const without = (all: Answered | undefined, others: Answered | undefined) =>
    all?.recorded.filter((event) => !others?.recorded.includes(event));
  expect(without(ours, nodes), `recorded with the front alone, seed ${seed}`).toEqual([]);
  expect(without(nodes, ours), `recorded without the front alone, seed ${seed}`).toEqual([]);
  expect(ours?.recorded, `seed ${seed}`).toEqual(nodes?.recorded);
}

interface Answered {
  readonly heard: readonly string[];
  readonly recorded: readonly string[];
}

/** No two encryptions give the same. */
function withoutBlobs(heard: string): string {
  return heard.replace(
    /"CiphertextBlob":"([^"]*)"/g,
    (_, blob: string) => `"CiphertextBlob":"${blob.length} characters"`,
  );
}

/** What requests have put on record since it was last asked, in no order, without what differs from event to event. */
function recordedBy(subject: Subject): readonly string[] {
  const all = readFileSync(subject.auditLog);
  const text = all.toString('utf8', subject.lookedAtBytes);
  subject.lookedAtBytes = all.length;
  const events = text
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => JSON.parse(line) as AuditLine & Extra);
  return events
    .filter(({ eventType }) => eventType === 'AwsApiCall')
    .map(({ requestID: _id, eventID: _event, eventTime: _time, drawbridge: _link, ...rest }) =>
      JSON.stringify({ ...rest, additionalEventData: { ...rest.additionalEventData, intent: undefined } }),
    )
    .sort();
}

interface Extra {
  readonly eventType: string;
  readonly eventID: string;
  readonly eventTime: string;
  readonly additionalEventData: Readonly<Record<string, unknown>>;
}
