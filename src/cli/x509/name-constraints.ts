/**
 * Which names an authority may certify: RFC 5280 4.2.1.10. An authority that people are asked to trust is then good for the
 * hosts that it was made for and those below them, and not for everybody's bank.
 */

import { isIP } from 'node:net';
import { AsnParser } from '@peculiar/asn1-schema';
import {
  Certificate,
  GeneralName,
  GeneralSubtree,
  GeneralSubtrees,
  id_ce_nameConstraints,
  NameConstraints,
} from '@peculiar/asn1-x509';

/** @param names DNS names and IP addresses, without wildcards. */
export function constraintsTo(names: readonly string[]): NameConstraints {
  const subtrees = names.map((name) => {
    const address = isIP(name);
    const base =
      address === 0
        ? new GeneralName({ dNSName: name })
        : new GeneralName({ iPAddress: `${name}/${address === 4 ? 32 : 128}` });
    return new GeneralSubtree({ base });
  });
  return new NameConstraints({ permittedSubtrees: new GeneralSubtrees(subtrees) });
}

/** Those that the authority may not certify. @param authority Its certificate, DER. */
export function namesOutside(authority: Buffer, names: readonly string[]): readonly string[] {
  const { extensions = [] } = AsnParser.parse(authority, Certificate).tbsCertificate;
  const found = extensions.find(({ extnID }) => extnID === id_ce_nameConstraints);
  if (found === undefined) return [];
  const { permittedSubtrees } = AsnParser.parse(found.extnValue, NameConstraints);
  const permitted = [...(permittedSubtrees ?? [])].map(({ base }) => base.dNSName ?? base.iPAddress?.split('/')[0]);
  return names.filter((name) => !permitted.some((base) => base === name || name.endsWith(`.${base}`)));
}
