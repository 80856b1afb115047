/**
 * Certificates and requests, with keys of node:crypto in the place of the HSM's: what is about the documents and not about
 * who signs them. `transcripts/certificates.txt` has the HSM sign.
 */

import { execFileSync } from 'node:child_process';
import { constants, generateKeyPairSync, type KeyObject, sign, X509Certificate } from 'node:crypto';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { CertificationRequest } from '@peculiar/asn1-csr';
import { AsnParser, AsnSerializer } from '@peculiar/asn1-schema';
import { SubjectPublicKeyInfo } from '@peculiar/asn1-x509';
import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { parseAlternativeName } from '../../src/cli/x509/alternative-names.ts';
import { type ProfileOptions, profileOf } from '../../src/cli/x509/certificate-options.ts';
import { parseDistinguishedName } from '../../src/cli/x509/distinguished-name.ts';
import { readDocument } from '../../src/cli/x509/pem.ts';
import { makeRequest, readRequest } from '../../src/cli/x509/request.ts';
import { isSignature, signatureAlgorithm } from '../../src/cli/x509/signature-algorithms.ts';
import type { Signer } from '../../src/cli/x509/signer.ts';
import { makeCertificate, readIssuer } from '../../src/cli/x509/x509-certificate.ts';

interface Pair {
  readonly publicKey: KeyObject;
  readonly privateKey: KeyObject;
}

const rsa: Pair = generateKeyPairSync('rsa', { modulusLength: 2048 });
const curve = (namedCurve: string): Pair => generateKeyPairSync('ec', { namedCurve });
const algorithms: [algorithm: string, pair: Pair, hash: string | null, saltLength?: number][] = [
  ['RSASSA_PKCS1_V1_5_SHA_256', rsa, 'sha256'],
  ['RSASSA_PKCS1_V1_5_SHA_384', rsa, 'sha384'],
  ['RSASSA_PKCS1_V1_5_SHA_512', rsa, 'sha512'],
  ['RSASSA_PSS_SHA_256', rsa, 'sha256', 32],
  ['RSASSA_PSS_SHA_384', rsa, 'sha384', 48],
  ['RSASSA_PSS_SHA_512', rsa, 'sha512', 64],
  ['ECDSA_SHA_256', curve('P-256'), 'sha256'],
  ['ECDSA_SHA_256', curve('secp256k1'), 'sha256'],
  ['ECDSA_SHA_384', curve('P-384'), 'sha384'],
  ['ECDSA_SHA_512', curve('P-521'), 'sha512'],
  ['ED25519_SHA_512', generateKeyPairSync('ed25519'), null],
];

function signer(algorithm: string, { publicKey, privateKey }: Pair, hash: string | null, saltLength?: number): Signer {
  const key =
    saltLength === undefined ? privateKey : { key: privateKey, padding: constants.RSA_PKCS1_PSS_PADDING, saltLength };
  return {
    algorithm: signatureAlgorithm(algorithm),
    publicKey: publicKey.export({ type: 'spki', format: 'der' }),
    sign: (bytes) => Promise.resolve(sign(hash, bytes, key)),
  };
}

const ecSigner = signer('ECDSA_SHA_256', curve('P-256'), 'sha256');
const subject = parseDistinguishedName('CN=Tëst\\, Inc.,OU=a+O=b,C=AT');
const names = [
  'DNS:*.example.org',
  'IP:192.0.2.1',
  'IP:2001:db8::1',
  'email:a@example.org',
  'URI:https://example.org/x',
];

let folder: string;
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'drawbridge-x509-'));
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

/** Writes the document and hands it to openssl; throws when openssl refuses it. */
function openssl(der: Buffer, ...command: string[]): string {
  const file = join(folder, 'document');
  writeFileSync(file, der);
  return execFileSync('openssl', [...command, '-inform', 'DER', '-in', file], { encoding: 'utf8', stdio: 'pipe' });
}

