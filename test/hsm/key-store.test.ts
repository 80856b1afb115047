import { randomBytes } from 'node:crypto';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, onTestFinished, test } from 'vitest';
import type { KeyStore } from '../../src/hsm/key-store.ts';
import { pauseMs } from '../../src/hsm/key-store-limits.ts';
import { openKeyStore } from '../../src/hsm/open-key-store.ts';
import { type BackingKeyId, newBackingKeyId } from '../../src/kms/names.ts';
import { describeEachToken } from '../support/tokens.ts';
import {
  aad,
  failureOf,
  type LogLine,
  newKey,
  openStore,
  openTestStore,
  plaintextOf,
  roundTrip,
} from './test-store.ts';

/** Both directions of "how many at once": processes and sessions in each. */
const shapes = [
  { hosts: 1, lanes: 1 },
  { hosts: 1, lanes: 4 },
  { hosts: 2, lanes: 1 },
  { hosts: 2, lanes: 2 },
];

describeEachToken('A key store', (token) => {
  describe.each(shapes)('with $hosts hosts of $lanes lanes', (shape) => {
    let keyStore: KeyStore;
    beforeAll(async () => {
      keyStore = await openStore(token(), shape);
    });
    afterAll(() => keyStore.close());

    test('does what it promises', async () => {
      expect(keyStore.status()).toMatchObject({
        name: 'default',
        state: 'connected',
        hosts: shape.hosts,
        lanes: shape.hosts * shape.lanes,
        restarts: 0,
        lastFailure: null,
        inFlight: 0,
      });
      expect(new Set(keyStore.status().pids).size).toBe(shape.hosts);

      const backingKeyId = newBackingKeyId();
      const request = {
        backingKeyId,
        label: 'drawbridge:one:1',
        keySpec: 'SYMMETRIC_DEFAULT',
        keyUsage: 'ENCRYPT_DECRYPT',
      } as const;
      const { publicKey, ...attributes } = await keyStore.generateKey(request);
      expect(publicKey).toBeNull();
      expect(attributes).toMatchObject({
        backingKeyId,
        keyType: 'CKK_AES',
        keyBits: 256,
        sensitive: true,
        extractable: false,
      });
      expect(await keyStore.describeKey({ backingKeyId })).toEqual(attributes);
      expect(await keyStore.listKeys()).toContainEqual({ backingKeyId, label: 'drawbridge:one:1' });

      for (let i = 0; i < 2 * shape.hosts * shape.lanes; i++) await roundTrip(keyStore, backingKeyId, `text ${i}`);
      const { plaintext, ...wrapped } = await keyStore.generateDataKey({ backingKeyId, aad, lengthBytes: 32 });
      expect(plaintext.lengthBytes).toBe(32);
      expect((await keyStore.decrypt({ backingKeyId, aad, ...wrapped })).reveal()).toEqual(plaintext.reveal());
      const hidden = await keyStore.generateDataKeyWithoutPlaintext({ backingKeyId, aad, lengthBytes: 64 });
      expect((await keyStore.decrypt({ backingKeyId, aad, ...hidden })).lengthBytes).toBe(64);

      const hmacKey = await newKey(keyStore, 'HMAC_256');
      const mac = await keyStore.mac({ backingKeyId: hmacKey, algorithm: 'HMAC_SHA_256', data: Buffer.from('record') });
      expect(mac).toHaveLength(32);
      expect(
        await keyStore.mac({ backingKeyId: hmacKey, algorithm: 'HMAC_SHA_256', data: Buffer.from('record') }),
      ).toEqual(mac);
      expect(
        await keyStore.mac({ backingKeyId: hmacKey, algorithm: 'HMAC_SHA_256', data: Buffer.from('Record') }),
      ).not.toEqual(mac);

      const random = await Promise.all([1, 32, 1024].map((lengthBytes) => keyStore.random({ lengthBytes })));
      expect(random.map((bytes) => bytes.lengthBytes)).toEqual([1, 32, 1024]);
      for (const backingKeyId of (await keyStore.listKeys()).map((key) => key.backingKeyId))
        await keyStore.destroyKey({ backingKeyId });
      expect(await keyStore.listKeys()).toEqual([]);
    });

    test('has no lane that still uses a destroyed key', async () => {
      const backingKeyId = await newKey(keyStore);
      const plaintext = plaintextOf('x');
      const encrypted = await keyStore.encrypt({ backingKeyId, aad, plaintext });
      // Enough at once that every lane has met the key, its session copy included.
      const decryptEverywhere = () =>
        Promise.all(Array.from({ length: 64 }, () => failureOf(keyStore.decrypt({ backingKeyId, aad, ...encrypted }))));
      expect(new Set((await decryptEverywhere()).map(({ failure }) => failure))).toEqual(new Set(['none']));
      await keyStore.destroyKey({ backingKeyId });
      expect(new Set((await decryptEverywhere()).map(({ message }) => message))).toEqual(
        new Set(['cannot decrypt: no object in the token has this CKA_ID']),
      );
      await keyStore.destroyKey({ backingKeyId });
    });

    test('gives 64 callers at once each their own answer', async () => {
      const symmetric = await Promise.all([newKey(keyStore), newKey(keyStore)]);
      const hmac = await Promise.all([newKey(keyStore, 'HMAC_256'), newKey(keyStore, 'HMAC_256')]);
      await Promise.all(Array.from({ length: 64 }, (_, caller) => mixedCalls(keyStore, symmetric, hmac, caller)));
      for (const backingKeyId of [...symmetric, ...hmac]) await keyStore.destroyKey({ backingKeyId });
    });
  });

  test('uses in every host, at once, keys that were made at once through several', async () => {
    const { keyStore } = await openTestStore(token(), { hosts: 3 });
    for (let round = 0; round < 4; round++) {
      const keys = await Promise.all(Array.from({ length: 6 }, () => newKey(keyStore, 'HMAC_256')));
      const macs = keys.flatMap((backingKeyId) =>
        Array.from({ length: 12 }, () =>
          failureOf(keyStore.mac({ backingKeyId, algorithm: 'HMAC_SHA_256', data: aad })),
        ),
      );
      expect(new Set((await Promise.all(macs)).map(({ message }) => message))).toEqual(new Set(['the call succeeded']));
      await Promise.all(keys.map((backingKeyId) => keyStore.destroyKey({ backingKeyId })));
    }
    expect(await keyStore.listKeys()).toEqual([]);
  });

  test('says of each refusal whose fault it is, and goes on', async () => {
    const { keyStore } = await openTestStore(token());
    const backingKeyId = await newKey(keyStore);
    const plaintext = plaintextOf('x');
    const encrypted = await keyStore.encrypt({ backingKeyId, aad, plaintext });
    const tooMuch = plaintextOf(Buffer.alloc(200_000));
    const refusals: readonly [expected: string, call: () => Promise<unknown>][] = [
      ['ciphertextInvalid', () => keyStore.decrypt({ backingKeyId, aad: Buffer.from('other'), ...encrypted })],
      [
        'ciphertextInvalid',
        () => keyStore.decrypt({ backingKeyId, aad, iv: encrypted.iv, ciphertext: Buffer.alloc(9) }),
      ],
      ['keyUnavailable', () => keyStore.encrypt({ backingKeyId: newBackingKeyId(), aad, plaintext })],
      ['keyUnavailable', () => keyStore.describeKey({ backingKeyId: newBackingKeyId() })],
      [
        'unsupported',
        () =>
          keyStore.generateKey({
            backingKeyId: newBackingKeyId(),
            label: 'drawbridge:x:1',
            keySpec: 'SM2',
            keyUsage: 'SIGN_VERIFY',
          }),
      ],
      ['internal', () => keyStore.random({ lengthBytes: 1025 })],
      ['internal', () => keyStore.encrypt({ backingKeyId, aad, plaintext: tooMuch })],
      ['internal', () => keyStore.encrypt({ backingKeyId, aad: Buffer.alloc(300_000), plaintext })],
    ];
    for (const [expected, call] of refusals) expect((await failureOf(call())).failure).toBe(expected);
    await roundTrip(keyStore, backingKeyId);
    expect(keyStore.status().restarts).toBe(0);
  });

  test('refuses calls over its bound as busy, and answers those within it', async () => {
    const maxInFlight = 50;
    const { keyStore } = await openTestStore(token(), { limits: { maxInFlight, maxInLane: 4 } });
    const ends = await Promise.all(Array.from({ length: 200 }, () => failureOf(keyStore.random({ lengthBytes: 8 }))));
    expect(ends.slice(0, maxInFlight).every(({ failure }) => failure === 'none')).toBe(true);
    const busy = { failure: 'busy', message: 'cannot generate random bytes: 50 calls are in flight already' };
    expect(ends.slice(maxInFlight)).toEqual(Array.from({ length: 150 }, () => busy));
    expect(keyStore.status().inFlight).toBe(0);
  });

  test('answers what is in flight when it is closed, and refuses what comes after', async () => {
    const { keyStore } = await openTestStore(token(), { lanes: 2 });
    const calls = Array.from({ length: 500 }, () => failureOf(keyStore.random({ lengthBytes: 8 })));
    const closed = keyStore.close();
    expect(await failureOf(keyStore.random({ lengthBytes: 8 }))).toEqual({
      failure: 'unavailable',
      message: 'cannot generate random bytes: the key store was closed',
    });
    expect(new Set((await Promise.all(calls)).map(({ failure }) => failure))).toEqual(new Set(['none']));
    await closed;
    await keyStore.close();
    expect(keyStore.status()).toMatchObject({ state: 'closed', hosts: 0, lanes: 0, restarts: 0, pids: [] });
  });

  test('tells an operator why it cannot be opened, and leaves no process', async () => {
    const settings = token().settings();
    const cases = [
      {
        settings: { ...settings, token: { label: 'another' } },
        message: /^key store `default`: cannot open token `another`: no token has the label `another`; there are: `/,
      },
      {
        settings: { ...settings, library: '/nonexistent/pkcs11.so' },
        message: /cannot load the PKCS#11 library `\/nonexistent\/pkcs11\.so`/,
      },
      {
        settings: { ...settings, profile: 'no-such-vendor' },
        message: /cannot read vendor profile `no-such-vendor`/,
      },
      {
        settings: { ...settings, profile: '../softhsm2' },
        message: /`\.\.\/softhsm2` is neither the name of a vendor profile nor an absolute path/,
      },
    ];
    for (const { settings, message } of cases) {
      const log: LogLine[] = [];
      const opening = openTestStore({ ...token(), settings: () => settings }, { hosts: 2 }, log);
      const { failure, message: text } = await failureOf(opening);
      expect(failure).toBe('unavailable');
      expect(text).toMatch(message);
      expect(log.filter((line) => line.message === 'an HSM host is connected')).toEqual([]);
      expect(childPids()).toEqual([]);
    }
  });

  test('names a variable for its library whose file is not there', async ({ skip }) => {
    if (!('SOFTHSM2_CONF' in token().environment)) skip('this library takes no file from a variable');
    const environment = { SOFTHSM2_CONF: '/nonexistent/softhsm2.conf' };
    const { failure, message } = await failureOf(openTestStore({ ...token(), environment }));
    expect(failure).toBe('unavailable');
    expect(message).toContain(
      ' (SOFTHSM2_CONF names `/nonexistent/softhsm2.conf`, which is not there): CKR_GENERAL_ERROR',
    );
  });

  test('names the folder of its token, where that is not there', async () => {
    const { environment, folder, libraryParameters } = token();
    const elsewhere = mkdtempSync(join(tmpdir(), 'drawbridge-test-elsewhere-'));
    onTestFinished(() => rmSync(elsewhere, { recursive: true }));
    const file = join(elsewhere, 'softhsm2.conf');
    writeFileSync(file, 'directories.tokendir = /nonexistent/tokens\nobjectstore.backend = file\n');
    const isInFile = 'SOFTHSM2_CONF' in environment;
    const opening = openTestStore({
      ...token(),
      environment: isInFile ? { SOFTHSM2_CONF: file } : environment,
      settings: (lanes) => ({
        ...token().settings(lanes),
        libraryParameters: libraryParameters?.replace(folder, '/nonexistent/tokens') ?? null,
      }),
    });
    const { failure, message } = await failureOf(opening);
    expect(failure).toBe('unavailable');
    expect(message).toContain(
      isInFile
        ? ` (\`directories.tokendir\` in \`${file}\` names \`/nonexistent/tokens\`, which is not there): CKR_GENERAL_ERROR`
        : ' (`libraryParameters` names `/nonexistent/tokens`, which is not there): ',
    );
  });

  test('says that its PIN cannot be read', async () => {
    const opening = openTestStore(token(), {
      pin: () => {
        throw new Error('`/run/pin` is readable by others');
      },
    });
    expect(await failureOf(opening)).toEqual({
      failure: 'unavailable',
      message: `key store \`default\`: cannot open token \`${token().label}\`: cannot read the PIN: \`/run/pin\` is readable by others`,
    });
  });

  test('keeps the PIN out of arguments, environment, log and errors', async () => {
    const { keyStore, log } = await openTestStore(token());
    const [pid] = keyStore.status().pids;
    const seen = [
      readOrNothing(`/proc/${pid}/cmdline`),
      // Nobody but root can read this one: the host is not dumpable.
      readOrNothing(`/proc/${pid}/environ`),
      JSON.stringify(log),
      JSON.stringify(keyStore.status()),
      JSON.stringify(keyStore.capabilities()),
    ];
    expect(seen[0]).toContain('host-main');
    for (const text of seen) expect(text).not.toContain(token().pin);
  });
});

describe('A key store', () => {
  test('is refused without a host or a lane', async () => {
    const log = { debug: () => undefined, info: () => undefined, warn: () => undefined, error: () => undefined };
    for (const { hosts, lanes } of [
      { hosts: 0, lanes: 1 },
      { hosts: 1, lanes: 0 },
      { hosts: 1.5, lanes: 1 },
    ]) {
      const settings = { library: '', token: { label: '' }, profile: '', libraryParameters: null, lanes };
      const opening = openKeyStore({ name: 'x', settings, hosts, pin: () => Promise.reject(), environment: {}, log });
      await expect(opening).rejects.toThrow(new RangeError('key store `x`: at least one host and one lane'));
    }
  });

  test('pauses longer before each attempt, up to a bound, and never in step with another', () => {
    fc.assert(
      fc.property(
        fc.nat({ max: 10_000 }),
        fc.integer({ min: 1, max: 1000 }),
        fc.integer({ min: 1000 }),
        (attempt, firstMs, maxMs) => {
          const fullMs = Math.min(maxMs, firstMs * 2 ** attempt);
          const pause = pauseMs(attempt, firstMs, maxMs);
          expect(pause).toBeGreaterThanOrEqual(fullMs / 2);
          expect(pause).toBeLessThanOrEqual(fullMs);
        },
      ),
      { examples: [[31, 1, 2 ** 31]] },
    );
    expect(new Set(Array.from({ length: 20 }, () => pauseMs(3, 100, 30_000))).size).toBeGreaterThan(1);
  });
});

/** One caller's calls of all kinds, each checked against what only this caller can expect. */
async function mixedCalls(
  keyStore: KeyStore,
  symmetric: readonly BackingKeyId[],
  hmac: readonly BackingKeyId[],
  caller: number,
): Promise<void> {
  const key = (keys: readonly BackingKeyId[], i: number) => keys[i % keys.length] ?? newBackingKeyId();
  for (let i = 0; i < 5; i++) {
    const backingKeyId = key(symmetric, caller + i);
    const content = randomBytes(1 + ((caller * 61 + i * 7) % 4096));
    const own = Buffer.from(`caller ${caller}, call ${i}`);
    const encrypted = await keyStore.encrypt({ backingKeyId, aad: own, plaintext: plaintextOf(content) });
    const lengthBytes = 1 + ((caller + i) % 1024);
    const [decrypted, random, mac, sameMac, dataKey, refused] = await Promise.all([
      keyStore.decrypt({ backingKeyId, aad: own, ...encrypted }),
      keyStore.random({ lengthBytes }),
      keyStore.mac({ backingKeyId: key(hmac, i), algorithm: 'HMAC_SHA_256', data: own }),
      keyStore.mac({ backingKeyId: key(hmac, i), algorithm: 'HMAC_SHA_256', data: own }),
      keyStore.generateDataKey({ backingKeyId, aad: own, lengthBytes }),
      failureOf(keyStore.decrypt({ backingKeyId: key(symmetric, caller + i + 1), aad: own, ...encrypted })),
    ]);
    expect(decrypted.reveal().equals(content)).toBe(true);
    expect(random.lengthBytes).toBe(lengthBytes);
    expect(mac.equals(sameMac)).toBe(true);
    const { plaintext, ...wrapped } = dataKey;
    const unwrapped = await keyStore.decrypt({ backingKeyId, aad: own, ...wrapped });
    expect(unwrapped.reveal().equals(plaintext.reveal())).toBe(true);
    expect(refused.failure).toBe('ciphertextInvalid');
  }
}

function readOrNothing(path: string): string {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return ''; // Not for us: what cannot be read cannot be leaked.
  }
}

/** The processes that this one has started and that are still there. */
function childPids(): readonly string[] {
  const children = readFileSync(`/proc/self/task/${process.pid}/children`, 'utf8');
  return children.split(' ').filter((pid) => pid !== '' && readOrNothing(`/proc/${pid}/cmdline`).includes('main.ts'));
}
