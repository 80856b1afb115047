/**
 * A multi-Region key whose replica is served by a key store that no start needs: a Region has a default key store that is in no domain
 * with the primary key's, and another one that is.
 */

import { mkdtempSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { KMS } from '@aws-sdk/client-kms';
import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest';
import { kmsOver } from '../end-to-end/support/connect.ts';
import { present } from '../end-to-end/support/daemon.ts';
import { refusal } from '../end-to-end/support/refusals.ts';
import { nssSoftoken, softHsm2, type TestToken } from '../support/tokens.ts';
import { InstanceOfStores } from './instance-of-stores.ts';
import { askOf, joinDomain } from './joining-key-stores.ts';

const missing = softHsm2.missing ?? nssSoftoken.missing;
if (missing !== null) process.stdout.write(`skipped: replicas in an optional key store: ${missing}\n`);

const there = 'eu-central-1';
const Plaintext = Buffer.from('a plaintext');

describe.skipIf(missing !== null)('A replica in a key store that is not the default one of its Region', () => {
  let instance: InstanceOfStores;
  let folder: string;
  let soft: TestToken;
  let nss: TestToken;
  let here: KMS;
  let abroad: KMS;
  let KeyId: string;
  /** In the default key store of the replica's Region. */
  let ofRegion: string;

  beforeAll(async () => {
    folder = mkdtempSync(join(tmpdir(), 'drawbridge-pins-'));
    [soft, nss] = [softHsm2.create(), nssSoftoken.create()];
    const settingsOf = (token: TestToken) => {
      const pinFile = join(folder, `${token.profile}-pin`);
      writeFileSync(pinFile, `${token.pin}\n`, { mode: 0o600 });
      return InstanceOfStores.settingsOf(token, pinFile);
    };
    instance = await InstanceOfStores.create({ soft: settingsOf(soft), annex: settingsOf(nss) });
    const written = readFileSync(instance.configurationFile, 'utf8');
    const socket = { path: join(instance.folder, 'there.sock') };
    const region = { region: there, socket, keyStores: ['soft', 'annex'], defaultKeyStore: 'soft' };
    writeFileSync(instance.configurationFile, `${written}\nregions: ${JSON.stringify([region])}\n`);
    await start();
    await untilState('annex', 'connected');
    KeyId = present((await here.createKey({ MultiRegion: true })).KeyMetadata?.KeyId);
    await joinDomain(instance, 'default', 'annex');
    expect(await ask('/key-stores/annex/reconnect', {})).toMatchObject({ state: 'connected' });
    ofRegion = present((await abroad.createKey({})).KeyMetadata?.KeyId);
  });
  afterAll(async () => {
    abroad?.destroy();
    await instance?.remove();
    for (const token of [soft, nss]) token?.remove();
    rmSync(folder, { recursive: true });
  });

  const patience = { timeout: 170_000, interval: 50 };
  const ask = (path: string, body?: object) => askOf(instance.socket, path, body);
  const start = async () => {
    await instance.start();
    here = instance.kms;
    abroad = kmsOver(join(instance.folder, 'there.sock'));
  };
  const restartWithout = async () => {
    abroad.destroy();
    await instance.stop();
    pull();
    await start();
  };
  const statusOf = async (name: string) =>
    (await ask('/status')).keyStores.find((each: { name: string }) => each.name === name);
  const untilState = (name: string, state: string) =>
    vi.waitFor(async () => expect((await statusOf(name)).state).toBe(state), patience);
  const hidden = () => `${nss.folder}.away`;
  const pull = () => renameSync(nss.folder, hidden());
  const plug = () => renameSync(hidden(), nss.folder);
  const encrypted = async (kms: KMS, key = KeyId) =>
    present((await kms.encrypt({ KeyId: key, Plaintext })).CiphertextBlob);
  const opens = async (kms: KMS, CiphertextBlob: Uint8Array) =>
    expect(Buffer.from(present((await kms.decrypt({ CiphertextBlob })).Plaintext))).toEqual(Plaintext);
  const stateOf = async (kms: KMS, key = KeyId) => (await kms.describeKey({ KeyId: key })).KeyMetadata?.KeyState;
  const away = { name: 'KMSInvalidStateException' };

  test('is made there, looks like any other, and opens what the primary key encrypted, and the reverse', async () => {
    await here.replicateKey({ KeyId, ReplicaRegion: there });
    const { KeyMetadata } = await abroad.describeKey({ KeyId });
    expect(KeyMetadata).toMatchObject({ KeyState: 'Enabled', Origin: 'AWS_KMS', MultiRegion: true });
    // As it is in the Region, and with its own HSM asked.
    expect(await askOf(join(instance.folder, 'there.sock'), `/status/keys/${KeyId}`)).toMatchObject({
      backingKeys: [{ regions: `${there} us-east-1`, residency: 'wrapped', current: true, hsm: { keyBits: 256 } }],
    });
    await opens(abroad, await encrypted(here));
    await opens(here, await encrypted(abroad));
  });

  test('keeps no start when its HSM is away, is unavailable, and is back by itself with it', async () => {
    const blob = await encrypted(here);
    await restartWithout();
    expect([await stateOf(here), await stateOf(abroad), await stateOf(abroad, ofRegion)]).toEqual([
      'Enabled',
      'Unavailable',
      'Enabled',
    ]);
    await opens(here, blob);
    expect(await refusal(abroad.decrypt({ CiphertextBlob: blob }))).toMatchObject(away);
    await opens(abroad, await encrypted(abroad, ofRegion));
    plug();
    await vi.waitFor(() => opens(abroad, blob), patience);
    expect(await stateOf(abroad)).toBe('Enabled');
  });

  test('is rotated with the primary key while its HSM is away, and uses all its materials when that is back', async () => {
    const before = await encrypted(abroad);
    await restartWithout();
    await here.rotateKeyOnDemand({ KeyId });
    const after = await encrypted(here);
    expect(await refusal(encrypted(abroad))).toMatchObject(away);
    plug();
    await vi.waitFor(() => opens(abroad, after), patience);
    await opens(abroad, before);
    const [primary, replica] = await Promise.all(
      [here, abroad].map(async (kms) => (await kms.describeKey({ KeyId })).KeyMetadata?.CurrentKeyMaterialId),
    );
    expect(replica).toBe(primary);
  });

  test('is counted by a census as working, and named by one as not asked while its HSM is away', async () => {
    const census = async () => {
      const problems = [];
      let after: unknown = null;
      do {
        const part = await ask('/census', { after });
        problems.push(...part.problems);
        after = part.next;
      } while (after !== null);
      return problems;
    };
    expect(await census()).toEqual([]);
    await restartWithout();
    expect(await census()).toEqual(
      Array.from({ length: 2 }, () => expect.objectContaining({ keyId: KeyId, keyStore: 'annex', wasAsked: false })),
    );
    plug();
    await untilState('annex', 'connected');
  });
});