describe.each(algorithms)('%s', (algorithm, pair, hash, saltLength) => {
  const ours = signer(algorithm, pair, hash, saltLength);

  test('signs requests that openssl verifies and readRequest reads', async () => {
    const profile = await profileOf({ san: names, extendedKeyUsage: ['serverAuth'] }, subject);
    const request = await makeRequest(subject, profile, ours);
    const shown = openssl(request, 'req', '-verify', '-noout', '-text');
    expect(shown).toContain('DNS:*.example.org, IP Address:192.0.2.1, IP Address:2001:DB8:0:0:0:0:0:1');
    expect(shown).toContain('TLS Web Server Authentication');
    const read = readRequest(request);
    expect(Buffer.from(AsnSerializer.serialize(read.publicKey))).toEqual(ours.publicKey);
    expect(AsnSerializer.serialize(read.subject)).toEqual(AsnSerializer.serialize(subject));
    expect(read.alternativeNames.length).toBe(names.length);
  });

  test('signs certificates that node:crypto and openssl verify', async () => {
    const certificate = await selfSigned(ours);
    const read = new X509Certificate(certificate);
    expect(read.verify(pair.publicKey)).toBe(true);
    expect(read.verify(rsa.publicKey)).toBe(pair === rsa);
    expect(read.ca).toBe(true);
    const pem = join(folder, 'ca.pem');
    writeFileSync(pem, read.toString());
    const verify = ['verify', '-x509_strict', '-check_ss_sig', '-CAfile', pem, pem];
    expect(execFileSync('openssl', verify, { encoding: 'utf8' })).toBe(`${pem}: OK\n`);
  });

  test('refuses a signature of other bytes', async () => {
    const signature = await ours.sign(Buffer.from('bytes'));
    expect(isSignature(ours.algorithm, ours.publicKey, Buffer.from('bytes'), signature)).toBe(true);
    expect(isSignature(ours.algorithm, ours.publicKey, Buffer.from('byteS'), signature)).toBe(false);
  });
});

async function selfSigned(ours: Signer, from = new Date(), days = 10): Promise<Buffer> {
  const profile = await profileOf({ ca: true, pathLength: 1 }, subject);
  const subjectKey = AsnParser.parse(ours.publicKey, SubjectPublicKeyInfo);
  const notAfter = new Date(from.getTime() + days * 86_400_000);
  return makeCertificate({ subject, subjectKey, notBefore: from, notAfter, profile }, ours);
}

test('a certificate says who, for how long and for what', async () => {
  const certificate = await selfSigned(ecSigner, new Date('2049-12-30T00:00:00Z'), 3);
  const shown = openssl(certificate, 'x509', '-noout', '-text', '-nameopt', 'RFC2253,utf8,-esc_msb');
  for (const line of [
    'Version: 3 (0x2)',
    'Subject: CN=Tëst\\, Inc.,OU=a+O=b,C=AT',
    'Issuer: CN=Tëst\\, Inc.,OU=a+O=b,C=AT',
    'Not Before: Dec 30 00:00:00 2049 GMT',
    'Not After : Jan  2 00:00:00 2050 GMT',
    'CA:TRUE, pathlen:1',
    'Certificate Sign, CRL Sign',
  ])
    expect(shown).toContain(line);
  expect(readIssuer(certificate)).toMatchObject({ isAuthority: true, mayCertify: true, pathLength: 1 });
});

test('no two certificates have one serial number, and each is positive and of 20 bytes', async () => {
  const serials = new Set<string>();
  for (let count = 0; count < 20; count += 1) {
    const { serialNumber } = new X509Certificate(await selfSigned(ecSigner));
    expect(serialNumber).toMatch(/^[4-7][0-9A-F]{39}$/);
    serials.add(serialNumber);
  }
  expect(serials.size).toBe(20);
});

test.each([0, 20, 32, 100])('a request that is signed by PSS with a salt of %i bytes is read', (saltLength) => {
  const [key, out] = [join(folder, 'pss.key'), join(folder, 'pss.csr')];
  writeFileSync(key, rsa.privateKey.export({ type: 'pkcs8', format: 'pem' }));
  const pss = ['-sigopt', 'rsa_padding_mode:pss', '-sigopt', `rsa_pss_saltlen:${saltLength}`, '-sha256'];
  execFileSync('openssl', ['req', '-new', '-key', key, '-subj', '/CN=pss', ...pss, '-outform', 'DER', '-out', out]);
  expect(readRequest(readFileSync(out)).subject).toEqual(parseDistinguishedName('CN=pss'));
});

