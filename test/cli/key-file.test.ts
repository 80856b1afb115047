/** Which files `keys import` takes for which KeySpec, and what it says about the others. No daemon is asked. */

import { execFileSync } from 'node:child_process';
import {
  createDecipheriv,
  createPrivateKey,
  constants as cryptoConstants,
  generateKeyPairSync,
  privateDecrypt,
  randomBytes,
} from 'node:crypto';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { decodeSecret } from '../../src/cli/import/digits.ts';
import { readKeyMaterialFile } from '../../src/cli/import/key-file.ts';
import { wrapMaterial, wrappingAlgorithmFor } from '../../src/cli/import/wrap-material.ts';

const passphrase = 'correct-horse';

/** Made by OpenSSL's own commands, as people make theirs. */
const recipes = {
  'pkcs8.pem': 'genpkey -algorithm RSA -pkeyopt rsa_keygen_bits:2048 -out pkcs8.pem',
  'pkcs1.pem': 'rsa -in pkcs8.pem -traditional -out pkcs1.pem',
  'pkcs1.der': 'rsa -in pkcs8.pem -traditional -outform DER -out pkcs1.der',
  'encrypted.pem': `pkcs8 -topk8 -in pkcs8.pem -v2 aes256 -iter 1000 -passout pass:${passphrase} -out encrypted.pem`,
  'encrypted.der': `pkcs8 -topk8 -in pkcs8.pem -v2 aes256 -iter 1000 -passout pass:${passphrase} -outform DER -out encrypted.der`,
  'traditional.pem': `rsa -in pkcs8.pem -traditional -aes128 -passout pass:${passphrase} -out traditional.pem`,
  'public.pem': 'pkey -in pkcs8.pem -pubout -out public.pem',
  'parameters.pem': 'ecparam -genkey -name prime256v1 -out parameters.pem',
  'sec1.der': 'ec -in parameters.pem -outform DER -out sec1.der',
  'explicit.pem': 'ecparam -genkey -noout -name prime256v1 -param_enc explicit -out explicit.pem',
  'p384.pem': 'genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-384 -out p384.pem',
  'pss.pem': 'genpkey -algorithm RSA-PSS -pkeyopt rsa_keygen_bits:2048 -out pss.pem',
  'certificate.pem': 'req -x509 -key pkcs8.pem -subj /CN=a -days 1 -out certificate.pem',
  'web.p12': 'pkcs12 -export -inkey pkcs8.pem -in certificate.pem -passout pass:x -out web.p12',
  'ed25519.pem': 'genpkey -algorithm ED25519 -out ed25519.pem',
} as const;

let folder: string;
const files = new Map<string, Buffer>();

beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'drawbridge-key-file-'));
  for (const [name, recipe] of Object.entries(recipes)) {
    execFileSync('openssl', recipe.split(' '), { cwd: folder, stdio: 'ignore' });
    files.set(name, readFileSync(join(folder, name)));
  }
  files.set('two.pem', Buffer.concat([files.get('pkcs8.pem') ?? Buffer.of(), files.get('p384.pem') ?? Buffer.of()]));
  const both = ['certificate.pem', 'pkcs8.pem'].map((name) => files.get(name) ?? Buffer.of());
  files.set('with certificate.pem', Buffer.concat(both));
  files.set(
    'openssh.pem',
    Buffer.from('-----BEGIN OPENSSH PRIVATE KEY-----\nAAAA\n-----END OPENSSH PRIVATE KEY-----\n'),
  );
  files.set('cut.pem', (files.get('pkcs8.pem') ?? Buffer.of()).subarray(0, 900));
  files.set('noise', randomBytes(600));
  files.set('empty', Buffer.of());
  files.set('32', Buffer.alloc(32, 0xa7));
  files.set('33', Buffer.concat([Buffer.alloc(32, 0xa7), Buffer.from('\n')]));
  files.set('hex', Buffer.from(`${'A7'.repeat(16)}\n${'a7'.repeat(16)}\n`));
  files.set('base64', Buffer.from(`${Buffer.alloc(32, 0xa7).toString('base64')}\n`));
  files.set('base64 of pkcs8', Buffer.from(toDer('pkcs8.pem').toString('base64')));
  files.set('digits', Buffer.from('0123456789abcdef0123456789abcdef'));
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

function toDer(name: string): Buffer {
  const key = files.get(name) ?? Buffer.of();
  return createPrivateKey({ key, passphrase }).export({ type: 'pkcs8', format: 'der' });
}

