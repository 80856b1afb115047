/**
 * `kill -9` at each step of what makes and destroys key material: afterwards it is done or not, never half, and every object in
 * the token belongs to a record.
 *
 * Between daemon and token stands the shim, which puts each call on a trace and hangs at the one that a test names; there the
 * daemon is killed, or the process that holds the token. As each record has a MAC, which the token computes, the calls of the
 * token go through all steps: the intent on record, the material made, the change on record, the material destroyed.
 *
 * `DRAWBRIDGE_EVERY_STEP=1` stops at every call instead of the named ones, also in what is left out otherwise, over both tokens. Each of some
 * sixty calls costs a host and a daemon, a minute or two on a machine that does nothing else; a part of it is run by its name, with the look
 * at what is left: `-t 'softhsm2.*(a rotation|nothing is left)'`.
 */

import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type {
  GetParametersForImportCommandOutput,
  KeySpec,
  KeyUsageType,
  KMS,
  KMSServiceException,
} from '@aws-sdk/client-kms';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { parse, stringify } from 'yaml';
import { loadConfiguration } from '../../src/config/load.ts';
import { libraryOf } from '../../src/daemon/configured-key-stores.ts';
import { operations } from '../../src/operations/find-operation.ts';
import { childrenOf, endOrphans } from '../support/children.ts';
import { type Instance, missingForInstance, startInstance } from '../support/instance.ts';
import { createShim, missingForShim, type Shim } from '../support/pkcs11-shim.ts';
import { createSetTime, type SetTime } from '../support/set-time.ts';
import { differencesIn } from '../support/stopped-instance.ts';
import { brokenLink } from './support/audit-trail.ts';
import { kmsOver } from './support/connect.ts';
import { bootTimeoutMs, newKey, present, type TokenName } from './support/daemon.ts';
import { wrapped } from './support/imports.ts';
import { refusal } from './support/refusals.ts';
import { send } from './support/wire.ts';

const isEveryStep = process.env['DRAWBRIDGE_EVERY_STEP'] === '1';
const tokens: readonly TokenName[] = isEveryStep ? ['softhsm2', 'nss'] : ['softhsm2'];
const testTimeoutMs = isEveryStep ? 1_800_000 : 240_000;
const dayMs = 24 * 60 * 60 * 1000;
const Plaintext = Buffer.from('attack at dawn');

/** What a request is about, and what was there before. */
interface Subject {
  readonly KeyId: string;
  readonly blob?: Uint8Array | undefined;
  readonly parameters?: GetParametersForImportCommandOutput;
  /** When its time has come. */
  readonly dueAtMs?: number;
  readonly keyIds?: readonly string[];
}

interface Act {
  readonly needs: string;
  /** What it shows is shown by another one as well: it is left out where there is no time for all. */
  readonly isMore?: true;
  begin(kms: KMS): Promise<Subject>;
  /** Resolves when it is done. */
  act(kms: KMS, subject: Subject): Promise<unknown>;
  /** Is it done? Fails when it is neither done nor not. */
  isDone(kms: KMS, subject: Subject): Promise<boolean>;
}

const keyIds = async (kms: KMS): Promise<readonly string[]> =>
  present((await kms.listKeys({ Limit: 1000 })).Keys).map(({ KeyId }) => present(KeyId));
const metadataOf = async (kms: KMS, KeyId: string) => present((await kms.describeKey({ KeyId })).KeyMetadata);
const encrypted = async (kms: KMS, KeyId: string) => (await kms.encrypt({ KeyId, Plaintext })).CiphertextBlob;

async function assertOpens(kms: KMS, CiphertextBlob: Uint8Array | undefined): Promise<string> {
  const opened = await kms.decrypt({ CiphertextBlob: present(CiphertextBlob) });
  expect(Buffer.from(present(opened.Plaintext))).toEqual(Plaintext);
  return present(opened.KeyMaterialId);
}

function creationOf(
  KeySpec: KeySpec,
  KeyUsage: KeyUsageType,
  assertWorks: (kms: KMS, KeyId: string) => Promise<void>,
): Act {
  return {
    needs: 'CreateKey',
    begin: async (kms) => ({ KeyId: '', keyIds: await keyIds(kms) }),
    act: (kms) => kms.createKey({ KeySpec, KeyUsage }),
    async isDone(kms, subject) {
      const [made, ...others] = (await keyIds(kms)).filter((id) => !present(subject.keyIds).includes(id));
      expect(others).toEqual([]);
      if (made === undefined) return false;
      expect(await metadataOf(kms, made)).toMatchObject({ KeyState: 'Enabled', KeySpec, KeyUsage });
      await assertWorks(kms, made);
      return true;
    },
  };
}

