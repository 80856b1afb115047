/**
 * Signatures against Wycheproof: the verification that Verify does outside of the HSM gives the vectors' verdict, for the
 * message and for its digest, and the token gives the same one on every vector that can be put to it.
 */

import { createHash, createPublicKey } from 'node:crypto';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { isSignature } from '../../src/keys/use/signatures.ts';
import type { SigningAlgorithm } from '../../src/kms/algorithms.ts';
import { Plaintext } from '../../src/secrets/secret-bytes.ts';
import { type InProcessHost, openInProcess } from '../hsm/host/in-process.ts';
import { describeEachToken } from '../support/tokens.ts';
import { ecdsa, ed25519, pkcs1, pss, type TokenAlgorithm, TokenVerifier } from './token-verifier.ts';
import { type Exemption, hex, Judge, type JudgedVector, readWycheproof, unused } from './wycheproof.ts';

type Vector = JudgedVector & { readonly msg: Buffer; readonly sig: Buffer };

interface File {
  readonly name: string;
  readonly algorithm: SigningAlgorithm;
  /** `null`: the algorithm takes no digest. */
  readonly hash: string | null;
  readonly token: TokenAlgorithm;
  readonly exemptions?: readonly Exemption<Vector>[];
}

type Hash = 256 | 384 | 512;

const rsaSignature = (bits: number, hash: Hash): File => ({
  name: `rsa_signature_${bits}_sha${hash}`,
  algorithm: `RSASSA_PKCS1_V1_5_SHA_${hash}`,
  hash: `sha${hash}`,
  token: pkcs1(hash),
});
/** @param rest What the name says of the mask's hash and the salt. */
const rsaPss = (bits: number, hash: Hash, rest: string, exemptions: readonly Exemption<Vector>[] = []): File => ({
  name: `rsa_pss_${bits}_sha${hash}_${rest}`,
  algorithm: `RSASSA_PSS_SHA_${hash}`,
  hash: `sha${hash}`,
  token: pss(hash),
  exemptions,
});
const allRefused = (reason: string): Exemption<Vector>[] => [{ applies: () => true, verdict: 'refused', reason }];
const ecdsaOn = (curve: string, hash: Hash, fieldBytes: number): File => ({
  name: `ecdsa_${curve}_sha${hash}`,
  algorithm: `ECDSA_SHA_${hash}`,
  hash: `sha${hash}`,
  token: ecdsa(hash, fieldBytes),
});

const files: readonly File[] = [
  ...[2048, 3072, 4096].flatMap((bits) => ([256, 384, 512] as const).map((hash) => rsaSignature(bits, hash))),
  rsaPss(2048, 256, 'mgf1_32'),
  rsaPss(2048, 384, 'mgf1_48'),
  rsaPss(3072, 256, 'mgf1_32'),
  rsaPss(4096, 256, 'mgf1_32'),
  rsaPss(4096, 384, 'mgf1_48'),
  rsaPss(4096, 512, 'mgf1_64'),
  rsaPss(2048, 256, 'mgf1_0', [
    {
      applies: ({ comment }) => comment === 's_len changed to 32',
      verdict: 'accepted',
      reason: 'the salt of KMS is as long as the hash, which is what this one is wrong by',
    },
    ...allRefused('the salt of KMS is as long as the hash, and not empty'),
  ]),
  rsaPss(4096, 512, 'mgf1_32', allRefused('the salt of KMS is as long as the hash, and not half of it')),
  rsaPss(
    2048,
    256,
    'mgf1sha1_20',
    allRefused('the mask of KMS is made with the hash of the message, and not with SHA-1'),
  ),
  ecdsaOn('secp256r1', 256, 32),
  ecdsaOn('secp384r1', 384, 48),
  ecdsaOn('secp521r1', 512, 66),
  ecdsaOn('secp256k1', 256, 32),
  { name: 'ed25519', algorithm: 'ED25519_SHA_512', hash: null, token: ed25519 },
];

const otherForms = Object.fromEntries(
  [
    'keySize',
    'sha',
    'mgf',
    'mgfSha',
    'sLen',
    'publicKey',
    'publicKeyAsn',
    'publicKeyPem',
    'publicKeyJwk',
    'keyJwk',
  ].map((name) => [name, unused.optional()]),
);
const readFile = (name: string) =>
  readWycheproof(name, { ...otherForms, publicKeyDer: hex }, { msg: hex, sig: hex }).map(({ group, tests }) => ({
    publicKey: createPublicKey({ key: group.publicKeyDer, format: 'der', type: 'spki' }),
    tests,
  }));

/** Each file is read once, though three tests go through it. */
const contents = new Map<string, ReturnType<typeof readFile>>();
function read(name: string): ReturnType<typeof readFile> {
  const content = contents.get(name) ?? readFile(name);
  contents.set(name, content);
  return content;
}

/** Verify's verdicts by file and number of the vector, for the comparison with the tokens. */
const verdicts = new Map<string, boolean>();

test.each(files)('$name: Verify gives the verdict of each vector', async ({ name, algorithm, hash, exemptions }) => {
  const byMessage = new Judge<Vector>(name, exemptions);
  const byDigest = new Judge<Vector>(`${name}, by digest`, exemptions);
  for (const { publicKey, tests } of read(name)) {
    for (const vector of tests) {
      const message = new Plaintext(vector.msg);
      const signed = { algorithm, message, messageType: 'RAW' } as const;
      const isValid = await isSignature(publicKey, signed, vector.sig);
      verdicts.set(`${name} ${vector.tcId}`, isValid);
      byMessage.judge(vector, isValid ? 'accepted' : 'refused');
      if (hash === null) continue;
      const digest = new Plaintext(createHash(hash).update(vector.msg).digest());
      const hashed = { algorithm, message: digest, messageType: 'DIGEST' } as const;
      byDigest.judge(vector, (await isSignature(publicKey, hashed, vector.sig)) ? 'accepted' : 'refused');
    }
  }
  byMessage.end();
  if (hash !== null) byDigest.end();
});

describeEachToken('The token', (token) => {
  let host: InProcessHost;
  let verifier: TokenVerifier;
  beforeAll(() => {
    host = openInProcess(token());
    verifier = new TokenVerifier(host);
  });
  afterAll(() => host.close());

  test.each(files)('$name: has the verdict of Verify on each vector', ({ name, token: way }) => {
    const report = (line: string) => process.stdout.write(`${name}, ${token().name}: ${line}\n`);
    const different: object[] = [];
    let asked = 0;
    let withoutForm = 0;
    for (const { publicKey, tests } of read(name)) {
      const key = verifier.import(publicKey);
      if (key === undefined) {
        expect(asked).toBe(0);
        report('skipped: the token knows no such keys');
        return;
      }
      for (const { tcId, comment, flags, msg, sig } of tests) {
        const ours = verdicts.get(`${name} ${tcId}`);
        const signature = way.signature(sig);
        if (signature === undefined) withoutForm += 1;
        else asked += 1;
        const its = signature !== undefined && verifier.verify(key, way.mechanism, way.message(msg), signature);
        if (its !== ours) different.push({ tcId, comment, flags, ours, its });
      }
      verifier.destroy(key);
    }
    if (withoutForm > 0) report(`${withoutForm} not asked because they are no DER of two numbers that fit`);
    expect(different).toEqual([]);
    expect(asked).toBeGreaterThan(0);
  });
});