interface Choices {
  readonly encoding?: 'raw' | 'hex' | 'base64';
  readonly typed?: string;
}

function read(name: string, keySpec: string, { encoding, typed = passphrase }: Choices = {}): Promise<Buffer> {
  const bytes = Buffer.from(files.get(name) ?? Buffer.from('no such file'));
  return readKeyMaterialFile({ path: name, bytes, encoding, passphrase: async () => Buffer.from(typed) }, keySpec);
}

test.each([
  ['pkcs8.pem', 'RSA_2048'],
  ['pkcs1.pem', 'RSA_2048'],
  ['encrypted.pem', 'RSA_2048'],
  ['traditional.pem', 'RSA_2048'],
  ['parameters.pem', 'ECC_NIST_P256'],
  ['p384.pem', 'ECC_NIST_P384'],
  ['ed25519.pem', 'ECC_NIST_EDWARDS25519'],
])('%s is read for %s as PKCS#8 in DER', async (name, keySpec) => {
  expect((await read(name, keySpec)).equals(toDer(name))).toBe(true);
});

test.each([
  ['pkcs1.der', 'RSA_2048', 'pkcs8.pem'],
  ['encrypted.der', 'RSA_2048', 'pkcs8.pem'],
  ['sec1.der', 'ECC_NIST_P256', 'parameters.pem'],
])('%s, which says nothing of itself, is read for %s', async (name, keySpec, same) => {
  expect((await read(name, keySpec)).equals(toDer(same))).toBe(true);
});

test('the private key is found behind its certificate', async () => {
  expect((await read('with certificate.pem', 'RSA_2048')).equals(toDer('pkcs8.pem'))).toBe(true);
});

test('base64 of a private key in DER is read where it is said to be that', async () => {
  const material = await read('base64 of pkcs8', 'RSA_2048', { encoding: 'base64' });
  expect(material.equals(toDer('pkcs8.pem'))).toBe(true);
});

test.each([
  ['32', {}],
  ['32', { encoding: 'raw' }],
  ['hex', { encoding: 'hex' }],
  ['base64', { encoding: 'base64' }],
] as const)('the bytes of a secret are read from `%s`, %o', async (name, choices) => {
  expect(await read(name, 'SYMMETRIC_DEFAULT', choices)).toEqual(Buffer.alloc(32, 0xa7));
});

test.each([
  ['33', 'SYMMETRIC_DEFAULT', {}, 'takes 32 bytes, and `33` has 33: the last is a line feed'],
  ['32', 'HMAC_512', {}, 'HMAC_512 takes 64 bytes, and `32` has 32'],
  ['32', 'HMAC_224', {}, 'HMAC_224 takes 28 bytes, and `32` has 32'],
  ['empty', 'HMAC_256', {}, 'takes 32 bytes, and `empty` has 0'],
  ['hex', 'SYMMETRIC_DEFAULT', {}, 'has 66; if it is hex of them, say --encoding hex'],
  ['base64', 'SYMMETRIC_DEFAULT', {}, 'has 45; if it is base64 of them, say --encoding base64'],
  ['base64', 'SYMMETRIC_DEFAULT', { encoding: 'hex' }, '`base64` is not hex'],
  ['32', 'SYMMETRIC_DEFAULT', { encoding: 'base64' }, '`32` is not base64'],
  ['digits', 'SYMMETRIC_DEFAULT', {}, 'could be hex as well as the 32 bytes of a key; say which'],
  ['digits', 'SYMMETRIC_DEFAULT', { encoding: 'hex' }, 'takes 32 bytes, and `digits` has 16'],
  ['pkcs8.pem', 'SYMMETRIC_DEFAULT', {}, ': it is PEM, and this key takes no private key'],
  ['pkcs8.pem', 'RSA_3072', {}, '`pkcs8.pem` is an RSA key of 2048 bits, and the key is RSA_3072'],
  ['pkcs8.pem', 'ECC_NIST_P256', {}, 'is an RSA key of 2048 bits, and the key is ECC_NIST_P256'],
  ['p384.pem', 'ECC_NIST_P256', {}, 'is an EC key on secp384r1, and the key is ECC_NIST_P256'],
  ['ed25519.pem', 'RSA_2048', {}, 'is a key of type ed25519, and the key is RSA_2048'],
  ['pss.pem', 'RSA_2048', {}, 'is an RSA key that its file reserves for PSS'],
  ['explicit.pem', 'ECC_NIST_P256', {}, 'describes its curve instead of naming it; `openssl ec'],
  ['public.pem', 'RSA_2048', {}, 'has a PUBLIC KEY in it, and no private key'],
  ['two.pem', 'RSA_2048', {}, 'has 2 private keys in it, not one'],
  ['openssh.pem', 'RSA_2048', {}, 'is in the format of OpenSSH; `ssh-keygen'],
  ['cut.pem', 'RSA_2048', {}, 'is no private key, or a damaged one'],
  ['certificate.pem', 'RSA_2048', {}, 'has a CERTIFICATE in it, and no private key'],
  ['web.p12', 'RSA_2048', {}, ': it is PKCS#12, out of which `openssl pkcs12'],
  ['noise', 'RSA_2048', {}, 'is no private key in PEM or DER'],
  ['encrypted.pem', 'RSA_2048', { typed: 'wrong' }, 'cannot be decrypted: wrong passphrase, or a damaged file'],
  ['encrypted.der', 'RSA_2048', { typed: '' }, 'cannot be decrypted: wrong passphrase, or a damaged file'],
  ['traditional.pem', 'RSA_2048', { typed: 'wrong' }, 'cannot be decrypted: wrong passphrase, or a damaged file'],
  ['p384.pem', 'ECC_NIST_EDWARDS25519', {}, 'is an EC key on secp384r1, and the key is ECC_NIST_EDWARDS25519'],
  ['32', 'ML_DSA_44', {}, 'knows no files with keys of ML_DSA_44; there are SYMMETRIC_DEFAULT, '],
] as const)('`%s` for %s, %o: %s', async (name, keySpec, choices, message) => {
  await expect(read(name, keySpec, choices)).rejects.toThrow(message);
});