const material = Buffer.alloc(32, 7);
const wrapping = { WrappingAlgorithm: 'RSAES_OAEP_SHA_256', WrappingKeySpec: 'RSA_2048' } as const;
const forEver = { ExpirationModel: 'KEY_MATERIAL_DOES_NOT_EXPIRE' } as const;

async function importWith(kms: KMS, { KeyId, parameters }: Subject): Promise<void> {
  const { PublicKey, ImportToken } = present(parameters);
  const EncryptedKeyMaterial = wrapped({ ...wrapping, publicKey: present(PublicKey) }, material);
  await kms.importKeyMaterial({ KeyId, ImportToken, EncryptedKeyMaterial, ...forEver });
}

async function newExternalKey(kms: KMS): Promise<Subject> {
  const { KeyMetadata } = await kms.createKey({ Origin: 'EXTERNAL' });
  const KeyId = present(KeyMetadata?.KeyId);
  return { KeyId, parameters: await kms.getParametersForImport({ KeyId, ...wrapping }) };
}

async function newImportedKey(kms: KMS): Promise<Subject> {
  const subject = await newExternalKey(kms);
  await importWith(kms, subject);
  return { ...subject, blob: await encrypted(kms, subject.KeyId) };
}

const acts: Readonly<Record<string, Act>> = {
  'the creation of a symmetric key': creationOf('SYMMETRIC_DEFAULT', 'ENCRYPT_DECRYPT', async (kms, KeyId) => {
    await assertOpens(kms, await encrypted(kms, KeyId));
  }),
  'the creation of a pair': {
    ...creationOf('ECC_NIST_P256', 'SIGN_VERIFY', async (kms, KeyId) => {
      const signing = { KeyId, Message: Plaintext, SigningAlgorithm: 'ECDSA_SHA_256' } as const;
      const { Signature } = await kms.sign(signing);
      expect((await kms.verify({ ...signing, Signature })).SignatureValid).toBe(true);
    }),
    isMore: true,
  },
  'a rotation': {
    needs: 'RotateKeyOnDemand',
    async begin(kms) {
      const { id: KeyId } = await newKey(kms);
      return { KeyId, blob: await encrypted(kms, KeyId) };
    },
    act: (kms, { KeyId }) => kms.rotateKeyOnDemand({ KeyId }),
    async isDone(kms, { KeyId, blob }) {
      const { Rotations } = await kms.listKeyRotations({ KeyId, IncludeKeyMaterial: 'ALL_KEY_MATERIAL' });
      const materials = present(Rotations).map(({ KeyMaterialId }) => KeyMaterialId);
      expect([1, 2]).toContain(materials.length);
      expect((await metadataOf(kms, KeyId)).CurrentKeyMaterialId).toBe(materials.at(-1));
      expect(await assertOpens(kms, blob)).toBe(materials[0]);
      expect(await assertOpens(kms, await encrypted(kms, KeyId))).toBe(materials.at(-1));
      return materials.length === 2;
    },
  },
  'the making of a wrapping key': {
    needs: 'GetParametersForImport',
    isMore: true,
    begin: async (kms) => ({ KeyId: present((await kms.createKey({ Origin: 'EXTERNAL' })).KeyMetadata?.KeyId) }),
    act: (kms, { KeyId }) => kms.getParametersForImport({ KeyId, ...wrapping }),
    async isDone(kms, { KeyId }) {
      // Nothing of it shows, and it can be asked for again.
      const parameters = await kms.getParametersForImport({ KeyId, ...wrapping });
      await importWith(kms, { KeyId, parameters });
      await assertOpens(kms, await encrypted(kms, KeyId));
      return true;
    },
  },
  'an import': {
    needs: 'ImportKeyMaterial',
    begin: newExternalKey,
    act: importWith,
    async isDone(kms, subject) {
      const { KeyId } = subject;
      const { KeyState, CurrentKeyMaterialId } = await metadataOf(kms, KeyId);
      if (KeyState === 'Enabled') {
        expect(await assertOpens(kms, await encrypted(kms, KeyId))).toBe(CurrentKeyMaterialId);
        return true;
      }
      expect([KeyState, CurrentKeyMaterialId]).toEqual(['PendingImport', undefined]);
      // What was sent is good for another try.
      await importWith(kms, subject);
      await assertOpens(kms, await encrypted(kms, KeyId));
      return false;
    },
  },
  'the deletion of imported material': {
    needs: 'DeleteImportedKeyMaterial',
    begin: newImportedKey,
    act: (kms, { KeyId }) => kms.deleteImportedKeyMaterial({ KeyId }),
    async isDone(kms, subject) {
      const { KeyId, blob } = subject;
      const { KeyState } = await metadataOf(kms, KeyId);
      if (KeyState === 'Enabled') {
        await assertOpens(kms, blob);
        return false;
      }
      expect(KeyState).toBe('PendingImport');
      expect((await refusal(kms.decrypt({ CiphertextBlob: present(blob) }))).name).toBe('KMSInvalidStateException');
      await importWith(kms, subject);
      await assertOpens(kms, blob);
      return true;
    },
  },
};

