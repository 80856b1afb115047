/** GenerateMac and VerifyMac: every HMAC key. */

import type { KeySpec, MacAlgorithmSpec } from '@aws-sdk/client-kms';
import fc from 'fast-check';
import { beforeAll, expect, test } from 'vitest';
import { rootArn } from '../support/arns.ts';
import { auditLines } from '../support/audit-trail.ts';
import { bootTimeoutMs, type Daemon, newKey, newKeyOf, present } from '../support/daemon.ts';
import { deny, policy, rootMayAll } from '../support/policies.ts';
import {
  accessDenied,
  dryRunSucceeded,
  invalid,
  invalidMac,
  problem,
  type Refusal,
  refusal,
  wrongAlgorithm,
  wrongUsage,
} from '../support/refusals.ts';
import { call, errorIn } from '../support/wire.ts';

const specs = [
  { spec: 'HMAC_224', algorithm: 'HMAC_SHA_224', macBytes: 28 },
  { spec: 'HMAC_256', algorithm: 'HMAC_SHA_256', macBytes: 32 },
  { spec: 'HMAC_384', algorithm: 'HMAC_SHA_384', macBytes: 48 },
  { spec: 'HMAC_512', algorithm: 'HMAC_SHA_512', macBytes: 64 },
] as const satisfies readonly { spec: KeySpec; algorithm: MacAlgorithmSpec; macBytes: number }[];

