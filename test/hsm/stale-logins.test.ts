/**
 * The PIN of a token is changed by somebody else while a host is logged in, or the token is initialised anew. NSS softoken encrypts its keys
 * anew for another PIN, and the host goes on with what it derived from the former one; that of SoftHSM2 goes on with a token
 * that is not there any more (`login-check.ts`). Or the database is moved away, or swapped for another (`opened-files.ts`).
 */

import { execFileSync } from 'node:child_process';
import { cpSync, renameSync, rmSync, symlinkSync, unlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { domainKeyLabelPrefix, type KeyStore } from '../../src/hsm/key-store.ts';
import { type BackingKeyId, newBackingKeyId } from '../../src/kms/names.ts';
import { nssSoftoken, softHsm2, type TestToken } from '../support/tokens.ts';
import { failureOf, newKey, openStore, openTestStore, plaintextOf, roundTrip, until } from './test-store.ts';

if (nssSoftoken.missing !== null) process.stdout.write(`skipped: a changed PIN: ${nssSoftoken.missing}\n`);

describe.skipIf(nssSoftoken.missing !== null)('A host that logged in before the PIN was changed (NSS softoken)', () => {
  let token: TestToken;
  let pin: string;
  let keys: BackingKeyId[];

  beforeEach(async () => {
    token = nssSoftoken.create();
    pin = token.pin;
    const keyStore = await openStore(token);
    keys = [await newKey(keyStore), await newKey(keyStore), await newKey(keyStore)];
    await keyStore.close();
  });
  afterEach(() => token.remove());

  function changePin(): string {
    const [former, next] = [join(token.folder, 'former'), join(token.folder, 'next')];
    writeFileSync(former, `${pin}\n`);
    writeFileSync(next, 'another-pin\n');
    execFileSync('certutil', ['-W', '-d', `sql:${token.folder}`, '-f', former, '-@', next], { stdio: 'ignore' });
    return 'another-pin';
  }

  test('is replaced at the first use of a key, which has an answer', async () => {
    const { keyStore } = await openTestStore(token, { lanes: 2, pin: () => pin });
    const [used, ...unused] = keys;
    if (used !== undefined) await roundTrip(keyStore, used);
    pin = changePin();
    await Promise.all(unused.map((key) => roundTrip(keyStore, key)));
  });

  test('makes no key that is lost with it', async () => {
    const keyStore = await openStore(token, { lanes: 2, pin: () => pin });
    for (const key of keys) await roundTrip(keyStore, key);
    pin = changePin();
    expect(await failureOf(newKey(keyStore))).toMatchObject({ failure: 'unavailable' });
    const key = await newKey(keyStore);
    const hmac = await newKey(keyStore, 'HMAC_256');
    await keyStore.close();
    const { keyStore: next } = await openTestStore(token, { pin: () => pin });
    await roundTrip(next, key);
    await next.mac({ backingKeyId: hmac, algorithm: 'HMAC_SHA_256', data: Buffer.from('x') });
    for (const former of keys) await roundTrip(next, former);
  });

  test('stays out after one attempt where the new PIN was not told, and is back with it', async () => {
    const { keyStore, log } = await openTestStore(token, { lanes: 2, pin: () => pin });
    const next = changePin();
    expect(await failureOf(newKey(keyStore))).toMatchObject({ failure: 'unavailable' });
    await until(() => keyStore.status().state === 'pinRefused');
    expect(log.filter(({ message }) => message === 'the PIN was refused')).toHaveLength(1);
    pin = next;
    await keyStore.reconnect();
    for (const key of keys) await roundTrip(keyStore, key);
    expect((await keyStore.listKeys()).map(({ backingKeyId }) => backingKeyId).sort()).toEqual([...keys].sort());
  });
});

if (softHsm2.missing !== null) process.stdout.write(`skipped: a token initialised anew: ${softHsm2.missing}\n`);

describe.skipIf(softHsm2.missing !== null)('A host whose token is initialised anew (SoftHSM2)', () => {
  let token: TestToken;

  beforeEach(() => {
    token = softHsm2.create();
  });
  afterEach(() => token.remove());

  function initialiseAnew(): void {
    const { library, label, pin, soPin } = token;
    const which = ['--module', library, '--init-token', '--token', label, '--label', label];
    const environment = { ...process.env, ...token.environment };
    execFileSync('softhsm2-util', [...which, '--so-pin', soPin ?? '', '--pin', pin], {
      env: environment,
      stdio: 'ignore',
    });
  }

  test('makes no key in it that is lost with the host', async () => {
    const keyStore = await openStore(token, { lanes: 2 });
    for (let made = 0; made < 3; made++) await roundTrip(keyStore, await newKey(keyStore));
    initialiseAnew();
    expect(await failureOf(newKey(keyStore))).toMatchObject({ failure: 'unavailable' });
    const key = await newKey(keyStore);
    await keyStore.close();
    const { keyStore: next } = await openTestStore(token);
    await roundTrip(next, key);
  });

  test('ends at the first key that it does not find, as it finds none', async () => {
    const { keyStore } = await openTestStore(token);
    const [used, unused] = [await newKey(keyStore), await newKey(keyStore)];
    await roundTrip(keyStore, used);
    initialiseAnew();
    const aad = Buffer.from('x');
    const encrypting = keyStore.encrypt({ backingKeyId: unused, aad, plaintext: plaintextOf('x') });
    expect(await failureOf(encrypting)).toMatchObject({ failure: 'keyUnavailable' });
    expect(keyStore.status().restarts).toBe(1);
  });
});

describe.skipIf(nssSoftoken.missing !== null)(
  'A host whose database is not at its place any more (NSS softoken)',
  () => {
    let token: TestToken;
    let former: string;

    beforeEach(() => {
      token = nssSoftoken.create();
      former = `${token.folder}-former`;
    });
    afterEach(() => {
      for (const folder of [former, token.folder]) rmSync(folder, { recursive: true, force: true });
    });

    /** What the host has open is thrown away in the end. */
    function swapForCopy(): void {
      renameSync(token.folder, former);
      cpSync(former, token.folder, { recursive: true });
    }

    test('makes the next key in the one that is there', async () => {
      const keyStore = await openStore(token, { lanes: 2 });
      const used = await newKey(keyStore);
      await roundTrip(keyStore, used);
      swapForCopy();
      expect(await failureOf(newKey(keyStore))).toMatchObject({ failure: 'unavailable' });
      const key = await newKey(keyStore);
      expect(keyStore.status().restarts).toBe(1);
      await keyStore.close();
      rmSync(former, { recursive: true });
      const { keyStore: next } = await openTestStore(token);
      for (const each of [used, key]) await roundTrip(next, each);
    });

    test('is found out by the link that it was told', async () => {
      const link = `${token.folder}-link`;
      symlinkSync(token.folder, link);
      const settings = token.settings(2);
      const libraryParameters = settings.libraryParameters?.replace(token.folder, link) ?? null;
      const linked = { ...token, settings: () => ({ ...settings, libraryParameters }) };
      const { keyStore } = await openTestStore(linked, { lanes: 2 });
      await newKey(keyStore);
      cpSync(token.folder, former, { recursive: true });
      unlinkSync(link);
      symlinkSync(former, link);
      expect(await failureOf(newKey(keyStore))).toMatchObject({ failure: 'unavailable' });
      await roundTrip(keyStore, await newKey(keyStore));
      unlinkSync(link);
    });

    test('wraps no key under a domain key that another process has destroyed', async () => {
      const { keyStore } = await openTestStore(token, { lanes: 2 });
      await newKey(keyStore);
      const outline = await domainKeyIn(keyStore);
      await keyStore.generateWrappedKey(outline);
      const { keyStore: other } = await openTestStore(token);
      await other.destroyKey({ backingKeyId: outline.domainKeyId });
      expect(await failureOf(keyStore.generateWrappedKey(outline))).toMatchObject({ failure: 'keyUnavailable' });
    });

    test('wraps no key that is lost with it', async () => {
      const { keyStore, log } = await openTestStore(token, { lanes: 2, limits: { reconnectWaitMs: 1000 } });
      const outline = await domainKeyIn(keyStore);
      await keyStore.generateWrappedKey(outline);
      renameSync(token.folder, former);
      expect(await failureOf(keyStore.generateWrappedKey(outline))).toMatchObject({ failure: 'unavailable' });
      expect(keyStore.status().state).not.toBe('connected');
      expect(JSON.stringify(log)).toContain('.db` is not the file any more that the library has open');
      renameSync(former, token.folder);
      await until(() => keyStore.status().state === 'connected');
      await keyStore.generateWrappedKey(outline);
    });
  },
);

async function domainKeyIn(keyStore: KeyStore) {
  const domainKeyId = newBackingKeyId();
  await keyStore.generateDomainKey({ backingKeyId: domainKeyId, label: `${domainKeyLabelPrefix}a test's` });
  return { domainKeyId, keySpec: 'SYMMETRIC_DEFAULT', keyUsage: 'ENCRYPT_DECRYPT' } as const;
}
