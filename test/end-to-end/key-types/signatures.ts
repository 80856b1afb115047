/** Sign, Verify and GetPublicKey: every signing algorithm of every key that the token has, judged by node:crypto too. */

import { constants, createHash, createPublicKey, verify } from 'node:crypto';
import type { KeySpec, SigningAlgorithmSpec } from '@aws-sdk/client-kms';
import fc from 'fast-check';
import { beforeAll, describe, expect, test } from 'vitest';
import { rootArn, unknownKeyId } from '../support/arns.ts';
import { auditLines } from '../support/audit-trail.ts';
import { bootTimeoutMs, type Daemon, newKey, newKeyOf, present, type TokenName } from '../support/daemon.ts';
import { deny, policy, rootMayAll } from '../support/policies.ts';
import {
  accessDenied,
  dryRunSucceeded,
  invalid,
  invalidSignature,
  keyNotFound,
  problem,
  type Refusal,
  refusal,
  refused,
  wrongAlgorithm,
  wrongUsage,
} from '../support/refusals.ts';

const rsaAlgorithms = ['RSASSA_PKCS1_V1_5_SHA_', 'RSASSA_PSS_SHA_'].flatMap((family) =>
  ['256', '384', '512'].map((bits) => `${family}${bits}`),
) as SigningAlgorithmSpec[];

/** What AWS documents for each KeySpec, in the order of its table; `bits` is what node:crypto calls the size or curve. */
const specs = {
  RSA_2048: { algorithms: rsaAlgorithms, type: 'rsa', signatureBytes: [256, 256] },
  ECC_NIST_P256: { algorithms: ['ECDSA_SHA_256'], type: 'prime256v1', signatureBytes: [66, 72] },
  ECC_NIST_P384: { algorithms: ['ECDSA_SHA_384'], type: 'secp384r1', signatureBytes: [96, 104] },
  ECC_NIST_P521: { algorithms: ['ECDSA_SHA_512'], type: 'secp521r1', signatureBytes: [130, 139] },
  ECC_SECG_P256K1: { algorithms: ['ECDSA_SHA_256'], type: 'secp256k1', signatureBytes: [66, 72] },
  ECC_NIST_EDWARDS25519: {
    algorithms: ['ED25519_SHA_512', 'ED25519_PH_SHA_512'],
    type: 'ed25519',
    signatureBytes: [64, 64],
  },
} as const satisfies Partial<Record<KeySpec, object>>;
type SigningSpec = keyof typeof specs;

/** Debian's NSS softoken has neither curve. */
const lacking: Readonly<Record<TokenName, Partial<Record<SigningSpec, RegExp>>>> = {
  softhsm2: {},
  nss: { ECC_SECG_P256K1: /secp256k1/, ECC_NIST_EDWARDS25519: /CKM_EC_EDWARDS_KEY_PAIR_GEN/ },
};

const digestOf = (algorithm: SigningAlgorithmSpec, message: Uint8Array): Buffer =>
  createHash(`sha${algorithm.slice(-3)}`)
    .update(message)
    .digest();

/** As somebody would who has the public key alone. */
function isValidOutside(
  publicKey: Uint8Array,
  algorithm: SigningAlgorithmSpec,
  message: Uint8Array,
  signature: Uint8Array,
): boolean {
  const key = createPublicKey({ key: Buffer.from(publicKey), format: 'der', type: 'spki' });
  if (algorithm === 'ED25519_SHA_512') return verify(null, message, key, signature);
  const bits = Number(algorithm.slice(-3));
  const pss = { padding: constants.RSA_PKCS1_PSS_PADDING, saltLength: bits / 8 };
  return verify(`sha${bits}`, message, { key, ...(algorithm.startsWith('RSASSA_PSS') ? pss : {}) }, signature);
}

