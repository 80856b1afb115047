/** `keys move`: keys that get another place while they are used, over both tokens, with what each of them allows. */

import { execFileSync } from 'node:child_process';
import * as crypto from 'node:crypto';
import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import type { KMS } from '@aws-sdk/client-kms';
import { afterAll, beforeAll, expect, test, vi } from 'vitest';
import type { KeyStore } from '../../src/hsm/key-store.ts';
import { type BackingKeyId, type KeyId, newBackingKeyId } from '../../src/kms/names.ts';
import { added, replaced } from '../../src/store/records/changes.ts';
import { present } from '../end-to-end/support/daemon.ts';
import { importMaterial, newExternalKey } from '../end-to-end/support/imports.ts';
import { refusal } from '../end-to-end/support/refusals.ts';
import { send } from '../end-to-end/support/wire.ts';
import { SetClocks } from '../support/set-clocks.ts';
import { describeEachToken } from '../support/tokens.ts';
import { createUpkeptInstance, type Running, region, type UpkeptInstance } from './upkept-instance.ts';

const dayMs = 24 * 60 * 60 * 1000;
const Plaintext = Buffer.from('a plaintext');
const MacAlgorithm = 'HMAC_SHA_256';
const SigningAlgorithm = 'ECDSA_SHA_256';
const domainLabel = 'drawbridge:domain:default:1';
const inTheWay = 'CKA_EXTRACTABLE of keys in it is false, and the token keeps to that (CKR_KEY_UNEXTRACTABLE)';