test('documents are read under every label that programs write over them', async () => {
  const certificate = new X509Certificate(await selfSigned(ecSigner));
  const request = await makeRequest(subject, await profileOf({}, subject), ecSigner);
  const file = join(folder, 'labelled.pem');
  const read = (text: string, kind: Parameters<typeof readDocument>[1]): Promise<Buffer> => {
    writeFileSync(file, text);
    return readDocument(file, kind);
  };
  const pem = (label: string, der: Buffer): string =>
    `-----BEGIN ${label}-----\n${der.toString('base64')}\n-----END ${label}-----\n`;
  for (const label of ['CERTIFICATE REQUEST', 'NEW CERTIFICATE REQUEST'])
    expect(await read(pem(label, request), 'request')).toEqual(request);
  writeFileSync(file, certificate.toString());
  const trusted = execFileSync('openssl', ['x509', '-in', file, '-trustout', '-addtrust', 'serverAuth'], {
    encoding: 'utf8',
  });
  expect(trusted).toContain('BEGIN TRUSTED CERTIFICATE');
  for (const text of [trusted, pem('X509 CERTIFICATE', certificate.raw), certificate.toString()])
    expect(await read(text, 'certificate')).toEqual(certificate.raw);
  await expect(read(pem('CERTIFICATE', certificate.raw), 'request')).rejects.toThrow(
    'there is no CERTIFICATE REQUEST in',
  );
});

test('a request with any bit changed of what it asks for is refused', async () => {
  const request = await makeRequest(subject, await profileOf({ san: names }, subject), ecSigner);
  const signed = Buffer.from(
    AsnParser.parse(request, CertificationRequest).certificationRequestInfoRaw ?? new ArrayBuffer(0),
  );
  const begin = request.indexOf(signed);
  fc.assert(
    fc.property(
      fc.integer({ min: begin, max: begin + signed.length - 1 }),
      fc.integer({ min: 0, max: 7 }),
      (at, bit) => {
        const changed = Buffer.from(request);
        changed.writeUInt8(changed.readUInt8(at) ^ (1 << bit), at);
        expect(() => readRequest(changed)).toThrow();
      },
    ),
  );
});

test.each([
  ['nothing', Buffer.alloc(0)],
  ['text', Buffer.from('-----BEGIN')],
  ['a certificate', undefined],
  ['random bytes', Buffer.alloc(64 * 1024, 'x')],
])('%s is no request, and says so', async (_what, bytes) => {
  expect(() => readRequest(bytes ?? Buffer.alloc(0))).toThrow('it is no PKCS#10 request');
  const certificate = bytes ?? (await selfSigned(ecSigner));
  expect(() => readRequest(certificate)).toThrow();
  if (bytes !== undefined) expect(() => readIssuer(bytes)).toThrow('it is no X.509 certificate');
});

