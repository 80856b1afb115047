/** The options that `csr` and `certificate` share, and what they say about the certificate that is to be. */

import type { Name } from '@peculiar/asn1-x509';
import { type Command, InvalidArgumentError } from 'commander';
import { collectValues } from '../requests/command-options.ts';
import { UsageError } from '../terminal/cli-error.ts';
import type { Profile } from './extensions.ts';

export interface ProfileOptions {
  readonly san?: readonly string[];
  readonly ca?: true;
  readonly pathLength?: number;
  readonly keyUsage?: readonly string[];
  readonly extendedKeyUsage?: readonly string[];
}

export function withProfile(command: Command): Command {
  return command
    .option('--san <name>', 'an alternative name, DNS:… IP:… email:… or URI:…; can be repeated', collectValues)
    .option('--ca', 'for a key that issues certificates')
    .option('--path-length <count>', 'how many authorities may follow below it; with --ca', wholeNumber)
    .option('--key-usage <usages>', 'separated by commas; digitalSignature, or keyCertSign,cRLSign with --ca', list)
    .option('--extended-key-usage <usages>', 'separated by commas: serverAuth, clientAuth, codeSigning, …', list);
}

/**
 * Loads what it needs when it is called. What RFC 5280 forbids (4.1.2.6, 4.2.1.9) is refused, because verifiers refuse it later.
 * @param subject Empty where there are alternative names alone.
 */
export async function profileOf(
  options: ProfileOptions,
  subject: Name,
  requestedNames: Profile['alternativeNames'] = [],
): Promise<Profile> {
  const { parseAlternativeName } = await import('./alternative-names.ts');
  const isAuthority = options.ca ?? false;
  const keyUsage = options.keyUsage ?? (isAuthority ? ['keyCertSign', 'cRLSign'] : ['digitalSignature']);
  const certifies = keyUsage.includes('keyCertSign');
  if (options.pathLength !== undefined && !isAuthority)
    throw new UsageError('--path-length is about authorities: give --ca too');
  if (options.pathLength !== undefined && !certifies)
    throw new UsageError('--path-length is about keys that issue certificates: --key-usage lacks keyCertSign');
  if (certifies && !isAuthority) throw new UsageError('keyCertSign is for authorities: give --ca too');
  if (isAuthority && subject.length === 0)
    throw new UsageError('an authority has a name, which its certificates give as their issuer: give --subject');
  const alternativeNames = options.san?.map(parseAlternativeName) ?? requestedNames;
  if (subject.length === 0 && alternativeNames.length === 0) throw new UsageError('give --subject, --san, or both');
  return {
    isAuthority,
    pathLength: options.pathLength,
    keyUsage,
    extendedKeyUsage: options.extendedKeyUsage ?? [],
    alternativeNames,
    hasSubject: subject.length > 0,
  };
}

function list(text: string): readonly string[] {
  return text.split(',').map((name) => name.trim());
}

export function wholeNumber(text: string): number {
  if (!/^\d{1,6}$/.test(text)) throw new InvalidArgumentError('expected a whole number.');
  return Number(text);
}
