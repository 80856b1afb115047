/** What makes and destroys key material, and whether it is done, for whoever kills a daemon in the middle of it. */

import type { GetParametersForImportCommandOutput, KeySpec, KeyUsageType, KMS } from '@aws-sdk/client-kms';
import { expect } from 'vitest';
import type { SetTime } from '../../support/set-time.ts';
import { newKey, present } from './daemon.ts';
import { wrapped } from './imports.ts';
import { refusal } from './refusals.ts';

const dayMs = 24 * 60 * 60 * 1000;
const Plaintext = Buffer.from('attack at dawn');

/** What a request is about, and what was there before. */
export interface Subject {
  readonly KeyId: string;
  readonly blob?: Uint8Array | undefined;
  readonly parameters?: GetParametersForImportCommandOutput;
  /** When its time has come. */
  readonly dueAtMs?: number;
  readonly keyIds?: readonly string[];
}

export interface Act {
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

export const acts: Readonly<Record<string, Act>> = {
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

/**
 * When a key is destroyed that waited for as long as it was to.
 * @param most How many are made together; AWS takes 7 to 30 days.
 */
export function destructionWith(time: () => SetTime, most: number): Act {
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
        for (let PendingWindowInDays = 7; PendingWindowInDays < 7 + most; PendingWindowInDays++) {
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
