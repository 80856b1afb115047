import * as crypto from 'node:crypto';
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { publicKeyValues, readKeyMaterial } from '../../../src/hsm/host/calls/key-material.ts';
import { HostFailure } from '../../../src/hsm/host/token/failures.ts';
import { type HostKeySpec, hostKeySpecs } from '../../../src/hsm/host/token/pkcs11-key-specs.ts';

const curveNames = {
  ECC_NIST_P256: 'prime256v1',
  ECC_NIST_P384: 'secp384r1',
  ECC_NIST_P521: 'secp521r1',
  ECC_SECG_P256K1: 'secp256k1',
} as const;
type CurveSpec = keyof typeof curveNames;
const curveSpecs = Object.keys(curveNames) as readonly CurveSpec[];

const ecKey = (spec: CurveSpec) => crypto.generateKeyPairSync('ec', { namedCurve: curveNames[spec] }).privateKey;
const rsaKey = (modulusLength: number, publicExponent = 0x10001) =>
  crypto.generateKeyPairSync('rsa', { modulusLength, publicExponent }).privateKey;
const rsa = rsaKey(2048);
const pkcs8 = (key: crypto.KeyObject) => key.export({ type: 'pkcs8', format: 'der' });
const spki = (key: crypto.KeyObject) => crypto.createPublicKey(key).export({ type: 'spki', format: 'der' });

/** Why material is refused, or `null`. */
function refusal(bytes: Buffer, row: HostKeySpec): string | null {
  try {
    readKeyMaterial(bytes, row);
    return null;
  } catch (error) {
    if (!(error instanceof HostFailure)) throw error;
    expect(error.failure).toBe('materialInvalid');
    return error.message;
  }
}

const der = (tag: number, ...contents: readonly Buffer[]): Buffer => {
  const body = Buffer.concat(contents);
  const { length } = body;
  const head = length < 0x80 ? [length] : length < 0x100 ? [0x81, length] : [0x82, length >> 8, length & 0xff];
  return Buffer.concat([Buffer.from([tag, ...head]), body]);
};
const number = (value: bigint): Buffer => {
  const digits = value.toString(16);
  const bytes = Buffer.from(digits.length % 2 === 0 ? digits : `0${digits}`, 'hex');
  return der(2, (bytes[0] ?? 0) >= 0x80 ? Buffer.concat([Buffer.alloc(1), bytes]) : bytes);
};
const zero = number(0n);
const named = { rsa: '300d06092a864886f70d0101010500', ec: '301306072a8648ce3d020106082a8648ce3d030107' };
const info = (algorithm: string, privateKey: Buffer, ...rest: readonly Buffer[]) =>
  der(0x30, zero, Buffer.from(algorithm, 'hex'), der(4, privateKey), ...rest);
const ecInfo = (scalar: Buffer, ...rest: readonly Buffer[]) =>
  info(named.ec, der(0x30, number(1n), der(4, scalar), ...rest));

test.each(curveSpecs)('%s comes in with and without its public key, and the public key is computed', (spec) => {
  const key = ecKey(spec);
  const row = hostKeySpecs[spec];
  const { publicKey, values } = readKeyMaterial(pkcs8(key), row);
  expect(publicKey).toEqual(spki(key));
  const scalar = Buffer.from(key.export({ format: 'jwk' }).d ?? '', 'base64url');
  expect(values[1]?.value).toEqual(scalar);
  // OpenSSL leaves the public key out when it is told to; here the ECPrivateKey is put together without it.
  const { curve } = row;
  const algorithm = der(0x30, Buffer.from('06072a8648ce3d0201', 'hex'), Buffer.from(curve?.ecParams[0] ?? '', 'hex'));
  const bare = der(0x30, zero, algorithm, der(4, der(0x30, number(1n), der(4, scalar))));
  expect(readKeyMaterial(bare, row).publicKey).toEqual(spki(key));
  // With an attribute behind it, as Windows writes them (key usage).
  const attribute = der(0xa0, der(0x30, Buffer.from('0603551d0f', 'hex'), der(0x31, Buffer.from('03020780', 'hex'))));
  const attributed = der(0x30, zero, algorithm, der(4, der(0x30, number(1n), der(4, scalar))), attribute);
  expect(readKeyMaterial(attributed, row).publicKey).toEqual(spki(key));
  expect(publicKeyValues(spki(key), row)).toHaveLength(2);
});

