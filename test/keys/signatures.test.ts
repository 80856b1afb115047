/** Which signatures are accepted, held to node:crypto as the signer: every algorithm, as a message, as a digest and as a mu. */

import { constants, createHash, generateKeyPairSync, type KeyObject, sign } from 'node:crypto';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { isSignature } from '../../src/keys/use/signatures.ts';
import { signingAlgorithmRow } from '../../src/keys/use/signing-algorithms.ts';
import { type MessageType, messageTypes, type SigningAlgorithm, signingAlgorithms } from '../../src/kms/algorithms.ts';
import { keySpecs } from '../../src/kms/key-specs.ts';
import { Plaintext } from '../../src/secrets/secret-bytes.ts';

interface Pair {
  readonly privateKey: KeyObject;
  readonly publicKey: KeyObject;
}

const ec = (namedCurve: string): Pair => generateKeyPairSync('ec', { namedCurve });
const pairs = {
  RSA_2048: generateKeyPairSync('rsa', { modulusLength: 2048 }),
  ECC_NIST_P256: ec('prime256v1'),
  ECC_NIST_P384: ec('secp384r1'),
  ECC_NIST_P521: ec('secp521r1'),
  ECC_SECG_P256K1: ec('secp256k1'),
  ECC_NIST_EDWARDS25519: generateKeyPairSync('ed25519'),
  ML_DSA_44: generateKeyPairSync('ml-dsa-44'),
  ML_DSA_65: generateKeyPairSync('ml-dsa-65'),
  ML_DSA_87: generateKeyPairSync('ml-dsa-87'),
} as const satisfies Partial<Record<keyof typeof keySpecs, Pair>>;

/** Of another key of the same kind. */
const strangers = {
  RSA_2048: generateKeyPairSync('rsa', { modulusLength: 2048 }),
  ECC_NIST_P256: ec('prime256v1'),
  ECC_NIST_P384: ec('secp384r1'),
  ECC_NIST_P521: ec('secp521r1'),
  ECC_SECG_P256K1: ec('secp256k1'),
  ECC_NIST_EDWARDS25519: generateKeyPairSync('ed25519'),
  ML_DSA_44: generateKeyPairSync('ml-dsa-44'),
  ML_DSA_65: generateKeyPairSync('ml-dsa-65'),
  ML_DSA_87: generateKeyPairSync('ml-dsa-87'),
} as const satisfies Record<keyof typeof pairs, Pair>;

/** What nothing here verifies: its keys are refused when they are created, or the algorithm when it is used. */
const unverified: readonly SigningAlgorithm[] = ['SM2DSA', 'ED25519_PH_SHA_512'];

const cases = (Object.keys(pairs) as (keyof typeof pairs)[]).flatMap((keySpec) =>
  keySpecs[keySpec].usages.SIGN_VERIFY.filter((algorithm) => !unverified.includes(algorithm)).flatMap((algorithm) =>
    signingAlgorithmRow(algorithm).messageTypes.map((messageType) => ({ keySpec, algorithm, messageType })),
  ),
);

function signed(algorithm: SigningAlgorithm, messageType: MessageType, message: Buffer, publicKey: KeyObject) {
  const given: Readonly<Record<MessageType, () => Buffer>> = {
    RAW: () => Buffer.from(message),
    DIGEST: () =>
      createHash(signingAlgorithmRow(algorithm).hash?.name ?? '')
        .update(message)
        .digest(),
    EXTERNAL_MU: () => muOf(publicKey, message),
  };
  return { algorithm, messageType, message: new Plaintext(given[messageType]()) };
}

/** FIPS 204, algorithm 7, step 6, of a message with an empty context (algorithm 2, step 10). */
function muOf(publicKey: KeyObject, message: Buffer): Buffer {
  const shake256 = (bytes: Buffer) => createHash('shake256', { outputLength: 64 }).update(bytes).digest();
  const encoded = Buffer.from(publicKey.export({ format: 'jwk' })['pub'] as string, 'base64url');
  return shake256(Buffer.concat([shake256(encoded), Buffer.of(0, 0), message]));
}

