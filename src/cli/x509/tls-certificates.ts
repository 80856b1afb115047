/**
 * A small authority and a server's certificate from it, with key pairs of this process: for `listen.tls`.
 *
 * The keys are files, and no HSM's: TLS in Node.js takes no other. So the authority is good for its names alone, and for
 * nothing below it. P-256, which every client knows.
 */

import { createPrivateKey, createPublicKey, generateKeyPairSync, type KeyObject, randomBytes, sign } from 'node:crypto';
import { isIP } from 'node:net';
import { AsnParser } from '@peculiar/asn1-schema';
import { SubjectPublicKeyInfo } from '@peculiar/asn1-x509';
import { parseAlternativeName } from './alternative-names.ts';
import { parseDistinguishedName } from './distinguished-name.ts';
import type { Profile } from './extensions.ts';
import { signatureAlgorithm } from './signature-algorithms.ts';
import type { Signer } from './signer.ts';
import { makeCertificate, readIssuer } from './x509-certificate.ts';

/** A certificate and its key, both DER; the key is PKCS#8, and the receiver's to wipe. */
export interface CertifiedKey {
  readonly certificate: Buffer;
  readonly key: Buffer;
}

export interface Validity {
  readonly notBefore: Date;
  readonly notAfter: Date;
}

/** @param names DNS names and IP addresses: all that it can ever certify. */
export async function makeAuthority(names: readonly string[], validity: Validity): Promise<CertifiedKey> {
  const { signer, key, publicKey } = newKey();
  // A name of its own, so that nobody's library takes a former one for it.
  const subject = parseDistinguishedName(`CN=Drawbridge authority ${randomBytes(4).toString('hex')}`);
  const profile: Profile = {
    isAuthority: true,
    pathLength: 0,
    keyUsage: ['keyCertSign', 'cRLSign'],
    extendedKeyUsage: [],
    alternativeNames: [],
    permittedNames: names,
    hasSubject: true,
  };
  return { certificate: await makeCertificate({ subject, subjectKey: publicKey, ...validity, profile }, signer), key };
}

/** @param names What clients may call the server. */
export async function makeServerCertificate(
  authority: CertifiedKey,
  names: readonly string[],
  validity: Validity,
): Promise<CertifiedKey> {
  const { key, publicKey } = newKey();
  const issuer = readIssuer(authority.certificate);
  const signer = signerWith(createPrivateKey({ key: authority.key, format: 'der', type: 'pkcs8' }));
  const profile: Profile = {
    isAuthority: false,
    pathLength: undefined,
    keyUsage: ['digitalSignature'],
    extendedKeyUsage: ['serverAuth'],
    alternativeNames: names.map((name) => parseAlternativeName(`${isIP(name) === 0 ? 'DNS' : 'IP'}:${name}`)),
    hasSubject: true,
  };
  const subject = parseDistinguishedName('CN=Drawbridge');
  const content = { subject, subjectKey: publicKey, ...validity, profile };
  return { certificate: await makeCertificate(content, signer, issuer), key };
}

function newKey(): { readonly signer: Signer; readonly key: Buffer; readonly publicKey: SubjectPublicKeyInfo } {
  const { privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
  const signer = signerWith(privateKey);
  return {
    signer,
    key: privateKey.export({ format: 'der', type: 'pkcs8' }),
    publicKey: AsnParser.parse(signer.publicKey, SubjectPublicKeyInfo),
  };
}

function signerWith(privateKey: KeyObject): Signer {
  const publicKey = createPublicKey(privateKey).export({ format: 'der', type: 'spki' });
  return {
    algorithm: signatureAlgorithm('ECDSA_SHA_256'),
    publicKey,
    sign: async (bytes) => sign('sha256', bytes, privateKey),
  };
}
