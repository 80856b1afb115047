/** Imported key material whose date has passed, and wrapping keys after their day: a real daemon whose clocks the test sets. */

import { randomBytes } from 'node:crypto';
import { afterAll, beforeAll, expect, test, vi } from 'vitest';
import { present } from '../end-to-end/support/daemon.ts';
import { importMaterial, importParameters, importRequest, newExternalKey } from '../end-to-end/support/imports.ts';
import { type Refusal, refusal } from '../end-to-end/support/refusals.ts';
import { SetClocks } from '../support/set-clocks.ts';
import { describeEachToken } from '../support/tokens.ts';
import { createUpkeptInstance, type Running, type UpkeptInstance } from './upkept-instance.ts';

const hourMs = 60 * 60 * 1000;
const dayMs = 24 * hourMs;
const Plaintext = Buffer.from('for ten days');

describeEachToken('Imported key material that expires', (token) => {
  let instance: UpkeptInstance;
  let running: Running;
  let clocks: SetClocks;
  beforeAll(async () => {
    instance = await createUpkeptInstance(token());
  });
  afterAll(async () => {
    await running.stop();
    await instance.remove();
  });
  const start = async (): Promise<void> => {
    clocks = new SetClocks();
    running = await instance.start(clocks);
  };
  const restart = async (passed: { readonly wallMs?: number; readonly bootMs?: number }): Promise<void> => {
    await running.stop();
    clocks.jump(passed);
    running = await instance.start(clocks);
    await clocks.settled();
  };

  /** A key whose material is good for so long, and what it encrypted. */
  async function keyFor(lifeMs: number) {
    const { kms } = running;
    const { id: KeyId, arn } = await newExternalKey(kms);
    const material = randomBytes(32);
    const ValidTo = new Date(clocks.now().wallMs + lifeMs);
    await importMaterial(kms, KeyId, material, { ValidTo });
    const blob = present((await kms.encrypt({ KeyId, Plaintext })).CiphertextBlob);
    return { KeyId, arn, material, blob, ValidTo };
  }
  type Key = Awaited<ReturnType<typeof keyFor>>;
  const expired = ({ arn }: Key): Refusal => ({
    name: 'KMSInvalidStateException',
    message: `${arn} is pending import.`,
  });
  const decrypt = ({ blob }: Key) => running.kms.decrypt({ CiphertextBlob: blob });
  const stateOf = async ({ KeyId }: Key) => (await running.kms.describeKey({ KeyId })).KeyMetadata?.KeyState;
  const isInHsm = async ({ KeyId }: Key) => (await instance.objects()).includes(`drawbridge:${KeyId}:1`);

  test('is refused at its date, destroyed on record when both clocks say so, and works when it is imported again', async () => {
    await start();
    const key = await keyFor(10 * dayMs);
    await clocks.pass(10 * dayMs - 1000);
    await decrypt(key);
    await clocks.pass(1000);
    expect(await refusal(decrypt(key))).toEqual(expired(key));
    expect([await stateOf(key), await isInHsm(key)]).toEqual(['PendingImport', false]);
    const { KeyMetadata } = await running.kms.describeKey({ KeyId: key.KeyId });
    expect([KeyMetadata?.Enabled, KeyMetadata?.ExpirationModel, KeyMetadata?.ValidTo]).toEqual([
      false,
      undefined,
      undefined,
    ]);
    expect(await instance.events('DeleteExpiredKeyMaterial')).toMatchObject([
      {
        eventType: 'AwsServiceEvent',
        resources: [{ ARN: key.arn }],
        serviceEventDetails: { keyId: key.KeyId },
      },
    ]);
    await importMaterial(running.kms, key.KeyId, key.material);
    await decrypt(key);
    await running.stop();
  });

  test('is found by its date also where keys are read on demand, and by no look at the others', async () => {
    clocks = new SetClocks();
    running = await instance.start(clocks, instance.keyStore, 'wrapped', 0);
    const before = [await keyFor(3 * dayMs), await keyFor(3 * dayMs)];
    await running.stop();
    running = await instance.start(clocks, instance.keyStore, 'wrapped', 0);
    await clocks.settled();
    const since = await keyFor(2 * dayMs);
    const destroyed = async (): Promise<readonly string[]> => {
      const events = await instance.events('DeleteExpiredKeyMaterial');
      const keyIds = events.map(({ serviceEventDetails }) => (serviceEventDetails as { keyId: string }).keyId);
      return [since, ...before].map(({ KeyId }) => KeyId).filter((keyId) => keyIds.includes(keyId));
    };
    await clocks.pass(2 * dayMs);
    expect([await destroyed(), await stateOf(before[0] as Key)]).toEqual([[since.KeyId], 'Enabled']);
    await clocks.pass(dayMs);
    expect(await destroyed()).toEqual([since, ...before].map(({ KeyId }) => KeyId));
    await running.stop();
  });

  test('encrypts nothing when it expires while an encryption waits for its number', async () => {
    clocks = new SetClocks();
    let whileWaiting = (): void => undefined;
    // The number is on record when the HSM has made the record's MAC.
    const keyStore = new Proxy(instance.keyStore, {
      get(target, name) {
        // Safe: the members of a key store that are asked for here are its own, bound to it below.
        const member: unknown = Reflect.get(target, name);
        if (typeof member !== 'function') return member;
        return (...parameters: readonly unknown[]) => {
          if (name === 'macs') whileWaiting();
          return Reflect.apply(member, target, parameters);
        };
      },
    });
    running = await instance.start(clocks, keyStore);
    const { id: KeyId, arn } = await newExternalKey(running.kms);
    await importMaterial(running.kms, KeyId, randomBytes(32), { ValidTo: new Date(clocks.now().wallMs + hourMs) });
    whileWaiting = () => {
      whileWaiting = () => undefined;
      clocks.jump({ wallMs: hourMs, bootMs: hourMs });
    };
    expect(await refusal(running.kms.encrypt({ KeyId, Plaintext }))).toEqual({
      name: 'KMSInvalidStateException',
      message: `${arn} is pending import.`,
    });
    await running.stop();
  });

  test('is refused as soon as the wall clock says so, and given back when that is put right', async () => {
    await start();
    const key = await keyFor(10 * dayMs);
    await clocks.setWall(11 * dayMs);
    expect(await refusal(decrypt(key))).toEqual(expired(key));
    expect([await stateOf(key), await isInHsm(key)]).toEqual(['PendingImport', true]);
    expect((await refusal(running.kms.enableKey({ KeyId: key.KeyId }))).name).toBe('KMSInvalidStateException');
    await clocks.setWall(-11 * dayMs);
    await decrypt(key);
    expect(await stateOf(key)).toBe('Enabled');
    await running.stop();
  });

  test('is refused as soon as the other clock says so, however far back the wall clock is', async () => {
    await start();
    const key = await keyFor(10 * dayMs);
    await clocks.setWall(-300 * dayMs);
    await clocks.pass(10 * dayMs - 1000);
    await decrypt(key);
    await clocks.pass(1000);
    expect(await refusal(decrypt(key))).toEqual(expired(key));
    expect(await isInHsm(key)).toBe(true);
    await running.stop();
  });

  test('that expired over a stop is refused at once, and destroyed only a day of running time later', async () => {
    await start();
    const [key, other] = [await keyFor(10 * dayMs), await keyFor(10 * dayMs)];
    await restart({ wallMs: 11 * dayMs, bootMs: hourMs });
    expect(await refusal(decrypt(key))).toEqual(expired(key));
    await clocks.pass(23 * hourMs);
    expect([await isInHsm(key), await isInHsm(other)]).toEqual([true, true]);
    // The new date of what is imported again counts, and not the old one.
    await importMaterial(running.kms, other.KeyId, other.material, { ValidTo: new Date(Date.now() + 300 * dayMs) });
    await clocks.pass(2 * hourMs);
    expect([await isInHsm(key), await isInHsm(other)]).toEqual([false, true]);
    await decrypt(other);
    expect(await refusal(decrypt(key))).toEqual(expired(key));
    await running.stop();
  });

  test('of a disabled key enables it when it is imported again, whether what expired is destroyed already or not', async () => {
    await start();
    const [destroyed, kept, other] = [await keyFor(10 * dayMs), await keyFor(10 * dayMs), await keyFor(10 * dayMs)];
    for (const { KeyId } of [destroyed, kept, other]) await running.kms.disableKey({ KeyId });
    await clocks.setWall(11 * dayMs);
    expect([await stateOf(kept), await isInHsm(kept)]).toEqual(['PendingImport', true]);
    const ValidTo = new Date(Date.now() + 300 * dayMs);
    await importMaterial(running.kms, kept.KeyId, kept.material, { ValidTo });
    expect(await stateOf(kept)).toBe('Enabled');
    await decrypt(kept);
    await clocks.setWall(-11 * dayMs);
    expect([await stateOf(kept), await stateOf(other)]).toEqual(['Enabled', 'Disabled']);
    await clocks.pass(10 * dayMs);
    expect([await stateOf(destroyed), await isInHsm(destroyed)]).toEqual(['PendingImport', false]);
    await importMaterial(running.kms, destroyed.KeyId, destroyed.material, { ValidTo });
    expect(await stateOf(destroyed)).toBe('Enabled');
    await running.stop();
  });

  test('is forgotten where the key was not rotated to it yet', async () => {
    await start();
    const key = await keyFor(300 * dayMs);
    const { KeyId } = key;
    const ValidTo = new Date(clocks.now().wallMs + dayMs);
    await importMaterial(running.kms, KeyId, randomBytes(32), { ImportType: 'NEW_KEY_MATERIAL', ValidTo });
    await clocks.setWall(2 * dayMs);
    const refused = await refusal(running.kms.rotateKeyOnDemand({ KeyId }));
    expect(refused.message).toMatch(/^No available key material pending rotation/);
    await clocks.setWall(-2 * dayMs);
    await clocks.pass(dayMs);
    const { Rotations } = await running.kms.listKeyRotations({ KeyId, IncludeKeyMaterial: 'ALL_KEY_MATERIAL' });
    expect(Rotations).toHaveLength(1);
    await decrypt(key);
    await running.stop();
  });

  test('leaves no wrapping key behind after a day, and its token says that it has expired', async () => {
    await start();
    const { kms } = running;
    const { id: KeyId } = await newExternalKey(kms);
    const request = importRequest(KeyId, await importParameters(kms, KeyId), randomBytes(32));
    const wrapping = async () => (await instance.objects()).filter((label) => label === `drawbridge:wrapping:${KeyId}`);
    expect((await wrapping()).length).toBeGreaterThan(0);
    await clocks.pass(dayMs - hourMs);
    expect((await wrapping()).length).toBeGreaterThan(0);
    // Requests have the machine's time, which goes on while they are made.
    await clocks.pass(hourMs + 10 * 60_000);
    expect(await wrapping()).toEqual([]);
    expect((await refusal(kms.importKeyMaterial(request))).name).toBe('InvalidImportTokenException');
    const later = vi.spyOn(Date, 'now').mockReturnValue(Date.now() + dayMs + 1000);
    const { name } = await refusal(kms.importKeyMaterial(request));
    later.mockRestore();
    expect(name).toBe('ExpiredImportTokenException');
    await running.stop();
    expect((await instance.records()).wrappingKey).toEqual([]);
  });
});
