/** X.509 v3 certificates: made, and read where one is to issue others. Source: RFC 5280. */

import { randomBytes } from 'node:crypto';
import { AsnParser, AsnSerializer } from '@peculiar/asn1-schema';
import {
  BasicConstraints,
  Certificate,
  Extensions,
  id_ce_basicConstraints,
  id_ce_keyUsage,
  id_ce_subjectKeyIdentifier,
  KeyUsage,
  KeyUsageFlags,
  type Name,
  SubjectKeyIdentifier,
  type SubjectPublicKeyInfo,
  TBSCertificate,
  Validity,
  Version,
} from '@peculiar/asn1-x509';
import { certificateExtensions, keyIdentifier, type Profile } from './extensions.ts';
import type { Signer } from './signer.ts';

export interface CertificateContent {
  readonly subject: Name;
  readonly subjectKey: SubjectPublicKeyInfo;
  readonly notBefore: Date;
  readonly notAfter: Date;
  readonly profile: Profile;
}

/** Whose certificate signs. */
export interface Issuer {
  readonly name: Name;
  readonly keyIdentifier: Buffer;
}

/** 159 random bits, positive and of full length: RFC 5280 4.1.2.2 allows 20 bytes, the CA/Browser Forum wants 64 bits. */
function serialNumber(): ArrayBuffer {
  const bytes = Uint8Array.from(randomBytes(20));
  bytes[0] = ((bytes[0] ?? 0) & 0x7f) | 0x40;
  return bytes.buffer;
}

/** The certificate, DER. Without an issuer it is self-signed: the signer's key is then the subject's. */
export async function makeCertificate(content: CertificateContent, signer: Signer, issuer?: Issuer): Promise<Buffer> {
  const { subject, subjectKey, notBefore, notAfter, profile } = content;
  const { name, keyIdentifier: issuerKey } = issuer ?? { name: subject, keyIdentifier: keyIdentifier(subjectKey) };
  const tbsCertificate = new TBSCertificate({
    version: Version.v3,
    serialNumber: serialNumber(),
    signature: signer.algorithm,
    issuer: name,
    validity: new Validity({ notBefore, notAfter }),
    subject,
    subjectPublicKeyInfo: subjectKey,
    extensions: new Extensions(certificateExtensions(profile, subjectKey, issuerKey)),
  });
  const signature = await signer.sign(Buffer.from(AsnSerializer.serialize(tbsCertificate)));
  const certificate = new Certificate({
    tbsCertificate,
    signatureAlgorithm: signer.algorithm,
    signatureValue: Uint8Array.from(signature).buffer,
  });
  return Buffer.from(AsnSerializer.serialize(certificate));
}

export interface IssuerCertificate extends Issuer {
  /** SubjectPublicKeyInfo, DER. */
  readonly publicKey: Buffer;
  readonly isAuthority: boolean;
  /** Its key usage, if it has one, allows signing certificates. */
  readonly mayCertify: boolean;
  /** How many authorities may follow below it; `undefined`: any number. */
  readonly pathLength: number | undefined;
  readonly notAfter: Date;
}

/** @throws Error when it cannot be read. */
export function readIssuer(der: Buffer): IssuerCertificate {
  let certificate: TBSCertificate;
  try {
    certificate = AsnParser.parse(der, Certificate).tbsCertificate;
  } catch (error) {
    throw new Error('it is no X.509 certificate', { cause: error });
  }
  const find = (id: string) => certificate.extensions?.find(({ extnID }) => extnID === id)?.extnValue;
  const constraints = find(id_ce_basicConstraints);
  const identifier = find(id_ce_subjectKeyIdentifier);
  const usage = find(id_ce_keyUsage);
  const { cA = false, pathLenConstraint } =
    constraints === undefined ? {} : AsnParser.parse(constraints, BasicConstraints);
  return {
    name: certificate.subject,
    publicKey: Buffer.from(AsnSerializer.serialize(certificate.subjectPublicKeyInfo)),
    keyIdentifier:
      identifier === undefined
        ? keyIdentifier(certificate.subjectPublicKeyInfo)
        : Buffer.from(AsnParser.parse(identifier, SubjectKeyIdentifier).buffer),
    isAuthority: cA,
    mayCertify: usage === undefined || (AsnParser.parse(usage, KeyUsage).toNumber() & KeyUsageFlags.keyCertSign) !== 0,
    pathLength: pathLenConstraint,
    notAfter: certificate.validity.notAfter.getTime(),
  };
}
