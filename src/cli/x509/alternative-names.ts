/** Subject alternative names, written as openssl writes them: `DNS:www.example.org`, `IP:192.0.2.1`, `email:…`, `URI:…`. */

import { isIP } from 'node:net';
import { GeneralName } from '@peculiar/asn1-x509';
import { UsageError } from '../terminal/cli-error.ts';

/** A label, or a wildcard as the first; RFC 1034 with the underscore that is in use. */
const hostName =
  /^(?=.{1,253}$)(?:\*\.)?(?:[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?\.)*[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?$/;

interface Kind {
  readonly isValid: (value: string) => boolean;
  readonly make: (value: string) => GeneralName;
}

const kinds = new Map<string, Kind>([
  ['DNS', { isValid: (value) => hostName.test(value), make: (dNSName) => new GeneralName({ dNSName }) }],
  // A zone (`fe80::1%eth0`) means something on one machine alone.
  [
    'IP',
    {
      isValid: (value) => isIP(value) !== 0 && !value.includes('%'),
      make: (iPAddress) => new GeneralName({ iPAddress }),
    },
  ],
  [
    'EMAIL',
    { isValid: (value) => /^[!-?A-~]+@[!-?A-~]+$/.test(value), make: (rfc822Name) => new GeneralName({ rfc822Name }) },
  ],
  [
    'URI',
    {
      isValid: (value) => /^[!-~]+$/.test(value) && URL.canParse(value),
      make: (uniformResourceIdentifier) => new GeneralName({ uniformResourceIdentifier }),
    },
  ],
]);

/** @throws UsageError for what is none of the kinds, or no value of its kind. */
export function parseAlternativeName(text: string): GeneralName {
  const at = text.indexOf(':');
  const kind = kinds.get(text.slice(0, Math.max(at, 0)).toUpperCase());
  const value = text.slice(at + 1);
  if (kind === undefined)
    throw new UsageError(`\`${text}\` is none of DNS:NAME, IP:ADDRESS, email:ADDRESS, URI:ADDRESS`);
  if (!kind.isValid(value))
    throw new UsageError(`\`${text}\` is no alternative name: \`${value}\` is not of that kind`);
  return kind.make(value);
}
