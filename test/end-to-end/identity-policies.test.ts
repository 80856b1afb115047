/**
 * Identity policies, roles and conditions over a real instance: what other Unix users may where the key policy delegates to
 * the account or where there is none, and how the policies change while the daemon runs.
 */

import { execFileSync } from 'node:child_process';
import { chmodSync, mkdirSync, mkdtempSync, readFileSync, rmSync, unlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, dirname, join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { KMS } from '@aws-sdk/client-kms';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { type Instance, missingForInstance, startInstance } from '../support/instance.ts';
import { program } from '../support/program.ts';
import { account, aliasArn, keyArn, rootArn, unixUserArn, uuid } from './support/arns.ts';
import { auditLines } from './support/audit-trail.ts';
import { kmsOver } from './support/connect.ts';
import { bootTimeoutMs, newKey, present } from './support/daemon.ts';
import { type IdentityStatement, may, writeIdentityPolicy } from './support/identity-policies.ts';
import { allow, deny, policy, rootMayAll } from './support/policies.ts';
import { accessDenied, identityDenied } from './support/refusals.ts';
import { runsAsRoot, sayIfNotRoot, UnixClient, unixUsers } from './support/unix-users.ts';

const nobody = unixUserArn('nobody');
const role = `arn:aws:iam::${account}:role/batch`;
const session = `arn:aws:sts::${account}:assumed-role/batch/daemon`;
const Plaintext = Buffer.from('for whom');

const missing = missingForInstance();
sayIfNotRoot('Identity policies');
describe.skipIf(!runsAsRoot || missing !== null)('Identity policies', () => {
  const folder = mkdtempSync(join(tmpdir(), 'drawbridge-policies-'));
  let instance: Instance;
  let kms: KMS;
  const clients = new Map<keyof typeof unixUsers, UnixClient>();
  const as = (name: keyof typeof unixUsers): UnixClient => {
    const client = clients.get(name);
    if (client === undefined) throw new Error(`${name} is not connected`);
    return client;
  };

  const write = (name: string, attachedTo: readonly string[], ...statements: readonly IdentityStatement[]): void =>
    writeIdentityPolicy(folder, name, attachedTo, ...statements);

  async function connect(): Promise<void> {
    kms = kmsOver(instance.socket);
    for (const name of ['nobody', 'daemon', 'www-data'] as const) {
      clients.set(name, await UnixClient.start(instance.socket, unixUsers[name]));
    }
  }
  async function disconnect(): Promise<void> {
    kms.destroy();
    for (const client of clients.values()) await client.stop();
  }

  /** Tells the daemon to read the folder again and waits for what it says about that. */
  async function reload(said: RegExp): Promise<string> {
    const before = instance.log().length;
    process.kill(instance.pid, 'SIGHUP');
    for (;;) {
      const line = instance
        .log()
        .slice(before)
        .split('\n')
        .find((text) => said.test(text));
      if (line !== undefined) return line;
      await sleep(20);
    }
  }
  const taken = /the identity policies were read again/;
  const refused = /the identity policies cannot be used/;

  beforeAll(async () => {
    chmodSync(folder, 0o755);
    write('nobody.json', [nobody], may(['kms:CreateKey', 'kms:ListKeys', 'kms:Describe*'], '*', { Sid: 'Look' }));
    write('group.json', ['group:www-data'], may('kms:GenerateRandom'));
    writeFileSync(join(folder, 'notes.txt'), 'not a policy');
    instance = await startInstance({ policies: folder, tcp: true });
    await connect();
  }, bootTimeoutMs);
  afterAll(async () => {
    await disconnect();
    await instance.stop();
    rmSync(folder, { recursive: true, force: true });
  }, bootTimeoutMs);

  test('give what no key policy can, to whom they are attached', async () => {
    expect(await as('nobody').send('ListKeys', {})).toMatchObject({ ok: true });
    expect(await as('daemon').send('ListKeys', {})).toEqual({
      ok: false,
      ...identityDenied(unixUserArn('daemon'), 'ListKeys', '*'),
    });
    expect(await as('nobody').send('GenerateRandom', { NumberOfBytes: 1 })).toEqual({
      ok: false,
      ...identityDenied(nobody, 'GenerateRandom', '*'),
    });
  });

  test('are those of a group for everybody in it', async () => {
    expect(await as('www-data').send('GenerateRandom', { NumberOfBytes: 1 })).toMatchObject({ ok: true });
  });

  describe('of a group', () => {
    const wwwData = unixUserArn('www-data');
    const simulate = (changes: string, ...more: readonly string[]): Record<string, unknown> => {
      const options = ['--changes', changes, '--socket', instance.socket, '--json', ...more];
      const text = execFileSync(process.execPath, [program, 'policy', 'simulate', ...options], { encoding: 'utf8' });
      return JSON.parse(text) as Record<string, unknown>;
    };
    async function generateRandom(accessKeyId: string, secretAccessKey: string, sessionToken?: string) {
      const credentials = { accessKeyId, secretAccessKey, ...(sessionToken === undefined ? {} : { sessionToken }) };
      const { region, endpoint } = instance;
      const client = new KMS({ region, endpoint: endpoint ?? '', credentials, maxAttempts: 1 });
      return client
        .generateRandom({ NumberOfBytes: 1 })
        .then(() => 'allowed', String)
        .finally(() => client.destroy());
    }

    test('are also those of who signs with credentials that were issued to him, and changes of them are simulated', async () => {
      const { additionalEventData: _, ...before } = present(auditLines(instance.dir).at(-1));
      const curl = ['-s', '--unix-socket', basename(instance.socket), 'http://kms/credentials', '-X', 'POST'];
      const issued = execFileSync('curl', curl, {
        ...unixUsers['www-data'],
        cwd: dirname(instance.socket),
        encoding: 'utf8',
      });
      const { AccessKeyId, SecretAccessKey, SessionToken } = JSON.parse(issued) as Record<string, string>;
      expect(await generateRandom(AccessKeyId ?? '', SecretAccessKey ?? '', SessionToken)).toBe('allowed');
      const recorded = present(auditLines(instance.dir).at(-1));
      expect(recorded).toMatchObject({
        userIdentity: { arn: wwwData, accessKeyId: AccessKeyId },
        additionalEventData: {
          credentialsIssuedTo: {
            uid: 33,
            gid: 33,
            pid: expect.any(Number),
            issuedAt: expect.stringMatching(/^20.*\.000Z$/),
          },
        },
      });

      const create = [program, 'access-keys', 'create', '--principal', wwwData, '--json'];
      const socket = ['--socket', instance.socket];
      const key = execFileSync(process.execPath, [...create, ...socket], { encoding: 'utf8' });
      const made = JSON.parse(key) as Record<string, string>;
      // An access key is of a principal: nobody says which groups its holder is in.
      const { message } = identityDenied(wwwData, 'GenerateRandom', '*');
      expect(await generateRandom(made['AccessKeyId'] ?? '', made['SecretAccessKey'] ?? '')).toBe(
        `AccessDeniedException: ${message}`,
      );
      expect(auditLines(instance.dir).at(-1)?.['additionalEventData']).toEqual({
        decision: { allowed: false, because: expect.any(String) },
      });

      const changes = mkdtempSync(join(tmpdir(), 'drawbridge-changes-'));
      const { sequence } = before['drawbridge'] as { sequence: number };
      try {
        writeFileSync(join(changes, 'nobody.json'), readFileSync(join(folder, 'nobody.json')));
        expect(simulate(changes, '--after', String(sequence))).toMatchObject({
          events: 2,
          distinct: 2,
          newlyRefused: [{ count: 1, principal: wwwData, operation: 'GenerateRandom' }],
          newlyAllowed: [],
          notJudged: [],
          decidedOtherwise: 0,
        });
        const [old, earlier] = [join(changes, 'audit'), structuredClone(recorded)];
        delete (earlier['additionalEventData'] as Record<string, unknown>)['credentialsIssuedTo'];
        mkdirSync(old);
        writeFileSync(join(old, 'audit.jsonl'), `${JSON.stringify(earlier)}\n`);
        expect(simulate(changes, '--folder', old)).toMatchObject({
          events: 1,
          newlyRefused: [],
          notJudged: [{ count: 1, reason: 'the record does not say to which Unix user its credentials were issued' }],
        });
      } finally {
        rmSync(changes, { recursive: true });
      }
    });
  });

  test('give what a key policy delegates, and the audit log names file and statement', async () => {
    const delegating = await newKey(kms);
    expect(await as('nobody').send('DescribeKey', { KeyId: delegating.id })).toMatchObject({ ok: true });
    expect(auditLines(instance.dir).at(-1)).toMatchObject({
      eventName: 'DescribeKey',
      userIdentity: { arn: nobody },
      additionalEventData: {
        decision: { allowed: true, because: 'identity policy nobody.json statement "Look"' },
      },
    });
    const closed = await newKey(kms, policy(allow(rootArn, 'kms:PutKeyPolicy')));
    expect(await as('nobody').send('DescribeKey', { KeyId: closed.id })).toEqual({
      ok: false,
      ...accessDenied(nobody, 'DescribeKey', closed.arn, 'not-allowed'),
    });
  });

  test('do not lock out an author to whom they give the key policy', async () => {
    write('putter.json', [nobody], may(['kms:PutKeyPolicy', 'kms:CreateKey']));
    await reload(taken);
    const created = await as('nobody').send('CreateKey', { Policy: policy(rootMayAll) });
    expect(created).toMatchObject({ ok: true });
    unlinkSync(join(folder, 'putter.json'));
    await reload(taken);
    expect(await as('nobody').send('CreateKey', { Policy: policy(rootMayAll) })).toMatchObject({
      ok: false,
      name: 'MalformedPolicyDocumentException',
    });
  });

  test("that give CreateKey alone are enough for a key with the default key policy, which is the account's", async () => {
    const created = await as('nobody').send('CreateKey', {});
    expect(created).toMatchObject({ ok: true, output: { KeyMetadata: { KeyId: expect.stringMatching(uuid) } } });
    const { KeyId } = Object(created.ok && created.output['KeyMetadata']);
    expect(await as('nobody').send('PutKeyPolicy', { KeyId, Policy: policy(rootMayAll) })).toEqual({
      ok: false,
      ...identityDenied(nobody, 'PutKeyPolicy', keyArn(KeyId)),
    });
    await kms.putKeyPolicy({ KeyId, Policy: policy(rootMayAll) });
  });

  test('that deny win over a key policy and over a grant', async () => {
    const key = await newKey(kms, policy(rootMayAll, allow(nobody, 'kms:Encrypt')));
    await kms.createGrant({ KeyId: key.id, GranteePrincipal: nobody, Operations: ['Encrypt'] });
    expect(await as('nobody').send('Encrypt', { KeyId: key.id, Plaintext })).toMatchObject({ ok: true });
    write('denial.json', [nobody], { Effect: 'Deny', Action: 'kms:Encrypt', Resource: key.arn });
    await reload(taken);
    expect(await as('nobody').send('Encrypt', { KeyId: key.id, Plaintext })).toEqual({
      ok: false,
      name: 'AccessDeniedException',
      message: `User: ${nobody} is not authorized to perform: kms:Encrypt on resource: ${key.arn} with an explicit deny in an identity-based policy`,
    });
    unlinkSync(join(folder, 'denial.json'));
    await reload(taken);
    expect(await as('nobody').send('Encrypt', { KeyId: key.id, Plaintext })).toMatchObject({ ok: true });
  });

  test('give the alias its half of a permission', async () => {
    const key = await newKey(kms, policy(rootMayAll, allow(nobody, 'kms:CreateAlias')));
    const request = { AliasName: 'alias/theirs/one', TargetKeyId: key.id };
    expect(await as('nobody').send('CreateAlias', request)).toEqual({
      ok: false,
      ...identityDenied(nobody, 'CreateAlias', aliasArn('alias/theirs/one')),
    });
    write('alias.json', [nobody], may('kms:CreateAlias', aliasArn('alias/theirs/*')));
    await reload(taken);
    expect(await as('nobody').send('CreateAlias', request)).toMatchObject({ ok: true });
    expect(await as('nobody').send('CreateAlias', { ...request, AliasName: 'alias/ours' })).toEqual({
      ok: false,
      ...identityDenied(nobody, 'CreateAlias', aliasArn('alias/ours')),
    });
  });

  test('are taken all or none, and a mistake is named with its file and place', async () => {
    write('extra.json', ['group:daemon'], may('kms:ListAliases'));
    writeFileSync(
      join(folder, 'broken.json'),
      `{"AttachedTo": ["${nobody}"], "PolicyDocument": {"Statement": [{"Effect": "Allow"}]}}`,
    );
    writeFileSync(join(folder, 'odd.json'), '{"AttachedTo": ');
    const line = JSON.parse(await reload(refused)) as { problem: string };
    expect(line.problem.split('\n')).toEqual([
      'broken.json: Statement[0]: the element Action is missing.',
      'odd.json: This policy contains invalid Json: line 1, column 16: expected a value.',
    ]);
    expect(await as('daemon').send('ListAliases', {})).toMatchObject({ ok: false });
    expect(await as('nobody').send('ListKeys', {})).toMatchObject({ ok: true });
    unlinkSync(join(folder, 'broken.json'));
    unlinkSync(join(folder, 'odd.json'));
    await reload(taken);
    expect(await as('daemon').send('ListAliases', {})).toMatchObject({ ok: true });
  });

  test('that others may write are refused', async () => {
    chmodSync(join(folder, 'group.json'), 0o664);
    const line = JSON.parse(await reload(refused)) as { problem: string };
    expect(line.problem).toBe(
      `\`${join(folder, 'group.json')}\` can be written by others, who could give themselves access; chmod go-w it`,
    );
    chmodSync(join(folder, 'group.json'), 0o644);
    mkdirSync(join(folder, 'folder.json'));
    expect(JSON.parse(await reload(refused))).toMatchObject({
      problem: `\`${join(folder, 'folder.json')}\` is not a file`,
    });
    rmSync(join(folder, 'folder.json'), { recursive: true });
    await reload(taken);
  });

  describe('with conditions', () => {
    const conditional = (Condition: object, action = 'kms:Encrypt') =>
      policy(rootMayAll, { ...allow(nobody, action), Condition });

    test.each<[string, object, object, object]>([
      [
        'a value of the encryption context',
        { StringEquals: { 'kms:EncryptionContext:App': 'web' } },
        { EncryptionContext: { App: 'web', more: 'x' } },
        { EncryptionContext: { App: 'Web' } },
      ],
      [
        'the keys of the encryption context',
        {
          'ForAllValues:StringEquals': { 'kms:EncryptionContextKeys': ['a', 'b'] },
          Null: { 'kms:EncryptionContextKeys': false },
        },
        { EncryptionContext: { a: '1' } },
        { EncryptionContext: { a: '1', c: '1' } },
      ],
      [
        'the name of the user as a variable',
        { StringEquals: { 'kms:EncryptionContext:user': ['$', '{aws:username}'].join('') } },
        { EncryptionContext: { user: 'nobody' } },
        { EncryptionContext: { user: 'daemon' } },
      ],
    ])('on %s', async (_, condition, fitting, other) => {
      const key = await newKey(kms, conditional(condition));
      expect(await as('nobody').send('Encrypt', { KeyId: key.id, Plaintext, ...fitting })).toMatchObject({ ok: true });
      for (const request of [other, {}]) {
        expect(await as('nobody').send('Encrypt', { KeyId: key.id, Plaintext, ...request })).toEqual({
          ok: false,
          ...identityDenied(nobody, 'Encrypt', key.arn),
        });
      }
    });

    test('on the alias that a request uses, and on those that the key has', async () => {
      const byRequest = await newKey(kms, conditional({ StringEquals: { 'kms:RequestAlias': 'alias/door' } }));
      await kms.createAlias({ AliasName: 'alias/door', TargetKeyId: byRequest.id });
      expect(await as('nobody').send('Encrypt', { KeyId: 'alias/door', Plaintext })).toMatchObject({ ok: true });
      expect(await as('nobody').send('Encrypt', { KeyId: aliasArn('alias/door'), Plaintext })).toMatchObject({
        ok: true,
      });
      expect(await as('nobody').send('Encrypt', { KeyId: byRequest.id, Plaintext })).toMatchObject({ ok: false });

      const byResource = await newKey(
        kms,
        conditional({ 'ForAnyValue:StringLike': { 'kms:ResourceAliases': 'alias/gate*' } }),
      );
      const encrypt = () => as('nobody').send('Encrypt', { KeyId: byResource.id, Plaintext });
      expect(await encrypt()).toMatchObject({ ok: false });
      await kms.createAlias({ AliasName: 'alias/gate1', TargetKeyId: byResource.id });
      expect(await encrypt()).toMatchObject({ ok: true });
      await kms.updateAlias({ AliasName: 'alias/gate1', TargetKeyId: byRequest.id });
      expect(await encrypt()).toMatchObject({ ok: false });
    });

    test.each<[string, object, boolean]>([
      ['the Unix user', { StringEquals: { 'drawbridge:UnixUser': 'nobody' } }, true],
      ['another Unix user', { StringEquals: { 'drawbridge:UnixUser': 'daemon' } }, false],
      ['the Unix group', { 'ForAnyValue:StringEquals': { 'drawbridge:UnixGroup': 'nogroup' } }, true],
      ['the socket', { StringEquals: { 'drawbridge:Transport': 'unix' }, Bool: { 'aws:SecureTransport': true } }, true],
      ['the program', { StringEquals: { 'drawbridge:Executable': process.execPath } }, true],
      ['another program', { StringEquals: { 'drawbridge:Executable': '/usr/bin/true' } }, false],
      ['the hour', { DateGreaterThan: { 'aws:CurrentTime': '2020-01-01T00:00:00Z' } }, true],
      ['an hour that is over', { DateLessThan: { 'aws:CurrentTime': '2020-01-01T00:00:00Z' } }, false],
      ['an address, where there is none', { IpAddress: { 'aws:SourceIp': '0.0.0.0/0' } }, false],
      ['the kind of key', { StringEquals: { 'kms:KeySpec': 'SYMMETRIC_DEFAULT', 'kms:KeyOrigin': 'AWS_KMS' } }, true],
    ])('on %s', async (_, condition, expected) => {
      const key = await newKey(kms, conditional(condition));
      expect(await as('nobody').send('Encrypt', { KeyId: key.id, Plaintext })).toMatchObject({ ok: expected });
    });
  });

  test(
    'are those of the role for whoever is mapped to it',
    async () => {
      const configuration = join(instance.dir, 'drawbridge.yaml');
      const text = readFileSync(configuration, 'utf8');
      writeFileSync(configuration, text.replace(/^ {2}groups: \{\}$/m, `  groups: { daemon: "${role}" }`));
      const Condition = { StringEquals: { 'aws:userid': `${role}:daemon` } };
      write('role.json', [role], may('kms:ListKeys', '*', { Condition }));
      await disconnect();
      await instance.kill9();
      instance = await instance.restart();
      await connect();
      expect(await as('daemon').send('ListKeys', {})).toMatchObject({ ok: true });
      expect(auditLines(instance.dir).at(-1)).toMatchObject({ userIdentity: { principalId: `${role}:daemon` } });
      const named = await newKey(kms, policy(rootMayAll, allow(role, 'kms:Encrypt'), deny(session, 'kms:DescribeKey')));
      expect(await as('daemon').send('Encrypt', { KeyId: named.id, Plaintext })).toMatchObject({ ok: true });
      expect(await as('daemon').send('DescribeKey', { KeyId: named.id })).toEqual({
        ok: false,
        ...accessDenied(session, 'DescribeKey', named.arn, 'denied'),
      });
    },
    bootTimeoutMs,
  );
});
