/**
 * An attacker with a SQLite of his own at the file of a daemon that is stopped, what a start says to it, and the way on for an
 * operator who knows better: the backup was his.
 */

import { execFile } from 'node:child_process';
import { copyFileSync } from 'node:fs';
import { join } from 'node:path';
import { DatabaseSync, type SQLOutputValue } from 'node:sqlite';
import { promisify } from 'node:util';
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { type RecordedEvent, readAuditEvents, verifyAuditLog } from '../../src/audit/read-audit-log.ts';
import { loadConfiguration } from '../../src/config/load.ts';
import { acceptMetadata } from '../../src/daemon/accept-metadata.ts';
import { createLog } from '../../src/daemon/log.ts';
import { type KeyId, newBackingKeyId } from '../../src/kms/names.ts';
import { added, removed } from '../../src/store/records/changes.ts';
import { present } from '../end-to-end/support/daemon.ts';
import { allow } from '../end-to-end/support/policies.ts';
import { intentOf } from '../keys/reopened-keys.ts';
import { program } from '../support/program.ts';
import { SetClocks } from '../support/set-clocks.ts';
import { softHsm2, type TestToken } from '../support/tokens.ts';
import { createUpkeptInstance, type Running, type UpkeptInstance } from './upkept-instance.ts';

if (softHsm2.missing !== null) process.stdout.write(`skipped: accepted metadata: ${softHsm2.missing}\n`);

const root = 'arn:aws:iam::000000000000:root';

