/** What is wrapped anew for several Regions is kept once the HSMs of all of them have opened it. */

import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { KMS } from '@aws-sdk/client-kms';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { kmsOver } from '../end-to-end/support/connect.ts';
import { present } from '../end-to-end/support/daemon.ts';
import { SetClocks } from '../support/set-clocks.ts';
import { nssSoftoken, softHsm2, type TestToken } from '../support/tokens.ts';
import { InstanceOfStores } from './instance-of-stores.ts';
import { askOf, inTokenOf, joinDomain, rotateDomain } from './joining-key-stores.ts';

const missing = softHsm2.missing ?? nssSoftoken.missing;
if (missing !== null) process.stdout.write(`skipped: what is wrapped anew for Regions: ${missing}\n`);

const there = 'eu-central-1';
const Plaintext = Buffer.from('a plaintext');
let instance: InstanceOfStores;
let nss: TestToken;
let abroad: KMS;
const clocks = new SetClocks();
const ask = (path: string, body?: object) => askOf(instance.socket, path, body);

beforeAll(async () => {
  if (missing !== null) return;
  nss = nssSoftoken.create();
  const pinFile = join(nss.folder, 'pin');
  writeFileSync(pinFile, `${nss.pin}\n`, { mode: 0o600 });
  instance = await InstanceOfStores.create({ annex: InstanceOfStores.settingsOf(nss, pinFile) });
  const written = readFileSync(instance.configurationFile, 'utf8');
  const region = { region: there, socket: { path: join(instance.folder, 'there.sock') }, keyStores: ['annex'] };
  writeFileSync(instance.configurationFile, `${written}\nregions: ${JSON.stringify([region])}\n`);
  instance.clocks = clocks;
  await instance.start();
  abroad = kmsOver(join(instance.folder, 'there.sock'));
});
afterAll(async () => {
  abroad?.destroy();
  await instance?.remove();
  nss?.remove();
});

test.skipIf(missing !== null)(
  'a key is not wrapped anew into what the HSM of another Region does not open, and serves there as before',
  async () => {
    const own = present((await instance.kms.createKey({ MultiRegion: true })).KeyMetadata?.KeyId);
    await joinDomain(instance, 'default', 'annex');
    expect(await ask('/key-stores/annex/reconnect', {})).toMatchObject({ state: 'connected' });
    const made = [1, 2].map(async () => present((await abroad.createKey({ MultiRegion: true })).KeyMetadata?.KeyId));
    const [shared = '', alone = ''] = await Promise.all(made);
    await abroad.replicateKey({ KeyId: shared, ReplicaRegion: 'us-east-1' });
    const { CiphertextBlob } = await instance.kms.encrypt({ KeyId: shared, Plaintext });
    const socket = join(instance.folder, 'there.sock');
    const domainKeyOf = async (id: string) => (await askOf(socket, `/status/keys/${id}`)).backingKeys[0].domainKeyId;
    const former = await domainKeyOf(shared);

    const { domainKeyId } = await rotateDomain(instance, 'default');
    // Of one id, and another key: what the token of the one Region wraps under it is nothing to the other one's.
    const forge = () =>
      inTokenOf(instance, 'default', async (token) => {
        const [own] = (await token.listKeys()).filter(({ backingKeyId }) => backingKeyId === domainKeyId);
        await token.destroyKey({ backingKeyId: domainKeyId });
        await token.generateDomainKey({ backingKeyId: domainKeyId, label: present(own).label });
      });
    await forge();
    await clocks.pass(2_000);
    await clocks.pass(2_000);
    expect(await domainKeyOf(alone)).toBe(domainKeyId);
    expect(await domainKeyOf(shared)).toBe(former);
    expect(instance.logged.find((line) => line.includes('cannot be wrapped anew'))).toContain(shared);
    for (const kms of [instance.kms, abroad]) {
      const opened = await kms.decrypt({ CiphertextBlob });
      expect(Buffer.from(present(opened.Plaintext)).toString()).toBe('a plaintext');
    }
    // Nor is the former domain key given up, under which it stays.
    const { retired, needed } = await ask('/domains/annex/retire', {});
    expect(retired).toEqual([]);
    const held = needed[0].keys.filter(({ keyId }: { keyId: string }) => keyId === shared);
    expect(held).toMatchObject([{ rewrapping: 'failed' }, { rewrapping: 'failed' }]);
    // The key store that was named lets its keys out, the one that has this key does not.
    expect(needed[0].keys).toContainEqual(expect.objectContaining({ keyId: own, rewrapping: 'never' }));
  },
);
