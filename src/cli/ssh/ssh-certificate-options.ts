/**
 * What `drawbridge certificate --ssh` is told, and what it says about the certificate that is to be.
 *
 * Options of certificates are written as for `ssh-keygen -O`. An unknown name is refused: a restriction that is misspelt would
 * be none.
 */

import { randomBytes } from 'node:crypto';
import { type Command, InvalidArgumentError, Option } from 'commander';
import { collectValues } from '../requests/command-options.ts';
import { UsageError } from '../terminal/cli-error.ts';
import type { CertificateKind, SshCertificateContent } from './ssh-certificate.ts';

export interface SshOptions {
  readonly ssh?: CertificateKind;
  readonly principal?: readonly string[];
  readonly identity?: string;
  readonly serial?: bigint;
  readonly hours?: number;
  readonly option?: readonly string[];
}

/** Those that mean nothing without `--ssh`. */
export const sshOnly = ['principal', 'identity', 'serial', 'hours', 'option'] as const satisfies (keyof SshOptions)[];

export function withSsh(command: Command): Command {
  return command
    .addOption(
      new Option('--ssh <kind>', 'an OpenSSH certificate instead, for a user or a host').choices(['user', 'host']),
    )
    .option('--principal <name>', 'with --ssh: a user or host name that it is for; can be repeated', collectValues)
    .option('--identity <text>', 'with --ssh: what servers log; the principals if not given')
    .option('--serial <number>', 'with --ssh: by which it can be revoked; random if not given', serialOf)
    .option('--hours <count>', 'with --ssh: how long it is valid, instead of --days', hoursOf)
    .option('--option <option>', 'with --ssh: as for ssh-keygen -O; can be repeated', collectValues);
}

function serialOf(text: string): bigint {
  if (/^\d{1,20}$/.test(text) && BigInt(text) < 2n ** 64n) return BigInt(text);
  throw new InvalidArgumentError('expected a number below 2^64.');
}

function hoursOf(text: string): number {
  if (/^[1-9]\d{0,6}$/.test(text)) return Number(text);
  throw new InvalidArgumentError('expected a whole number.');
}

type Content = Pick<SshCertificateContent, 'serial' | 'identity' | 'principals' | 'criticalOptions' | 'extensions'>;

/** @throws UsageError for what no certificate of this kind can have. */
export function sshContentOf(kind: CertificateKind, options: SshOptions): Content {
  const { principal: principals = [], identity = principals.join(','), serial, option = [] } = options;
  if (principals.length === 0) {
    throw new UsageError(`give --principal: the ${kind === 'user' ? 'users to log in as' : 'names of the host'}`);
  }
  if (principals.some((name) => name === '' || /[\s,\p{Cc}]/u.test(name))) {
    throw new UsageError('a principal is one name: give --principal once for each');
  }
  return {
    principals,
    identity,
    serial: serial ?? randomBytes(8).readBigUInt64BE(),
    ...optionsOf(kind, option),
  };
}

/** What a user's certificate allows unless it is taken away. */
const permissions = [
  'permit-X11-forwarding',
  'permit-agent-forwarding',
  'permit-port-forwarding',
  'permit-pty',
  'permit-user-rc',
];
const criticalWithValue = ['force-command', 'source-address'];
const criticalFlags = ['verify-required'];
const extensionFlags = [...permissions, 'no-touch-required'];

function optionsOf(kind: CertificateKind, asked: readonly string[]): Pick<Content, 'criticalOptions' | 'extensions'> {
  const criticalOptions = new Map<string, string | null>();
  const extensions = new Map<string, string | null>(kind === 'user' ? permissions.map((name) => [name, null]) : []);
  for (const text of asked) {
    const [, place, name = '', value = null] = /^(?:(critical|extension):)?([^=:\s]+)(?:=(.*))?$/su.exec(text) ?? [];
    if (place === 'critical') criticalOptions.set(name, value);
    else if (place === 'extension') extensions.set(name, value);
    else if (kind === 'host')
      throw new UsageError(`\`${text}\`: a host's certificate has only critical: and extension: options`);
    else if (text === 'clear') extensions.clear();
    else if (value !== null && criticalWithValue.includes(name)) criticalOptions.set(name, value);
    else if (value === null && criticalFlags.includes(name)) criticalOptions.set(name, null);
    else if (value === null && named(extensionFlags, name) !== undefined)
      extensions.set(named(extensionFlags, name) ?? name, null);
    else if (value === null && taken(name) !== undefined) extensions.delete(taken(name) ?? name);
    else throw new UsageError(`\`${text}\` is no option of a certificate; \`man ssh-keygen\` lists them at -O`);
  }
  return { criticalOptions, extensions };
}

/** As it is written in certificates; people write `permit-x11-forwarding`. */
function named(names: readonly string[], name: string): string | undefined {
  return names.find((each) => each.toLowerCase() === name.toLowerCase());
}

/** `no-pty` takes `permit-pty` away. */
function taken(name: string): string | undefined {
  return name.startsWith('no-') ? named(permissions, `permit-${name.slice('no-'.length)}`) : undefined;
}
