/**
 * What an operator does to keep the metadata and to have it back: beside the same token, on another machine, and where it must
 * not be: a file that was changed, an HSM that is another one, a folder that has metadata.
 */

import { execFile } from 'node:child_process';
import { existsSync, mkdirSync, readdirSync, readFileSync, renameSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { KMS } from '@aws-sdk/client-kms';
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { readAuditEvents, verifyAuditLog } from '../../src/audit/read-audit-log.ts';
import { readBackup } from '../../src/cli/commands/backup-command.ts';
import { connectTo } from '../../src/cli/requests/command-options.ts';
import { countInLines } from '../../src/cli/terminal/progress.ts';
import { loadConfiguration } from '../../src/config/load.ts';
import { startDaemon } from '../../src/daemon/daemon.ts';
import { createLog } from '../../src/daemon/log.ts';
import { restoreBackup } from '../../src/daemon/restore.ts';
import { openBackup } from '../../src/store/backup-file.ts';
import { kmsOver } from '../end-to-end/support/connect.ts';
import { present } from '../end-to-end/support/daemon.ts';
import { program } from '../support/program.ts';
import { SetClocks } from '../support/set-clocks.ts';
import { softHsm2, type TestToken } from '../support/tokens.ts';
import { createUpkeptInstance, type Running, type UpkeptInstance } from './upkept-instance.ts';

if (softHsm2.missing !== null) process.stdout.write(`skipped: backups: ${softHsm2.missing}\n`);

const plaintext = Buffer.from('kept');
/** One of each way in which a key is proven. */
const kinds = [
  { KeySpec: 'SYMMETRIC_DEFAULT', KeyUsage: 'ENCRYPT_DECRYPT' },
  { KeySpec: 'HMAC_384', KeyUsage: 'GENERATE_VERIFY_MAC' },
  { KeySpec: 'RSA_2048', KeyUsage: 'SIGN_VERIFY' },
  { KeySpec: 'RSA_2048', KeyUsage: 'ENCRYPT_DECRYPT' },
  { KeySpec: 'ECC_NIST_P256', KeyUsage: 'SIGN_VERIFY' },
  { KeySpec: 'ECC_NIST_P384', KeyUsage: 'KEY_AGREEMENT' },
  { KeySpec: 'ECC_NIST_EDWARDS25519', KeyUsage: 'SIGN_VERIFY' },
] as const;

interface Ended {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

function drawbridge(...args: readonly string[]): Promise<Ended> {
  return new Promise((resolve) => {
    execFile(process.execPath, [program, ...args], (error, stdout, stderr) => {
      resolve({ code: typeof error?.code === 'number' ? error.code : 0, stdout, stderr });
    });
  });
}

describe.skipIf(softHsm2.missing !== null)('Metadata that is to be kept', () => {
  let token: TestToken;
  let instance: UpkeptInstance;
  let ciphertext: Uint8Array;
  let keyId: string;
  const dataDir = (): string => join(instance.folder, 'data');
  const file = (name = 'kept.backup'): string => join(instance.folder, name);

  async function run<T>(action: (running: Running) => Promise<T>): Promise<T> {
    const running = await instance.start(new SetClocks());
    try {
      return await action(running);
    } finally {
      await running.stop();
    }
  }

  const aliases = async (kms: KMS): Promise<readonly string[]> => {
    const { Aliases } = await kms.listAliases({});
    return present(Aliases).map(({ AliasName }) => present(AliasName));
  };

  async function backUp(socketPath: string, path = file()): Promise<Readonly<Record<string, unknown>>> {
    const { code, stdout, stderr } = await drawbridge('backup', '--socket', socketPath, '--out', path, '--json');
    expect(stderr).toBe('');
    expect(code).toBe(0);
    return JSON.parse(stdout) as Readonly<Record<string, unknown>>;
  }

  /** The same data folder, empty, under another name: as on another machine that has the token and nothing else. */
  function elsewhere(name: string): { readonly config: string; readonly data: string } {
    const data = join(instance.folder, name);
    const config = join(instance.folder, `${name}.yaml`);
    const text = readFileSync(instance.configurationFile, 'utf8').replaceAll(dataDir(), data);
    writeFileSync(config, text.replaceAll(join(instance.folder, 'kms.sock'), join(instance.folder, `${name}.sock`)));
    return { config, data };
  }

  async function giveBack(path: string, config = instance.configurationFile) {
    const configuration = await loadConfiguration(config);
    const backup = await openBackup(path);
    const parts = { configuration, environment: {}, uid: 0, log: createLog('error'), progress: () => undefined };
    return restoreBackup({ backup, ...parts }).finally(() => backup.close());
  }

  beforeAll(async () => {
    token = softHsm2.create();
    instance = await createUpkeptInstance(token);
    await run(async ({ kms, socketPath }) => {
      for (const kind of kinds) await kms.createKey(kind);
      keyId = present((await kms.createKey({})).KeyMetadata?.KeyId);
      await kms.rotateKeyOnDemand({ KeyId: keyId });
      await kms.createAlias({ AliasName: 'alias/kept', TargetKeyId: keyId });
      ciphertext = present((await kms.encrypt({ KeyId: keyId, Plaintext: plaintext })).CiphertextBlob);
      await backUp(socketPath);
    });
  });
  afterAll(async () => {
    await instance.remove();
    token.remove();
  });
  beforeEach(() => {
    for (const name of ['other', 'second']) rmSync(join(instance.folder, name), { recursive: true, force: true });
  });

  test('is copied while it is changed, on record, and nothing of that is left in the data folder', async () => {
    await run(async ({ kms, socketPath }) => {
      const names = [...Array(12).keys()].map((number) => `alias/meanwhile-${number}`);
      const changes = names.map((AliasName) => kms.createAlias({ AliasName, TargetKeyId: keyId }));
      const [made] = await Promise.all([backUp(socketPath, file('meanwhile.backup')), ...changes]);
      expect(made).toMatchObject({
        account: '000000000000',
        regions: ['us-east-1'],
        bytes: statSync(file('meanwhile.backup')).size,
      });
      expect(statSync(file('meanwhile.backup')).mode & 0o777).toBe(0o600);
      expect(readFileSync(file('meanwhile.backup')).includes(token.pin)).toBe(false);
      const checked = await drawbridge(
        'restore',
        '--check',
        '--json',
        '--config',
        instance.configurationFile,
        file('meanwhile.backup'),
      );
      expect(checked).toMatchObject({ code: 0, stderr: '' });
      expect(JSON.parse(checked.stdout)).toMatchObject({
        state: made['treeHash'],
        keys: kinds.length + 1,
        problems: [],
        orphans: [],
      });
      for (const AliasName of names) await kms.deleteAlias({ AliasName });
    });
    expect(readdirSync(dataDir()).filter((name) => name.startsWith('backup-') || name.startsWith('restore-'))).toEqual(
      [],
    );
    expect(await instance.events('MakeBackup')).not.toEqual([]);
  });

  test('says where no terminal is how much of it is written', async () => {
    await run(async ({ socketPath }) => {
      const client = await connectTo({ socket: socketPath });
      const made = await client.post('/backup', {});
      const { id, bytes, sha256 } = made as { readonly id: string; readonly bytes: number; readonly sha256: string };
      const lines: string[] = [];
      let nowMs = 0;
      const passing = () => (nowMs += 10_000);
      const count = countInLines('backup', 'MB', passing, (line) => lines.push(line));
      await readBackup(file('told.backup'), client, { id, bytes, sha256 }, count);
      const megabytes = (bytes / 1_000_000).toFixed(1);
      expect(lines).toEqual([`backup: ${megabytes} of ${megabytes} MB`]);
      expect(statSync(file('told.backup')).size).toBe(bytes);
      await client.post('/backup/end', { id });
    });
  });

  test('is given back with what it was, and what came since is named: what is in force again, and what no record names', async () => {
    let later = '';
    await run(async ({ kms }) => {
      await kms.deleteAlias({ AliasName: 'alias/kept' });
      later = present((await kms.createKey({})).KeyMetadata?.KeyId);
    });
    const exists = await drawbridge('restore', '--config', instance.configurationFile, file());
    expect(exists.code).toBe(1);
    expect(exists.stderr).toContain(
      'is there already, and nothing is overwritten; stop the daemon and move the file away',
    );
    renameSync(join(dataDir(), 'metadata.db'), file('replaced.db'));
    mkdirSync(join(dataDir(), 'restore-0123456789abcdef'));
    const restored = await drawbridge('restore', '--json', '--config', instance.configurationFile, file());
    expect(restored).toMatchObject({ code: 0 });
    const { orphans, ...rest } = JSON.parse(restored.stdout) as { readonly orphans: readonly { label: string }[] };
    expect(rest).toMatchObject({ keys: kinds.length + 1, proven: kinds.length + 2, problems: [], quarantined: 0 });
    expect(orphans.map(({ label }) => label)).toEqual([`drawbridge:${later}:1`]);
    expect(readdirSync(dataDir()).filter((name) => name.startsWith('restore-'))).toEqual([]);
    await run(async ({ kms }) => {
      expect(await aliases(kms)).toContain('alias/kept');
      expect(present((await kms.decrypt({ CiphertextBlob: ciphertext })).Plaintext)).toEqual(new Uint8Array(plaintext));
      await expect(kms.describeKey({ KeyId: later })).rejects.toMatchObject({ name: 'NotFoundException' });
    });
    const accepted = await instance.events('AuditMetadataAccepted');
    expect(accepted.at(-1)?.['additionalEventData']).toMatchObject({
      metadataAccepted: { by: { uid: process.getuid?.() } },
    });
    expect(await verifyAuditLog(join(dataDir(), 'audit'))).toMatchObject({ ok: true });
  });

  test('is given back on another machine, where the new audit log says that it goes on without the former one', async () => {
    const { config, data } = elsewhere('other');
    const restored = await drawbridge('restore', '--config', config, file());
    expect(restored.stdout).toMatch(/^restored +the metadata of 20/);
    expect(restored).toMatchObject({ code: 0, stderr: `next: drawbridge serve --config ${config}\n` });
    const names: string[] = [];
    for await (const { eventName } of readAuditEvents(join(data, 'audit'))) names.push(eventName);
    expect(names).toEqual(['AuditAccepted', 'AuditMetadataAccepted']);
    expect(await verifyAuditLog(join(data, 'audit'))).toMatchObject({ ok: true });
    const configuration = await loadConfiguration(config);
    const daemon = await startDaemon({
      ...{ configuration, environment: {}, log: createLog('error'), openKeyStores: [instance.keyStore] },
    });
    const kms = kmsOver(daemon.regions[0].socketPath);
    expect(present((await kms.decrypt({ CiphertextBlob: ciphertext })).Plaintext)).toEqual(new Uint8Array(plaintext));
    kms.destroy();
    await daemon.stop();
  });

  test('is given back or not, and never half, where the command is killed', async () => {
    const { config, data } = elsewhere('other');
    const killedAt = async (step: string): Promise<void> => {
      const child = fileURLToPath(new URL('killed-in-restore.ts', import.meta.url));
      const { signal } = await new Promise<{ signal: unknown }>((resolve) => {
        execFile(process.execPath, [child, config, file(), step], (error) => resolve({ signal: error?.signal }));
      });
      expect(signal).toBe('SIGKILL');
    };
    for (const step of ['when the audit log says so', 'before it is in force']) {
      await killedAt(step);
      expect(readdirSync(data).filter((name) => name.startsWith('metadata'))).toEqual([]);
    }
    await killedAt('when it is in force');
    expect(await verifyAuditLog(join(data, 'audit'))).toMatchObject({ ok: true });
    const configuration = await loadConfiguration(config);
    const daemon = await startDaemon({
      ...{ configuration, environment: {}, log: createLog('error'), openKeyStores: [instance.keyStore] },
    });
    const kms = kmsOver(daemon.regions[0].socketPath);
    expect(present((await kms.decrypt({ CiphertextBlob: ciphertext })).Plaintext)).toEqual(new Uint8Array(plaintext));
    kms.destroy();
    await daemon.stop();
  });

  test.each([
    ['a byte of the header', (bytes: Buffer) => bytes.writeUInt8((bytes[60] ?? 0) ^ 1, 60)],
    ['a byte of the records', (bytes: Buffer) => bytes.writeUInt8((bytes[20_000] ?? 0) ^ 1, 20_000)],
    ['a byte of the MAC', (bytes: Buffer) => bytes.writeUInt8((bytes.at(-1) ?? 0) ^ 1, bytes.length - 1)],
  ])('is refused with %s changed, and nothing of it is there', async (_what, change) => {
    const { config, data } = elsewhere('other');
    const bytes = readFileSync(file());
    change(bytes);
    writeFileSync(file('changed.backup'), bytes);
    await expect(giveBack(file('changed.backup'), config)).rejects.toThrow(/nothing of it was used/);
    expect(existsSync(data) ? readdirSync(data) : []).toEqual([]);
  });

  test.each([
    ['cut off', (bytes: Buffer) => bytes.subarray(0, -1), 'it was cut off'],
    ['another file', () => Buffer.from('SQLite format 3'), 'is no backup of Drawbridge'],
    ['empty', () => Buffer.alloc(0), 'is no backup of Drawbridge'],
    [
      'of a later version',
      (bytes: Buffer) => Buffer.from(bytes.toString('latin1').replace('backup 1\n', 'backup 2\n'), 'latin1'),
      'is of a later version',
    ],
  ])('is refused when the file is %s', async (_what, change, message) => {
    writeFileSync(file('changed.backup'), change(readFileSync(file())));
    await expect(openBackup(file('changed.backup'))).rejects.toThrow(message);
    await expect(openBackup(instance.folder)).rejects.toThrow(
      `cannot read the backup \`${instance.folder}\`: it is a folder (EISDIR)`,
    );
  });

  test('is refused by another HSM, and by the configuration of another account, before anything is written', async () => {
    const stranger = softHsm2.create();
    try {
      const { config, data } = elsewhere('second');
      const text = readFileSync(config, 'utf8');
      const others = text.replaceAll(token.label, stranger.label).replaceAll(token.folder, stranger.folder);
      const pinFile = join(instance.folder, 'second-pin');
      writeFileSync(pinFile, `${stranger.pin}\n`, { mode: 0o600 });
      writeFileSync(config, others.replaceAll(join(instance.folder, 'pin'), pinFile));
      const refused = await drawbridge('restore', '--config', config, file());
      expect(refused.stderr).toContain('does not hold the service key');
      expect(refused.stderr).toContain('nothing was written');
      expect(refused.stderr).toContain('have this one join an HSM that has it (`drawbridge domain invite --help`)');
      writeFileSync(config, text.replaceAll('000000000000', '111111111111'));
      expect((await drawbridge('restore', '--config', config, file())).stderr).toContain(
        "set `account: '000000000000'`",
      );
      expect(existsSync(join(data, 'metadata.db'))).toBe(false);
    } finally {
      stranger.remove();
    }
  });

  test.each(['metadata.db-wal', 'metadata.db-shm', 'metadata.db-journal'])(
    'is not given back beside a %s of other metadata',
    async (name) => {
      const { config, data } = elsewhere('other');
      mkdirSync(data, { mode: 0o700 });
      writeFileSync(join(data, name), 'of another database');
      await expect(giveBack(file(), config)).rejects.toThrow(`${name}\` is there already, and nothing is overwritten`);
      expect(readdirSync(data)).toEqual([name]);
    },
  );

  test.each([
    ['a key', 'token', 'generateKey', /^drawbridge:[0-9a-f-]{36}:1$/],
    ['a domain key', 'wrapped', 'generateDomainKey', /^drawbridge:domain:default:1$/],
  ] as const)('that has %s half made destroys nothing of what became of it', async (_what, residency, call, label) => {
    const [made, goOn] = [Promise.withResolvers<void>(), Promise.withResolvers<void>()];
    /** What is made in the token is answered later. */
    const slow = new Proxy(instance.keyStore, {
      get(keyStore, name) {
        const member: unknown = Reflect.get(keyStore, name, keyStore);
        if (typeof member !== 'function') return member;
        if (name !== call) return member.bind(keyStore);
        return async (...request: readonly unknown[]) => {
          const answer: unknown = await Reflect.apply(member, keyStore, request);
          made.resolve();
          await goOn.promise;
          return answer;
        };
      },
    });
    const before = await instance.objects();
    const { kms, socketPath, stop } = await instance.start(new SetClocks(), slow, residency);
    const making = kms.createKey({});
    await made.promise;
    await backUp(socketPath, file('early.backup'));
    goOn.resolve();
    const KeyId = present((await making).KeyMetadata?.KeyId);
    const { CiphertextBlob } = await kms.encrypt({ KeyId, Plaintext: plaintext });
    await backUp(socketPath, file('late.backup'));
    await stop();
    const objects = await instance.objects();
    const [object = ''] = objects.filter((each) => !before.includes(each));
    expect(object).toMatch(label);
    const orphanedBy = async (name: string) => {
      for (const each of readdirSync(dataDir())) if (each.startsWith('metadata.db')) rmSync(join(dataDir(), each));
      const { orphans, accepted } = await giveBack(file(name));
      return { orphan: orphans.find((each) => each.label === object)?.what, dropped: accepted.droppedIntents };
    };
    const what = residency === 'wrapped' ? 'domain key' : 'backing key';
    expect(await orphanedBy('early.backup')).toEqual({ orphan: what, dropped: 1 });
    await run(async () => undefined);
    expect(await instance.objects()).toEqual(objects);
    const reported = instance.log.filter(({ message }) => message.includes('belongs to no record'));
    expect(reported.at(-1)?.fields).toMatchObject({ label: object });
    expect(await orphanedBy('late.backup')).toEqual({ orphan: undefined, dropped: 0 });
    await run(async (again) => {
      expect(present((await again.kms.decrypt({ CiphertextBlob })).Plaintext)).toEqual(new Uint8Array(plaintext));
    });
  });

  test('is compared with the HSM by a census, which names what is missing', async () => {
    await run(async ({ kms, socketPath }) => {
      const census = async () => {
        const { code, stdout } = await drawbridge('census', '--socket', socketPath, '--json');
        return { code, ...(JSON.parse(stdout) as { readonly problems: readonly object[]; readonly proven: number }) };
      };
      const before = await census();
      expect(before).toMatchObject({ code: 0, problems: [], damaged: 0, unreachable: [] });
      const lost = present(
        (await kms.createKey({ KeySpec: 'HMAC_256', KeyUsage: 'GENERATE_VERIFY_MAC' })).KeyMetadata?.KeyId,
      );
      const listed = await instance.keyStore.listKeys();
      const { backingKeyId } = present(listed.find(({ label }) => label === `drawbridge:${lost}:1`));
      await instance.keyStore.destroyKey({ backingKeyId });
      expect(await census()).toMatchObject({
        code: 1,
        proven: before.proven,
        problems: [{ keyId: lost, backingKeyId }],
      });
      const people = await drawbridge('census', '--socket', socketPath);
      expect(people.stdout).toMatch(new RegExp(`missing or not working +1\\n[^]*${lost}`));
      // A restore of it gives back what it can, and says what to do about the rest.
      const path = file('lacking.backup');
      expect(await drawbridge('backup', '--socket', socketPath, '--out', path)).toMatchObject({ code: 0 });
      const { config } = elsewhere('lacking');
      expect(await drawbridge('restore', '--config', config, path)).toMatchObject({
        code: 0,
        stdout: expect.stringContaining(lost),
        stderr: expect.stringMatching(
          /^not all of it works .*give the HSM's own backup back.*\nnext: drawbridge serve/,
        ),
      });
    });
  });
});
