/** ML-DSA keys through the whole daemon, over a token that has them: what AWS documents, judged by node:crypto too. */

import { execFileSync, spawnSync } from 'node:child_process';
import { createHash, createPublicKey, type KeyObject, verify } from 'node:crypto';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { KMS, VerifyCommandInput } from '@aws-sdk/client-kms';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { type Instance, startInstance } from '../support/instance.ts';
import { program } from '../support/program.ts';
import { describeToken, mlDsaToken } from '../support/tokens.ts';
import { rootArn } from './support/arns.ts';
import { kmsOver } from './support/connect.ts';
import { bootTimeoutMs, newKeyOf, present } from './support/daemon.ts';
import { deny, policy, rootMayAll } from './support/policies.ts';
import {
  accessDenied,
  dryRunSucceeded,
  invalid,
  invalidSignature,
  problem,
  type Refusal,
  refusal,
  refused,
  wrongAlgorithm,
  wrongUsage,
} from './support/refusals.ts';

/** FIPS 204, table 2. */
const specs = {
  ML_DSA_44: { type: 'ml-dsa-44', signatureBytes: 2420 },
  ML_DSA_65: { type: 'ml-dsa-65', signatureBytes: 3309 },
  ML_DSA_87: { type: 'ml-dsa-87', signatureBytes: 4627 },
} as const;
type MlDsa = keyof typeof specs;
const names = Object.keys(specs) as readonly MlDsa[];
const SigningAlgorithm = 'ML_DSA_SHAKE_256';

interface Key {
  readonly id: string;
  readonly arn: string;
  readonly publicKey: KeyObject;
}

/** What AWS's guide tells callers to compute: FIPS 204, section 6.2, with an empty context. */
function muOf(publicKey: KeyObject, message: Uint8Array): Buffer {
  const shake256 = (bytes: Uint8Array) => createHash('shake256', { outputLength: 64 }).update(bytes).digest();
  const encoded = Buffer.from(present(publicKey.export({ format: 'jwk' })['pub'] as string), 'base64url');
  return shake256(Buffer.concat([shake256(encoded), Buffer.of(0, 0), message]));
}

function withOneBitChanged(bytes: Uint8Array, position: number): Buffer {
  const changed = Buffer.from(bytes);
  changed.writeUInt8(changed.readUInt8(position) ^ 1, position);
  return changed;
}

