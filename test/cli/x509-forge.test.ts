/**
 * Certificates and requests as node-forge reads them, which shares no code with what makes them (the `@peculiar/asn1-*`
 * packages) nor with the other judges (OpenSSL, which is `node:crypto` too). It knows RSA with PKCS#1 v1.5 alone.
 */

import { constants, generateKeyPairSync, sign } from 'node:crypto';
import { AsnParser } from '@peculiar/asn1-schema';
import { SubjectPublicKeyInfo } from '@peculiar/asn1-x509';
import forge from 'node-forge';
import { expect, test } from 'vitest';
import { type ProfileOptions, profileOf } from '../../src/cli/x509/certificate-options.ts';
import { parseDistinguishedName } from '../../src/cli/x509/distinguished-name.ts';
import { makeRequest } from '../../src/cli/x509/request.ts';
import { signatureAlgorithm } from '../../src/cli/x509/signature-algorithms.ts';
import type { Signer } from '../../src/cli/x509/signer.ts';
import { makeCertificate, readIssuer } from '../../src/cli/x509/x509-certificate.ts';

const authority = rsaSigner();
const server = rsaSigner();
const notBefore = new Date('2030-01-01T00:00:00Z');
const notAfter = new Date('2031-01-01T00:00:00Z');
const names = ['DNS:www.example.org', 'IP:192.0.2.1'];

test('node-forge reads of a request what was asked for, and verifies its signature', async () => {
  const subject = parseDistinguishedName('CN=www.example.org,O=Example,C=AT');
  const request = forge.pki.certificationRequestFromAsn1(
    asn1(await makeRequest(subject, await profileOf({ san: names }, subject), server)),
  );
  expect(request.verify()).toBe(true);
  expect(attributesOf(request.subject)).toEqual({ C: 'AT', O: 'Example', CN: 'www.example.org' });
});

test('node-forge verifies a certificate up to the authority that issued it, and no other', async () => {
  const root = await certificate('CN=Root,O=Example', authority, { ca: true, pathLength: 0 });
  const issuer = { signer: authority, certificate: root };
  const leaf = forge.pki.certificateFromAsn1(
    asn1(await certificate('CN=www.example.org', server, { san: names }, issuer)),
  );
  const rootRead = forge.pki.certificateFromAsn1(asn1(root));

  expect(rootRead.verify(leaf)).toBe(true);
  const validityCheckDate = new Date('2030-06-01T00:00:00Z');
  expect(forge.pki.verifyCertificateChain(forge.pki.createCaStore([rootRead]), [leaf], { validityCheckDate })).toBe(
    true,
  );
  const stranger = await certificate('CN=Root,O=Example', rsaSigner(), { ca: true, pathLength: 0 });
  expect(() => forge.pki.certificateFromAsn1(asn1(stranger)).verify(leaf)).toThrow();

  expect(attributesOf(leaf.issuer)).toEqual({ O: 'Example', CN: 'Root' });
  expect([leaf.validity.notBefore, leaf.validity.notAfter]).toEqual([notBefore, notAfter]);
  expect(leaf.getExtension('subjectAltName')).toMatchObject({
    altNames: [
      { type: 2, value: 'www.example.org' },
      { type: 7, ip: '192.0.2.1' },
    ],
  });
  expect(leaf.getExtension('basicConstraints')).toMatchObject({ critical: true, cA: false });
  expect(leaf.getExtension('keyUsage')).toMatchObject({ critical: true, digitalSignature: true, keyCertSign: false });
  expect(rootRead.getExtension('basicConstraints')).toMatchObject({ critical: true, cA: true, pathLenConstraint: 0 });
  expect(rootRead.getExtension('keyUsage')).toMatchObject({ keyCertSign: true, cRLSign: true });
});

function rsaSigner(): Signer {
  const { publicKey, privateKey } = generateKeyPairSync('rsa', { modulusLength: 2048 });
  return {
    algorithm: signatureAlgorithm('RSASSA_PKCS1_V1_5_SHA_256'),
    publicKey: publicKey.export({ type: 'spki', format: 'der' }),
    sign: (bytes) => Promise.resolve(sign('sha256', bytes, { key: privateKey, padding: constants.RSA_PKCS1_PADDING })),
  };
}

/** Self-signed where nobody else issues it. */
async function certificate(
  name: string,
  holder: Signer,
  options: ProfileOptions,
  issuer?: { readonly signer: Signer; readonly certificate: Buffer },
): Promise<Buffer> {
  const subject = parseDistinguishedName(name);
  const subjectKey = AsnParser.parse(holder.publicKey, SubjectPublicKeyInfo);
  const content = { subject, subjectKey, notBefore, notAfter, profile: await profileOf(options, subject) };
  return issuer === undefined
    ? makeCertificate(content, holder)
    : makeCertificate(content, issuer.signer, readIssuer(issuer.certificate));
}

function asn1(der: Buffer): forge.asn1.Asn1 {
  return forge.asn1.fromDer(der.toString('binary'));
}

function attributesOf({ attributes }: { attributes: readonly forge.pki.CertificateField[] }): Record<string, unknown> {
  return Object.fromEntries(attributes.map(({ shortName, value }) => [shortName ?? '', value]));
}