/** By node:crypto, told what the specification of the algorithm's name says. */
function signatureOf(algorithm: SigningAlgorithm, privateKey: KeyObject, message: Buffer): Buffer {
  const hash = /SHA_(256|384|512)$/.exec(algorithm)?.[1];
  if (hash === undefined || algorithm.startsWith('ED25519')) return sign(null, message, privateKey);
  const pss = { padding: constants.RSA_PKCS1_PSS_PADDING, saltLength: Number(hash) / 8 };
  return sign(`sha${hash}`, message, { key: privateKey, ...(algorithm.startsWith('RSASSA_PSS') ? pss : {}) });
}

const message = Buffer.from('the drawbridge is down');

describe.each(cases)('$algorithm with $keySpec over $messageType', ({ keySpec, algorithm, messageType }) => {
  const { privateKey, publicKey } = pairs[keySpec];
  const signature = signatureOf(algorithm, privateKey, message);
  const verdict = (other: { signature?: Buffer; message?: Buffer; publicKey?: KeyObject }) =>
    isSignature(
      other.publicKey ?? publicKey,
      signed(algorithm, messageType, other.message ?? message, other.publicKey ?? publicKey),
      other.signature ?? signature,
    );

  test('accepts what the key signed', async () => {
    expect(await verdict({})).toBe(true);
    const empty = Buffer.alloc(0);
    expect(await verdict({ message: empty, signature: signatureOf(algorithm, privateKey, empty) })).toBe(true);
  });

  test('refuses another message, another key and another algorithm', async () => {
    expect(await verdict({ message: Buffer.concat([message, Buffer.of(0)]) })).toBe(false);
    expect(await verdict({ publicKey: strangers[keySpec].publicKey })).toBe(false);
    for (const other of keySpecs[keySpec].usages.SIGN_VERIFY) {
      if (other === algorithm || unverified.includes(other)) continue;
      expect(await verdict({ signature: signatureOf(other, privateKey, message) })).toBe(false);
    }
  });

  test('refuses a signature with one bit changed, cut, grown or replaced by anything', async () => {
    const bits = fc.nat({ max: signature.length * 8 - 1 });
    const changed = bits.map((bit) => {
      const copy = Buffer.from(signature);
      copy[bit >> 3] = (copy[bit >> 3] ?? 0) ^ (1 << (bit & 7));
      return copy;
    });
    const cut = fc.nat({ max: signature.length - 1 }).map((length) => signature.subarray(0, length));
    const grown = fc.uint8Array({ minLength: 1, maxLength: 8 }).map((tail) => Buffer.concat([signature, tail]));
    const anything = fc.uint8Array({ minLength: 1, maxLength: 600, size: 'max' }).map((bytes) => Buffer.from(bytes));
    await fc.assert(
      fc.asyncProperty(fc.oneof(changed, cut, grown, anything), async (other) => {
        expect(await verdict({ signature: other })).toBe(false);
      }),
      { numRuns: 40 },
    );
  });
});

const ecdsaCases = cases.filter(({ algorithm }) => algorithm.startsWith('ECDSA'));

/** From DER that is right to DER that somebody made: r and s are taken over as they are written. */
const malformed: readonly (readonly [what: string, make: (r: Buffer, s: Buffer) => Buffer])[] = [
  ['r and s side by side', (r, s) => Buffer.concat([r, s])],
  ['two zeros', () => sequence(integer(Buffer.of(0)), integer(Buffer.of(0)))],
  ['an r of zero', (_r, s) => sequence(integer(Buffer.of(0)), integer(s))],
  ['a negative s', (r) => sequence(integer(r), integer(Buffer.of(0xff)))],
  ['an r with a superfluous zero', (r, s) => sequence(integer(Buffer.concat([Buffer.alloc(2), r])), integer(s))],
  ['a third number', (r, s) => sequence(integer(r), integer(s), integer(Buffer.of(1)))],
  ['one number', (r) => sequence(integer(r))],
  ['an empty sequence', () => sequence()],
  ['an indefinite length', (r, s) => Buffer.concat([Buffer.of(0x30, 0x80), integer(r), integer(s), Buffer.alloc(2)])],
  ['a length beyond the end', (r, s) => Buffer.concat([Buffer.of(0x30, 0x7f), integer(r), integer(s)])],
  ['a huge length', () => Buffer.of(0x30, 0x84, 0xff, 0xff, 0xff, 0xff)],
  ['huge numbers', () => sequence(integer(Buffer.alloc(2000, 0x7f)), integer(Buffer.alloc(2000, 0x7f)))],
];

