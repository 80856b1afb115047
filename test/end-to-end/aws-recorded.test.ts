/**
 * What AWS KMS was recorded to answer (`test/vectors/aws-recorded/`), asked again of this daemon: members, names, messages, and
 * the order of lists are to be the same.
 *
 * Each case of the file is a function here that makes its requests; each step's answer is compared with the row. What stands in
 * angle brackets stands for one value throughout a case, which may be an id or the ARN of the same.
 */

import { createHash, randomBytes } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { CreateKeyCommandOutput, KMS, Tag } from '@aws-sdk/client-kms';
import { expect, test } from 'vitest';
import { account, keyArn, region, unknownKeyId } from './support/arns.ts';
import { kmsOver } from './support/connect.ts';
import { type Daemon, describeDaemon, newKey, newKeyOf, present } from './support/daemon.ts';
import { wrapped } from './support/imports.ts';
import { refusal } from './support/refusals.ts';

interface Row {
  readonly case: string;
  readonly step: string;
  readonly recorded: string;
  readonly answer?: unknown;
  readonly error?: { readonly name: string; readonly message: string };
}

const file = new URL('../vectors/aws-recorded/answers.jsonl', import.meta.url);
const rows: readonly Row[] = readFileSync(file, 'utf8')
  .trimEnd()
  .split('\n')
  .map((line) => {
    const { case: name, step, recorded, answer, error, ...unknown } = JSON.parse(line);
    expect(unknown).toEqual({});
    return { case: name, step, recorded, answer, error };
  });

/** What sends the request of a step and holds its answer, or its refusal, to the row. */
type Told = (step: string, answer: Promise<unknown>) => Promise<void>;
/** @param there Of another Region. */
type Case = (kms: KMS, told: Told, there: KMS) => Promise<void>;

const text = Buffer.from('some important message');
const tag = (TagKey: string, TagValue: string): Tag => ({ TagKey, TagValue });
const wrong = <T>(value: unknown): T => value as T; // What the SDK's types rule out, and the service has to refuse.

const metadataOf = async (kms: KMS, KeyId: string) => {
  const { KeyMetadata } = await kms.describeKey({ KeyId });
  return { KeyMetadata };
};
const createdKey = async (made: Promise<CreateKeyCommandOutput>) => (await made).KeyMetadata;
/** The policy is recorded as what it says. */
const replicated = async (kms: KMS, KeyId: string) => {
  const { $metadata: _, ...answer } = await kms.replicateKey({ KeyId, ReplicaRegion: otherRegion });
  return { ...answer, ReplicaPolicy: JSON.parse(present(answer.ReplicaPolicy)) };
};
const external = { Origin: 'EXTERNAL' } as const;

/** An import of 32 bytes as its owner does it. */
async function importInto(
  kms: KMS,
  KeyId: string,
  options: object = { ExpirationModel: 'KEY_MATERIAL_DOES_NOT_EXPIRE' },
) {
  const parameters = await kms.getParametersForImport({
    ...{ KeyId, WrappingAlgorithm: 'RSAES_OAEP_SHA_256', WrappingKeySpec: 'RSA_2048' },
  });
  const EncryptedKeyMaterial = wrapped(
    { WrappingAlgorithm: 'RSAES_OAEP_SHA_256', publicKey: present(parameters.PublicKey) },
    randomBytes(32),
  );
  return kms.importKeyMaterial({ KeyId, ImportToken: parameters.ImportToken, EncryptedKeyMaterial, ...options });
}

