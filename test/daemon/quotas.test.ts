/** AWS's quotas of resources, small ones: what is more is refused in AWS's words, and what there is stays usable. */

import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { parseIdentityPolicies } from '../../src/authorization/identity-policies.ts';
import { defaultBudgets } from '../../src/kms/budgets.ts';
import type { KeyId } from '../../src/kms/names.ts';
import { type Payer, payerOfUid } from '../../src/kms/payer.ts';
import { conditionVocabulary } from '../../src/pipeline/condition-key-table.ts';
import { replaced } from '../../src/store/records/changes.ts';
import { alice, allow, bob, deny, policy, realm } from '../authorization/policies.ts';
import { describeEachToken } from '../support/tokens.ts';
import { startService, type TestService } from './kms-service.ts';

const quotas = { keys: 3, aliasesPerKey: 1, grantsPerKey: 1, customKeyStores: 1, policyBytes: 1024 };
const pair = 'kms:EncryptionContext:app';
const everything = JSON.stringify({
  AttachedTo: [alice],
  PolicyDocument: { Version: '2012-10-17', Statement: { Effect: 'Allow', Action: 'kms:*', Resource: '*' } },
});

describeEachToken('Quotas', (token) => {
  const folder = mkdtempSync(join(tmpdir(), 'drawbridge-quotas-'));
  let service: TestService;
  let keyId: KeyId;
  const identityPolicies = parseIdentityPolicies([{ name: 'all.json', text: everything }], {
    realm,
    vocabulary: conditionVocabulary,
    idOfGroup: () => undefined,
  });
  const open = (limits = quotas, memory = defaultBudgets.memory): Promise<TestService> =>
    startService(token(), folder, {
      auditFolder: join(folder, 'audit'),
      identityPolicies: () => identityPolicies,
      budgets: { ...defaultBudgets, quotas: limits, memory },
    });

  beforeAll(async () => {
    service = await open();
    keyId = await service.newKey();
  });
  afterAll(async () => {
    await service.close();
    rmSync(folder, { recursive: true });
  });

  async function told(operation: string, request: object, payer?: Payer): Promise<string> {
    const answer = await service.run(operation, request, payer);
    return answer.ok ? 'done' : `${answer.error.name}: ${answer.error.message}`;
  }

  test('refuse a further key before the HSM makes one, also of several at once, and keys beyond a lower quota work on', async () => {
    const ours = allow(alice, 'kms:*');
    const made = await Promise.all(Array.from({ length: 6 }, () => told('CreateKey', { Policy: policy(ours) })));
    const refusal =
      'LimitExceededException: Key quota for this account in this region is 3 but the current usage is 3.';
    expect(made.toSorted()).toEqual([...Array(4).fill(refusal), 'done', 'done']);
    const objects = (await service.keyStore.listKeys()).length;
    expect(await told('CreateKey', {})).toBe(refusal);
    expect(await service.keyStore.listKeys()).toHaveLength(objects);

    await service.close();
    service = await open({ ...quotas, keys: 1 });
    expect(service.directory.counts()).toMatchObject({ keys: 3, damaged: 0 });
    for (const { record } of service.directory.all()) {
      expect(await told('GenerateDataKey', { KeyId: record.keyId, KeySpec: 'AES_256' })).toBe('done');
    }
    expect(await told('CreateKey', {})).toContain('Key quota for this account in this region is 1 but');
  });

  test('refuse a further alias and a further grant of a key, and a longer policy', async () => {
    expect(await told('CreateAlias', { AliasName: 'alias/one', TargetKeyId: keyId })).toBe('done');
    expect(await told('CreateAlias', { AliasName: 'alias/two', TargetKeyId: keyId })).toBe(
      'LimitExceededException: Aliases per key quota for this account in this region is 1, current usage is 1.',
    );
    const grant = { KeyId: keyId, GranteePrincipal: bob, Operations: ['Encrypt'] };
    expect(await told('CreateGrant', grant)).toBe('done');
    expect(await told('CreateGrant', grant)).toBe(
      'LimitExceededException: Grants per key quota for this account in this region is 1, current usage is 1.',
    );
    const put = (bytes: number) =>
      told('PutKeyPolicy', { KeyId: keyId, Policy: policy(allow(alice, 'kms:*')).padEnd(bytes) });
    expect(await put(1024)).toBe('done');
    expect(await put(1025)).toBe('LimitExceededException: A key policy has at most 1024 bytes, not 1025');
  });

  test('let one payer add so many bytes of records, all together so many, and always take some away', async () => {
    await service.close();
    const withRoom = (recordBytes: number, recordBytesPerPayer: number) =>
      open(defaultBudgets.quotas, { ...defaultBudgets.memory, recordBytes, recordBytesPerPayer });
    service = await withRoom(4_000_000, 100_000);
    const [one, other] = [payerOfUid(2001), payerOfUid(2002)];
    const long = { Policy: policy(allow(alice, 'kms:*')).padEnd(32_000), Description: 'one' };
    const create = (payer: Payer) => told('CreateKey', long, payer);
    const objects = async () => (await service.keyStore.listKeys()).length;
    expect([await create(one), await create(one)]).toEqual(['done', 'done']);
    const before = await objects();
    const isFull =
      /^LimitExceededException: The records that uid 2001 has added take \d+ bytes of memory, and can take at most 100000\./;
    expect(await create(one)).toMatch(isFull);
    // Whoever tries again and again: it is undone each time, and what others are waiting for is not.
    const both = await Promise.all([create(one), create(other), create(one)]);
    expect(both).toEqual([expect.stringMatching(isFull), 'done', expect.stringMatching(isFull)]);
    expect(await objects()).toBe(before + 1);

    const [ours] = [...service.directory.all()].filter(({ record }) => record.description === 'one');
    const KeyId = ours?.record.keyId;
    expect(await told('Encrypt', { KeyId, Plaintext: 'AAAA' }, one)).toBe('done');
    expect(await told('PutKeyPolicy', { KeyId, Policy: policy(allow(alice, 'kms:*')) }, one)).toBe('done');
    expect(await create(one)).toBe('done');
    expect(await told('DisableKey', { KeyId }, one)).toBe('done');

    const { bytes } = service.directory.memory;
    await service.close();
    service = await withRoom(bytes, 100_000);
    expect(service.directory.memory.bytes).toBe(bytes);
    const isAllFull =
      'LimitExceededException: The records of all keys, policies, aliases and grants of this region take';
    expect(await create(other)).toContain(isAllFull);
    expect(await told('TagResource', { KeyId, Tags: [{ TagKey: 'a', TagValue: 'b' }] }, other)).toContain(isAllFull);
    expect(await told('UpdateKeyDescription', { KeyId, Description: '' }, other)).toBe('done');
    expect(await told('ScheduleKeyDeletion', { KeyId }, one)).toBe('done');
    const made = await told('CreateGrant', { KeyId: keyId, GranteePrincipal: bob, Operations: ['Decrypt'] }, one);
    expect(made).toContain(isAllFull);
  });

  test('refuse a policy that costs too much, and one that is in force already stays in force', async () => {
    await service.close();
    service = await open({ ...defaultBudgets.quotas });
    const ours = allow(alice, 'kms:*');
    const like = Array.from({ length: 1000 }, (_, index) => `*${index}*`);
    const Policy = policy(ours, { ...deny(alice, 'kms:Encrypt'), Condition: { StringLike: { [pair]: like } } });
    const tooDear =
      'MalformedPolicyDocumentException: Statement[1]: comparing it with the longest values that a request';
    expect(await told('PutKeyPolicy', { KeyId: keyId, Policy })).toContain(tooDear);
    expect(await told('CreateKey', { Policy })).toContain(tooDear);

    await service.turns.take(() => ({
      changes: [...service.directory.all()]
        .filter(({ record }) => record.keyId === keyId)
        .map(({ policyRecord }) => replaced('keyPolicy', policyRecord, { document: Policy })),
      response: undefined,
    }));
    const encrypt = (app: string) => told('Encrypt', { KeyId: keyId, Plaintext: 'AAAA', EncryptionContext: { app } });
    expect(await encrypt('17')).toContain('with an explicit deny');
    expect(await encrypt('a'.repeat(100))).toBe('done');
    expect(await encrypt('a'.repeat(8000))).toContain('LimitExceededException: The values of this request');
    await service.close();
    service = await open({ ...defaultBudgets.quotas });
    expect(service.directory.counts()).toMatchObject({ damaged: 0 });
    expect(await encrypt('17')).toContain('with an explicit deny');
    expect(await told('PutKeyPolicy', { KeyId: keyId, Policy: policy(ours) })).toBe('done');
  });
});
