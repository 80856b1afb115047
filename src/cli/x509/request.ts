/**
 * PKCS#10: requests for a certificate, made and read. Source: RFC 2986; extension requests, RFC 2985 section 5.4.2.
 *
 * The structures are those of the @peculiar/asn1 packages: typed classes that become DER and leave the signing to whoever
 * can. node-forge knows RSA alone, and @peculiar/x509 wants a WebCrypto key that signs. The commands load them when they
 * run.
 */

import { Attributes, CertificationRequest, CertificationRequestInfo } from '@peculiar/asn1-csr';
import { AsnParser, AsnSerializer } from '@peculiar/asn1-schema';
import {
  Attribute,
  Extensions,
  type GeneralName,
  id_ce_subjectAltName,
  type Name,
  SubjectAlternativeName,
  SubjectPublicKeyInfo,
} from '@peculiar/asn1-x509';
import { type Profile, requestedExtensions } from './extensions.ts';
import { isSignature } from './signature-algorithms.ts';
import type { Signer } from './signer.ts';

const extensionRequest = '1.2.840.113549.1.9.14';

/** The request, DER, signed by the key that it asks a certificate for. */
export async function makeRequest(subject: Name, profile: Profile, signer: Signer): Promise<Buffer> {
  const extensions = new Extensions(requestedExtensions(profile));
  const info = new CertificationRequestInfo({
    subject,
    subjectPKInfo: AsnParser.parse(signer.publicKey, SubjectPublicKeyInfo),
    attributes: new Attributes([
      new Attribute({ type: extensionRequest, values: [AsnSerializer.serialize(extensions)] }),
    ]),
  });
  const signature = await signer.sign(Buffer.from(AsnSerializer.serialize(info)));
  const request = new CertificationRequest({
    certificationRequestInfo: info,
    signatureAlgorithm: signer.algorithm,
    signature: Uint8Array.from(signature).buffer,
  });
  return Buffer.from(AsnSerializer.serialize(request));
}

export interface ReadRequest {
  readonly subject: Name;
  readonly publicKey: SubjectPublicKeyInfo;
  /** The alternative names that it asks for. What else it asks for is the issuer's to decide. */
  readonly alternativeNames: readonly GeneralName[];
}

/** @throws Error when it cannot be read, or is not signed by the key that it names. */
export function readRequest(der: Buffer): ReadRequest {
  let request: CertificationRequest;
  try {
    request = AsnParser.parse(der, CertificationRequest);
  } catch (error) {
    throw new Error('it is no PKCS#10 request', { cause: error });
  }
  const { certificationRequestInfo: info, certificationRequestInfoRaw: signed } = request;
  if (signed === undefined) throw new Error('it is no PKCS#10 request');
  const publicKey = Buffer.from(AsnSerializer.serialize(info.subjectPKInfo));
  if (!isSignature(request.signatureAlgorithm, publicKey, Buffer.from(signed), Buffer.from(request.signature))) {
    throw new Error('it is not signed by the key that it asks a certificate for');
  }
  // `attributes` is missing in the requests of some programs, whatever its type says.
  const attributes: readonly Attribute[] = info.attributes ?? [];
  const [requested] = attributes.find(({ type }) => type === extensionRequest)?.values ?? [];
  const extensions = requested === undefined ? [] : AsnParser.parse(requested, Extensions);
  const names = extensions.find(({ extnID }) => extnID === id_ce_subjectAltName);
  return {
    subject: info.subject,
    publicKey: info.subjectPKInfo,
    alternativeNames: names === undefined ? [] : AsnParser.parse(names.extnValue, SubjectAlternativeName),
  };
}