describe.skipIf(softHsm2.missing !== null)('Metadata that was altered while the daemon was stopped', () => {
  let token: TestToken;
  let instance: UpkeptInstance;
  let keyId: string;
  const metadata = (): string => join(instance.folder, 'data', 'metadata.db');
  const saved = (): string => join(instance.folder, 'saved.db');
  const auditFolder = (): string => join(instance.folder, 'data', 'audit');

  async function run(change: (running: Running) => Promise<unknown> = async () => undefined): Promise<void> {
    const running = await instance.start(new SetClocks());
    try {
      await change(running);
    } finally {
      await running.stop();
    }
  }

  function edit<T>(action: (database: DatabaseSync) => T): T {
    const database = new DatabaseSync(metadata());
    try {
      return action(database);
    } finally {
      database.close();
    }
  }

  const rowsOf = (table: string): Record<string, SQLOutputValue>[] =>
    edit((database) => database.prepare(`SELECT * FROM ${table}`).all());

  function insert(table: string, rows: readonly Record<string, SQLOutputValue>[]): void {
    edit((database) => {
      for (const row of rows) {
        const marks = Object.keys(row).map(() => '?');
        database.prepare(`INSERT INTO ${table} VALUES (${marks})`).run(...Object.values(row));
      }
    });
  }

  /** What a start says: the same each time, since nothing becomes of one that is refused. */
  async function refusal(): Promise<string> {
    const message = () =>
      run().then(
        () => 'it started',
        (error: Error) => error.message,
      );
    const first = await message();
    expect(await message()).toBe(first);
    return first;
  }

  const stateIn = (message: string): string => /accept --state ([0-9a-f]{16})$/.exec(message)?.[1] ?? '';

  async function accept(state: string) {
    const configuration = await loadConfiguration(instance.configurationFile);
    return acceptMetadata({ configuration, environment: {}, state, uid: 4711, log: createLog('error') });
  }

  async function events(): Promise<readonly RecordedEvent[]> {
    const found: RecordedEvent[] = [];
    for await (const event of readAuditEvents(auditFolder())) found.push(event);
    return found;
  }

  beforeAll(async () => {
    token = softHsm2.create();
    instance = await createUpkeptInstance(token);
  });
  afterAll(async () => {
    await instance.remove();
    token.remove();
  });
  beforeEach(async () => {
    await run(async ({ kms }) => {
      keyId = present((await kms.createKey({})).KeyMetadata?.KeyId);
    });
    copyFileSync(metadata(), saved());
  });

  test('by removing a policy with its Deny is refused, until the command line accepts it by its name, on record first', async () => {
    const Deny = { ...allow('*', 'kms:Decrypt'), Effect: 'Deny' };
    const Policy = JSON.stringify({ Version: '2012-10-17', Statement: [allow(root, 'kms:*'), Deny] });
    await run(({ kms }) => kms.putKeyPolicy({ KeyId: keyId, Policy }));
    edit((database) => database.prepare('DELETE FROM key_policy WHERE key_id = ?').run(keyId));
    const message = await refusal();
    expect(message).toMatch(
      /^the records in `.*metadata\.db` are not those that were written last: some were removed, put back or added past Drawbridge/,
    );
    const state = stateIn(message);
    const before = await events();
    const { stdout } = await promisify(execFile)(process.execPath, [
      ...[program, 'metadata', 'accept', '--config', instance.configurationFile, '--state', state, '--json'],
    ]);
    const accepted = JSON.parse(stdout) as Readonly<Record<string, unknown>>;
    expect(accepted).toMatchObject({ quarantined: 0, epoch: expect.any(Number) });
    expect(String(accepted['state']).startsWith(state)).toBe(true);
    const [next, ...others] = (await events()).slice(before.length);
    expect(others).toEqual([]);
    expect(next?.eventName).toBe('AuditMetadataAccepted');
    expect(next?.['additionalEventData']).toMatchObject({
      metadataAccepted: { epoch: accepted['epoch'], records: accepted['state'], by: { uid: process.getuid?.() } },
    });
    // A key without its policy is not one with another.
    await run(({ kms }) =>
      expect(kms.describeKey({ KeyId: keyId })).rejects.toMatchObject({ name: 'KMSInternalException' }),
    );
    expect(await verifyAuditLog(auditFolder())).toMatchObject({ ok: true });
  });

  test('by putting a grant back that was revoked is refused', async () => {
    let grantId = '';
    await run(async ({ kms }) => {
      const grantee = 'arn:aws:iam::000000000000:user/unix/backup';
      const made = await kms.createGrant({ KeyId: keyId, GranteePrincipal: grantee, Operations: ['Decrypt'] });
      grantId = present(made.GrantId);
    });
    const rows = rowsOf('key_grant').filter((row) => row['grant_id'] === grantId);
    await run(({ kms }) => kms.revokeGrant({ KeyId: keyId, GrantId: grantId }));
    insert('key_grant', rows);
    expect(await refusal()).toContain('are not those that were written last');
    edit((database) => database.prepare('DELETE FROM key_grant WHERE grant_id = ?').run(grantId));
    await run();
  });

  test('by a backup of the whole file is refused as older than the log, and goes on where an operator accepts it', async () => {
    await run(({ kms }) => kms.createAlias({ AliasName: 'alias/after-the-backup', TargetKeyId: keyId }));
    copyFileSync(saved(), metadata());
    const message = await refusal();
    expect(message).toContain('the metadata is older than the audit log says');
    await accept(stateIn(message));
    await run(async ({ kms }) => {
      expect((await kms.listAliases({ KeyId: keyId })).Aliases).toEqual([]);
      await kms.createAlias({ AliasName: 'alias/after-the-restore', TargetKeyId: keyId });
    });
    await run();
    const accepted = (await events()).findLast((event) => event.eventName === 'AuditMetadataAccepted');
    expect(accepted?.['additionalEventData']).toMatchObject({ metadataAccepted: { by: { uid: 4711 } } });
    // What was in force between the backup and the restore is no way back, either.
    copyFileSync(saved(), metadata());
    expect(await refusal()).toContain('the metadata is older than the audit log says');
    await accept(stateIn(message));
  });

  test('by a copy that has a key half made is accepted without destroying what became of the key', async () => {
    const backingKeyId = newBackingKeyId();
    const intent = (nodeId: string) => ({ ...intentOf(nodeId, keyId as KeyId), backingKeyId });
    await instance.records((_, nodeId) => [added('backingKey', intent(nodeId))]);
    copyFileSync(metadata(), saved());
    await instance.records((_, nodeId) => [removed('backingKey', intent(nodeId))]);
    await run(({ kms }) => kms.createAlias({ AliasName: 'alias/since-the-copy', TargetKeyId: keyId }));
    const label = `drawbridge:${keyId}:9`;
    const kind = { keySpec: 'SYMMETRIC_DEFAULT', keyUsage: 'ENCRYPT_DECRYPT' } as const;
    await instance.keyStore.generateKey({ backingKeyId, label, ...kind });
    copyFileSync(saved(), metadata());
    expect(await accept(stateIn(await refusal()))).toMatchObject({ droppedIntents: 1, quarantined: 0 });
    await run();
    await run();
    expect(await instance.objects()).toContain(label);
    const unnamed = instance.log.filter(({ message }) => message.includes('belongs to no record'));
    expect(unnamed.at(-1)?.fields).toMatchObject({ backingKeyId, label });
  });

  test.each([
    ['a second root', () => insert('root', rowsOf('root'))],
    ['no root', () => edit((database) => database.exec('DELETE FROM root'))],
  ])('by %s is refused, and accepted by its name alone', async (_what, attack) => {
    attack();
    const message = await refusal();
    const before = await events();
    await expect(accept('0123456789abcdef')).rejects.toMatchObject({
      failure: 'altered',
      message: `the records in \`${metadata()}\` are in the state \`${stateIn(message)}\`, not in \`0123456789abcdef\``,
    });
    expect(await events()).toEqual(before);
    await accept(stateIn(message));
    await run();
  });

  test('by a trigger is refused by name, and by no means accepted', async () => {
    edit((database) =>
      database.exec('CREATE TRIGGER swallow BEFORE DELETE ON key_grant BEGIN SELECT RAISE(IGNORE); END'),
    );
    const altered = /its trigger `swallow` on `key_grant` is none of Drawbridge's/;
    expect(await refusal()).toMatch(altered);
    await expect(accept('0123456789abcdef')).rejects.toThrow(altered);
    edit((database) => database.exec('DROP TRIGGER swallow'));
    await run();
  });

  test('is not accepted while a daemon runs', async () => {
    await run(() => expect(accept('0123456789abcdef')).rejects.toMatchObject({ failure: 'locked' }));
  });
});
