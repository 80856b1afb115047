/** GenerateDataKeyPair and GenerateDataKeyPairWithoutPlaintext: key pairs that are there to leave the HSM. */

import { createPrivateKey, createPublicKey, type KeyObject, sign, verify } from 'node:crypto';
import type { DataKeyPairSpec } from '@aws-sdk/client-kms';
import { beforeAll, expect, test } from 'vitest';
import { rootArn } from '../support/arns.ts';
import { auditLines } from '../support/audit-trail.ts';
import { type Daemon, newKey, newKeyOf, present, type TokenName } from '../support/daemon.ts';
import { deny, policy, rootMayAll } from '../support/policies.ts';
import { accessDenied, dryRunSucceeded, invalidCiphertext, refusal, wrongAlgorithm } from '../support/refusals.ts';

const info = (key: KeyObject): Buffer => key.export({ format: 'der', type: 'spki' });

/** Debian's NSS softoken has neither curve. */
const lacking: Readonly<Record<TokenName, Partial<Record<DataKeyPairSpec, RegExp>>>> = {
  softhsm2: { SM2: /SM2/, ML_KEM_768: /ML_KEM|C_EncapsulateKey/ },
  nss: {
    SM2: /SM2/,
    ML_KEM_512: /ML_KEM|C_EncapsulateKey/,
    ECC_SECG_P256K1: /secp256k1/,
    ECC_NIST_EDWARDS25519: /EDWARDS/,
  },
};

/** RSA_3072 and RSA_4096 differ from RSA_2048 in a number alone and take seconds. */
const pairSpecs = {
  softhsm2: ['RSA_2048', 'ECC_NIST_P256', 'ECC_NIST_P384', 'ECC_NIST_P521', 'ECC_SECG_P256K1', 'ECC_NIST_EDWARDS25519'],
  nss: ['RSA_2048', 'ECC_NIST_P256', 'ECC_NIST_P384', 'ECC_NIST_P521'],
} as const satisfies Record<TokenName, readonly DataKeyPairSpec[]>;

export function dataKeyPairs(daemon: () => Daemon, token: TokenName): void {
  let key: { readonly id: string; readonly arn: string };
  beforeAll(async () => {
    key = await newKey(daemon().kms);
  });
  const EncryptionContext = { purpose: 'pairs' };

  /** Do these two belong together? */
  function assertPair(privateKey: Uint8Array, publicKey: Uint8Array): void {
    const secret = createPrivateKey({ key: Buffer.from(privateKey), format: 'der', type: 'pkcs8' });
    const known = createPublicKey({ key: Buffer.from(publicKey), format: 'der', type: 'spki' });
    const algorithm = secret.asymmetricKeyType === 'ed25519' ? null : 'sha256';
    expect(verify(algorithm, Buffer.from('x'), known, sign(algorithm, Buffer.from('x'), secret))).toBe(true);
    expect(info(createPublicKey(secret))).toEqual(Buffer.from(publicKey));
  }

  test.each(pairSpecs[token])('%s: the private key in plaintext, and the same encrypted', async (KeyPairSpec) => {
    const { kms } = daemon();
    const asked = { KeyId: key.id, KeyPairSpec, EncryptionContext };
    const { $metadata, ...pair } = await kms.generateDataKeyPair(asked);
    expect(pair).toMatchObject({
      KeyId: key.arn,
      KeyPairSpec,
      KeyMaterialId: expect.stringMatching(/^[0-9a-f]{64}$/),
    });
    const privateKey = present(pair.PrivateKeyPlaintext);
    assertPair(privateKey, present(pair.PublicKey));
    const CiphertextBlob = pair.PrivateKeyCiphertextBlob;
    const opened = await kms.decrypt({ CiphertextBlob, EncryptionContext });
    expect(opened.Plaintext).toEqual(privateKey);
    expect(await refusal(kms.decrypt({ CiphertextBlob }))).toEqual(invalidCiphertext);

    const { $metadata: _, ...later } = await kms.generateDataKeyPairWithoutPlaintext(asked);
    expect(later).not.toHaveProperty('PrivateKeyPlaintext');
    expect(later.PublicKey).not.toEqual(pair.PublicKey);
    const found = await kms.decrypt({ CiphertextBlob: later.PrivateKeyCiphertextBlob, EncryptionContext });
    assertPair(present(found.Plaintext), present(later.PublicKey));
  });

  test.each(Object.entries(lacking[token]))('%s is refused by what is missing', async (KeyPairSpec, lacks) => {
    // Safe: the rows are named by the specs.
    const asked = { KeyId: key.id, KeyPairSpec: KeyPairSpec as DataKeyPairSpec };
    const { kms } = daemon();
    const texts = new Set<string>();
    for (const send of [
      () => kms.generateDataKeyPair(asked),
      () => kms.generateDataKeyPairWithoutPlaintext(asked),
      () => kms.generateDataKeyPair({ ...asked, DryRun: true }),
      () => kms.generateDataKeyPairWithoutPlaintext({ ...asked, DryRun: true }),
    ]) {
      const told = await refusal(send());
      expect(told.name).toBe('UnsupportedOperationException');
      expect(told.message).toMatch(lacks);
      texts.add(told.message.replace(KeyPairSpec, 'SPEC'));
    }
    expect([...texts]).toEqual([expect.stringMatching(/^SPEC is not supported by the HSM: /)]);
  });

  test('a dry run, a key of another kind and a caller without permission get no pair', async () => {
    const { kms, instance } = daemon();
    const KeyPairSpec = 'ECC_NIST_P256';
    const rsa = await newKeyOf(kms, 'RSA_2048', 'ENCRYPT_DECRYPT');
    const document = policy(rootMayAll, deny(rootArn, 'kms:GenerateDataKeyPair*'));
    const closed = await newKey(kms, document);
    for (const operation of ['GenerateDataKeyPair', 'GenerateDataKeyPairWithoutPlaintext'] as const) {
      const send = (KeyId: string, DryRun = false) =>
        operation === 'GenerateDataKeyPair'
          ? kms.generateDataKeyPair({ KeyId, KeyPairSpec, DryRun })
          : kms.generateDataKeyPairWithoutPlaintext({ KeyId, KeyPairSpec, DryRun });
      expect(await refusal(send(key.id, true))).toEqual(dryRunSucceeded);
      expect(await refusal(send(rsa.id))).toEqual(wrongAlgorithm('SYMMETRIC_DEFAULT', 'RSA_2048'));
      expect(await refusal(send(closed.id))).toEqual(accessDenied(rootArn, operation, closed.arn, 'denied'));
      const { $metadata } = await send(key.id);
      const event = present(auditLines(instance.dir).find(({ requestID }) => requestID === $metadata.requestId));
      expect(event.requestParameters).toEqual({ keyId: key.id, keyPairSpec: KeyPairSpec, dryRun: false });
      expect(event.responseElements).toBeNull();
    }
    const Recipient = { KeyEncryptionAlgorithm: 'RSAES_OAEP_SHA_256', AttestationDocument: Buffer.of(1) } as const;
    const attested = await refusal(kms.generateDataKeyPair({ KeyId: key.id, KeyPairSpec, Recipient }));
    expect(attested.name).toBe('UnsupportedOperationException');
  });
}