const cases: Readonly<Record<string, Case>> = {
  async 'sign verify[ECC NIST P256-ECDSA SHA 256]'(kms, told) {
    const { id: KeyId } = await newKeyOf(kms, 'ECC_NIST_P256', 'SIGN_VERIFY');
    const SigningAlgorithm = 'ECDSA_SHA_256';
    const Message = createHash('sha256').update(text).digest();
    const digest = { KeyId, Message, MessageType: 'DIGEST', SigningAlgorithm } as const;
    const signed = await kms.sign(digest);
    const Signature = present(signed.Signature);
    await told('signature', Promise.resolve(signed));
    await told('verification', kms.verify({ ...digest, Signature }));
    await told('bad digest', kms.verify({ ...digest, Message: text, Signature }));
    await told('bad signature', kms.verify({ ...digest, Signature: Buffer.from('bad signature') }));
  },
  async 'hmac create key invalid operations'(kms, told) {
    const KeyUsage = 'GENERATE_VERIFY_MAC';
    await told('create hmac key without key usage', kms.createKey({ KeySpec: 'HMAC_256' }));
    await told('create hmac key invalid spec', kms.createKey({ KeySpec: wrong('HMAC_random'), KeyUsage }));
    await told('create hmac key invalid key usage', kms.createKey({ KeySpec: 'HMAC_256', KeyUsage: wrong('RANDOM') }));
  },
  async 'invalid verify mac[HMAC 256-HMAC SHA 512-some important message]'(kms, told) {
    const { id: KeyId } = await newKeyOf(kms, 'HMAC_256', 'GENERATE_VERIFY_MAC');
    const made = await kms.generateMac({ KeyId, Message: text, MacAlgorithm: 'HMAC_SHA_256' });
    await told('generate mac', Promise.resolve(made));
    await told('verify mac', kms.verifyMac({ KeyId, Message: text, MacAlgorithm: 'HMAC_SHA_512', Mac: made.Mac }));
  },
  async 'import key symmetric'(kms, told) {
    const created = kms.createKey({ ...external, Description: 'imported' });
    await told('created key', createdKey(created));
    const KeyId = present((await created).KeyMetadata?.KeyId);
    await told('encrypt before import error', kms.encrypt({ KeyId, Plaintext: text }));
    await told('describe key before import', metadataOf(kms, KeyId));
    await told('import expiring key without valid to', importInto(kms, KeyId, {}));
    await importInto(kms, KeyId);
    await told('describe key after import', metadataOf(kms, KeyId));
    await kms.deleteImportedKeyMaterial({ KeyId });
    await told('describe key after deleted import', metadataOf(kms, KeyId));
    await told('encrypt after delete error', kms.encrypt({ KeyId, Plaintext: text }));
  },
  async 'encrypt decrypt encryption context'(kms, told) {
    const { id: KeyId } = await newKey(kms);
    const EncryptionContext = { purpose: 'test' };
    const made = await kms.encrypt({ KeyId, Plaintext: text, EncryptionContext });
    const CiphertextBlob = present(made.CiphertextBlob);
    await told('encrypt response', Promise.resolve(made));
    await told('decrypt response with encryption context', kms.decrypt({ KeyId, CiphertextBlob, EncryptionContext }));
    await told('decrypt response without encryption context', kms.decrypt({ KeyId, CiphertextBlob }));
    await told('decrypt response with invalid ciphertext', kms.decrypt({ KeyId, CiphertextBlob: Buffer.from('x') }));
  },
  async 'get parameters for import'(kms, told) {
    const { id: KeyId } = await newKey(kms);
    const wrapping = { WrappingAlgorithm: 'RSAES_OAEP_SHA_256', WrappingKeySpec: 'RSA_2048' } as const;
    await told('response error', kms.getParametersForImport({ KeyId, ...wrapping }));
  },
  async 'derive shared secret'(kms, told) {
    const agreeing = await newKeyOf(kms, 'ECC_NIST_P256', 'KEY_AGREEMENT');
    const other = await newKeyOf(kms, 'ECC_NIST_P256', 'KEY_AGREEMENT');
    const signing = await newKeyOf(kms, 'ECC_NIST_P256', 'SIGN_VERIFY');
    const symmetric = await newKey(kms);
    const PublicKey = present((await kms.getPublicKey({ KeyId: other.id })).PublicKey);
    const ask = (KeyId: string, others: object = {}) =>
      kms.deriveSharedSecret({ KeyId, PublicKey, KeyAgreementAlgorithm: 'ECDH', ...others });
    await told('response', ask(agreeing.id));
    await told('response invalid key usage', ask(signing.id));
    await told('response invalid key spec', kms.createKey({ KeySpec: 'RSA_2048', KeyUsage: 'KEY_AGREEMENT' }));
    await told('response invalid key agreement algo', ask(agreeing.id, { KeyAgreementAlgorithm: 'INVALID' }));
    await told('response invalid key', ask(symmetric.id));
    await told('response invalid public key', ask(agreeing.id, { PublicKey: text }));
  },
  async 'tag existing key and untag'(kms, told) {
    const { id: KeyId } = await newKey(kms);
    await kms.tagResource({ KeyId, Tags: [tag('tag1', 'value1'), tag('tag2', 'value2')] });
    await told('list resource tags', tagsOf(kms, KeyId));
    await kms.untagResource({ KeyId, TagKeys: ['tag1', 'tag2'] });
    await told('list resource tags after all untagged', tagsOf(kms, KeyId));
  },
  async 'untag key partially'(kms, told) {
    const Tags = [tag('tag1', 'value1'), tag('tag2', 'value2'), tag('tag3', 'value3')];
    const KeyId = present((await kms.createKey({ Tags })).KeyMetadata?.KeyId);
    await told('list resource tags', tagsOf(kms, KeyId));
    await kms.untagResource({ KeyId, TagKeys: ['tag2'] });
    await told('list resource tags after partially untagged', tagsOf(kms, KeyId));
  },
  async 'tag key with duplicate tag keys raises error'(kms, told) {
    const { id: KeyId } = await newKey(kms);
    const Tags = [tag('tag1', 'value1'), tag('tag1', 'another')];
    await told('duplicate tag keys', kms.tagResource({ KeyId, Tags }));
  },
  async 'create key with too many tags raises error'(kms, told) {
    const Tags = Array.from({ length: 51 }, (_, at) => tag(`tag${at}`, `value${at}`));
    await told('invalid tag key', kms.createKey({ Tags }));
  },
  async 'tag existing key with invalid tag key'(kms, told) {
    const { id: KeyId } = await newKey(kms);
    await told('invalid tag key', kms.tagResource({ KeyId, Tags: [tag('aws:key1', 'value1')] }));
  },
  async 'key with long tag value raises error'(kms, told) {
    const { id: KeyId } = await newKey(kms);
    await told('too long tag value', kms.tagResource({ KeyId, Tags: [tag('tag1', 'v'.repeat(257))] }));
  },
  async 'create key with invalid tag key[too long key]'(kms, told) {
    await told('invalid tag key', kms.createKey({ Tags: [tag('a'.repeat(129), 'value1')] }));
  },
  async 'key enable rotation status[90]'(kms, told) {
    const { id: KeyId } = await newKey(kms);
    await kms.enableKeyRotation({ KeyId, RotationPeriodInDays: 90 });
    await told('match response', kms.getKeyRotationStatus({ KeyId }));
  },
  async 'rotate key on demand with symmetric key and automatic rotation enabled'(kms, told) {
    const { id: KeyId } = await newKey(kms);
    await kms.enableKeyRotation({ KeyId });
    await told('rotate on demand response', kms.rotateKeyOnDemand({ KeyId }));
    await told('rotation status response after rotation', kms.getKeyRotationStatus({ KeyId }));
  },
  async 'rotate key on demand of key is disabled'(kms, told) {
    const { id: KeyId } = await newKey(kms);
    await kms.disableKey({ KeyId });
    await told('error response', kms.rotateKeyOnDemand({ KeyId }));
  },
  async 'rotate key on demand of key that does not exist'(kms, told) {
    await told('error response', kms.rotateKeyOnDemand({ KeyId: keyArn(unknownKeyId) }));
  },
  async 'rotate key on demand of non symmetric key'(kms, told) {
    const { id: KeyId } = await newKeyOf(kms, 'RSA_2048', 'SIGN_VERIFY');
    await told('error response', kms.rotateKeyOnDemand({ KeyId }));
  },
  async 're encrypt incorrect source key'(kms, told) {
    const { id: KeyId } = await newKey(kms);
    const { CiphertextBlob } = await kms.encrypt({ KeyId, Plaintext: text });
    for (const other of [await newKey(kms), await newKeyOf(kms, 'HMAC_256', 'GENERATE_VERIFY_MAC')]) {
      const moving = { CiphertextBlob, SourceKeyId: other.id, DestinationKeyId: KeyId };
      await told('incorrect source key', kms.reEncrypt(moving));
    }
  },
  async 'rotate key on demand updates current key material for external keys'(kms, told) {
    const created = kms.createKey({ ...external, Description: 'test-key' });
    await told('create kms external key', createdKey(created));
    const KeyId = present((await created).KeyMetadata?.KeyId);
    const wrapping = { WrappingAlgorithm: 'RSAES_OAEP_SHA_256', WrappingKeySpec: 'RSA_2048' } as const;
    await told('get import parameters response', kms.getParametersForImport({ KeyId, ...wrapping }));
    await told('describe empty key response', metadataOf(kms, KeyId));
    await told('import key material response', importInto(kms, KeyId));
    await told('describe key with material response', metadataOf(kms, KeyId));
    await told('kms encrypt initial response', kms.encrypt({ KeyId, Plaintext: text }));
    await told('import new key material response', importInto(kms, KeyId, pending));
    await told('describe key with new material response', metadataOf(kms, KeyId));
    await told('rotate key on demand response', kms.rotateKeyOnDemand({ KeyId }));
    await told('describe key after rotation', metadataOf(kms, KeyId));
    await told('kms encrypt rotated key response', kms.encrypt({ KeyId, Plaintext: text }));
  },
  async 'import key material raises if there is already key material pending'(kms, told) {
    const KeyId = present((await kms.createKey(external)).KeyMetadata?.KeyId);
    await told('import initial material response', importInto(kms, KeyId));
    await told('import pending material response', importInto(kms, KeyId, pending));
    await told('existing pending material error', importInto(kms, KeyId, pending));
  },
  async 'rotate key on demand raises for no pending key material'(kms, told) {
    const KeyId = present((await kms.createKey(external)).KeyMetadata?.KeyId);
    await importInto(kms, KeyId);
    await told('rotate key on demand invalid state error', kms.rotateKeyOnDemand({ KeyId }));
  },
  async 'replicate key'(kms, told, there) {
    const KeyId = present(
      (await kms.createKey({ MultiRegion: true, Description: 'test replicated key' })).KeyMetadata?.KeyId,
    );
    await told('describe key from different region', there.describeKey({ KeyId }));
    await told('replicate key', replicated(kms, KeyId));
    await told('describe key from region', kms.describeKey({ KeyId }));
    await told('describe replicated key', there.describeKey({ KeyId }));
  },
  async 'create multi region key'(kms, told) {
    const created = kms.createKey({ MultiRegion: true, Description: 'test multi region key' });
    await told('create multi region key', createdKey(created));
  },
  async 'key rotation updates current key material id for aws symmetric keys'(kms, told) {
    const KeyId = present((await kms.createKey({ Description: 'test-key' })).KeyMetadata?.KeyId);
    await told('describe key before rotation', metadataOf(kms, KeyId));
    await kms.rotateKeyOnDemand({ KeyId });
    await told('describe key after rotation', metadataOf(kms, KeyId));
  },
};