describeToken(mlDsaToken, 'ML-DSA keys', (token) => {
  let instance: Instance;
  let kms: KMS;
  const keys = new Map<MlDsa, Key>();
  const keyOf = (spec: MlDsa) => present(keys.get(spec));
  const message = Buffer.from('raise the bridge');

  beforeAll(async () => {
    instance = await startInstance({ over: token() });
    kms = kmsOver(instance.socket);
    for (const spec of names) {
      const key = await newKeyOf(kms, spec, 'SIGN_VERIFY');
      const { PublicKey } = await kms.getPublicKey({ KeyId: key.id });
      const publicKey = createPublicKey({ key: Buffer.from(present(PublicKey)), format: 'der', type: 'spki' });
      keys.set(spec, { ...key, publicKey });
    }
  }, bootTimeoutMs);
  afterAll(async () => {
    kms?.destroy();
    await instance?.stop();
  }, bootTimeoutMs);

  test.each(names)('GetPublicKey and DescribeKey of an %s key say what it is and what it is for', async (spec) => {
    const { id, arn, publicKey } = keyOf(spec);
    const { $metadata, PublicKey, ...answer } = await kms.getPublicKey({ KeyId: id });
    const about = { KeySpec: spec, KeyUsage: 'SIGN_VERIFY', SigningAlgorithms: [SigningAlgorithm] };
    expect(answer).toEqual({ KeyId: arn, ...about });
    expect(publicKey.asymmetricKeyType).toBe(specs[spec].type);
    expect(publicKey.export({ type: 'spki', format: 'der' })).toEqual(Buffer.from(present(PublicKey)));
    expect((await kms.describeKey({ KeyId: id })).KeyMetadata).toMatchObject(about);
  });

  test.each(names)('%s signs a message so that it and everybody with the public key accept it', async (spec) => {
    const { id, arn, publicKey } = keyOf(spec);
    for (const Message of [message, Buffer.alloc(4096, 7)]) {
      const asked = { KeyId: id, SigningAlgorithm, Message } as const;
      const { Signature, $metadata, ...rest } = await kms.sign(asked);
      expect(rest).toEqual({ KeyId: arn, SigningAlgorithm });
      const signature = present(Signature);
      expect(signature).toHaveLength(specs[spec].signatureBytes);
      expect(verify(null, Message, publicKey, signature)).toBe(true);
      const { $metadata: _, ...verified } = await kms.verify({ ...asked, Signature: signature });
      expect(verified).toEqual({ KeyId: arn, SignatureValid: true, SigningAlgorithm });
      const byMu = { Message: muOf(publicKey, Message), MessageType: 'EXTERNAL_MU' } as const;
      expect((await kms.verify({ ...asked, ...byMu, Signature: signature })).SignatureValid).toBe(true);
    }
  });

  test.each(names)(
    '%s is not fooled by one changed bit, another key, or a mu that is taken for a message',
    async (spec) => {
      const { id, publicKey } = keyOf(spec);
      const asked = { KeyId: id, SigningAlgorithm, Message: message } as const;
      const Signature = present((await kms.sign(asked)).Signature);
      const mu = { Message: muOf(publicKey, message), MessageType: 'EXTERNAL_MU' } as const;
      const last = Signature.length - 1;
      const forgeries: Readonly<Record<string, Partial<VerifyCommandInput>>> = {
        'the first byte of the signature': { Signature: withOneBitChanged(Signature, 0) },
        'its middle': { Signature: withOneBitChanged(Signature, last >> 1) },
        'its last byte': { Signature: withOneBitChanged(Signature, last) },
        'the message': { Message: withOneBitChanged(message, 3) },
        'the mu': { ...mu, Message: withOneBitChanged(mu.Message, 63) },
        'the signature of the mu': { ...mu, Signature: withOneBitChanged(Signature, 9) },
        'a byte less': { Signature: Signature.subarray(0, last) },
        'a byte more': { Signature: Buffer.concat([Signature, Buffer.of(0)]) },
        'a mu as a message': { Message: mu.Message },
        'zeroes as a mu': { Message: Buffer.alloc(64), MessageType: 'EXTERNAL_MU' },
      };
      for (const [what, forgery] of Object.entries(forgeries)) {
        const request = { ...asked, Signature, ...forgery };
        expect({ what, told: await refusal(kms.verify(request)) }).toEqual({ what, told: invalidSignature });
      }
      const other = await newKeyOf(kms, spec, 'SIGN_VERIFY');
      expect(await refusal(kms.verify({ ...asked, KeyId: other.id, Signature }))).toEqual(invalidSignature);
    },
  );

  const badType = (type: string): Refusal =>
    refused('ValidationException', `Message type ${type} is incompatible with algorithm ${SigningAlgorithm}.`);
  const badMu = refused('ValidationException', `Digest is invalid length for algorithm ${SigningAlgorithm}.`);
  test.each<[string, Partial<VerifyCommandInput>, Refusal]>([
    ['a digest', { Message: Buffer.alloc(64), MessageType: 'DIGEST' }, badType('DIGEST')],
    ['a mu of 63 bytes', { Message: Buffer.alloc(63), MessageType: 'EXTERNAL_MU' }, badMu],
    ['a mu of 65 bytes', { Message: Buffer.alloc(65), MessageType: 'EXTERNAL_MU' }, badMu],
    ['a message of 4,097 bytes', { Message: Buffer.alloc(4097) }, invalid(problem.blobTooLong('message', 4096))],
    ['an empty message', { Message: Buffer.alloc(0) }, invalid(problem.blobTooShort('message', 1))],
    [
      'an algorithm of another kind of key',
      { SigningAlgorithm: 'ECDSA_SHA_256' },
      wrongAlgorithm('ECDSA_SHA_256', 'ML_DSA_44'),
    ],
  ])('Sign and Verify refuse %s, and so does a dry run', async (_what, input, told) => {
    const asked = { KeyId: keyOf('ML_DSA_44').id, SigningAlgorithm, Message: message, ...input } as const;
    const Signature = Buffer.alloc(specs.ML_DSA_44.signatureBytes);
    for (const DryRun of [false, true]) {
      expect(await refusal(kms.sign({ ...asked, DryRun }))).toEqual(told);
      expect(await refusal(kms.verify({ ...asked, Signature, DryRun }))).toEqual(told);
    }
  });

  test('Sign refuses a mu by the mechanism that there is not, and so does a dry run', async () => {
    const { id, publicKey } = keyOf('ML_DSA_65');
    const asked = { KeyId: id, SigningAlgorithm, Message: muOf(publicKey, message) } as const;
    for (const DryRun of [false, true])
      expect(await refusal(kms.sign({ ...asked, MessageType: 'EXTERNAL_MU', DryRun }))).toEqual(
        refused(
          'UnsupportedOperationException',
          'MessageType EXTERNAL_MU is not supported by the HSM: CKM_ML_DSA of PKCS#11 3.2 takes the message itself, and no mechanism takes a mu.',
        ),
      );
  });

  test('a dry run signs nothing, and says of a signature whether it would do', async () => {
    const { id, publicKey } = keyOf('ML_DSA_44');
    const asked = { KeyId: id, SigningAlgorithm, Message: message } as const;
    expect(await refusal(kms.sign({ ...asked, DryRun: true }))).toEqual(dryRunSucceeded);
    const { Signature } = await kms.sign(asked);
    const mu = { Message: muOf(publicKey, message), MessageType: 'EXTERNAL_MU' } as const;
    for (const right of [asked, { ...asked, ...mu }])
      expect(await refusal(kms.verify({ ...right, Signature, DryRun: true }))).toEqual(dryRunSucceeded);
    const wrong = { ...asked, Message: Buffer.from('lower it'), Signature, DryRun: true };
    expect(await refusal(kms.verify(wrong))).toEqual(invalidSignature);
  });

  test('such a key is for signing alone, and no data key pair is of its kind', async () => {
    const { id, arn } = keyOf('ML_DSA_87');
    const agreement = { KeyId: id, KeyAgreementAlgorithm: 'ECDH', PublicKey: Buffer.alloc(91) } as const;
    expect(await refusal(kms.deriveSharedSecret(agreement))).toEqual(
      wrongUsage(arn, 'SIGN_VERIFY', 'DeriveSharedSecret'),
    );
    expect(await refusal(kms.encrypt({ KeyId: id, Plaintext: message }))).toEqual(
      wrongUsage(arn, 'SIGN_VERIFY', 'Encrypt'),
    );
    for (const usage of ['ENCRYPT_DECRYPT', 'KEY_AGREEMENT', 'ENCAPSULATE_DECAPSULATE'] as const)
      expect(await refusal(newKeyOf(kms, 'ML_DSA_87', usage))).toEqual(
        refused('ValidationException', `KeyUsage ${usage} is not compatible with KeySpec ML_DSA_87`),
      );
    // Safe: it is the service that has to refuse what the SDK's type does not have.
    const pair = { KeyId: (await newKeyOf(kms, 'SYMMETRIC_DEFAULT', 'ENCRYPT_DECRYPT')).id, KeyPairSpec: 'ML_DSA_44' };
    const told = await refusal(kms.generateDataKeyPair(pair as unknown as Parameters<KMS['generateDataKeyPair']>[0]));
    expect(told.name).toBe('ValidationException');
    expect(told.message).toContain("Value 'ML_DSA_44' at 'keyPairSpec' failed to satisfy constraint");
  });

  test('policies see the algorithm, the type of the message and the kind of key', async () => {
    const denied = (Condition: object) => ({ ...deny(rootArn, ['kms:Sign', 'kms:Verify']), Condition });
    const Signature = Buffer.alloc(specs.ML_DSA_44.signatureBytes);
    for (const [Condition, MessageType] of [
      [{ StringEquals: { 'kms:SigningAlgorithm': SigningAlgorithm } }, 'RAW'],
      [{ StringEquals: { 'kms:KeySpec': 'ML_DSA_44', 'kms:KeyUsage': 'SIGN_VERIFY' } }, 'RAW'],
      [{ StringEquals: { 'kms:MessageType': 'EXTERNAL_MU' } }, 'EXTERNAL_MU'],
    ] as const) {
      const key = await newKeyOf(kms, 'ML_DSA_44', 'SIGN_VERIFY', policy(rootMayAll, denied(Condition)));
      const asked = { KeyId: key.id, SigningAlgorithm, Message: Buffer.alloc(64), MessageType } as const;
      expect(await refusal(kms.sign(asked))).toEqual(accessDenied(rootArn, 'Sign', key.arn, 'denied'));
      expect(await refusal(kms.verify({ ...asked, Signature }))).toEqual(
        accessDenied(rootArn, 'Verify', key.arn, 'denied'),
      );
      if (MessageType === 'EXTERNAL_MU') await kms.sign({ ...asked, MessageType: 'RAW' });
    }
  });

  test('the command line signs, verifies and writes the public key, and makes no certificate request', async () => {
    const folder = mkdtempSync(join(tmpdir(), 'drawbridge-ml-dsa-'));
    const at = (name: string) => join(folder, name);
    const run = (...args: readonly string[]) =>
      execFileSync(process.execPath, [program, ...args, '--socket', instance.socket], { stdio: 'pipe' });
    try {
      writeFileSync(at('file'), message);
      const { id } = keyOf('ML_DSA_44');
      run('sign', '--key', id, '--in', at('file'), '--out', at('signature'));
      run('public-key', id, '--out', at('key.pem'));
      const publicKey = createPublicKey(readFileSync(at('key.pem')));
      expect(verify(null, message, publicKey, readFileSync(at('signature')))).toBe(true);
      run('verify', '--key', id, '--in', at('file'), '--signature', at('signature'));
      const request = ['csr', '--key', id, '--subject', 'CN=example', '--socket', instance.socket];
      const { status, stderr } = spawnSync(process.execPath, [program, ...request], { encoding: 'utf8' });
      expect({ status, stderr }).toEqual({
        status: 2,
        stderr: expect.stringContaining('certificates are not signed with `ML_DSA_SHAKE_256`, but with '),
      });
    } finally {
      rmSync(folder, { recursive: true, force: true });
    }
  });
});
