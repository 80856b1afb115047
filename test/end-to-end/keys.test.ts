/** CreateKey and DescribeKey: every member, and what is refused by name. */

import type { CreateKeyCommandInput, KeyMetadata, Tag } from '@aws-sdk/client-kms';
import { expect, test } from 'vitest';
import { account, keyArn, rootArn, uuid } from './support/arns.ts';
import { describeDaemon, newKey, present } from './support/daemon.ts';
import { allow, policy, rootMayAll } from './support/policies.ts';
import { invalid, problem, refusal, refused } from './support/refusals.ts';
import { call, errorIn, json } from './support/wire.ts';

const tags = (...keys: readonly string[]): Tag[] => keys.map((TagKey) => ({ TagKey, TagValue: 'value' }));
const numbered = (count: number): string[] => Array.from({ length: count }, (_, index) => `tag-${index}`);

describeDaemon('CreateKey and DescribeKey', (daemon) => {
  test('a key made with no member at all is an enabled symmetric encryption key', async () => {
    const before = Date.now();
    const { KeyMetadata } = await daemon().kms.createKey();
    const metadata = present(KeyMetadata);
    const id = present(metadata.KeyId);

    expect(metadata).toEqual({
      AWSAccountId: account,
      KeyId: expect.stringMatching(uuid),
      Arn: keyArn(id),
      CreationDate: expect.any(Date),
      Enabled: true,
      Description: '',
      KeyUsage: 'ENCRYPT_DECRYPT',
      KeyState: 'Enabled',
      Origin: 'AWS_KMS',
      KeyManager: 'CUSTOMER',
      CustomerMasterKeySpec: 'SYMMETRIC_DEFAULT',
      KeySpec: 'SYMMETRIC_DEFAULT',
      EncryptionAlgorithms: ['SYMMETRIC_DEFAULT'],
      MultiRegion: false,
      CurrentKeyMaterialId: expect.stringMatching(/^[0-9a-f]{64}$/),
    });
    const created = present(metadata.CreationDate).getTime();
    expect(created).toBeGreaterThanOrEqual(before);
    expect(created).toBeLessThanOrEqual(Date.now());
  });

  test('DescribeKey tells of a key what CreateKey told', async () => {
    const { KeyMetadata } = await daemon().kms.createKey({ Description: 'the same key' });
    const described = await daemon().kms.describeKey({ KeyId: present(KeyMetadata?.KeyId) });
    expect(described.KeyMetadata).toEqual(KeyMetadata);
  });

  test('times go over the wire as seconds since the epoch, in a number', async () => {
    const { id } = await newKey(daemon().kms);
    const answer = json(await call(daemon().socket, 'DescribeKey', { KeyId: id }));
    const metadata = answer['KeyMetadata'] as Readonly<Record<string, unknown>>;
    const seconds = metadata['CreationDate'];
    expect(typeof seconds).toBe('number');
    expect(Math.abs(Number(seconds) - Date.now() / 1000)).toBeLessThan(3600);
  });

  test.each<[string, CreateKeyCommandInput, Partial<KeyMetadata>]>([
    ['KeySpec', { KeySpec: 'SYMMETRIC_DEFAULT' }, { KeySpec: 'SYMMETRIC_DEFAULT' }],
    ['CustomerMasterKeySpec', { CustomerMasterKeySpec: 'SYMMETRIC_DEFAULT' }, { KeySpec: 'SYMMETRIC_DEFAULT' }],
    ['KeyUsage', { KeyUsage: 'ENCRYPT_DECRYPT' }, { KeyUsage: 'ENCRYPT_DECRYPT' }],
    ['Origin', { Origin: 'AWS_KMS' }, { Origin: 'AWS_KMS' }],
    ['MultiRegion false', { MultiRegion: false }, { MultiRegion: false }],
    ['Description', { Description: 'für „Zürich“ 🔑' }, { Description: 'für „Zürich“ 🔑' }],
    ['a Description of 8,192 characters', { Description: 'd'.repeat(8192) }, { Description: 'd'.repeat(8192) }],
    ['50 tags', { Tags: tags(...numbered(50)) }, {}],
    ['a tag with an empty value', { Tags: [{ TagKey: 'Team', TagValue: '' }] }, {}],
    ['tags that differ in case', { Tags: tags('team', 'Team') }, {}],
    ['no tags', { Tags: [] }, {}],
    ['a policy', { Policy: policy(rootMayAll) }, {}],
  ])('CreateKey takes %s', async (_, input, expected) => {
    const { KeyMetadata } = await daemon().kms.createKey(input);
    expect(KeyMetadata).toMatchObject({ KeyState: 'Enabled', ...expected });
  });

  test('a key without a policy gets the default key policy, which delegates to the account', async () => {
    const { id } = await newKey(daemon().kms);
    const { Policy } = await daemon().kms.getKeyPolicy({ KeyId: id });
    expect(JSON.parse(present(Policy))).toEqual({
      Version: '2012-10-17',
      Id: 'key-default-1',
      Statement: [
        {
          Sid: 'Enable IAM User Permissions',
          Effect: 'Allow',
          Principal: { AWS: rootArn },
          Action: 'kms:*',
          Resource: '*',
        },
      ],
    });
  });

  test('a policy given at creation is kept', async () => {
    const document = `{ "Statement" :[${JSON.stringify(rootMayAll)}],\n\t"Version": "2012-10-17" }`;
    const { KeyMetadata } = await daemon().kms.createKey({ Policy: document });
    const { Policy } = await daemon().kms.getKeyPolicy({ KeyId: present(KeyMetadata?.KeyId) });
    expect(JSON.parse(present(Policy))).toEqual(JSON.parse(document));
  });

  const unsupported = 'UnsupportedOperationException';
  const validation = 'ValidationException';
  const store = 'cks-1234567890abcdef0';
  const incompatible = (usage: string, spec: string): string =>
    `KeyUsage ${usage} is not compatible with KeySpec ${spec}`;
  const usageRequired = 'You must specify a KeyUsage value for all KMS keys except for symmetric encryption keys.';
  const long = 't'.repeat(129);

  test.each<[string, CreateKeyCommandInput, string, string | RegExp]>([
    ['an ML-DSA key', { KeySpec: 'ML_DSA_65', KeyUsage: 'SIGN_VERIFY' }, unsupported, /ML_DSA_65 .*CKM_ML_DSA/],
    [
      'an ML-KEM key',
      { KeySpec: 'ML_KEM_768', KeyUsage: 'ENCAPSULATE_DECAPSULATE' },
      unsupported,
      /ML_KEM_768 .*CKM_ML_KEM/,
    ],
    ['an SM2 key', { KeySpec: 'SM2', KeyUsage: 'SIGN_VERIFY' }, unsupported, /SM2 .*PKCS#11/],
    [
      'imported ML-DSA material',
      { Origin: 'EXTERNAL', KeySpec: 'ML_DSA_44', KeyUsage: 'SIGN_VERIFY' },
      unsupported,
      /ML_DSA_44 .*imported/,
    ],
    [
      'a CloudHSM key store',
      { Origin: 'AWS_CLOUDHSM', CustomKeyStoreId: store },
      'CustomKeyStoreNotFoundException',
      /cks-/,
    ],
    [
      'an external key store',
      { Origin: 'EXTERNAL_KEY_STORE', CustomKeyStoreId: store, XksKeyId: 'key' },
      unsupported,
      /./,
    ],
    ['a custom key store', { CustomKeyStoreId: store }, validation, /CustomKeyStoreId .*Origin/],
    ['no custom key store', { Origin: 'AWS_CLOUDHSM' }, validation, /CustomKeyStoreId .*Origin/],
    ['an external key without its origin', { XksKeyId: 'bb8562717f809024' }, validation, /XksKeyId/],
    [
      'both names of the key spec',
      { KeySpec: 'SYMMETRIC_DEFAULT', CustomerMasterKeySpec: 'SYMMETRIC_DEFAULT' },
      validation,
      /KeySpec.*CustomerMasterKeySpec/,
    ],
    [
      'a symmetric key that signs',
      { KeyUsage: 'SIGN_VERIFY' },
      validation,
      incompatible('SIGN_VERIFY', 'SYMMETRIC_DEFAULT'),
    ],
    [
      'a symmetric key for MACs',
      { KeyUsage: 'GENERATE_VERIFY_MAC' },
      validation,
      incompatible('GENERATE_VERIFY_MAC', 'SYMMETRIC_DEFAULT'),
    ],
    [
      'an RSA key for MACs',
      { KeySpec: 'RSA_2048', KeyUsage: 'GENERATE_VERIFY_MAC' },
      validation,
      incompatible('GENERATE_VERIFY_MAC', 'RSA_2048'),
    ],
    [
      'an HMAC key that encrypts',
      { KeySpec: 'HMAC_512', KeyUsage: 'ENCRYPT_DECRYPT' },
      validation,
      incompatible('ENCRYPT_DECRYPT', 'HMAC_512'),
    ],
    ['an RSA key without a usage', { KeySpec: 'RSA_2048' }, validation, usageRequired],
    ['an HMAC key without a usage', { KeySpec: 'HMAC_256' }, validation, usageRequired],
    [
      'a Description of 8,193 characters',
      { Description: 'd'.repeat(8193) },
      validation,
      /^1 validation error detected: Value '.*' at 'description' failed to satisfy constraint: Member must have length less than or equal to 8192$/,
    ],
    ['two tags of one key', { Tags: tags('Team', 'Team') }, 'TagException', 'Duplicate tag keys'],
    ['51 tags', { Tags: tags(...numbered(51)) }, 'TagException', 'Too many tags'],
    ['a reserved tag', { Tags: tags('aws:team') }, 'TagException', 'Tags beginning with aws: are reserved'],
    ['a reserved tag in capitals', { Tags: tags('AWS:team') }, 'TagException', 'Tags beginning with aws: are reserved'],
    [
      'a tag key of 129 characters',
      { Tags: tags('Team', long) },
      validation,
      invalid(problem.tooLong(long, 'tags.2.member.tagKey', 128)).message,
    ],
    [
      'an empty tag key',
      { Tags: tags('') },
      validation,
      invalid(problem.tooShort('', 'tags.1.member.tagKey', 1)).message,
    ],
    ['a policy that is not JSON', { Policy: 'let me in' }, 'MalformedPolicyDocumentException', /./],
    [
      'a policy that locks its maker out',
      { Policy: policy(allow('arn:aws:iam::000000000000:user/unix/nobody', 'kms:*')) },
      'MalformedPolicyDocumentException',
      'The new key policy will not allow you to update the key policy in the future.',
    ],
  ])('CreateKey refuses %s, and makes nothing', async (_, input, name, message) => {
    const { kms } = daemon();
    const before = await kms.listKeys({ Limit: 1000 });
    const told = await refusal(kms.createKey(input));
    expect(told.name).toBe(name);
    expect(told.message).toMatch(message instanceof RegExp ? message : new RegExp(`^${escaped(message)}$`));
    expect((await kms.listKeys({ Limit: 1000 })).Keys).toEqual(before.Keys);
  });

  test.each(['keySpec', 'customerMasterKeySpec', 'keyUsage', 'origin'])(
    'a %s that AWS does not know is refused with the list of those it does',
    async (path) => {
      const member = path.charAt(0).toUpperCase() + path.slice(1);
      const answer = await call(daemon().socket, 'CreateKey', { [member]: 'ROT13' });
      expect(answer.status).toBe(400);
      const { name, message } = errorIn(answer);
      expect(name).toBe('ValidationException');
      expect(
        message.startsWith(
          `1 validation error detected: Value 'ROT13' at '${path}' failed to satisfy constraint: Member must satisfy enum value set: [`,
        ),
      ).toBe(true);
      if (member.endsWith('Spec'))
        for (const spec of ['SYMMETRIC_DEFAULT', 'RSA_2048', 'HMAC_512', 'SM2']) expect(message).toContain(spec);
    },
  );

  test('BypassPolicyLockoutSafetyCheck makes a key whose maker is locked out', async () => {
    const document = policy(allow('arn:aws:iam::000000000000:user/unix/nobody', 'kms:*'));
    const { KeyMetadata } = await daemon().kms.createKey({ Policy: document, BypassPolicyLockoutSafetyCheck: true });
    const told = await refusal(daemon().kms.describeKey({ KeyId: present(KeyMetadata?.KeyId) }));
    expect(told.name).toBe('AccessDeniedException');
  });

  test('DescribeKey takes grant tokens and refuses invalid ones', async () => {
    const { id } = await newKey(daemon().kms);
    await daemon().kms.describeKey({ KeyId: id, GrantTokens: [] });
    const told = await refusal(daemon().kms.describeKey({ KeyId: id, GrantTokens: ['no-such-grant'] }));
    expect(told.name).toBe('InvalidGrantTokenException');
  });

  test('DescribeKey without a key says which member is missing', async () => {
    const answer = await call(daemon().socket, 'DescribeKey', {});
    expect(errorIn(answer)).toEqual(invalid(problem.missing('keyId')));
  });

  test('a tag without its value is refused', async () => {
    const answer = await call(daemon().socket, 'CreateKey', { Tags: [{ TagKey: 'Team' }] });
    expect(errorIn(answer)).toEqual(invalid(problem.missing('tags.1.member.tagValue')));
  });

  test('a refused CreateKey is a client error without a stack or a path in it', async () => {
    const answer = await call(daemon().socket, 'CreateKey', { Policy: 'let me in' });
    expect(answer.status).toBe(400);
    expect(errorIn(answer)).toEqual(refused('MalformedPolicyDocumentException', expect.any(String) as string));
    expect(answer.body).not.toMatch(/\.ts|\.js|node:|at Object/);
  });
});

function escaped(text: string): string {
  return text.replaceAll(/[.*+?^${}()|[\]\\]/g, '\\$&');
}