describe('digits', () => {
  test.each([
    ['hex', '', ''],
    ['hex', '0 0fF\n', '00ff'],
    ['hex', '0', undefined],
    ['hex', '0g', undefined],
    ['hex', '00=', undefined],
    ['base64', 'AP8=', '00ff'],
    ['base64', ' A P8\n=\n', '00ff'],
    ['base64', 'AP8', undefined],
    ['base64', 'AP9=', undefined],
    ['base64', '+/+/', 'fbffbf'],
    ['base64', 'A===', undefined],
    ['base64', '====', undefined],
    ['base64', 'AA=A', undefined],
    ['base64', '-_-_', undefined],
  ] as const)('%s `%s` is %s', (encoding, text, hex) => {
    expect(decodeSecret(Buffer.from(text), encoding)?.toString('hex')).toBe(hex);
  });

  test('are what Node.js writes', () => {
    for (let length = 0; length < 70; length++) {
      const bytes = randomBytes(length);
      for (const encoding of ['hex', 'base64'] as const) {
        expect(decodeSecret(Buffer.from(bytes.toString(encoding)), encoding)).toEqual(bytes);
      }
    }
  });
});

describe('wrapping', () => {
  const { privateKey, publicKey } = generateKeyPairSync('rsa', { modulusLength: 2048 });
  const spki = publicKey.export({ type: 'spki', format: 'der' });
  const open = (bytes: Buffer) =>
    privateDecrypt({ key: privateKey, padding: cryptoConstants.RSA_PKCS1_OAEP_PADDING, oaepHash: 'sha256' }, bytes);

  test('a secret goes into one RSA operation', () => {
    const algorithm = wrappingAlgorithmFor('HMAC_512');
    expect(algorithm).toBe('RSAES_OAEP_SHA_256');
    expect(open(wrapMaterial(Buffer.alloc(64, 7), spki, algorithm))).toEqual(Buffer.alloc(64, 7));
  });

  test('a private key goes under an AES key of its own, by AES-KWP', () => {
    const algorithm = wrappingAlgorithmFor('RSA_2048');
    expect(algorithm).toBe('RSA_AES_KEY_WRAP_SHA_256');
    const material = randomBytes(1218);
    const wrapped = wrapMaterial(material, spki, algorithm);
    const decipher = createDecipheriv(
      'id-aes256-wrap-pad',
      open(wrapped.subarray(0, 256)),
      Buffer.from('a65959a6', 'hex'),
    );
    expect(Buffer.concat([decipher.update(wrapped.subarray(256)), decipher.final()])).toEqual(material);
  });
});
