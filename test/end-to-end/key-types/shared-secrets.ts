/** DeriveSharedSecret, held to node:crypto as the peer. */

import { createPublicKey, diffieHellman, ECDH, generateKeyPairSync, type KeyObject } from 'node:crypto';
import { beforeAll, expect, test } from 'vitest';
import { rootArn } from '../support/arns.ts';
import { auditLines } from '../support/audit-trail.ts';
import { bootTimeoutMs, type Daemon, newKeyOf, present } from '../support/daemon.ts';
import { deny, policy, rootMayAll } from '../support/policies.ts';
import { accessDenied, dryRunSucceeded, invalid, problem, refusal, refused, wrongUsage } from '../support/refusals.ts';

const curves = [
  { spec: 'ECC_NIST_P256', curve: 'prime256v1', secretBytes: 32 },
  { spec: 'ECC_NIST_P384', curve: 'secp384r1', secretBytes: 48 },
  { spec: 'ECC_NIST_P521', curve: 'secp521r1', secretBytes: 66 },
] as const;

const info = (key: KeyObject): Buffer => key.export({ format: 'der', type: 'spki' });
const byEcdh = { KeyAgreementAlgorithm: 'ECDH' } as const;
const badPublicKey = refused('ValidationException', '');

export function sharedSecrets(daemon: () => Daemon): void {
  const keys = new Map<string, { readonly id: string; readonly arn: string }>();
  beforeAll(async () => {
    for (const { spec } of curves) keys.set(spec, await newKeyOf(daemon().kms, spec, 'KEY_AGREEMENT'));
  }, bootTimeoutMs);
  const keyOf = (spec: string) => present(keys.get(spec));

  test.each(curves)(
    'a $spec key and its peer derive the same $secretBytes bytes',
    async ({ spec, curve, secretBytes }) => {
      const { kms } = daemon();
      const { id: KeyId, arn } = keyOf(spec);
      const { PublicKey, KeyAgreementAlgorithms, KeyUsage, SigningAlgorithms } = await kms.getPublicKey({ KeyId });
      expect({ KeyAgreementAlgorithms, KeyUsage, SigningAlgorithms }).toEqual({
        KeyAgreementAlgorithms: ['ECDH'],
        KeyUsage: 'KEY_AGREEMENT',
        SigningAlgorithms: undefined,
      });
      const publicKey = createPublicKey({ key: Buffer.from(present(PublicKey)), format: 'der', type: 'spki' });
      for (let round = 0; round < 4; round++) {
        const peer = generateKeyPairSync('ec', { namedCurve: curve });
        const asked = { KeyId, ...byEcdh, PublicKey: info(peer.publicKey) };
        const { SharedSecret, $metadata, ...answer } = await kms.deriveSharedSecret(asked);
        expect(answer).toEqual({ KeyId: arn, ...byEcdh, KeyOrigin: 'AWS_KMS' });
        expect(SharedSecret).toHaveLength(secretBytes);
        expect(Buffer.from(present(SharedSecret))).toEqual(diffieHellman({ privateKey: peer.privateKey, publicKey }));
      }
    },
  );

  test('two keys of the HSM derive the same secret from each other', async () => {
    const { kms } = daemon();
    const [one, other] = [keyOf('ECC_NIST_P256'), await newKeyOf(kms, 'ECC_NIST_P256', 'KEY_AGREEMENT')];
    const secret = async (mine: string, theirs: string) => {
      const { PublicKey } = await kms.getPublicKey({ KeyId: theirs });
      return (await kms.deriveSharedSecret({ KeyId: mine, ...byEcdh, PublicKey })).SharedSecret;
    };
    expect(await secret(one.id, other.id)).toEqual(await secret(other.id, one.id));
  });

  const p256 = info(generateKeyPairSync('ec', { namedCurve: 'prime256v1' }).publicKey);
  const offCurve = Buffer.from(p256);
  offCurve[offCurve.length - 1] = (offCurve.at(-1) ?? 0) ^ 1;
  const unusedBit = Buffer.from(p256);
  unusedBit[p256.length - 66] = 1;
  test.each<[string, Buffer]>([
    ['of another curve', info(generateKeyPairSync('ec', { namedCurve: 'secp384r1' }).publicKey)],
    ['of secp256k1', info(generateKeyPairSync('ec', { namedCurve: 'secp256k1' }).publicKey)],
    ['of X25519', info(generateKeyPairSync('x25519').publicKey)],
    ['of RSA', info(generateKeyPairSync('rsa', { modulusLength: 2048 }).publicKey)],
    ['off its curve', offCurve],
    ['cut', p256.subarray(0, -1)],
    ['the bare point', p256.subarray(-65)],
    ['followed by other bytes', Buffer.concat([p256, Buffer.of(0)])],
    ['followed by another one', Buffer.concat([p256, p256])],
    ['BER with a length in more bytes than it takes', Buffer.concat([Buffer.of(0x30, 0x81), p256.subarray(1)])],
    ['BER of indefinite length', Buffer.concat([Buffer.of(0x30, 0x80), p256.subarray(2), Buffer.alloc(2)])],
    ['a bit string with an unused bit', unusedBit],
    ['one byte', Buffer.of(0x30)],
    ['8,192 bytes of nothing', Buffer.alloc(8192)],
    ['the point at infinity', Buffer.from('3019301306072a8648ce3d020106082a8648ce3d03010703020000', 'hex')],
  ])('DeriveSharedSecret refuses a public key that is %s, and so does a dry run', async (_what, PublicKey) => {
    const { kms } = daemon();
    const asked = { KeyId: keyOf('ECC_NIST_P256').id, ...byEcdh, PublicKey };
    expect(await refusal(kms.deriveSharedSecret(asked))).toEqual(badPublicKey);
    expect(await refusal(kms.deriveSharedSecret({ ...asked, DryRun: true }))).toEqual(badPublicKey);
  });

  test('DeriveSharedSecret takes a compressed point for the one that it is', async () => {
    const { kms } = daemon();
    const KeyId = keyOf('ECC_NIST_P256').id;
    const point = ECDH.convertKey(p256.subarray(-65), 'prime256v1', undefined, undefined, 'compressed');
    const compressed = Buffer.concat([
      Buffer.from('3039301306072a8648ce3d020106082a8648ce3d030107032200', 'hex'),
      Buffer.from(point),
    ]);
    const secretWith = async (PublicKey: Buffer) =>
      (await kms.deriveSharedSecret({ KeyId, ...byEcdh, PublicKey })).SharedSecret;
    expect(await secretWith(compressed)).toEqual(await secretWith(p256));
  });

  test('DeriveSharedSecret refuses keys of another kind, callers without permission and what it does not know', async () => {
    const { kms, instance } = daemon();
    const signing = await newKeyOf(kms, 'ECC_NIST_P256', 'SIGN_VERIFY');
    const asked = { ...byEcdh, PublicKey: p256 };
    expect(await refusal(kms.deriveSharedSecret({ KeyId: signing.id, ...asked }))).toEqual(
      wrongUsage(signing.arn, 'SIGN_VERIFY', 'DeriveSharedSecret'),
    );
    const document = policy(rootMayAll, deny(rootArn, 'kms:DeriveSharedSecret'));
    const closed = await newKeyOf(kms, 'ECC_NIST_P256', 'KEY_AGREEMENT', document);
    expect(await refusal(kms.deriveSharedSecret({ KeyId: closed.id, ...asked }))).toEqual(
      accessDenied(rootArn, 'DeriveSharedSecret', closed.arn, 'denied'),
    );
    const KeyId = keyOf('ECC_NIST_P256').id;
    expect(await refusal(kms.deriveSharedSecret({ KeyId, ...asked, PublicKey: Buffer.alloc(8193) }))).toEqual(
      invalid(problem.blobTooLong('publicKey', 8192)),
    );
    const Recipient = { KeyEncryptionAlgorithm: 'RSAES_OAEP_SHA_256', AttestationDocument: Buffer.of(1) } as const;
    const attested = await refusal(kms.deriveSharedSecret({ KeyId, ...asked, Recipient }));
    expect(attested.name).toBe('UnsupportedOperationException');
    expect(await refusal(kms.deriveSharedSecret({ KeyId, ...asked, DryRun: true }))).toEqual(dryRunSucceeded);
    const { $metadata } = await kms.deriveSharedSecret({ KeyId, ...asked });
    const event = present(auditLines(instance.dir).find(({ requestID }) => requestID === $metadata.requestId));
    expect(event.requestParameters).toEqual({ keyId: KeyId, keyAgreementAlgorithm: 'ECDH' });
    expect(event.responseElements).toBeNull();
  });
}