const pending = { ImportType: 'NEW_KEY_MATERIAL', ExpirationModel: 'KEY_MATERIAL_DOES_NOT_EXPIRE' };
const tagsOf = async (kms: KMS, KeyId: string) => (await kms.listResourceTags({ KeyId })).Tags;

test('every case that AWS was recorded with is asked', () => {
  const names = new Set(rows.map((row) => row.case));
  expect(Object.keys(cases).toSorted()).toEqual([...names].toSorted());
});

/** That of the recording. */
const otherRegion = 'ap-southeast-1';

const recorded = (daemon: () => Daemon): void => {
  test.each(Object.keys(cases))('%s', async (name) => {
    const asked = new Set<string>();
    /** What stands for what, throughout the case. */
    const values = new Map<string, string>();
    const told: Told = async (step, answer) => {
      asked.add(step);
      const row = present(rows.find((each) => each.case === name && each.step === step));
      if (row.error !== undefined) {
        const { name: error, message } = await refusal(answer);
        expect([step, error]).toEqual([step, row.error.name]);
        expect(message, step).toSatisfy((ours: string) => isText(present(row.error).message, ours, values));
        return;
      }
      expect(differencesFrom(row.answer, withoutMetadata(await answer), values, step)).toEqual([]);
    };
    const { kms, instance } = daemon();
    const there = kmsOver(join(instance.dir, `${otherRegion}.sock`));
    await present(cases[name])(kms, told, there).finally(() => there.destroy());
    expect([...asked]).toEqual(rows.filter((row) => row.case === name).map(({ step }) => step));
  });
};
describeDaemon('What AWS was recorded to answer', recorded, 'softhsm2', { regions: [otherRegion] });

