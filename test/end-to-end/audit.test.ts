/** What is on record: one event for each request, before its answer, and never a secret. */

import { readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { beforeAll, expect, test } from 'vitest';
import { account, region, rootArn, uuid } from './support/arns.ts';
import { type AuditLine, auditFolder, auditLines, brokenLink, filesIn } from './support/audit-trail.ts';
import { describeDaemon, newKey, present } from './support/daemon.ts';
import { allow, deny, policy, rootMayAll } from './support/policies.ts';
import { refusal } from './support/refusals.ts';
import { call, callV1, open, readUntilClosed, send } from './support/wire.ts';

describeDaemon('The audit log', (daemon) => {
  let key: { readonly id: string; readonly arn: string };
  beforeAll(async () => {
    key = await newKey(daemon().kms);
  });
  const eventOf = (requestId: string | undefined): AuditLine => {
    const events = auditLines(daemon().instance.dir).filter((event) => event.requestID === requestId);
    expect(events).toHaveLength(1);
    return present(events[0]);
  };

  test('an answered request is on record when its answer arrives', async () => {
    const { $metadata } = await daemon().kms.encrypt({
      KeyId: key.id,
      Plaintext: Buffer.from('x'),
      EncryptionContext: { tenant: 'acme' },
    });
    expect(eventOf($metadata.requestId)).toMatchObject({
      eventVersion: expect.any(String),
      userIdentity: { type: 'Root', arn: rootArn, accountId: account },
      eventTime: expect.stringMatching(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z$/),
      eventSource: 'kms.amazonaws.com',
      eventName: 'Encrypt',
      awsRegion: region,
      requestParameters: { keyId: key.id, encryptionContext: { tenant: 'acme' } },
      eventID: expect.stringMatching(uuid),
      readOnly: true,
      resources: [{ ARN: key.arn, accountId: account, type: 'AWS::KMS::Key' }],
      eventType: 'AwsApiCall',
      recipientAccountId: account,
    });
  });

  test('a refused request is on record with its error', async () => {
    const closed = await newKey(daemon().kms, policy(rootMayAll, deny(rootArn, 'kms:Encrypt')));
    const body = { KeyId: closed.id, Plaintext: 'eA==' };
    const answer = await call(daemon().socket, 'Encrypt', body);
    const event = eventOf(String(answer.headers['x-amzn-requestid']));
    expect(event).toMatchObject({ eventName: 'Encrypt', errorCode: 'AccessDeniedException', responseElements: null });
    expect(event.errorMessage).toContain('is not authorized to perform: kms:Encrypt');
    expect(event.resources).toMatchObject([{ ARN: closed.arn }]);
  });

  test('each statement that gave one of the permissions of a request is on record, once', async () => {
    const { kms } = daemon();
    const statement = (Sid: string, action: string): object => ({ ...allow(rootArn, action), Sid });
    const other = await newKey(
      kms,
      policy(statement('manage', 'kms:PutKeyPolicy'), statement('in', 'kms:ReEncryptTo')),
    );
    const blob = present((await kms.encrypt({ KeyId: key.id, Plaintext: Buffer.from('x') })).CiphertextBlob);
    const reasonsFor = async (sent: Promise<{ $metadata: { requestId?: string | undefined } }>): Promise<unknown> =>
      eventOf((await sent).$metadata.requestId)['additionalEventData'];
    const byDefault = 'key policy statement "Enable IAM User Permissions"';
    expect(await reasonsFor(kms.reEncrypt({ CiphertextBlob: blob, DestinationKeyId: other.id }))).toMatchObject({
      decision: { allowed: true, because: `${byDefault}; key policy statement "in"` },
    });
    expect(await reasonsFor(kms.createAlias({ AliasName: 'alias/reasons', TargetKeyId: key.id }))).toMatchObject({
      decision: { allowed: true, because: `account root; ${byDefault}` },
    });
  });

  test('changes of keys are on record as changes, with what they made', async () => {
    const { KeyMetadata, $metadata } = await daemon().kms.createKey({ Description: 'on record' });
    const event = eventOf($metadata.requestId);
    expect(event.readOnly).toBe(false);
    const { KeyId, Arn, CreationDate } = present(KeyMetadata);
    const keyMetadata = { keyId: KeyId, arn: Arn, creationDate: CreationDate?.toISOString(), description: 'on record' };
    expect(event.responseElements).toMatchObject({ keyMetadata });
    expect(event.resources).toMatchObject([{ ARN: Arn }]);
  });

  test('every request has exactly one event, whatever became of it', async () => {
    const { instance, socket } = daemon();
    const json = { 'content-type': 'application/x-amz-json-1.1' };
    const target = (operation: string) => ({ ...json, 'x-amz-target': `TrentService.${operation}` });
    const answers = await Promise.all([
      call(socket, 'ListKeys', {}),
      call(socket, 'DescribeKey', { KeyId: 'nothing' }),
      call(socket, 'DescribeKey', {}),
      call(socket, 'DescribeKey', 'no json'),
      call(socket, 'Sign', {}),
      call(socket, 'FrobnicateKey', {}),
      callV1(socket, 'ListKeys', {}),
      callV1(socket, 'FrobnicateKey', {}),
      send(socket, { headers: json, body: '{}' }),
      send(socket, { headers: { ...target('ListKeys'), 'content-type': 'text/plain' }, body: '{}' }),
      send(socket, { headers: target('Encrypt'), body: 'x'.repeat(300_000) }),
    ]);
    const ids = auditLines(instance.dir).map((event) => event.requestID);
    for (const answer of answers) {
      const id = String(answer.headers['x-amzn-requestid']);
      expect(ids.filter((recorded) => recorded === id)).toEqual([id]);
    }
    expect(new Set(ids).size).toBe(ids.length);
  });

  test('a request whose client went away is on record all the same', async () => {
    const { instance, socket } = daemon();
    const agent = `gone-${process.pid}`;
    const body = `{"KeyId":"${key.id}","Plaintext":"eA=="}`;
    const connection = await open(socket);
    const closed = readUntilClosed(connection);
    connection.write(
      `POST / HTTP/1.1\r\nHost: kms\r\nUser-Agent: ${agent}\r\nContent-Type: application/x-amz-json-1.1\r\nX-Amz-Target: TrentService.Encrypt\r\nContent-Length: ${body.length}\r\n\r\n${body}`,
    );
    connection.end();
    await closed;
    await daemon().kms.listKeys({ Limit: 1 });
    expect(auditLines(instance.dir).filter((event) => event['userAgent'] === agent)).toHaveLength(1);
  });

  test('every line carries its hash and the hash of the line before', () => {
    expect(brokenLink(daemon().instance.dir)).toBeUndefined();
  });

  test('a log line stays one line whatever a caller writes into it', async () => {
    const { instance, socket } = daemon();
    const before = auditLines(instance.dir).length;
    const nasty = 'a\n{"eventName":"Forged"}\r\n\u2028\u0000\u001b[2J"\\';
    await call(socket, 'DescribeKey', { KeyId: nasty });
    await call(socket, 'Encrypt', { KeyId: key.id, Plaintext: 'eA==', EncryptionContext: { [nasty]: nasty } });
    const events = auditLines(instance.dir);
    expect(events).toHaveLength(before + 2);
    expect(events.some((event) => event.eventName === 'Forged')).toBe(false);
  });

  test('no secret of a request or an answer is anywhere in the instance folder or in what the processes wrote', async () => {
    const { instance, kms, socket } = daemon();
    const marker = 'MARKER-of-a-plaintext-that-nobody-may-see';
    const Plaintext = Buffer.from(marker);
    const { CiphertextBlob } = await kms.encrypt({ KeyId: key.id, Plaintext });
    const blob = present(CiphertextBlob);
    await kms.decrypt({ CiphertextBlob: blob });
    await kms.reEncrypt({ CiphertextBlob: blob, DestinationKeyId: key.id });
    const dataKey = await kms.generateDataKey({ KeyId: key.id, KeySpec: 'AES_256' });
    const random = await kms.generateRandom({ NumberOfBytes: 32 });
    // Secrets where they do not belong: in requests that are refused in every way there is.
    const base64 = Plaintext.toString('base64');
    await refusal(kms.encrypt({ KeyId: 'nothing', Plaintext }));
    await call(socket, 'Encrypt', { KeyId: key.id, Plaintext: marker });
    await call(socket, 'Encrypt', { KeyId: key.id, Plaintext: Buffer.alloc(5000, marker).toString('base64') });
    await call(socket, 'Encrypt', `{"KeyId":"${key.id}","Plaintext":"${base64}"`);
    await call(socket, 'Encrypt', { KeyId: key.id, Plaintext: [marker] });
    await call(socket, 'Encrypt', { KeyId: key.id, Plaintext: { [marker]: 1 } });
    await callV1(socket, 'Decrypt', { Plaintext: base64 });
    await call(socket, 'Sign', { KeyId: key.id, Message: base64 });
    await call(socket, 'FrobnicateKey', { Secret: marker });

    const raw = (bytes: Uint8Array | undefined): Buffer => Buffer.from(present(bytes));
    const secrets = [Plaintext, raw(blob), raw(dataKey.Plaintext), raw(dataKey.CiphertextBlob), raw(random.Plaintext)];
    const needles = secrets.flatMap((secret) => [
      secret,
      Buffer.from(secret.toString('base64')),
      Buffer.from(secret.toString('hex')),
    ]);
    for (const file of filesIn(instance.dir)) {
      expect(firstFound(readFileSync(file), needles), file).toBeUndefined();
    }
    expect(firstFound(Buffer.from(instance.log()), needles), 'what daemon and host wrote').toBeUndefined();
  });

  test('a policy is on record where somebody gave it to a key, and not where it was read', async () => {
    const { instance, kms } = daemon();
    const document = (id: string) => JSON.stringify({ Version: '2012-10-17', Id: id, Statement: [rootMayAll] });
    const before = auditLines(instance.dir).length;
    const { KeyMetadata } = await kms.createKey({ Policy: document('first') });
    const { Arn = '' } = present(KeyMetadata);
    await kms.putKeyPolicy({ KeyId: Arn, Policy: document('second') });
    await kms.getKeyPolicy({ KeyId: Arn });
    await refusal(kms.putKeyPolicy({ KeyId: Arn, Policy: 'third' }));
    const events = auditLines(instance.dir).slice(before);
    expect(events.map(({ eventName, requestParameters }) => [eventName, requestParameters?.['policy']])).toEqual([
      ['CreateKey', document('first')],
      ['PutKeyPolicy', document('second')],
      ['GetKeyPolicy', undefined],
      ['PutKeyPolicy', 'third'],
    ]);
    expect(JSON.stringify(events[2])).not.toContain('second');
  });

  test('the log, the database and the secrets of the instance are closed to other users', () => {
    const { dir } = daemon().instance;
    const [data, token] = [join(dir, 'data'), join(dir, 'token')];
    const secrets = [join(dir, 'pin'), join(token, 'so-pin'), join(data, 'metadata.db'), ...filesIn(auditFolder(dir))];
    for (const place of [data, token, auditFolder(dir), ...secrets]) {
      expect(Number.parseInt(modeOf(place), 8) & 0o077, `${place} has mode ${modeOf(place)}`).toBe(0);
    }
  });
});

function firstFound(content: Buffer, needles: readonly Buffer[]): string | undefined {
  return needles.find((needle) => content.includes(needle))?.toString('latin1');
}

function modeOf(file: string): string {
  return (statSync(file).mode & 0o777).toString(8);
}
