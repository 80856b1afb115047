/** What cannot be wrapped anew after a rotation of the domain key holds up nothing else, and is once what was in the way is gone. */

import { randomBytes } from 'node:crypto';
import { cpSync, mkdtempSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { KMS } from '@aws-sdk/client-kms';
import { afterAll, beforeAll, expect, test, vi } from 'vitest';
import { kmsOver } from '../end-to-end/support/connect.ts';
import { present } from '../end-to-end/support/daemon.ts';
import { importMaterial, lasting } from '../end-to-end/support/imports.ts';
import { SetClocks } from '../support/set-clocks.ts';
import { nssSoftoken, softHsm2, type TestToken } from '../support/tokens.ts';
import { InstanceOfStores } from './instance-of-stores.ts';
import { askOf, inTokenOf, joinDomain, rotateDomain } from './joining-key-stores.ts';

const missing = softHsm2.missing ?? nssSoftoken.missing;
if (missing !== null) process.stdout.write(`skipped: what is wrapped anew later: ${missing}\n`);

/** The first two have one key store, whose token wraps anew what it has unwrapped; the last one has another HSM of the domain. */
const [there, beside, far] = ['eu-central-1', 'eu-west-1', 'sa-east-1'] as const;
let instance: InstanceOfStores;
let pins: string;
let nss: TestToken;
let soft: TestToken;
const clients = new Map<string, KMS>();
const clocks = new SetClocks();
const patience = { timeout: 60_000, interval: 50 };

const socketOf = (region: string) => join(instance.folder, `${region}.sock`);
const kmsOf = (region: string): KMS => present(clients.get(region));
const ask = (path: string, body?: object) => askOf(instance.socket, path, body);
const statusOf = async (name: string) =>
  (await ask('/status')).keyStores.find((each: { name: string }) => each.name === name);
const domainKeyOf = async (region: string, keyId: string) =>
  (await askOf(socketOf(region), `/status/keys/${keyId}`)).backingKeys[0].domainKeyId;
const created = async (region: string, request: object = {}) =>
  present((await kmsOf(region).createKey({ MultiRegion: true, ...request })).KeyMetadata?.KeyId);
const signalHosts = async (name: string) => {
  for (const pid of (await statusOf(name)).pids) process.kill(pid, 'SIGKILL');
};
const untilState = (name: string, state: string) =>
  vi.waitFor(async () => expect((await statusOf(name)).state).toBe(state), patience);
const restartHosts = async () => {
  const { restarts } = await statusOf('annex');
  await signalHosts('annex');
  await vi.waitFor(async () => expect((await statusOf('annex')).restarts).toBeGreaterThan(restarts), patience);
  await untilState('annex', 'connected');
};
/** Upkeep pauses before it tries again. */
const passUntil = (work: () => Promise<void>) =>
  vi.waitFor(async () => {
    await clocks.pass(20_000);
    await work();
  }, patience);

beforeAll(async () => {
  if (missing !== null) return;
  pins = mkdtempSync(join(tmpdir(), 'drawbridge-pins-'));
  [nss, soft] = [nssSoftoken.create(), softHsm2.create()];
  const settingsOf = (token: TestToken) => {
    const pinFile = join(pins, token.profile);
    writeFileSync(pinFile, `${token.pin}\n`, { mode: 0o600 });
    return InstanceOfStores.settingsOf(token, pinFile);
  };
  instance = await InstanceOfStores.create({ annex: settingsOf(nss), abroad: settingsOf(soft) });
  const regions = [there, beside, far].map((region) => ({
    ...{ region, socket: { path: socketOf(region) }, keyStores: [region === far ? 'abroad' : 'annex'] },
  }));
  const written = readFileSync(instance.configurationFile, 'utf8');
  writeFileSync(instance.configurationFile, `${written}\nregions: ${JSON.stringify(regions)}\n`);
  instance.clocks = clocks;
  await instance.start();
  for (const { region } of regions) clients.set(region, kmsOver(socketOf(region)));
  for (const newcomer of ['annex', 'abroad']) {
    await joinDomain(instance, 'default', newcomer);
    expect(await ask(`/key-stores/${newcomer}/reconnect`, {})).toMatchObject({ state: 'connected' });
  }
});
afterAll(async () => {
  for (const kms of clients.values()) kms.destroy();
  await instance?.remove();
  for (const token of [nss, soft]) token?.remove();
  if (pins !== undefined) rmSync(pins, { recursive: true });
});

test.skipIf(missing !== null)(
  'a key that another Region shares is wrapped anew when the HSM of that Region is back to open it, and the status tells what it waits for',
  async () => {
    const [shared, alone] = [await created(there), await created(there)];
    await kmsOf(there).replicateKey({ KeyId: shared, ReplicaRegion: far });
    const { CiphertextBlob } = await kmsOf(there).encrypt({ KeyId: shared, Plaintext: Buffer.from('a plaintext') });
    const former = await domainKeyOf(there, shared);
    const { domainKeyId } = await rotateDomain(instance, 'default');
    renameSync(soft.folder, `${soft.folder}.away`);
    await signalHosts('abroad');
    await untilState('abroad', 'reconnecting');
    await passUntil(async () => expect(await domainKeyOf(there, alone)).toBe(domainKeyId));
    const because = `the key store \`abroad\` of the Region ${far}, which shares them, is away`;
    await passUntil(async () =>
      expect((await statusOf('annex')).rewrapping).toMatchObject({ waiting: { backingKeys: 1, because } }),
    );
    expect(await domainKeyOf(there, shared)).toBe(former);
    expect((await ask('/status')).upkeep.overdue).toMatchObject([
      { work: 'rewrapping annex', state: 'late', because: expect.stringContaining(because) },
    ]);

    renameSync(`${soft.folder}.away`, soft.folder);
    await untilState('abroad', 'connected');
    await passUntil(async () => expect(await domainKeyOf(there, shared)).toBe(domainKeyId));
    await passUntil(async () => expect((await statusOf('annex')).rewrapping).toMatchObject({ waiting: null }));
    for (const region of [there, far]) {
      const { Plaintext } = await kmsOf(region).decrypt({ CiphertextBlob });
      expect(Buffer.from(present(Plaintext)).toString()).toBe('a plaintext');
    }
  },
);

test.skipIf(missing !== null)(
  'imported material that one Region cannot have wrapped anew is wrapped anew in another one, and in the first when its domain key is back',
  async () => {
    const KeyId = await created(there, { Origin: 'EXTERNAL' });
    const material = randomBytes(32);
    await importMaterial(kmsOf(there), KeyId, material, lasting);
    const lost = await domainKeyOf(there, KeyId);
    await rotateDomain(instance, 'default');
    await kmsOf(there).replicateKey({ KeyId, ReplicaRegion: beside });
    await importMaterial(kmsOf(beside), KeyId, material, lasting);
    const { domainKeyId } = await rotateDomain(instance, 'default');
    cpSync(nss.folder, `${nss.folder}.whole`, { recursive: true });
    await inTokenOf(instance, 'annex', (token) => token.destroyKey({ backingKeyId: lost }));
    await restartHosts();
    await passUntil(async () => expect(await domainKeyOf(beside, KeyId)).toBe(domainKeyId));
    expect(await domainKeyOf(there, KeyId)).toBe(lost);
    // With the two keys of the test above, which were under it, too.
    const because = expect.stringContaining(lost);
    await passUntil(async () =>
      expect((await statusOf('annex')).rewrapping).toMatchObject({ waiting: { backingKeys: 3, because } }),
    );
    // Of what is on record for the two Regions one is in the way.
    const { needed } = await ask('/domains/annex/retire', {});
    expect(needed[0].keys.filter((key: { keyId: string }) => key.keyId === KeyId)).toMatchObject([
      { region: there, rewrapping: 'failed' },
    ]);

    rmSync(nss.folder, { recursive: true });
    renameSync(`${nss.folder}.whole`, nss.folder);
    await restartHosts();
    await passUntil(async () => expect(await domainKeyOf(there, KeyId)).toBe(domainKeyId));
    await passUntil(async () => expect((await statusOf('annex')).rewrapping).toMatchObject({ waiting: null }));
  },
);