function withoutMetadata(answer: unknown): unknown {
  if (typeof answer !== 'object' || answer === null || Array.isArray(answer)) return answer;
  return Object.fromEntries(Object.entries(answer).filter(([name]) => name !== '$metadata'));
}

/** What of ours is not as it was recorded, each with where. */
function differencesFrom(
  recorded: unknown,
  ours: unknown,
  values: Map<string, string>,
  path: string,
): readonly string[] {
  if (typeof recorded === 'string') {
    const isSame =
      ours instanceof Date
        ? recorded === 'datetime'
        : ours instanceof Uint8Array
          ? /^(?:<\w+>|[a-z]+(?:-[a-z]+)*)$/.test(recorded)
          : typeof ours === 'string' && isText(recorded, ours, values);
    return isSame ? [] : [`${path}: ${String(ours)} instead of ${recorded}`];
  }
  if (Array.isArray(recorded) && Array.isArray(ours) && recorded.length === ours.length) {
    return recorded.flatMap((each, at) => differencesFrom(each, ours[at], values, `${path}[${at}]`));
  }
  if (isObject(recorded) && isObject(ours) && !Array.isArray(recorded)) {
    const names = new Set([...Object.keys(recorded), ...Object.keys(ours)]);
    return [...names].flatMap((name) => differencesFrom(recorded[name], ours[name], values, `${path}.${name}`));
  }
  return recorded === ours ? [] : [`${path}: ${JSON.stringify(ours)} instead of ${JSON.stringify(recorded)}`];
}