export function signatures(daemon: () => Daemon, token: TokenName): void {
  const held = (Object.keys(specs) as SigningSpec[]).filter((spec) => lacking[token][spec] === undefined);
  const keys = new Map<SigningSpec, { readonly id: string; readonly arn: string; readonly publicKey: Uint8Array }>();
  beforeAll(async () => {
    const { kms } = daemon();
    for (const spec of held) {
      const key = await newKeyOf(kms, spec, 'SIGN_VERIFY');
      keys.set(spec, { ...key, publicKey: present((await kms.getPublicKey({ KeyId: key.id })).PublicKey) });
    }
  }, bootTimeoutMs);
  const keyOf = (spec: SigningSpec) => present(keys.get(spec));
  const cases = held.flatMap((spec) =>
    specs[spec].algorithms
      .filter((algorithm) => algorithm !== 'ED25519_PH_SHA_512')
      .map((algorithm: SigningAlgorithmSpec) => ({ spec, algorithm })),
  );
  const message = Buffer.from('raise the bridge');

  test.each(held)('GetPublicKey of a %s key gives the key and what it is for', async (spec) => {
    const { kms } = daemon();
    const { id, arn, publicKey } = keyOf(spec);
    const { $metadata, ...answer } = await kms.getPublicKey({ KeyId: id });
    expect(answer).toEqual({
      KeyId: arn,
      PublicKey: publicKey,
      ...(spec === 'ECC_NIST_EDWARDS25519' ? {} : { CustomerMasterKeySpec: spec }),
      KeySpec: spec,
      KeyUsage: 'SIGN_VERIFY',
      SigningAlgorithms: specs[spec].algorithms,
    });
    const { asymmetricKeyType, asymmetricKeyDetails } = createPublicKey({
      key: Buffer.from(publicKey),
      format: 'der',
      type: 'spki',
    });
    expect([asymmetricKeyType, asymmetricKeyDetails?.namedCurve]).toContain(specs[spec].type);
    const { KeyMetadata } = await kms.describeKey({ KeyId: id });
    expect(KeyMetadata).toMatchObject({ KeySpec: spec, SigningAlgorithms: specs[spec].algorithms });
    expect(KeyMetadata).not.toHaveProperty('CurrentKeyMaterialId');
  });

  if (held.includes('ECC_NIST_EDWARDS25519'))
    process.stdout.write('skipped: ED25519_SHA_512 with a digest: it signs messages alone\n');
  else process.stdout.write(`skipped: Ed25519 over ${token}: it has no such keys\n`);

  describe.each(cases)('$algorithm with a $spec key', ({ spec, algorithm: SigningAlgorithm }) => {
    const takesDigest = SigningAlgorithm !== 'ED25519_SHA_512';

    test('signs a message so that it and everybody with the public key accept it', async () => {
      const { kms } = daemon();
      const { id, arn, publicKey } = keyOf(spec);
      const asked = { KeyId: id, Message: message, SigningAlgorithm };
      const { Signature, $metadata, ...rest } = await kms.sign(asked);
      expect(rest).toEqual({ KeyId: arn, SigningAlgorithm });
      const signature = present(Signature);
      const [least, most] = specs[spec].signatureBytes;
      expect(signature.length).toBeGreaterThanOrEqual(least);
      expect(signature.length).toBeLessThanOrEqual(most);
      expect(isValidOutside(publicKey, SigningAlgorithm, message, signature)).toBe(true);
      const { $metadata: _, ...verified } = await kms.verify({ ...asked, Signature: signature, MessageType: 'RAW' });
      expect(verified).toEqual({ KeyId: arn, SignatureValid: true, SigningAlgorithm });
    });

    test.runIf(takesDigest)('signs a digest as it signs the message', async () => {
      const { kms } = daemon();
      const { id, publicKey } = keyOf(spec);
      const asked = { KeyId: id, SigningAlgorithm };
      const digest = { Message: digestOf(SigningAlgorithm, message), MessageType: 'DIGEST' } as const;
      const ofDigest = present((await kms.sign({ ...asked, ...digest })).Signature);
      expect(isValidOutside(publicKey, SigningAlgorithm, message, ofDigest)).toBe(true);
      const ofMessage = present((await kms.sign({ ...asked, Message: message })).Signature);
      for (const Signature of [ofDigest, ofMessage]) {
        expect((await kms.verify({ ...asked, ...digest, Signature })).SignatureValid).toBe(true);
        expect((await kms.verify({ ...asked, Message: message, Signature })).SignatureValid).toBe(true);
        const hashedTwice = kms.verify({ ...asked, ...digest, MessageType: 'RAW', Signature });
        expect(await refusal(hashedTwice)).toEqual(invalidSignature);
      }
    });

    test('is not fooled by one changed bit of the signature or of the message', async () => {
      const { kms } = daemon();
      const asked = { KeyId: keyOf(spec).id, SigningAlgorithm };
      await fc.assert(
        fc.asyncProperty(
          fc.uint8Array({ minLength: 1, maxLength: 4096, size: 'max' }),
          fc.boolean(),
          fc.nat(),
          async (Message, inSignature, position) => {
            const Signature = present((await kms.sign({ ...asked, Message })).Signature);
            expect((await kms.verify({ ...asked, Message, Signature })).SignatureValid).toBe(true);
            const changed = Uint8Array.from(inSignature ? Signature : Message);
            const bit = position % (changed.length * 8);
            changed[bit >> 3] = (changed[bit >> 3] ?? 0) ^ (1 << (bit & 7));
            const other = inSignature ? { Message, Signature: changed } : { Message: changed, Signature };
            expect(await refusal(kms.verify({ ...asked, ...other }))).toEqual(invalidSignature);
          },
        ),
        { numRuns: 5 },
      );
    });

    test('refuses what is no signature of its kind, whatever it is', async () => {
      const asked = { KeyId: keyOf(spec).id, Message: message, SigningAlgorithm };
      for (const Signature of [Buffer.of(0), Buffer.alloc(64), Buffer.alloc(256, 0xff), Buffer.alloc(6144, 0x30)]) {
        expect(await refusal(daemon().kms.verify({ ...asked, Signature }))).toEqual(invalidSignature);
      }
    });
  });

  const rsaSign = { SigningAlgorithm: 'RSASSA_PSS_SHA_256' } as const;
  const aMessage = { Message: Buffer.from('x') };
  const tooLong = invalid(problem.blobTooLong('message', 4096));
  const tooShort = invalid(problem.blobTooShort('message', 1));
  const badDigest = (algorithm: string): Refusal =>
    refused('ValidationException', `Digest is invalid length for algorithm ${algorithm}.`);
  const badType = (type: string, algorithm: string): Refusal =>
    refused('ValidationException', `Message type ${type} is incompatible with algorithm ${algorithm}.`);

  test.each<[string, object, Refusal]>([
    ['a message of 4,097 bytes', { ...rsaSign, Message: Buffer.alloc(4097) }, tooLong],
    ['an empty message', { ...rsaSign, Message: Buffer.alloc(0) }, tooShort],
    [
      'a digest that is one byte short',
      { ...rsaSign, Message: Buffer.alloc(31), MessageType: 'DIGEST' },
      badDigest('RSASSA_PSS_SHA_256'),
    ],
    [
      'a digest that is one byte long',
      { ...rsaSign, Message: Buffer.alloc(33), MessageType: 'DIGEST' },
      badDigest('RSASSA_PSS_SHA_256'),
    ],
    [
      'a digest of another algorithm',
      { SigningAlgorithm: 'RSASSA_PKCS1_V1_5_SHA_512', Message: Buffer.alloc(32), MessageType: 'DIGEST' },
      badDigest('RSASSA_PKCS1_V1_5_SHA_512'),
    ],
    [
      'a mu',
      { ...rsaSign, Message: Buffer.alloc(64), MessageType: 'EXTERNAL_MU' },
      badType('EXTERNAL_MU', 'RSASSA_PSS_SHA_256'),
    ],
    [
      'an algorithm of another kind of key',
      { SigningAlgorithm: 'ECDSA_SHA_256', ...aMessage },
      wrongAlgorithm('ECDSA_SHA_256', 'RSA_2048'),
    ],
  ])('Sign and Verify refuse %s, and so does a dry run', async (_what, input, told) => {
    const { kms } = daemon();
    // Safe: every row has the members of its request.
    const asked = { KeyId: keyOf('RSA_2048').id, ...input } as Parameters<typeof kms.sign>[0];
    const Signature = Buffer.alloc(256);
    expect(await refusal(kms.sign(asked))).toEqual(told);
    expect(await refusal(kms.sign({ ...asked, DryRun: true }))).toEqual(told);
    expect(await refusal(kms.verify({ ...asked, Signature }))).toEqual(told);
    expect(await refusal(kms.verify({ ...asked, Signature, DryRun: true }))).toEqual(told);
  });

  test('the largest message is signed', async () => {
    const asked = {
      KeyId: keyOf('ECC_NIST_P256').id,
      Message: Buffer.alloc(4096, 7),
      SigningAlgorithm: 'ECDSA_SHA_256',
    } as const;
    const { Signature } = await daemon().kms.sign(asked);
    expect((await daemon().kms.verify({ ...asked, Signature })).SignatureValid).toBe(true);
  });

  test('a dry run signs nothing, and says of a signature whether it would do', async () => {
    const { kms } = daemon();
    const asked = { KeyId: keyOf('ECC_NIST_P256').id, ...aMessage, SigningAlgorithm: 'ECDSA_SHA_256' } as const;
    expect(await refusal(kms.sign({ ...asked, DryRun: true }))).toEqual(dryRunSucceeded);
    const { Signature } = await kms.sign(asked);
    expect(await refusal(kms.verify({ ...asked, Signature, DryRun: true }))).toEqual(dryRunSucceeded);
    const other = { ...asked, Message: Buffer.from('y'), Signature, DryRun: true };
    expect(await refusal(kms.verify(other))).toEqual(invalidSignature);
  });

  test('a key of another kind does not sign, verify or have a public key', async () => {
    const { kms } = daemon();
    const symmetric = await newKey(kms);
    const asked = { KeyId: symmetric.id, ...aMessage, ...rsaSign };
    const Signature = Buffer.alloc(256);
    expect(await refusal(kms.sign(asked))).toEqual(wrongUsage(symmetric.arn, 'ENCRYPT_DECRYPT', 'Sign'));
    expect(await refusal(kms.verify({ ...asked, Signature }))).toEqual(
      wrongUsage(symmetric.arn, 'ENCRYPT_DECRYPT', 'Verify'),
    );
    expect((await refusal(kms.getPublicKey({ KeyId: symmetric.id }))).name).toBe('UnsupportedOperationException');
    expect((await refusal(kms.sign({ ...asked, KeyId: unknownKeyId }))).name).toBe('NotFoundException');
    expect((await refusal(kms.getPublicKey({ KeyId: unknownKeyId }))).name).toBe(keyNotFound(unknownKeyId).name);
  });

  test('a signature of one key is none of another', async () => {
    const { kms } = daemon();
    const other = await newKeyOf(kms, 'ECC_NIST_P256', 'SIGN_VERIFY');
    const asked = { ...aMessage, SigningAlgorithm: 'ECDSA_SHA_256' } as const;
    const { Signature } = await kms.sign({ KeyId: other.id, ...asked });
    expect(await refusal(kms.verify({ KeyId: keyOf('ECC_NIST_P256').id, ...asked, Signature }))).toEqual(
      invalidSignature,
    );
  });

  test('each takes its own permission', async () => {
    const { kms } = daemon();
    const closed = await newKeyOf(
      kms,
      'ECC_NIST_P256',
      'SIGN_VERIFY',
      policy(rootMayAll, deny(rootArn, ['kms:Sign', 'kms:Verify', 'kms:GetPublicKey'])),
    );
    const asked = { KeyId: closed.id, ...aMessage, SigningAlgorithm: 'ECDSA_SHA_256' } as const;
    const told = (operation: string) => accessDenied(rootArn, operation, closed.arn, 'denied');
    expect(await refusal(kms.sign(asked))).toEqual(told('Sign'));
    expect(await refusal(kms.verify({ ...asked, Signature: Buffer.alloc(70) }))).toEqual(told('Verify'));
    expect(await refusal(kms.getPublicKey({ KeyId: closed.id }))).toEqual(told('GetPublicKey'));
  });

  test('neither message nor signature is on record', async () => {
    const { kms, instance } = daemon();
    const KeyId = keyOf('ECC_NIST_P256').id;
    const asked = { KeyId, Message: Buffer.from('not for the log'), SigningAlgorithm: 'ECDSA_SHA_256' } as const;
    const signed = await kms.sign(asked);
    const verified = await kms.verify({ ...asked, Signature: signed.Signature });
    for (const { $metadata } of [signed, verified]) {
      const event = present(auditLines(instance.dir).find(({ requestID }) => requestID === $metadata.requestId));
      expect(event.requestParameters).toEqual({ keyId: KeyId, signingAlgorithm: 'ECDSA_SHA_256' });
      expect(event.responseElements).toBeNull();
      expect(event.readOnly).toBe(true);
    }
  });

  test.runIf(held.includes('ECC_NIST_EDWARDS25519'))(
    'Ed25519 takes messages alone, and says what it cannot do',
    async () => {
      const { kms } = daemon();
      const KeyId = keyOf('ECC_NIST_EDWARDS25519').id;
      const sha512 = { KeyId, SigningAlgorithm: 'ED25519_SHA_512', Message: Buffer.alloc(64) } as const;
      expect(await refusal(kms.sign({ ...sha512, MessageType: 'DIGEST' }))).toEqual(
        badType('DIGEST', 'ED25519_SHA_512'),
      );
      const ph = { ...sha512, SigningAlgorithm: 'ED25519_PH_SHA_512' } as const;
      expect(await refusal(kms.sign(ph))).toEqual(badType('RAW', 'ED25519_PH_SHA_512'));
      const short = { ...ph, Message: Buffer.alloc(63), MessageType: 'DIGEST' } as const;
      expect(await refusal(kms.sign(short))).toEqual(badDigest('ED25519_PH_SHA_512'));
      const asked = { ...ph, MessageType: 'DIGEST' } as const;
      const unsignable = await refusal(kms.sign(asked));
      expect(unsignable.name).toBe('UnsupportedOperationException');
      expect(unsignable.message).toMatch(
        /^ED25519_PH_SHA_512 with KeySpec ECC_NIST_EDWARDS25519 is not supported by the HSM: .*CKM_EDDSA/,
      );
      expect(await refusal(kms.sign({ ...asked, DryRun: true }))).toEqual(unsignable);
      const unverifiable = refused(
        'UnsupportedOperationException',
        'ED25519_PH_SHA_512 is not supported: Drawbridge cannot verify such signatures.',
      );
      const Signature = Buffer.alloc(64);
      expect(await refusal(kms.verify({ ...asked, Signature }))).toEqual(unverifiable);
      expect(await refusal(kms.verify({ ...asked, Signature, DryRun: true }))).toEqual(unverifiable);
    },
  );

  test.each(Object.entries(lacking[token]))('CreateKey refuses %s by what the token lacks', async (spec, lacks) => {
    const told = await refusal(newKeyOf(daemon().kms, spec as SigningSpec, 'SIGN_VERIFY'));
    expect(told.name).toBe('UnsupportedOperationException');
    expect(told.message).toMatch(lacks);
    expect(told.message).toContain(spec);
  });
}
