/** What the configuration says of a Region: its name, where it is asked, and which key stores its keys are in. */

import { z } from 'zod';
import { isRegionName } from '../kms/names.ts';
import { parseLoopbackAddress } from './loopback-address.ts';
import { parseNetworkAddress } from './network-address.ts';

const text = z.string().min(1, { error: 'a text that is not empty' });

const socketMode = z
  .string({ error: 'a file mode of four octal digits in quotes, such as "0660"' })
  .regex(/^0[0-7]{3}$/, { error: 'a file mode of four octal digits in quotes, such as "0660"' });

const loopbackExpectation =
  'a loopback address and a port, such as 127.0.0.1:4599; the listener is plain HTTP and never on a network';
const loopbackAddress = z.string({ error: loopbackExpectation }).transform((value, context) => {
  const address = parseLoopbackAddress(value);
  if (address !== undefined) return address;
  context.addIssue({ code: 'custom', message: loopbackExpectation });
  return z.NEVER;
});

const networkExpectation =
  'an IP address of this machine and a port, such as 192.0.2.7:4600, [::1]:4600, or 0.0.0.0:4600 for all';
const networkAddress = z.string({ error: networkExpectation }).transform((value, context) => {
  const address = parseNetworkAddress(value);
  if (address !== undefined) return address;
  context.addIssue({ code: 'custom', message: networkExpectation });
  return z.NEVER;
});

const credentialName = z.string().regex(/^[A-Za-z0-9_.-]+$/);

const pemExpectation = 'one of { file: PATH } or { credential: NAME }, of what is in PEM';
export const pem = z.union([z.strictObject({ file: text }), z.strictObject({ credential: credentialName })], {
  error: pemExpectation,
});

/** HTTPS, on any address. SIGHUP reads certificate and key again. */
export const tls = z.strictObject({
  address: networkAddress,
  /** The server's certificate, and after it those between it and its authority. */
  certificate: pem,
  /** Its private key, not encrypted; a file that nobody but its owner can read. */
  key: pem,
});

export const regionName = z.string().refine(isRegionName, { error: 'an AWS Region name such as us-east-1' });

export const socket = z.strictObject({
  path: text,
  /** Who may connect. Who may do what is decided by policies. */
  mode: socketMode.default('0660'),
  /** Others can write to the socket's folder, and could take the daemon's place there; absent: such a folder is refused. */
  sharedFolder: z.boolean().optional(),
  /** The group that the socket is given to; absent: the daemon's own. */
  group: text.optional(),
});

/** Beside the socket, for programs whose SDK cannot use one. */
export const listen = z.strictObject({
  /** Takes signed requests over plain HTTP. Absent: there is no such listener. */
  tcp: loopbackAddress.optional(),
  /** Takes signed requests over HTTPS. Absent: there is no such listener. */
  tls: tls.optional(),
});

/** A Region beside the first one: a socket and keys of its own; metadata, service keys and audit log are the first one's. */
export const furtherRegion = z.strictObject({
  region: regionName,
  socket,
  listen: listen.prefault({}),
  /** The names of the key stores whose keys it can use; absent: all. */
  keyStores: z.array(text).min(1, { error: 'the name of at least one key store' }).optional(),
  /** The one of them in which its keys are made; absent: the only one, or the instance's default. */
  defaultKeyStore: text.optional(),
});

interface Regions {
  readonly region: string;
  readonly regions: readonly z.output<typeof furtherRegion>[];
  readonly keyStores: Readonly<Record<string, unknown>>;
  readonly defaultKeyStore?: string | undefined;
}

/** Each Region once, with key stores that there are. */
export function refuseUnclearRegions(
  { region, regions, keyStores, defaultKeyStore }: Regions,
  context: z.RefinementCtx,
): void {
  const known = new Set([region]);
  const names = Object.keys(keyStores);
  const listed = names.map((name) => `\`${name}\``).join(', ');
  for (const [index, further] of regions.entries()) {
    const refuse = (member: string, message: string): void =>
      context.addIssue({ code: 'custom', path: ['regions', index, member], message });
    if (known.has(further.region)) refuse('region', 'each Region once');
    known.add(further.region);
    const theirs = further.keyStores ?? names;
    if (!theirs.every((name) => names.includes(name))) refuse('keyStores', `names of key stores; there are ${listed}`);
    const theDefault = further.defaultKeyStore ?? (theirs.length === 1 ? theirs[0] : (defaultKeyStore ?? names[0]));
    if (theDefault === undefined || !theirs.includes(theDefault))
      refuse('defaultKeyStore', `the name of the key store in which its keys are made; one of ${listed}`);
  }
}
