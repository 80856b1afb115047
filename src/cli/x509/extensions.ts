/**
 * The extensions of a certificate and of a request for one: RFC 5280, section 4.2.
 *
 * A certificate always says whether it is an authority's, what its key may do, and which key it is about; requests ask
 * for the same. Key identifiers are the first 20 bytes of the SHA-256 of the public key (RFC 7093, method 1): SHA-1 is
 * not needed for anything here.
 */

import { createHash } from 'node:crypto';
import { AsnSerializer, OctetString } from '@peculiar/asn1-schema';
import {
  AuthorityKeyIdentifier,
  BasicConstraints,
  ExtendedKeyUsage,
  Extension,
  type GeneralName,
  id_ce_authorityKeyIdentifier,
  id_ce_basicConstraints,
  id_ce_extKeyUsage,
  id_ce_keyUsage,
  id_ce_nameConstraints,
  id_ce_subjectAltName,
  id_ce_subjectKeyIdentifier,
  KeyIdentifier,
  KeyUsage,
  KeyUsageFlags,
  SubjectAlternativeName,
  SubjectKeyIdentifier,
  type SubjectPublicKeyInfo,
} from '@peculiar/asn1-x509';
import { UsageError } from '../terminal/cli-error.ts';
import { constraintsTo } from './name-constraints.ts';

const keyUsages = new Map<string, KeyUsageFlags>([
  ['digitalSignature', KeyUsageFlags.digitalSignature],
  ['nonRepudiation', KeyUsageFlags.nonRepudiation],
  ['keyEncipherment', KeyUsageFlags.keyEncipherment],
  ['dataEncipherment', KeyUsageFlags.dataEncipherment],
  ['keyAgreement', KeyUsageFlags.keyAgreement],
  ['keyCertSign', KeyUsageFlags.keyCertSign],
  ['cRLSign', KeyUsageFlags.cRLSign],
]);

const extendedKeyUsages = new Map([
  ['serverAuth', '1.3.6.1.5.5.7.3.1'],
  ['clientAuth', '1.3.6.1.5.5.7.3.2'],
  ['codeSigning', '1.3.6.1.5.5.7.3.3'],
  ['emailProtection', '1.3.6.1.5.5.7.3.4'],
  ['timeStamping', '1.3.6.1.5.5.7.3.8'],
  ['OCSPSigning', '1.3.6.1.5.5.7.3.9'],
]);

export interface Profile {
  /** May it issue certificates? */
  readonly isAuthority: boolean;
  /** How many authorities may follow below it; only of an authority. */
  readonly pathLength: number | undefined;
  /** Names of the two tables above. */
  readonly keyUsage: readonly string[];
  readonly extendedKeyUsage: readonly string[];
  readonly alternativeNames: readonly GeneralName[];
  /** DNS names and IP addresses: an authority's, which certifies these and what is below them; absent: any. */
  readonly permittedNames?: readonly string[];
  /** RFC 5280 4.2.1.6: where the subject is empty, the alternative names are critical. */
  readonly hasSubject: boolean;
}

/** What a request asks for. */
export function requestedExtensions(profile: Profile): Extension[] {
  const { isAuthority, pathLength, alternativeNames, hasSubject } = profile;
  const constraints = new BasicConstraints(pathLength === undefined ? {} : { pathLenConstraint: pathLength });
  constraints.cA = isAuthority;
  const extensions = [
    extension(id_ce_basicConstraints, true, constraints),
    extension(id_ce_keyUsage, true, keyUsage(profile.keyUsage)),
  ];
  const purposes = profile.extendedKeyUsage.map((name) => lookUp(extendedKeyUsages, name, 'extended key usage'));
  if (purposes.length > 0) extensions.push(extension(id_ce_extKeyUsage, false, new ExtendedKeyUsage(purposes)));
  if (alternativeNames.length > 0) {
    extensions.push(extension(id_ce_subjectAltName, !hasSubject, new SubjectAlternativeName([...alternativeNames])));
  }
  const { permittedNames } = profile;
  if (permittedNames !== undefined)
    extensions.push(extension(id_ce_nameConstraints, true, constraintsTo(permittedNames)));
  return extensions;
}

/** What a certificate says: all of that, whose key it is about, and whose signed it. */
export function certificateExtensions(
  profile: Profile,
  subjectKey: SubjectPublicKeyInfo,
  issuerKeyIdentifier: Buffer,
): Extension[] {
  return [
    ...requestedExtensions(profile),
    extension(id_ce_subjectKeyIdentifier, false, new SubjectKeyIdentifier(keyIdentifier(subjectKey))),
    extension(
      id_ce_authorityKeyIdentifier,
      false,
      new AuthorityKeyIdentifier({ keyIdentifier: new KeyIdentifier(issuerKeyIdentifier) }),
    ),
  ];
}

export function keyIdentifier(key: SubjectPublicKeyInfo): Buffer {
  return createHash('sha256').update(Buffer.from(key.subjectPublicKey)).digest().subarray(0, 20);
}

function extension(extnID: string, critical: boolean, value: object): Extension {
  return new Extension({ extnID, critical, extnValue: new OctetString(AsnSerializer.serialize(value)) });
}

function keyUsage(names: readonly string[]): KeyUsage {
  const usage = new KeyUsage();
  usage.fromNumber(names.reduce((flags, name) => flags | lookUp(keyUsages, name, 'key usage'), 0));
  return usage;
}

function lookUp<Value>(table: ReadonlyMap<string, Value>, name: string, what: string): Value {
  const value = table.get(name);
  if (value === undefined) throw new UsageError(`\`${name}\` is no ${what}; there are ${[...table.keys()].join(', ')}`);
  return value;
}