/** When a key is destroyed that waited for as long as it was to. */
function destructionWith(time: () => SetTime): Act {
  /** `undefined`: the key is gone. */
  const stateOf = (kms: KMS, KeyId: string) =>
    metadataOf(kms, KeyId).then(
      ({ KeyState }) => KeyState,
      (error: Error) => {
        if (error.name === 'NotFoundException') return undefined;
        throw error;
      },
    );
  const isGone = async (kms: KMS, KeyId: string): Promise<boolean> => (await stateOf(kms, KeyId)) === undefined;
  /** One is due on each day, so that time passes in one direction and each is alone in being due. */
  const subjects: Subject[] = [];
  let bystander = '';
  return {
    needs: 'ScheduleKeyDeletion',
    async begin(kms) {
      if (subjects.length === 0) {
        bystander = (await newKey(kms)).id;
        for (let PendingWindowInDays = 7; PendingWindowInDays <= (isEveryStep ? 30 : 16); PendingWindowInDays++) {
          const { id: KeyId } = await newKey(kms);
          const blob = await encrypted(kms, KeyId);
          const { DeletionDate } = await kms.scheduleKeyDeletion({ KeyId, PendingWindowInDays });
          subjects.push({ KeyId, blob, dueAtMs: present(DeletionDate).getTime() });
        }
        // Upkeep looks at what changed within a second or two, and has to have seen it before the time comes.
        await new Promise((resolve) => setTimeout(resolve, 3_000));
      }
      // It looks at the clocks a second after this, instead of within a minute.
      await kms.tagResource({ KeyId: bystander, Tags: [{ TagKey: 'left', TagValue: String(subjects.length) }] });
      return present(subjects.shift());
    },
    async act(kms, { KeyId, dueAtMs }) {
      time().shiftTo(present(dueAtMs) - Date.now() + dayMs / 2);
      for (;;) {
        await kms.listKeys({}); // Fails with the daemon.
        if (await isGone(kms, KeyId)) return;
        await new Promise((resolve) => setTimeout(resolve, 100));
      }
    },
    async isDone(kms, { KeyId, blob }) {
      // The daemon goes on with it meanwhile, so it is asked once.
      const state = await stateOf(kms, KeyId);
      if (state !== undefined) {
        expect(state).toBe('PendingDeletion');
        // Where it has begun, it goes on; where it has not, it can be cancelled.
        const cancelled = await kms.cancelKeyDeletion({ KeyId }).then(
          () => true,
          () => false,
        );
        if (cancelled) {
          await kms.enableKey({ KeyId });
          await assertOpens(kms, blob);
          return false;
        }
        await expect.poll(() => isGone(kms, KeyId), { timeout: 170_000, interval: 200 }).toBe(true);
      }
      await expect(kms.decrypt({ CiphertextBlob: present(blob) })).rejects.toThrow();
      return true;
    },
  };
}

const makesOrDestroys = /^C_(?:GenerateKey|GenerateKeyPair|UnwrapKey|CreateObject|DestroyObject)$/;

/** The numbers of the calls to stop at, from 1, by what they are. */
function stepsIn(trace: readonly string[]): ReadonlyMap<string, number> {
  if (isEveryStep) return new Map(trace.map((name, at) => [`call ${at + 1}, ${name}`, at + 1]));
  const first = trace.findIndex((name) => makesOrDestroys.test(name));
  return new Map([
    [`before ${trace[first]}`, first + 1],
    ['before the outcome is on record', trace.lastIndexOf('C_SignInit') + 1],
  ]);
}

