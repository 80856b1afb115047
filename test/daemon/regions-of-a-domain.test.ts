/**
 * Two Regions with an HSM each, of two vendors, in one domain: what multi-Region keys share is unwrapped by each Region's own, and neither Region
 * needs the other one's.
 */

import { randomBytes } from 'node:crypto';
import { readFileSync, renameSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { CreateKeyRequest, KMS } from '@aws-sdk/client-kms';
import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest';
import { parse, stringify } from 'yaml';
import { loadConfiguration } from '../../src/config/load.ts';
import { createLog } from '../../src/daemon/log.ts';
import { tryBackup } from '../../src/daemon/restore.ts';
import type { KeyStore } from '../../src/hsm/key-store.ts';
import { openBackup } from '../../src/store/backup-file.ts';
import { kmsOver } from '../end-to-end/support/connect.ts';
import { present } from '../end-to-end/support/daemon.ts';
import { importMaterial } from '../end-to-end/support/imports.ts';
import { refusal } from '../end-to-end/support/refusals.ts';
import { openStore } from '../hsm/test-store.ts';
import { SetClocks } from '../support/set-clocks.ts';
import { nssSoftoken, softHsm2, type TestToken } from '../support/tokens.ts';
import { drawbridge, nextOf, refusedCommand } from './domain-commands.ts';
import { InstanceOfStores } from './instance-of-stores.ts';
import { askOf, joinDomain, rotateDomain } from './joining-key-stores.ts';

const missing = softHsm2.missing ?? nssSoftoken.missing;
if (missing !== null) process.stdout.write(`skipped: Regions of a domain: ${missing}\n`);

const there = 'eu-central-1';
const Plaintext = Buffer.from('a plaintext');
const patience = { timeout: 170_000, interval: 30 };
const dayMs = 24 * 60 * 60 * 1000;

describe.skipIf(missing !== null)('Regions with an HSM each', () => {
  let instance: InstanceOfStores;
  let nss: TestToken;
  /** The token of `annex`, as somebody has it who is not the daemon. */
  let annex: KeyStore;
  let here: KMS;
  let abroad: KMS;
  const clocks = new SetClocks();

  const start = async (): Promise<void> => {
    await instance.start();
    here = instance.kms;
    abroad = kmsOver(join(instance.folder, 'there.sock'));
  };
  const ask = (path: string, body?: object) => askOf(instance.socket, path, body);
  const newPrimary = async (request: CreateKeyRequest = {}, kms = here): Promise<string> =>
    present((await kms.createKey({ MultiRegion: true, ...request })).KeyMetadata?.KeyId);
  const newPair = async (request: CreateKeyRequest = {}): Promise<string> => {
    const KeyId = await newPrimary(request);
    await here.replicateKey({ KeyId, ReplicaRegion: there });
    return KeyId;
  };
  const textOf = async (decrypted: Promise<{ readonly Plaintext?: Uint8Array | undefined }>): Promise<string> =>
    Buffer.from(present((await decrypted).Plaintext)).toString();

  beforeAll(async () => {
    nss = nssSoftoken.create();
    annex = await openStore(nss);
    const pinFile = join(nss.folder, 'pin');
    writeFileSync(pinFile, `${nss.pin}\n`, { mode: 0o600 });
    instance = await InstanceOfStores.create({ annex: InstanceOfStores.settingsOf(nss, pinFile) });
    const written = readFileSync(instance.configurationFile, 'utf8');
    const region = { region: there, socket: { path: join(instance.folder, 'there.sock') }, keyStores: ['annex'] };
    writeFileSync(instance.configurationFile, `${written}\nregions: ${JSON.stringify([region])}\n`);
    instance.clocks = clocks;
    await start();
  });
  afterAll(async () => {
    abroad?.destroy();
    await instance?.remove();
    await annex?.close();
    nss?.remove();
  });

  test('that are no domain give no key to each other, and say what to do', async () => {
    const KeyId = await newPrimary();
    const refused = await refusal(here.replicateKey({ KeyId, ReplicaRegion: there }));
    expect(refused.name).toBe('UnsupportedOperationException');
    expect(refused.message).toMatch(
      /No key store of the Region eu-central-1 is in the domain of `default`.*domain join --key-store annex/,
    );
    expect((await refusal(abroad.describeKey({ KeyId }))).name).toBe('NotFoundException');
    const invitation = join(instance.folder, 'invitation-for-another');
    expect(await nextOf('invite', 'default', '--out', invitation, '--socket', instance.socket)).toBe(
      `next, beside the other HSM: drawbridge domain join ${invitation} --out FILE --key-store NAME`,
    );
  });

  test('are no domain because an object in the one has the id of a domain key of the other', async () => {
    const KeyId = await newPrimary();
    const { keyStores } = await ask('/status');
    const { backingKeyId } = keyStores[0].domainKeys[0];
    const forged = { backingKeyId, label: 'drawbridge:domain:default:1' };
    await annex.generateDomainKey(forged);
    await ask('/key-stores/annex/reconnect', {});
    expect(instance.logged.join()).toContain('is another key, and is not used');
    expect((await refusal(here.replicateKey({ KeyId, ReplicaRegion: there }))).name).toBe(
      'UnsupportedOperationException',
    );
    await annex.destroyKey({ backingKeyId });
  });

  test('have one domain once the HSM of one has joined that of the other, and the daemon has looked', async () => {
    const KeyId = await newPrimary();
    await joinDomain(instance, 'default', 'annex');
    // It would wrap what is new under a former domain key of the others, having no other one.
    await ask('/domains/default/rotate', {});
    await ask('/key-stores/annex/reconnect', {});
    expect(instance.logged.join()).toContain('has only former domain keys of others');
    expect((await ask('/status')).keyStores[1]).toMatchObject({ name: 'annex', domainKeys: [] });
    await joinDomain(instance, 'default', 'annex');
    expect((await refusal(here.replicateKey({ KeyId, ReplicaRegion: there }))).message).toMatch(/reconnect annex/);
    expect(await ask('/key-stores/annex/reconnect', {})).toMatchObject({ state: 'connected' });
    await here.replicateKey({ KeyId, ReplicaRegion: there });
    const described = await abroad.describeKey({ KeyId });
    expect(described.KeyMetadata).toMatchObject({ KeyState: 'Enabled', MultiRegion: true });
    // It uses what is wrapped, and verifies no record: it was given nothing for that.
    const labels = (await annex.listKeys()).map(({ label }) => label).sort();
    expect(labels).toEqual(['drawbridge:domain:default:1', 'drawbridge:domain:default:2']);
  });

  test('decrypt in each what was encrypted in the other', async () => {
    const KeyId = await newPair();
    for (const [one, other] of [
      [here, abroad],
      [abroad, here],
    ] as const) {
      const { CiphertextBlob } = await one.encrypt({ KeyId, Plaintext });
      expect(await textOf(other.decrypt({ CiphertextBlob }))).toBe('a plaintext');
      const data = await one.generateDataKey({ KeyId, KeySpec: 'AES_256' });
      const opened = await other.decrypt({ CiphertextBlob: data.CiphertextBlob });
      expect(opened.Plaintext).toEqual(data.Plaintext);
    }
  });

  test('sign, and make MACs, as one key', async () => {
    const mac = await newPair({ KeySpec: 'HMAC_256', KeyUsage: 'GENERATE_VERIFY_MAC' });
    const MacAlgorithm = 'HMAC_SHA_256';
    const { Mac } = await here.generateMac({ KeyId: mac, MacAlgorithm, Message: Plaintext });
    expect(await abroad.verifyMac({ KeyId: mac, MacAlgorithm, Message: Plaintext, Mac })).toMatchObject({
      MacValid: true,
    });
    const pair = await newPair({ KeySpec: 'ECC_NIST_P256', KeyUsage: 'SIGN_VERIFY' });
    const SigningAlgorithm = 'ECDSA_SHA_256';
    const { Signature } = await abroad.sign({ KeyId: pair, SigningAlgorithm, Message: Plaintext });
    const verified = await here.verify({ KeyId: pair, SigningAlgorithm, Message: Plaintext, Signature });
    expect(verified).toMatchObject({ SignatureValid: true });
  });

  test('give no key away that the other HSM does not know', async () => {
    const KeyId = await newPrimary({ KeySpec: 'ECC_SECG_P256K1', KeyUsage: 'SIGN_VERIFY' });
    const refused = await refusal(here.replicateKey({ KeyId, ReplicaRegion: there }));
    expect(refused).toMatchObject({ name: 'UnsupportedOperationException' });
    expect(refused.message).toContain('ECC_SECG_P256K1 is not supported by the HSM');
  });

  test('rotate a key for both, whichever of them has the primary one', async () => {
    const KeyId = await newPair();
    const { CiphertextBlob } = await abroad.encrypt({ KeyId, Plaintext });
    await here.rotateKeyOnDemand({ KeyId });
    const current = async (kms: KMS) => (await kms.describeKey({ KeyId })).KeyMetadata?.CurrentKeyMaterialId;
    expect(await current(abroad)).toBe(await current(here));
    const rotated = await abroad.encrypt({ KeyId, Plaintext });
    await here.updatePrimaryRegion({ KeyId, PrimaryRegion: there });
    await abroad.rotateKeyOnDemand({ KeyId });
    const moved = await here.encrypt({ KeyId, Plaintext });
    expect(await current(abroad)).toBe(await current(here));
    for (const each of [{ CiphertextBlob }, rotated, moved])
      for (const kms of [here, abroad])
        expect(await textOf(kms.decrypt({ CiphertextBlob: present(each.CiphertextBlob) }))).toBe('a plaintext');
  });

  test('are gone through one after the other where all keys of a key store are to move', async () => {
    await newPrimary({}, abroad);
    const target = { from: 'annex', to: null, residency: 'wrapped', dryRun: true };
    const begins: string[] = [];
    const parts = [await ask('/moves', { ...target, after: null })];
    for (let { next } = parts[0]; next !== null; { next } = present(parts.at(-1))) {
      if (next.keyId === '') begins.push(next.region);
      parts.push(await ask('/moves', { ...target, after: next }));
    }
    expect(begins).toEqual([there]);
    expect(parts.reduce((sum, { keys }) => sum + keys, 0)).toBe(parts[0].totalKeys);
    expect(parts.reduce((sum, { inPlace }) => sum + inPlace, 0)).toBeGreaterThan(0);
  });

  test('are asked for by the way in which a command is told of one', async () => {
    const several = 'drawbridge: there are several key stores; name one of them';
    const over = ['--socket', instance.socket];
    expect(await refusedCommand('rotate', ...over)).toBe(`${several}: default, annex`);
    expect(await refusedCommand('leave', 'annex', ...over)).toBe(`${several} by --key-store: default, annex`);
    const beside = ['--config', instance.configurationFile, '--out', join(instance.folder, 'none')];
    expect(await refusedCommand('join', 'none', ...beside)).toBe(`${several} by --key-store: default, annex`);
  });

  test('get a new domain key together, and use what is under the former one', async () => {
    const KeyId = await newPair();
    const { CiphertextBlob } = await here.encrypt({ KeyId, Plaintext });
    const soPinFile = join(instance.folder, 'so-pin');
    writeFileSync(soPinFile, `${instance.token.soPin}\n`, { mode: 0o600 });
    const trusted = ['--so-pin-file', soPinFile, '--config', instance.configurationFile];
    const done = await drawbridge('rotate', 'default', ...trusted, '--socket', instance.socket, '--json');
    expect(done).toMatchObject({ members: ['default', 'annex/annex'], left: null });
    const shown = await nextOf('show', '--socket', instance.socket);
    expect(shown).toContain('one domain: the key stores annex, default');
    for (const kms of [here, abroad]) expect(await textOf(kms.decrypt({ CiphertextBlob }))).toBe('a plaintext');
    // Made abroad, used here, under the new one.
    const made = await newPrimary({}, abroad);
    await abroad.replicateKey({ KeyId: made, ReplicaRegion: 'us-east-1' });
    const sealed = await here.encrypt({ KeyId: made, Plaintext });
    expect(await textOf(abroad.decrypt({ CiphertextBlob: present(sealed.CiphertextBlob) }))).toBe('a plaintext');
    const { keyStores } = await ask('/status');
    for (const { domainKeys, domain } of keyStores) {
      expect(domainKeys.at(-1)).toMatchObject({ backingKeyId: done['domainKeyId'], state: 'Active' });
      expect(domain).toHaveLength(2);
    }
  });

  test('have one of those who finish a rotation at the same time do so, and lose nothing by the other one', async () => {
    const { domainKeyId } = await ask('/domains/annex/rotation', {});
    const answers = await Promise.all([1, 2].map(() => ask('/domains/annex/rotation/finish', { domainKeyId })));
    const done = answers.filter((answer) => answer.domainKeyId === domainKeyId);
    const refused = answers.filter(({ __type }) => __type === 'ConflictException');
    expect([done, refused]).toMatchObject([[{ members: ['annex', 'default/default'] }], [{}]]);
    for (const { domainKeys } of (await ask('/status')).keyStores)
      expect(domainKeys.at(-1)).toMatchObject({ backingKeyId: domainKeyId, state: 'Active' });
    const { CiphertextBlob } = await here.encrypt({ KeyId: await newPair(), Plaintext });
    expect(await textOf(abroad.decrypt({ CiphertextBlob }))).toBe('a plaintext');
  });

  test('are served by their own HSM alone: while the hosts of one are gone, the other one goes on', async () => {
    const KeyId = await newPair();
    const { CiphertextBlob } = await here.encrypt({ KeyId, Plaintext });
    const hosts = async (name: string): Promise<readonly number[]> =>
      (await ask('/status')).keyStores.find((each: { name: string }) => each.name === name).pids;
    for (const [gone, kms] of [
      ['default', abroad],
      ['annex', here],
    ] as const) {
      for (const pid of await hosts(gone)) process.kill(pid, 'SIGSTOP');
      try {
        expect(await textOf(kms.decrypt({ CiphertextBlob }))).toBe('a plaintext');
      } finally {
        for (const pid of await hosts(gone)) process.kill(pid, 'SIGCONT');
      }
    }
  });

  test('get no new domain key while an HSM of theirs is lost, which is named before anybody has noticed and after', async () => {
    const ofAnnex = async () => (await ask('/status')).keyStores[1];
    const { pids, domainKeys } = await ofAnnex();
    const refuses = async (named: string, path: string) =>
      expect(await ask(`/domains/${named}/rotation`, {})).toMatchObject({
        __type: 'ConflictException',
        message: expect.stringMatching(
          new RegExp(`^\`${path}\` of the domain of the key store \`${named}\` would lack the new domain key`),
        ),
      });
    // Its database is gone, as is a token that somebody took out.
    renameSync(nss.folder, `${nss.folder}.away`);
    try {
      for (const pid of pids) process.kill(pid, 'SIGKILL');
      await refuses('default', 'annex/annex');
      await vi.waitFor(async () => expect((await ofAnnex()).state).not.toBe('connected'), patience);
      await refuses('default', 'annex/annex');
      await refuses('annex', 'annex');
    } finally {
      renameSync(`${nss.folder}.away`, nss.folder);
    }
    await vi.waitFor(async () => expect(await ofAnnex()).toMatchObject({ state: 'connected', domainKeys }), patience);
    expect((await ask('/census/orphans', {})).orphans).toEqual([]);
    expect(await rotateDomain(instance, 'default')).toMatchObject({ members: ['default', 'annex/annex'] });
  });

  test('have no domain key of a rotation that was cut off, and serve as before after a restart', async () => {
    const KeyId = await newPair();
    const { CiphertextBlob } = await here.encrypt({ KeyId, Plaintext });
    const newest = async () =>
      (await ask('/status')).keyStores.map((each: { domainKeys: object[] }) => each.domainKeys.at(-1));
    const before = await newest();
    const { domainKeyId } = await ask('/domains/default/rotation', {});
    abroad.destroy();
    await instance.stop();
    await start();
    expect(await newest()).toEqual(before.map((each: object) => ({ ...each, backingKeys: expect.any(Number) })));
    const { orphans } = await ask('/census/orphans', {});
    expect(orphans).toEqual([]);
    expect((await annex.listKeys()).map(({ backingKeyId }) => backingKeyId)).not.toContain(domainKeyId);
    expect(await textOf(abroad.decrypt({ CiphertextBlob }))).toBe('a plaintext');
  });

  test('are counted by what each of them can use, in a census and when a restore is rehearsed', async () => {
    // What the start has wrapped anew is done.
    await clocks.settled();
    // What is imported is each Region's own: of this one there is nothing more here.
    const imported = await newPrimary({ Origin: 'EXTERNAL' });
    const material = randomBytes(32);
    await importMaterial(here, imported, material);
    await here.replicateKey({ KeyId: imported, ReplicaRegion: there });
    await importMaterial(abroad, imported, material);
    await here.deleteImportedKeyMaterial({ KeyId: imported });
    const elsewhere = { keys: [imported], to: 'default', residency: null, dryRun: true };
    const moved = await askOf(join(instance.folder, 'there.sock'), '/moves', elsewhere);
    expect(moved.refused[0].reason).toBe(
      `the Region ${there}, which uses the material, does not have the key store \`default\``,
    );
    const first = await ask('/census', { after: null });
    const second = await ask('/census', { after: first.next });
    expect([...first.problems, ...second.problems]).toEqual([]);
    const { id } = await ask('/backup', {});
    const path = join(instance.folder, 'metadata.backup');
    writeFileSync(path, Buffer.from((await ask('/backup/read', { id, offset: 0 })).data, 'base64'));
    await ask('/backup/end', { id });
    const configuration = await loadConfiguration(instance.configurationFile);
    const backup = await openBackup(path);
    const parts = { configuration, environment: {}, uid: 0, log: createLog('error'), progress: () => undefined };
    const tried = await tryBackup({ backup, ...parts }).finally(() => backup.close());
    expect(tried).toMatchObject({ problems: [], proven: first.proven + second.proven });
  });

  test('part, once no key is used on both sides, and nothing of what is new is for the one that left', async () => {
    const held = await ask('/domains/default/rotation', { leaver: 'annex' });
    expect(held.message).toMatch(/multi-Region keys are used by `annex` and by other key stores/);
    for (const kms of [here, abroad])
      for (const { KeyId } of present((await kms.listKeys({})).Keys)) {
        const { KeyMetadata } = await kms.describeKey({ KeyId });
        const isReplica = KeyMetadata?.MultiRegionConfiguration?.MultiRegionKeyType === 'REPLICA';
        if (isReplica || kms === abroad) await kms.scheduleKeyDeletion({ KeyId, PendingWindowInDays: 7 });
      }
    // What came due at once waits for another day of running; primary keys wait for their replicas.
    for (const days of [8, 2, 8, 2]) await clocks.pass(days * dayMs);
    expect((await abroad.listKeys({})).Keys).toEqual([]);
    const KeyId = await newPrimary({}, abroad);
    const { CiphertextBlob } = await abroad.encrypt({ KeyId, Plaintext });

    const leave = () => rotateDomain(instance, 'default', { leaver: 'annex' });
    // Under the domain key that both have, and would be in the way of its next rotation if it were in both.
    const before = await newPrimary({});
    expect(await leave()).toMatchObject({ members: ['default'], left: { member: 'annex', isEmpty: false } });
    for (const id of [before, await newPrimary({})]) {
      const refused = await refusal(here.replicateKey({ KeyId: id, ReplicaRegion: there }));
      expect(refused.name).toBe('UnsupportedOperationException');
    }
    await ask('/domains/annex/rotate', {});
    await clocks.pass(1000);
    expect(await leave()).toMatchObject({ left: { member: 'annex', isEmpty: true } });
    const labels = (await annex.listKeys()).map(({ label }) => label);
    expect(labels).toEqual([expect.stringMatching(/^drawbridge:domain:annex:/)]);
    expect(await textOf(abroad.decrypt({ CiphertextBlob }))).toBe('a plaintext');
  });
});

describe.skipIf(softHsm2.missing !== null)('A key store that is the HSM of another one by another name', () => {
  test('leaves with nothing destroyed, because all keys would be', async () => {
    const instance = await InstanceOfStores.create({ twin: {} });
    try {
      const { token, folder, configurationFile, socket } = instance;
      const configuration = parse(readFileSync(configurationFile, 'utf8'));
      configuration.keyStores.default.residency = 'wrapped';
      configuration.keyStores.twin = InstanceOfStores.settingsOf(token, join(folder, 'pin'));
      writeFileSync(configurationFile, stringify(configuration));
      await instance.start();
      const KeyId = present((await instance.kms.createKey({})).KeyMetadata?.KeyId);
      const { CiphertextBlob } = await instance.kms.encrypt({ KeyId, Plaintext });
      await askOf(socket, '/key-stores/twin/reconnect', {});
      expect((await askOf(socket, '/status')).keyStores[0].domain).toHaveLength(2);
      expect(await rotateDomain(instance, 'default', { leaver: 'twin' })).toMatchObject({
        __type: 'ConflictException',
        message: expect.stringMatching(/^`twin` is an HSM that stays, by another name.*Nothing was destroyed/),
      });
      await instance.restart();
      expect((await instance.kms.decrypt({ CiphertextBlob })).Plaintext).toEqual(new Uint8Array(Plaintext));
    } finally {
      await instance.remove();
    }
  });
});
