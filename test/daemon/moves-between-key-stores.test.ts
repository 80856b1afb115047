/** `keys move --to`: what goes from one key store of a daemon to another, also where the other one's token has joined the domain of the first. */

import { randomBytes } from 'node:crypto';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest';
import { present } from '../end-to-end/support/daemon.ts';
import { importMaterial, newExternalKey } from '../end-to-end/support/imports.ts';
import { send } from '../end-to-end/support/wire.ts';
import { nssSoftoken, softHsm2, type TestToken } from '../support/tokens.ts';
import { InstanceOfStores } from './instance-of-stores.ts';
import { inTokenOf, joinDomain as joinDomainOf, rotateDomain } from './joining-key-stores.ts';

const missing = softHsm2.missing ?? nssSoftoken.missing;
if (missing !== null) process.stdout.write(`skipped: moves between key stores: ${missing}\n`);

const Plaintext = Buffer.from('a plaintext');

describe.skipIf(missing !== null)('A key that is to go into another key store', () => {
  let instance: InstanceOfStores;
  let nss: TestToken;
  const imported = { id: '', blob: new Uint8Array() as Uint8Array, domainKeyId: '' };

  beforeAll(async () => {
    nss = nssSoftoken.create();
    const pinFile = join(nss.folder, 'pin');
    writeFileSync(pinFile, `${nss.pin}\n`, { mode: 0o600 });
    instance = await InstanceOfStores.create({ second: InstanceOfStores.settingsOf(nss, pinFile) });
    const written = readFileSync(instance.configurationFile, 'utf8');
    writeFileSync(instance.configurationFile, written.replace('# residency: token', 'residency: wrapped'));
    await instance.start();
    await untilConnected();
  });
  afterAll(async () => {
    await instance?.remove();
    nss?.remove();
  });

  const ask = async (path: string, body?: object) => {
    const request = body === undefined ? {} : { body: JSON.stringify(body) };
    const answer = await send(instance.socket, { method: body === undefined ? 'GET' : 'POST', path, ...request });
    return JSON.parse(answer.body);
  };
  const standing = async () => (await ask('/status')).keyStores;
  const untilConnected = () =>
    vi.waitFor(
      async () => {
        for (const { state } of await standing()) expect(state).toBe('connected');
      },
      { timeout: 170_000, interval: 50 },
    );
  const move = async (keys: readonly string[], to: string | null, residency: string | null = null, dryRun = false) =>
    ask('/moves', { keys, to, residency, dryRun });
  const whyNot = async (...wanted: Parameters<typeof move>): Promise<readonly string[]> =>
    (await move(...wanted)).refused.map(({ reason }: { reason: string }) => reason);
  const materialOf = async (id: string) => (await ask(`/status/keys/${id}`)).backingKeys[0];
  const domainKeysIn = (keyStore: string) =>
    inTokenOf(instance, keyStore, async (opened) =>
      (await opened.listKeys()).map(({ label }) => label).filter((label) => label.startsWith('drawbridge:domain:')),
    );

  /** And the daemon looks at what it has. */
  async function joinDomain(of: string, newcomer: string): Promise<void> {
    await joinDomainOf(instance, of, newcomer);
    expect(await ask(`/key-stores/${newcomer}/reconnect`, {})).toMatchObject({ state: 'connected' });
  }

  /** The domain keys that its record names besides the one of now. */
  const formerOf = async (id: string): Promise<readonly string[]> =>
    (await materialOf(id)).formerDomainKeyIds.split(' ').toSorted();

  test('is imported there, after its material was deleted', async () => {
    const { id } = await newExternalKey(instance.kms);
    imported.id = id;
    const material = randomBytes(32);
    await importMaterial(instance.kms, id, material);
    const { CiphertextBlob } = await instance.kms.encrypt({ KeyId: id, Plaintext });
    imported.blob = present(CiphertextBlob);
    const { domainKeyId: former } = await materialOf(id);
    await instance.kms.deleteImportedKeyMaterial({ KeyId: id });
    expect(await move([id], 'second')).toMatchObject({ moved: [{ keyId: id }], refused: [] });
    await importMaterial(instance.kms, id, material);
    expect(await materialOf(id)).toMatchObject({
      ...{ keyStore: 'second', residency: 'wrapped', formerDomainKeyIds: former },
    });
    imported.domainKeyId = (await materialOf(id)).domainKeyId;
    const { Plaintext: opened } = await instance.kms.decrypt({ CiphertextBlob });
    expect(Buffer.from(present(opened))).toEqual(Plaintext);
  });

  test('goes into one that has joined the domain, as an object or wrapped as it is, and from there back by the same domain', async () => {
    const { kms } = instance;
    const KeyId = present((await kms.createKey({})).KeyMetadata?.KeyId);
    const made = await kms.createKey({ KeySpec: 'HMAC_256', KeyUsage: 'GENERATE_VERIFY_MAC' });
    const keys = [KeyId, present(made.KeyMetadata?.KeyId)];
    const { CiphertextBlob } = await kms.encrypt({ KeyId, Plaintext });
    const mac = { KeyId: keys[1], MacAlgorithm: 'HMAC_SHA_256', Message: Plaintext } as const;
    const { Mac } = await kms.generateMac(mac);
    const assertServes = async (keyStore: string, residency: string) => {
      expect(Buffer.from(present((await kms.decrypt({ CiphertextBlob })).Plaintext))).toEqual(Plaintext);
      expect((await kms.verifyMac({ ...mac, Mac })).MacValid).toBe(true);
      for (const id of keys) expect(await materialOf(id)).toMatchObject({ keyStore, residency });
    };
    const { domainKeyId: former } = await materialOf(KeyId);
    const both = (reason: RegExp) => keys.map(() => expect.stringMatching(reason));
    const notJoined = /`second` does not have the domain key of `default`.*domain join --key-store second/;
    for (const dryRun of [true, false])
      for (const residency of ['token', null])
        expect(await whyNot(keys, 'second', residency, dryRun)).toEqual(both(notJoined));
    await joinDomain('default', 'second');
    for (const to of ['second', 'default', 'second', 'default']) {
      expect(await move(keys, to)).toMatchObject({ moved: [{}, {}], refused: [] });
      await assertServes(to, 'wrapped');
      expect(await materialOf(KeyId)).toMatchObject({ domainKeyId: former });
      expect(await formerOf(KeyId)).toContain(former);
    }
    // This one was under a domain key of the other one's own, whose token lets keys out: it wraps it anew now, or has done it since it joined.
    // Doing it, it is in the way.
    await expect.poll(() => move([imported.id], 'default'), { timeout: 170_000 }).toMatchObject({ refused: [] });
    expect(await materialOf(imported.id)).toMatchObject({ keyStore: 'default', domainKeyId: former });
    expect(await formerOf(imported.id)).toEqual([former, imported.domainKeyId].toSorted());
    const opened = await kms.decrypt({ CiphertextBlob: imported.blob });
    expect(Buffer.from(present(opened.Plaintext))).toEqual(Plaintext);
    await kms.deleteImportedKeyMaterial({ KeyId: imported.id });
    expect((await move(keys, 'second', 'token', true)).moved).toHaveLength(2);
    await assertServes('default', 'wrapped');
    expect(await move(keys, 'second', 'token')).toMatchObject({ moved: [{}, {}], refused: [] });
    await assertServes('second', 'token');
    // Copies from before have it under this one, and the record is where its deletion finds that out.
    expect(await materialOf(KeyId)).toMatchObject({ domainKeyId: former });

    // The two are one domain by now, and get one domain key in the place of that.
    const alone = await ask('/domains/default/rotate', {});
    expect(alone.message).toMatch(/`second` would lack the new domain key/);
    expect(await rotateDomain(instance, 'default')).toMatchObject({ members: ['default', 'second/second'] });
    expect(await ask('/domains/default/retire', {})).toEqual({ retired: [former], needed: [] });
    const stay = ['drawbridge:domain:default:2', 'drawbridge:domain:second:1'];
    expect((await domainKeysIn('second')).toSorted()).toEqual(stay);
    expect(await move(keys, null, 'wrapped')).toMatchObject({ moved: [{}, {}], refused: [] });
    await assertServes('second', 'wrapped');
    await move(keys.slice(0, 1), null, 'token');

    // One is an object in NSS softoken, the other is wrapped by it; both go into SoftHSM2.
    expect(await move(keys, 'default', 'token')).toMatchObject({ moved: [{}, {}], refused: [] });
    await assertServes('default', 'token');
    await instance.restart();
    await untilConnected();
    const again = await instance.kms.decrypt({ CiphertextBlob });
    expect(Buffer.from(present(again.Plaintext))).toEqual(Plaintext);
    const left = await inTokenOf(instance, 'second', (opened) => opened.listKeys());
    for (const id of keys) expect(left.map(({ label }) => label)).not.toContain(`drawbridge:${id}:1`);
  });
});