for (const token of tokens) {
  const missing = missingForInstance(token) ?? missingForShim();
  if (missing !== null) process.stdout.write(`skipped: kill -9 at every step (${token}): ${missing}\n`);
  describe.skipIf(missing !== null)(`kill -9 at every step (${token})`, () => {
    const folder = mkdtempSync(join(tmpdir(), 'drawbridge-steps-'));
    const dir = join(folder, 'instance');
    let time: SetTime | undefined;
    let shim: (Shim & { remove(): void }) | undefined;
    let instance: Instance;
    let kms: KMS;
    const start = async (): Promise<void> => {
      instance = await startInstance({ token, dir, env: present(time).environment });
      kms = kmsOver(instance.socket);
    };
    /** Of all processes. */
    let log = '';
    const kill = async (): Promise<void> => {
      // It may have been killed before.
      const hosts = existsSync(`/proc/${instance.pid}`) ? childrenOf(instance.pid) : [];
      await instance.kill9();
      await endOrphans(hosts);
      log += instance.log();
      kms.destroy();
    };

    /**
     * Resolves when others are there. With an operator's word they are begun at once: after each that is lost soon after the one before,
     * a daemon waits for twice as long.
     */
    const killHosts = async (): Promise<void> => {
      const killed = childrenOf(instance.pid);
      for (const host of killed) process.kill(host, 'SIGKILL');
      // Or one that is begun now stops at its calls.
      present(shim).endTrace();
      const areThere = async (): Promise<boolean> => {
        const { status } = await send(instance.socket, { path: '/key-stores/default/reconnect' });
        return status === 200 && childrenOf(instance.pid).some((host) => !killed.includes(host));
      };
      await expect.poll(areThere, { timeout: 170_000, interval: 50 }).toBe(true);
    };

    beforeAll(async () => {
      time = createSetTime();
      await (await startInstance({ token, dir })).stop();
      const file = join(dir, 'drawbridge.yaml');
      const [keyStore] = (await loadConfiguration(file)).keyStores.values();
      shim = createShim(libraryOf(present(keyStore).members[0]));
      const configuration = parse(readFileSync(file, 'utf8'));
      const { default: own } = configuration.keyStores;
      Object.assign(own, { library: shim.library, environment: { ...own.environment, ...shim.environment } });
      writeFileSync(file, stringify(configuration), { mode: 0o600 });
      await start();
    }, bootTimeoutMs);
    afterAll(async () => {
      await kill();
      shim?.remove();
      time?.remove();
      rmSync(folder, { recursive: true, force: true });
    }, bootTimeoutMs);

    const built = new Set<string>(operations.map(({ name }) => name));
    const all = {
      ...acts,
      'the destruction of a key': { ...destructionWith(() => present(time)), isMore: true as const },
    };
    const tested = Object.entries(all).filter(([, { needs, isMore }]) => built.has(needs) && (isEveryStep || !isMore));

    test.each(tested)(
      '%s is done or not',
      async (_name, { begin, act, isDone }) => {
        const { tracing, endTrace, isStopped } = present(shim);
        // The host that makes keys is opened by the first request for one, and calls the token hundreds of times for that.
        const beginWithHosts = async (): Promise<Subject> => {
          await kms.createKey({});
          return begin(kms);
        };
        // Once before that: what others left, and what comes due with the time that is set, is done then and not in the reference.
        await act(kms, await beginWithHosts());
        const reference = await beginWithHosts();
        const traced = tracing();
        await act(kms, reference);
        const steps = stepsIn(traced());
        endTrace();
        expect(await isDone(kms, reference)).toBe(true);

        let [tried, reached] = [0, 0];
        for (const victim of ['host', 'daemon'] as const) {
          for (const [step, number] of victim === 'host' && !isEveryStep ? [...steps].slice(-1) : steps) {
            const subject = await beginWithHosts();
            tracing(number);
            const outcome = act(kms, subject).then(
              () => 'done',
              (error: unknown) => error,
            );
            const settled = outcome.then(() => true);
            // A call more or less than in the first run, and the step is another one, or is not reached.
            while (!isStopped() && !(await Promise.race([settled, new Promise((go) => setTimeout(go, 5, false))])));
            tried += 1;
            if (isStopped()) reached += 1;
            if (victim === 'daemon') await kill();
            else await killHosts();
            endTrace();
            const told = await outcome;
            if (victim === 'daemon') await start();
            else {
              const works = (): Promise<boolean> => kms.generateRandom({ NumberOfBytes: 1 }).then(Boolean, () => false);
              await expect.poll(works, { timeout: 170_000, interval: 50 }).toBe(true);
              // Whoever is told of a failure can try again.
              if (told !== 'done') expect([step, (told as KMSServiceException).$fault]).toEqual([step, 'server']);
            }
            const isThere = await isDone(kms, subject);
            if (told === 'done') expect([victim, step, isThere]).toEqual([victim, step, true]);
          }
        }
        expect(reached).toBeGreaterThan(tried / 2);
      },
      testTimeoutMs,
    );

    test('nothing is left in the token that no record names, and nothing is missing', async () => {
      const stop = async (): Promise<void> => {
        kms.destroy();
        expect(await instance.stop()).toBe(0);
        log += instance.log();
      };
      await stop();
      // What a host could not undo is undone at the next start.
      await start();
      await stop();
      // Not even by the log: what was left half done was undone.
      expect(log).not.toContain('belongs to no record');
      expect(await differencesIn(dir, '')).toEqual({ orphans: [], missing: [] });
      expect(brokenLink(dir)).toBeUndefined();
    });
  });
}