export function macs(daemon: () => Daemon): void {
  const keys = new Map<string, { readonly id: string; readonly arn: string }>();
  beforeAll(async () => {
    for (const { spec } of specs) keys.set(spec, await newKeyOf(daemon().kms, spec, 'GENERATE_VERIFY_MAC'));
  }, bootTimeoutMs);
  const keyOf = (spec: string) => present(keys.get(spec));
  const Message = Buffer.from('the bridge is up');

  test.each(specs)('a $spec key makes a MAC of $macBytes bytes that it accepts', async (row) => {
    const { kms } = daemon();
    const { id, arn } = keyOf(row.spec);
    const asked = { KeyId: id, Message, MacAlgorithm: row.algorithm };
    const { Mac, $metadata, ...made } = await kms.generateMac(asked);
    expect(made).toEqual({ KeyId: arn, MacAlgorithm: row.algorithm });
    expect(Mac).toHaveLength(row.macBytes);
    expect((await kms.generateMac(asked)).Mac).toEqual(Mac);
    const { $metadata: _, ...verified } = await kms.verifyMac({ ...asked, Mac });
    expect(verified).toEqual({ KeyId: arn, MacValid: true, MacAlgorithm: row.algorithm });
    expect((await kms.describeKey({ KeyId: id })).KeyMetadata).toMatchObject({
      KeySpec: row.spec,
      KeyUsage: 'GENERATE_VERIFY_MAC',
      MacAlgorithms: [row.algorithm],
    });
  });

  test.each(specs)(
    '$algorithm refuses a MAC with one bit changed, cut or grown, and of another message',
    async (row) => {
      const { kms } = daemon();
      const asked = { KeyId: keyOf(row.spec).id, MacAlgorithm: row.algorithm };
      await fc.assert(
        fc.asyncProperty(
          fc.uint8Array({ minLength: 1, maxLength: 4096, size: 'max' }),
          fc.nat(),
          async (bytes, position) => {
            const Mac = present((await kms.generateMac({ ...asked, Message: bytes })).Mac);
            const changed = Uint8Array.from(Mac);
            const bit = position % (changed.length * 8);
            changed[bit >> 3] = (changed[bit >> 3] ?? 0) ^ (1 << (bit & 7));
            const others = [changed, Mac.subarray(1), Mac.subarray(0, -1), Buffer.concat([Mac, Buffer.of(0)])];
            for (const other of others) {
              expect(await refusal(kms.verifyMac({ ...asked, Message: bytes, Mac: other }))).toEqual(invalidMac);
            }
            const longer = Buffer.concat([bytes.subarray(0, 4095), Buffer.of(0)]);
            const asWell = Buffer.compare(longer, bytes) === 0 ? Message : longer;
            expect(await refusal(kms.verifyMac({ ...asked, Message: asWell, Mac }))).toEqual(invalidMac);
          },
        ),
        { numRuns: 4 },
      );
    },
  );

  test('a MAC of one key is none of another', async () => {
    const { kms } = daemon();
    const other = await newKeyOf(kms, 'HMAC_256', 'GENERATE_VERIFY_MAC');
    const asked = { Message, MacAlgorithm: 'HMAC_SHA_256' } as const;
    const { Mac } = await kms.generateMac({ KeyId: other.id, ...asked });
    expect(await refusal(kms.verifyMac({ KeyId: keyOf('HMAC_256').id, ...asked, Mac }))).toEqual(invalidMac);
  });

  test.each<[string, object, Refusal]>([
    ['a message of 4,097 bytes', { Message: Buffer.alloc(4097) }, invalid(problem.blobTooLong('message', 4096))],
    ['an empty message', { Message: Buffer.alloc(0) }, invalid(problem.blobTooShort('message', 1))],
    ['no message', { Message: undefined }, invalid(problem.missing('message'))],
    ['no algorithm', { MacAlgorithm: undefined }, invalid(problem.missing('macAlgorithm'))],
    ['the algorithm of another key', { MacAlgorithm: 'HMAC_SHA_512' }, wrongAlgorithm('HMAC_SHA_512', 'HMAC_256')],
  ])('GenerateMac and VerifyMac refuse %s', async (_what, input, told) => {
    const { kms } = daemon();
    // Safe: what a row leaves out of its request is what it is about.
    const asked = { KeyId: keyOf('HMAC_256').id, Message, MacAlgorithm: 'HMAC_SHA_256', ...input } as Parameters<
      typeof kms.generateMac
    >[0];
    expect(await refusal(kms.generateMac(asked))).toEqual(told);
    expect(await refusal(kms.verifyMac({ ...asked, Mac: Buffer.alloc(32) }))).toEqual(told);
  });

  test('VerifyMac takes a MAC of 1 to 6,144 bytes', async () => {
    const { kms } = daemon();
    const asked = { KeyId: keyOf('HMAC_256').id, Message, MacAlgorithm: 'HMAC_SHA_256' } as const;
    const told = async (length: number) => refusal(kms.verifyMac({ ...asked, Mac: Buffer.alloc(length) }));
    expect(await told(0)).toEqual(invalid(problem.blobTooShort('mac', 1)));
    expect(await told(1)).toEqual(invalidMac);
    expect(await told(6144)).toEqual(invalidMac);
    expect(await told(6145)).toEqual(invalid(problem.blobTooLong('mac', 6144)));
  });

  test('a dry run makes no MAC, and says of a MAC whether it would do', async () => {
    const { kms } = daemon();
    const asked = { KeyId: keyOf('HMAC_384').id, Message, MacAlgorithm: 'HMAC_SHA_384', DryRun: true } as const;
    expect(await refusal(kms.generateMac(asked))).toEqual(dryRunSucceeded);
    const { Mac } = await kms.generateMac({ ...asked, DryRun: false });
    expect(await refusal(kms.verifyMac({ ...asked, Mac }))).toEqual(dryRunSucceeded);
    expect(await refusal(kms.verifyMac({ ...asked, Mac: Buffer.alloc(48) }))).toEqual(invalidMac);
  });

  test('keys of other kinds make no MACs, and HMAC keys do nothing else', async () => {
    const { kms, socket } = daemon();
    const symmetric = await newKey(kms);
    const asked = { KeyId: symmetric.id, Message, MacAlgorithm: 'HMAC_SHA_256' } as const;
    expect(await refusal(kms.generateMac(asked))).toEqual(wrongUsage(symmetric.arn, 'ENCRYPT_DECRYPT', 'GenerateMac'));
    expect(await refusal(kms.verifyMac({ ...asked, Mac: Buffer.alloc(32) }))).toEqual(
      wrongUsage(symmetric.arn, 'ENCRYPT_DECRYPT', 'VerifyMac'),
    );
    const { id: KeyId, arn } = keyOf('HMAC_256');
    const others: readonly (readonly [operation: string, body: object])[] = [
      ['Encrypt', { Plaintext: 'eA==' }],
      ['Decrypt', { CiphertextBlob: 'eA==' }],
      ['GenerateDataKey', { KeySpec: 'AES_256' }],
      ['GenerateDataKeyPair', { KeyPairSpec: 'ECC_NIST_P256' }],
      ['GenerateDataKeyPairWithoutPlaintext', { KeyPairSpec: 'ECC_NIST_P256' }],
      ['Sign', { Message: 'eA==', SigningAlgorithm: 'ECDSA_SHA_256' }],
      ['Verify', { Message: 'eA==', Signature: 'eA==', SigningAlgorithm: 'ECDSA_SHA_256' }],
      ['DeriveSharedSecret', { KeyAgreementAlgorithm: 'ECDH', PublicKey: 'eA==' }],
      ['Encapsulate', { EncapsulationAlgorithm: 'ML_KEM' }],
      ['Decapsulate', { EncapsulationAlgorithm: 'ML_KEM', SharedSecretCiphertextBlob: 'eA==' }],
    ];
    for (const [operation, body] of others) {
      expect(errorIn(await call(socket, operation, { KeyId, ...body }))).toEqual(
        wrongUsage(arn, 'GENERATE_VERIFY_MAC', operation),
      );
    }
    expect((await refusal(kms.getPublicKey({ KeyId }))).name).toBe('UnsupportedOperationException');
  });

  test('each takes its own permission', async () => {
    const { kms } = daemon();
    const document = policy(rootMayAll, deny(rootArn, ['kms:GenerateMac', 'kms:VerifyMac']));
    const { id, arn } = await newKeyOf(kms, 'HMAC_256', 'GENERATE_VERIFY_MAC', document);
    const asked = { KeyId: id, Message, MacAlgorithm: 'HMAC_SHA_256' } as const;
    expect(await refusal(kms.generateMac(asked))).toEqual(accessDenied(rootArn, 'GenerateMac', arn, 'denied'));
    expect(await refusal(kms.verifyMac({ ...asked, Mac: Buffer.alloc(32) }))).toEqual(
      accessDenied(rootArn, 'VerifyMac', arn, 'denied'),
    );
  });

  test('neither message nor MAC is on record', async () => {
    const { kms, instance } = daemon();
    const asked = { KeyId: keyOf('HMAC_256').id, Message, MacAlgorithm: 'HMAC_SHA_256' } as const;
    const made = await kms.generateMac(asked);
    const verified = await kms.verifyMac({ ...asked, Mac: made.Mac });
    for (const { $metadata } of [made, verified]) {
      const event = present(auditLines(instance.dir).find(({ requestID }) => requestID === $metadata.requestId));
      expect(event.requestParameters).toEqual({ keyId: asked.KeyId, macAlgorithm: 'HMAC_SHA_256' });
      expect(event.responseElements).toBeNull();
    }
  });
}