test('Ed25519 comes in as RFC 8410 writes it', () => {
  const { privateKey } = crypto.generateKeyPairSync('ed25519');
  const row = hostKeySpecs.ECC_NIST_EDWARDS25519;
  expect(readKeyMaterial(pkcs8(privateKey), row).publicKey).toEqual(spki(privateKey));
  const long = Buffer.concat([Buffer.from('302f020100300506032b657004230421', 'hex'), Buffer.alloc(33, 1)]);
  expect(refusal(long, row)).toBe('a private key of edwards25519 has 32 bytes');
});

test('any one bit of a private key that has its public key with it is refused when it is changed', () => {
  const keys: readonly (readonly [bytes: Buffer, row: HostKeySpec])[] = [
    [pkcs8(rsa), hostKeySpecs.RSA_2048],
    ...curveSpecs.map((spec) => [pkcs8(ecKey(spec)), hostKeySpecs[spec]] as const),
  ];
  fc.assert(
    fc.property(fc.constantFrom(...keys), fc.nat(), (each, at) => {
      const [bytes, row] = each;
      const changed = Buffer.from(bytes);
      const bit = at % (bytes.length * 8);
      changed.writeUInt8(changed.readUInt8(bit >> 3) ^ (1 << (bit & 7)), bit >> 3);
      expect(refusal(changed, row)).not.toBeNull();
    }),
    { numRuns: 300 },
  );
});

test('no part of a private key, no bytes behind it and no random bytes are one', () => {
  const [p256, row] = [pkcs8(ecKey('ECC_NIST_P256')), hostKeySpecs.ECC_NIST_P256];
  fc.assert(
    fc.property(
      fc.nat(p256.length - 1),
      fc.uint8Array({ minLength: 1, maxLength: 300, size: 'max' }),
      (length, extra) => {
        expect(refusal(p256.subarray(0, length), row)).not.toBeNull();
        expect(refusal(Buffer.concat([p256, extra]), row)).not.toBeNull();
        expect(refusal(Buffer.from(extra), row)).not.toBeNull();
      },
    ),
    { numRuns: 200 },
  );
});

test('a private scalar is above 0 and below the order of its curve', () => {
  const order = BigInt('0xffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551');
  const scalarOf = (value: bigint) => Buffer.from(value.toString(16).padStart(64, '0'), 'hex');
  const row = hostKeySpecs.ECC_NIST_P256;
  for (const good of [1n, 2n, 1n << 100n, order - 1n]) expect(refusal(ecInfo(scalarOf(good)), row)).toBeNull();
  for (const wrong of [0n, order, order + 1n, (1n << 256n) - 1n])
    expect(refusal(ecInfo(scalarOf(wrong)), row)).toBe('the private key is 0, or not below the order of NIST P-256');
  for (const length of [0, 31, 33]) expect(refusal(ecInfo(Buffer.alloc(length, 1)), row)).toMatch(/has 32 bytes$/);
});

test('what an ECPrivateKey says beside its scalar must be true', () => {
  const key = ecKey('ECC_NIST_P256');
  const scalar = Buffer.from(key.export({ format: 'jwk' }).d ?? '', 'base64url');
  const row = hostKeySpecs.ECC_NIST_P256;
  const pair = crypto.createECDH('prime256v1');
  pair.setPrivateKey(scalar);
  const bits = (point: Buffer, unused = 0) => der(0xa1, der(3, Buffer.from([unused]), point));
  expect(refusal(ecInfo(scalar, bits(pair.getPublicKey())), row)).toBeNull();
  expect(refusal(ecInfo(scalar, bits(pair.getPublicKey(null, 'compressed'))), row)).toBeNull();
  expect(refusal(ecInfo(scalar, der(0xa0, Buffer.from('06082a8648ce3d030107', 'hex'))), row)).toBeNull();
  const other = crypto.createECDH('prime256v1').generateKeys();
  const belongs = 'the public key inside of the private key belongs to another one';
  expect(refusal(ecInfo(scalar, bits(other)), row)).toBe(belongs);
  expect(refusal(ecInfo(scalar, bits(pair.getPublicKey(), 1)), row)).toBe(belongs);
  expect(refusal(ecInfo(scalar, bits(Buffer.alloc(0))), row)).toBe(belongs);
  expect(refusal(ecInfo(scalar, der(0xa0, Buffer.from('06052b81040022', 'hex'))), row)).toBe(
    'the private key is not on NIST P-256',
  );
  const spelledOut = info('301006072a8648ce3d0201300506032b6570', der(0x30, number(1n), der(4, scalar)));
  expect(refusal(spelledOut, row)).toBe('the private key does not name its curve');
});