describe('a distinguished name', () => {
  const special = fc.constantFrom(',', '+', '"', '\\', '<', '>', ';', '=', '#', ' ', 'ä', '𝛑', 'x', '\u0001');
  const text = fc.string({
    unit: fc.oneof(special, fc.string({ minLength: 1, maxLength: 1 })),
    minLength: 1,
    maxLength: 20,
  });
  const asHex = (character: string): string =>
    [...Buffer.from(character)].map((byte) => `\\${byte.toString(16).padStart(2, '0')}`).join('');
  const escapings: ((character: string) => string)[] = [
    asHex,
    (character) => (/[ "#+,;<=>\\]/.test(character) ? `\\${character}` : character),
  ];

  test('keeps every value, however its characters are escaped, in the reverse order', () => {
    fc.assert(
      fc.property(text, text, fc.constantFrom(...escapings), (first, second, escaped) => {
        const written = (value: string): string => [...value].map(escaped).join('');
        const name = parseDistinguishedName(`CN=${written(first)},O=${written(second)}`);
        const values = name.map((part) => part.map(({ type, value }) => [type, value.utf8String]));
        expect(values).toEqual([[['2.5.4.10', second]], [['2.5.4.3', first]]]);
      }),
    );
  });

  test.each([
    ['O="Example, Inc."', 'O=Example\\, Inc.'],
    ['O=" a "', 'O=\\ a\\ '],
    ['CN="say \\"hi\\"",O=b', 'CN=say \\"hi\\",O=b'],
    ['CN=a+OU="b+c"', 'CN=a+OU=b\\+c'],
    ['E=a@example.org', 'emailAddress=a@example.org'],
    ['SN=Doe,GN=Jane,T=Dr', '2.5.4.4=Doe,2.5.4.42=Jane,2.5.4.12=Dr'],
    ['2.5.4.3=a', 'CN=a'],
  ])('`%s` is `%s`', (written, same) => {
    const [first, second] = [written, same].map((text) =>
      Buffer.from(AsnSerializer.serialize(parseDistinguishedName(text))),
    );
    expect(first).toEqual(second);
  });

  test('has attributes of any object identifier', () => {
    const [[attribute] = []] = parseDistinguishedName('2.5.4.97=VATAT-U12345678');
    expect([attribute?.type, attribute?.value.utf8String]).toEqual(['2.5.4.97', 'VATAT-U12345678']);
  });

  test('without any part is the empty name', () => {
    expect(parseDistinguishedName('').length).toBe(0);
  });

  test.each([
    ['example.org', '`example.org` is not NAME=VALUE'],
    ['CN=a,', '`` is not NAME=VALUE'],
    ['CN=a, Inc.', '` Inc.` is not NAME=VALUE'],
    ['CN=', '`CN` has no value'],
    ['XY=a', '`XY` is none of CN, SERIALNUMBER, C,'],
    ['C=AUT', '`C` is longer than 2 characters'],
    ['C=1', '`C` cannot be `1`'],
    ['DC=ä', '`DC` cannot be `ä`'],
    [`CN=${'x'.repeat(65)}`, '`CN` is longer than 64 characters'],
    ['CN=a\\', 'a backslash precedes neither'],
    ['CN=a\\x', 'a backslash precedes neither'],
    ['CN=\\ff', 'a backslash precedes neither'],
  ])('`%s` is refused: %s', (written, why) => {
    expect(() => parseDistinguishedName(written)).toThrow(`cannot read the name \`${written}\`: `);
    expect(() => parseDistinguishedName(written)).toThrow(why);
  });
});

describe('an alternative name', () => {
  test.each([
    ['example.org', 'is none of DNS:NAME, IP:ADDRESS, email:ADDRESS, URI:ADDRESS'],
    ['DNS:', 'is not of that kind'],
    ['DNS:a..b', 'is not of that kind'],
    ['DNS:a.*.b', 'is not of that kind'],
    ['DNS:ä.example', 'is not of that kind'],
    [`DNS:${'x'.repeat(64)}.org`, 'is not of that kind'],
    ['IP:1.2.3', 'is not of that kind'],
    ['IP:fe80::1%eth0', 'is not of that kind'],
    ['email:nobody', 'is not of that kind'],
    ['URI:relative', 'is not of that kind'],
    ['URI:http://a b', 'is not of that kind'],
    ['otherName:1', 'is none of'],
  ])('`%s` is refused: it %s', (written, why) => {
    expect(() => parseAlternativeName(written)).toThrow(`\`${written}\` `);
    expect(() => parseAlternativeName(written)).toThrow(why);
  });
});

test.each<[ProfileOptions, string]>([
  [{ pathLength: 1 }, '--path-length is about authorities: give --ca too'],
  [{ ca: true, pathLength: 1, keyUsage: ['cRLSign'] }, '--path-length is about keys that issue certificates: '],
  [{ keyUsage: ['digitalSignature', 'keyCertSign'] }, 'keyCertSign is for authorities: give --ca too'],
  [{ keyUsage: ['sign'] }, '`sign` is no key usage; there are digitalSignature, nonRepudiation,'],
  [{ extendedKeyUsage: ['web'] }, '`web` is no extended key usage; there are serverAuth, clientAuth,'],
])('%o is refused', async (options, why) => {
  const make = async (): Promise<Buffer> => makeRequest(subject, await profileOf(options, subject), ecSigner);
  await expect(make()).rejects.toThrow(why);
});

test('a certificate for nobody is refused, and one for alternative names alone marks them critical', async () => {
  const nobody = parseDistinguishedName('');
  await expect(profileOf({}, nobody)).rejects.toThrow('give --subject, --san, or both');
  const authority = profileOf({ ca: true, san: ['DNS:a.example'] }, nobody);
  await expect(authority).rejects.toThrow('an authority has a name, which its certificates give as their issuer');
  const request = await makeRequest(nobody, await profileOf({ san: ['DNS:a.example'] }, nobody), ecSigner);
  expect(openssl(request, 'req', '-noout', '-text')).toMatch(/Alternative Name: critical\s+DNS:a\.example/);
});

test.each(['ED25519_PH_SHA_512', 'ML_DSA_SHAKE_256', 'SM2DSA', 'toString'])('%s signs no certificate', (algorithm) => {
  expect(() => signatureAlgorithm(algorithm)).toThrow(
    `certificates are not signed with \`${algorithm}\`, but with RSA`,
  );
});