function isObject(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null;
}

/** Sets that have got newer members since: those that were recorded are there, in the same order. */
const enumSet = /(.*failed to satisfy constraint: Member must satisfy enum value set: )\[(.*)\]$/;

/** Is our text the one that was recorded, with our values in the place of what stood for them? */
function isText(recorded: string, ours: string, values: Map<string, string>): boolean {
  const [set, ourSet] = [enumSet.exec(recorded), enumSet.exec(ours)];
  if (set !== null && ourSet !== null) {
    const known = new Set(set[2]?.split(', '));
    const inOrder = ourSet[2]?.split(', ').filter((member) => known.has(member));
    return set[1] === ourSet[1] && inOrder?.join(', ') === set[2];
  }
  const fixed = recorded
    .replaceAll('<partition>', 'aws')
    .replaceAll('<region>', region)
    .replaceAll('111111111111', account);
  const names: string[] = [];
  const pattern = fixed
    .split(/(<[\w:-]+>)/)
    .map((part) => {
      if (!/^<[\w:-]+>$/.test(part)) return part.replaceAll(/[.*+?^${}()|[\]\\]/g, '\\$&');
      names.push(part);
      return '(.+?)';
    })
    .join('');
  const found = new RegExp(`^${pattern}$`, 's').exec(ours);
  if (found === null) return false;
  return names.every((name, at) => {
    const value = present(found[at + 1]).replace(/^arn:.*:key\//, '');
    // Of those without a number there may be several.
    if (!/:\d+>$/.test(name)) return true;
    const known = values.get(name);
    values.set(name, value);
    return known === undefined || known === value;
  });
}