test('RSA has two primes, an exponent that is large enough, and its size to the bit', () => {
  const row = hostKeySpecs.RSA_2048;
  expect(refusal(pkcs8(rsa), row)).toBeNull();
  expect(refusal(pkcs8(rsaKey(2048, 0x10003)), row)).toBeNull();
  expect(refusal(pkcs8(rsaKey(2048, 3)), row)).toBe('the public exponent is even, or not between 2^16 and 2^256');
  for (const bits of [1024, 2040, 2056])
    expect(refusal(pkcs8(rsaKey(bits)), row)).toBe(`the modulus has ${bits} bits, not 2048`);
  expect(refusal(pkcs8(rsa), hostKeySpecs.RSA_3072)).toBe('the modulus has 2048 bits, not 3072');

  const jwk = rsa.export({ format: 'jwk' });
  const members = ['n', 'e', 'd', 'p', 'q', 'dp', 'dq', 'qi'] as const;
  const components = members.map((name) => BigInt(`0x${Buffer.from(jwk[name] ?? '', 'base64url').toString('hex')}`));
  const withComponents = (numbers: readonly bigint[], version = zero) =>
    info(named.rsa, der(0x30, version, ...numbers.map(number)));
  expect(refusal(withComponents(components), row)).toBeNull();
  expect(refusal(withComponents(components, number(1n)), row)).toMatch(/it has more than two primes$/);
  expect(refusal(withComponents([...components, 5n]), row)).toMatch(/there are bytes behind it$/);
  expect(refusal(withComponents(components.slice(0, 7)), row)).toMatch(/another tag than expected$/);
  for (const at of components.keys()) {
    const changed = components.map((value, index) => (index === at ? value + 2n : value));
    expect([members[at], refusal(withComponents(changed), row)]).not.toEqual([members[at], null]);
  }
  // The primes in the other order are the same key with another coefficient.
  const [n = 0n, e = 0n, d = 0n, p = 0n, q = 0n, dp = 0n, dq = 0n, qi = 0n] = components;
  expect(refusal(withComponents([n, e, d, q, p, dq, dp, qi]), row)).toBe(
    'the components of the private key do not belong together',
  );
  expect(refusal(withComponents([n, e, d, 1n, n, dp, dq, qi]), row)).toMatch(/do not belong together$/);
});

test('BER that is not DER is refused', () => {
  const row = hostKeySpecs.ECC_NIST_P256;
  const good = ecInfo(Buffer.alloc(32, 1));
  expect(refusal(good, row)).toBeNull();
  const body = good.subarray(2);
  const longLength = Buffer.concat([Buffer.from([0x30, 0x81, body.length]), body]);
  const indefinite = Buffer.concat([Buffer.from([0x30, 0x80]), body, Buffer.alloc(2)]);
  const longerLength = Buffer.concat([Buffer.from([0x30, 0x82, 0, body.length]), body]);
  const hugeLength = Buffer.concat([Buffer.from([0x30, 0x84, 0, 0, 0, body.length]), body]);
  const longVersion = der(0x30, der(2, Buffer.alloc(2)), good.subarray(5));
  const negative = der(0x30, der(2, Buffer.from([0x80])), good.subarray(5));
  const empty = der(0x30, der(2), good.subarray(5));
  const version1 = der(0x30, number(1n), good.subarray(5));
  for (const each of [longLength, indefinite, longerLength, hugeLength, longVersion, negative, empty, version1])
    expect(refusal(each, row)).toMatch(/^the key material is not one PKCS#8 in DER: /);
});