describeEachToken('A key that is moved', (token) => {
  let instance: UpkeptInstance;
  let running: Running;
  let clocks: SetClocks;
  beforeAll(async () => {
    instance = await createUpkeptInstance(token(), 'wrapped');
    clocks = new SetClocks();
    running = await instance.start(clocks);
  });
  afterAll(async () => {
    await running.stop();
    await instance.remove();
  });
  const letsKeysOut = () => token().profile === 'nss';

  const post = async (members: object) => {
    const body = JSON.stringify({ to: null, residency: null, dryRun: false, ...members });
    const answer = await send(running.socketPath, { method: 'POST', path: '/moves', body });
    return { status: answer.status, body: JSON.parse(answer.body) };
  };
  const move = async (keys: readonly string[], residency: string) => (await post({ keys, residency })).body;
  const newKey = async (members: Parameters<KMS['createKey']>[0] = {}) =>
    present((await running.kms.createKey(members)).KeyMetadata?.KeyId);
  const encrypted = async (id: string) => present((await running.kms.encrypt({ KeyId: id, Plaintext })).CiphertextBlob);
  const opened = async (CiphertextBlob: Uint8Array) => running.kms.decrypt({ CiphertextBlob });
  const restarted = async <Result>(meanwhile: () => Promise<Result> | Result): Promise<Result> => {
    await running.stop();
    const result = await meanwhile();
    running = await instance.start(clocks);
    return result;
  };
  const materialsOf = async (keyId: string) => {
    const { backingKey } = await restarted(() => instance.records());
    return backingKey.filter((each) => each.keyId === keyId).sort((one, other) => one.ordinal - other.ordinal);
  };
  /** Of KMS keys: no pair for an import. */
  const objects = async () =>
    (await instance.objects()).filter((label) => !label.startsWith('drawbridge:wrapping:') && label !== domainLabel);
  /** By a process of its own: one that the daemon is in would lose its locks on the file. */
  const filesWith = (text: string): readonly string[] => {
    const folder = join(instance.folder, 'data');
    const script = `process.stdout.write(process.argv.slice(2).filter((file) => require('node:fs').readFileSync(file).includes(process.argv[1])).join(' '))`;
    const files = readdirSync(folder).filter((name) => name.startsWith('metadata.db'));
    const paths = files.map((name) => join(folder, name));
    return execFileSync(process.execPath, ['-e', script, text, ...paths], { encoding: 'utf8' })
      .split(' ')
      .filter(Boolean);
  };

  test('has all of its material in the token, and serves every request meanwhile', async () => {
    const { kms } = running;
    const [cipher, mac, signer] = [
      await newKey(),
      await newKey({ KeySpec: 'HMAC_256', KeyUsage: 'GENERATE_VERIFY_MAC' }),
      await newKey({ KeySpec: 'ECC_NIST_P256', KeyUsage: 'SIGN_VERIFY' }),
    ];
    const before = await encrypted(cipher);
    await kms.rotateKeyOnDemand({ KeyId: cipher });
    const after = await encrypted(cipher);
    const { Mac } = await kms.generateMac({ KeyId: mac, MacAlgorithm, Message: Plaintext });
    const [former, current] = [await opened(before), await opened(after)].map(({ KeyMaterialId }) => KeyMaterialId);

    let isOver = false;
    const requests = {
      encrypt: () => kms.encrypt({ KeyId: cipher, Plaintext }),
      decrypt: () => kms.decrypt({ CiphertextBlob: before }),
      mac: () => kms.verifyMac({ KeyId: mac, MacAlgorithm, Message: Plaintext, Mac }),
      sign: () => kms.sign({ KeyId: signer, SigningAlgorithm, Message: Plaintext }),
    };
    const served = new Map<string, number>();
    const asked = Object.entries(requests).map(async ([name, ask]) => {
      while (!isOver) {
        await ask();
        served.set(name, (served.get(name) ?? 0) + 1);
      }
    });
    const result = await move([cipher, mac, signer, cipher], 'token');
    // Each of them goes on for a while.
    const [so, far] = [new Map(served), Object.keys(requests)];
    await vi.waitUntil(() => far.every((name) => (served.get(name) ?? 0) > (so.get(name) ?? 0)), { timeout: 170_000 });
    isOver = true;
    await Promise.all(asked);

    expect(result).toMatchObject({
      moved: [cipher, mac, signer].map((keyId, index) => ({ keyId, region, backingKeys: index === 0 ? 2 : 1 })),
      ...{ refused: [], inPlace: 1, next: null },
    });
    const labels = [
      `drawbridge:${cipher}:1`,
      `drawbridge:${cipher}:2`,
      `drawbridge:${mac}:1`,
      `drawbridge:${signer}:1`,
    ];
    expect(await objects()).toEqual(labels.sort());
    const materials = await materialsOf(cipher);
    expect(materials).toMatchObject([
      { residency: 'token', wrappedKey: null },
      { residency: 'token', wrappedKey: null },
    ]);
    expect((await opened(before)).KeyMaterialId).toBe(former);
    expect((await opened(after)).KeyMaterialId).toBe(current);
    expect((await running.kms.verifyMac({ KeyId: mac, MacAlgorithm, Message: Plaintext, Mac })).MacValid).toBe(true);
    const { Signature } = await running.kms.sign({ KeyId: signer, SigningAlgorithm, Message: Plaintext });
    const verified = await running.kms.verify({ KeyId: signer, SigningAlgorithm, Message: Plaintext, Signature });
    expect(verified.SignatureValid).toBe(true);
    const [act] = (await instance.events('MoveKeys')).slice(-1);
    expect(act).toMatchObject({
      requestParameters: { keys: [cipher, mac, signer, cipher], residency: 'token' },
      responseElements: { moved: [cipher, mac, signer], refused: [] },
    });
    const intents = JSON.stringify(await instance.events('AuditIntent'));
    for (const { backingKeyId } of materials) expect(intents).toContain(backingKeyId);
    // What is rotated now lives where the key does.
    await running.kms.rotateKeyOnDemand({ KeyId: cipher });
    expect(await objects()).toContain(`drawbridge:${cipher}:3`);

    const back = await move([cipher, mac, signer], 'wrapped');
    if (letsKeysOut()) {
      expect(back).toMatchObject({ moved: [{ backingKeys: 3 }, { backingKeys: 1 }, { backingKeys: 1 }], refused: [] });
      expect(await objects()).toEqual([]);
      const destroyed = await instance.events('DestroyMovedKeyMaterial');
      expect(destroyed).toHaveLength(5);
    } else {
      expect(back.moved).toEqual([]);
      for (const { reason } of back.refused) expect(reason).toBe(`\`default\` does not let the key out: ${inTheWay}`);
      expect(back.refused).toHaveLength(3);
      expect(await objects()).toHaveLength(5);
    }
    expect((await restarted(() => instance.records())).remnant).toEqual([]);
    expect((await opened(before)).KeyMaterialId).toBe(former);
    expect((await running.kms.verifyMac({ KeyId: mac, MacAlgorithm, Message: Plaintext, Mac })).MacValid).toBe(true);
  });

  test('answers a request that comes to the HSM when the former place is gone', async () => {
    let release: (() => void) | undefined;
    let isHeld = false;
    const late: Partial<KeyStore> = {
      async encrypt(request) {
        if (isHeld) {
          isHeld = false;
          await new Promise<void>((resolve) => {
            release = resolve;
          });
        }
        return instance.keyStore.encrypt(request);
      },
    };
    const given = new Proxy(instance.keyStore, {
      get(target, name) {
        if (name in late) return late[name as keyof KeyStore];
        const member: unknown = Reflect.get(target, name, target);
        return typeof member === 'function' ? member.bind(target) : member;
      },
    });
    await running.stop();
    running = await instance.start(clocks, given);
    const id = await newKey();
    for (const residency of letsKeysOut() ? ['token', 'wrapped'] : ['token']) {
      isHeld = true;
      const request = encrypted(id);
      await vi.waitUntil(() => release !== undefined, { timeout: 170_000 });
      expect(await move([id], residency)).toMatchObject({ moved: [{ keyId: id }], refused: [] });
      release?.();
      release = undefined;
      expect((await opened(await request)).KeyId).toContain(id);
    }
    await restarted(() => undefined);
  });

  test('stays where it is when it is only asked what would be, and when that cannot be', async () => {
    const id = await newKey();
    const multiRegion = await newKey({ MultiRegion: true });
    const blob = await encrypted(id);
    const before = await objects();
    const dry = await post({ keys: [id, multiRegion, 'alias/none'], residency: 'token', dryRun: true });
    expect(dry.body).toMatchObject({
      moved: [{ keyId: id, backingKeys: 1 }],
      refused: [
        {
          keyId: multiRegion,
          reason: 'the material of a multi-Region key is for the HSMs of all its Regions, and stays wrapped',
        },
        { keyId: 'alias/none', reason: expect.stringContaining('is not found') },
      ],
    });
    expect((await move([multiRegion], 'token')).refused).toHaveLength(1);
    // Gone by the time that a domain key is retired.
    await running.kms.scheduleKeyDeletion({ KeyId: multiRegion, PendingWindowInDays: 7 });
    expect(await objects()).toEqual(before);
    expect((await opened(blob)).KeyId).toContain(id);
    const refusals = await Promise.all([
      post({ keys: [id] }),
      post({ keys: [id], residency: 'elsewhere' }),
      post({ keys: [], residency: 'token' }),
      post({ keys: Array.from({ length: 17 }, () => id), residency: 'token' }),
      post({ keys: [id], from: 'default', after: null, residency: 'token' }),
      post({ from: 'default', after: null, residency: 'token', force: true }),
    ]);
    for (const { status, body } of refusals) expect([status, body.__type]).toEqual([400, 'ValidationException']);
    for (const names of [
      { keys: [id], to: 'none' },
      { from: 'none', after: null, residency: 'token' },
    ])
      expect((await post(names)).body).toMatchObject({ __type: 'NotFoundException' });
  });

  test('is one of all that are in a key store, and a second run finds nothing to do', async () => {
    const ids = [await newKey(), await newKey({ KeySpec: 'HMAC_256', KeyUsage: 'GENERATE_VERIFY_MAC' })];
    const all = async () => {
      const moved: string[] = [];
      const refused: string[] = [];
      let [inPlace, parts] = [0, 0];
      for (let after: unknown = null; parts === 0 || after !== null; parts++) {
        const { body } = await post({ from: 'default', after, residency: 'token' });
        moved.push(...body.moved.map(({ keyId }: { keyId: string }) => keyId));
        refused.push(...body.refused.map(({ keyId }: { keyId: string }) => keyId));
        inPlace += body.inPlace;
        after = body.next;
      }
      return { moved, refused, inPlace };
    };
    const first = await all();
    expect(first.moved).toEqual(expect.arrayContaining(ids));
    for (const id of first.refused) expect(id).toMatch(/^mrk-/);
    const second = await all();
    expect(second).toEqual({ moved: [], refused: first.refused, inPlace: first.moved.length + first.inPlace });
  });

  test('is deleted as one that was wrapped once: from the token, from the file, and not from older copies', async () => {
    const id = await newKey();
    const [{ wrappedKey = null, domainKeyId = null } = {}] = await materialsOf(id);
    const text = present(wrappedKey).toString('base64');
    await move([id], 'token');
    await running.kms.scheduleKeyDeletion({ KeyId: id, PendingWindowInDays: 7 });
    await clocks.pass(7 * dayMs - 60_000);
    await clocks.pass(120_000);
    expect(await refusal(running.kms.describeKey({ KeyId: id }))).toMatchObject({ name: 'NotFoundException' });
    expect(await objects()).not.toContain(`drawbridge:${id}:1`);
    for (const part of [text.slice(0, 30), text.slice(-30)]) expect(filesWith(part)).toEqual([]);
    const [event] = (await instance.events('DeleteKey')).slice(-1);
    const { backingKeys } = (event as { additionalEventData: { backingKeys: string } }).additionalEventData;
    expect(JSON.parse(backingKeys)).toMatchObject([{ keyStore: 'default', domainKeyId }]);
    const { tombstone } = await restarted(() => instance.records());
    expect(tombstone.find(({ keyId }) => keyId === id)).toMatchObject({ domainKeyIds: domainKeyId });
  });

  test('is imported where it lives by then, after its material was deleted', async () => {
    const { id } = await newExternalKey(running.kms);
    const material = crypto.randomBytes(32);
    await importMaterial(running.kms, id, material);
    const blob = await encrypted(id);
    await running.kms.deleteImportedKeyMaterial({ KeyId: id });
    const moved = { moved: [{ keyId: id, backingKeys: 1 }], refused: [] };
    expect(await move([id], 'token')).toMatchObject(moved);
    await importMaterial(running.kms, id, material);
    expect(await objects()).toContain(`drawbridge:${id}:1`);
    expect(Buffer.from(present((await opened(blob)).Plaintext))).toEqual(Plaintext);
    if (!letsKeysOut())
      expect((await move([id], 'wrapped')).refused[0].reason).toContain('delete its imported key material');
    await running.kms.deleteImportedKeyMaterial({ KeyId: id });
    expect(await move([id], 'wrapped')).toMatchObject(moved);
    await importMaterial(running.kms, id, material);
    expect(await objects()).not.toContain(`drawbridge:${id}:1`);
    expect(Buffer.from(present((await opened(blob)).Plaintext))).toEqual(Plaintext);
  });

  test('loses nothing by records of a move that somebody puts back', async () => {
    const [inToken, wrapped, broken] = [await newKey(), await newKey(), await newKey()];
    await move([inToken], 'token');
    const blobs = [await encrypted(inToken), await encrypted(wrapped)];
    const ids = new Map<string, BackingKeyId>();
    const other = newBackingKeyId();
    await restarted(async () => {
      const { backingKey } = await instance.records();
      for (const { keyId, backingKeyId } of backingKey) ids.set(keyId, backingKeyId);
      const id = (keyId: string) => present(ids.get(keyId));
      const { keyStore } = instance;
      const generated = { keySpec: 'SYMMETRIC_DEFAULT', keyUsage: 'ENCRYPT_DECRYPT' } as const;
      // Another key under the id of one that is wrapped, and one whose wrapped key opens no more.
      for (const keyId of [wrapped, broken])
        await keyStore.generateKey({ ...generated, backingKeyId: id(keyId), label: `drawbridge:${keyId}:1` });
      await instance.records((loaded, owner) => [
        ...[inToken, wrapped, broken].map((keyId) =>
          added('remnant', {
            ...{
              keyStore: 'default',
              backingKeyId: id(keyId),
              keyId: keyId as KeyId,
              version: 1,
              owner,
              createdAtMs: 1,
            },
          }),
        ),
        ...loaded.backingKey.flatMap((record) =>
          record.keyId === broken ? [replaced('backingKey', record, { domainKeyId: other })] : [],
        ),
      ]);
    });
    await clocks.pass(5_000);
    expect((await opened(present(blobs[0]))).KeyId).toContain(inToken);
    expect((await opened(present(blobs[1]))).KeyId).toContain(wrapped);
    expect(await objects()).toEqual(
      expect.arrayContaining([inToken, wrapped, broken].map((id) => `drawbridge:${id}:1`)),
    );
    const told = instance.log.filter(({ message }) => message.includes('an old record was put back'));
    expect(told.map(({ fields }) => fields['keyId'])).toEqual([inToken]);
    const { body } = await send(running.socketPath, { method: 'GET', path: '/upkeep' });
    const late = JSON.parse(body).work.filter(({ kind }: { kind: string }) => kind === 'moved-keys');
    expect(late.map(({ state }: { state: string }) => state)).toEqual(['late', 'late']);
    expect(JSON.stringify(late)).toContain('another key in its new place');

    // An operator who has looked at it removes the other object himself, and upkeep is done.
    for (const keyId of [wrapped, broken])
      await instance.keyStore.destroyKey({ backingKeyId: present(ids.get(keyId)) });
    await clocks.pass(10 * 60_000);
    expect((await restarted(() => instance.records())).remnant).toEqual([]);
    expect((await opened(present(blobs[1]))).KeyId).toContain(wrapped);
  });

  test('is wrapped anew after its domain key was rotated, where the token does that; else --retire says what frees it', async () => {
    const ask = async (method: 'GET' | 'POST', path: string) => {
      const { body } = await send(running.socketPath, { method, path, ...(method === 'POST' ? { body: '{}' } : {}) });
      return JSON.parse(body);
    };
    const standing = async () => (await ask('GET', '/status')).keyStores[0];
    await running.stop();
    running = await instance.start(clocks, undefined, undefined, 1);
    // Some keys of the tests before live in the token, one is under a domain key that there is not; its records go.
    const { Keys } = await running.kms.listKeys({ Limit: 1000 });
    const lives = await Promise.all(
      present(Keys).map(async ({ KeyId }) => [present(KeyId), (await ask('GET', `/status/keys/${KeyId}`)).backingKeys]),
    );
    const wrapped = lives.filter(([, keys]) => keys.some((key: { residency: string }) => key.residency === 'wrapped'));
    const ids = wrapped.map(([id]) => id as string);
    const [id, another] = [await newKey(), await newKey()];
    const blob = await encrypted(id);
    // It is read again each time that another key was asked for.
    if (letsKeysOut()) {
      expect(await move([id, another], 'token')).toMatchObject({ moved: [{}, {}], refused: [] });
      expect(await move([another, id], 'wrapped')).toMatchObject({ moved: [{}, {}], refused: [] });
    }
    const [former] = (await standing()).domainKeys;
    expect((await standing()).rewrapping).toBeNull();
    const { domainKeyId } = await ask('POST', '/domains/default/rotate');
    await clocks.pass(2_000);
    await clocks.pass(2_000);
    const { rewrapping, domainKeys } = await standing();
    if (letsKeysOut()) {
      expect(domainKeys).toMatchObject([{ backingKeys: 0 }, { backingKeyId: domainKeyId }]);
      const waiting = { backingKeys: 1, because: expect.stringContaining('no object in the token') };
      expect(rewrapping).toEqual({ rewrapped: domainKeys[1].backingKeys, because: null, waiting });
      const events = await instance.events('RewrapKeys');
      expect(events).toMatchObject([{ additionalEventData: { keyStore: 'default', domainKeyId } }]);
      expect(instance.log.filter(({ message }) => message.includes('cannot be wrapped anew'))).toHaveLength(1);
    } else {
      expect(rewrapping).toEqual({ rewrapped: 0, because: inTheWay, waiting: null });
      const { retired, needed } = await ask('POST', '/domains/default/retire');
      expect(retired).toEqual([]);
      const held = needed[0].keys.map(({ keyId }: { keyId: string }) => keyId);
      expect(needed[0].domainKeyId).toBe(former.backingKeyId);
      expect(held).toContain(id);
      for (const keyId of held) expect([...ids, id, another]).toContain(keyId);
      for (const keyId of held) expect(await move([keyId], 'token')).toMatchObject({ refused: [] });
    }
    expect((await ask('POST', '/domains/default/retire')).retired).toEqual([former.backingKeyId]);
    expect((await opened(blob)).KeyId).toContain(id);
    await restarted(() => undefined);
    expect((await opened(blob)).KeyId).toContain(id);
  });
});