describe.each(ecdsaCases)('$algorithm with $keySpec over $messageType', ({ keySpec, algorithm, messageType }) => {
  const { privateKey, publicKey } = pairs[keySpec];
  test.each(malformed)('refuses %s', async (_what, make) => {
    const raw = sign(`sha${algorithm.slice(-3)}`, message, { key: privateKey, dsaEncoding: 'ieee-p1363' });
    const half = raw.length / 2;
    const forged = make(raw.subarray(0, half), raw.subarray(half));
    expect(await isSignature(publicKey, signed(algorithm, messageType, message, publicKey), forged)).toBe(false);
  });
});

describe('the message of a signature', () => {
  const bytes = (length: number) => new Plaintext(Buffer.alloc(length));
  const publicKey = pairs.RSA_2048.publicKey;

  test.each(
    signingAlgorithms.flatMap((algorithm) =>
      messageTypes
        .filter((messageType) => !signingAlgorithmRow(algorithm).messageTypes.includes(messageType))
        .map((messageType) => [messageType, algorithm] as const),
    ),
  )('is not %s for %s', async (messageType, algorithm) => {
    const asked = isSignature(publicKey, { algorithm, messageType, message: bytes(64) }, Buffer.alloc(256));
    await expect(asked).rejects.toMatchObject({
      name: 'ValidationException',
      message: `Message type ${messageType} is incompatible with algorithm ${algorithm}.`,
    });
  });

  test.each(
    signingAlgorithms.flatMap((algorithm) => {
      const { digestBytes, messageTypes: taken } = signingAlgorithmRow(algorithm);
      const messageType = taken.find((type) => type !== 'RAW');
      if (digestBytes === null || messageType === undefined) return [];
      return [digestBytes - 1, digestBytes + 1].map((length) => [length, messageType, algorithm] as const);
    }),
  )('is not %d bytes of %s for %s', async (length, messageType, algorithm) => {
    const asked = isSignature(publicKey, { algorithm, messageType, message: bytes(length) }, Buffer.alloc(256));
    await expect(asked).rejects.toMatchObject({
      name: 'ValidationException',
      message: `Digest is invalid length for algorithm ${algorithm}.`,
    });
  });

  test.each(unverified)('of %s is not verified here, and that is said', async (algorithm) => {
    const messageType = signingAlgorithmRow(algorithm).messageTypes[0] ?? 'RAW';
    const asked = isSignature(publicKey, { algorithm, messageType, message: bytes(64) }, Buffer.alloc(64));
    await expect(asked).rejects.toMatchObject({
      name: 'UnsupportedOperationException',
      message: `${algorithm} is not supported: Drawbridge cannot verify such signatures.`,
    });
  });
});

function integer(content: Buffer): Buffer {
  const isHigh = (content[0] ?? 0) >= 0x80 && content.length > 1;
  const padded = isHigh ? Buffer.concat([Buffer.of(0), content]) : content;
  return Buffer.concat([Buffer.of(0x02), length(padded.length), padded]);
}

function sequence(...members: readonly Buffer[]): Buffer {
  const content = Buffer.concat(members);
  return Buffer.concat([Buffer.of(0x30), length(content.length), content]);
}

function length(bytes: number): Buffer {
  if (bytes < 0x80) return Buffer.of(bytes);
  if (bytes < 0x100) return Buffer.of(0x81, bytes);
  return Buffer.of(0x82, bytes >> 8, bytes & 0xff);
}
