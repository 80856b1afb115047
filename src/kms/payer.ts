/**
 * Who pays: whose budget something is taken from.
 *
 * Budgets are asked of payers and of nothing else, so that nobody multiplies his own by having many connections, uids,
 * sessions or addresses. On a Unix socket it is the uid that the kernel vouches for, or, of a subordinate uid
 * (`/etc/subuid`), its owner, who can be all of them; of a container's root, its container; on the loopback address the uid
 * that the kernel's socket table names; from a network the address; and the principal, once a signature was verified.
 *
 * A payer is a text that is fit for logs and records: `uid 1000`, `address 192.0.2.7`, `principal arn:aws:iam::…`. It
 * proves nothing and permits nothing: who may do what is asked of callers.
 */

import { isIPv4, isIPv6 } from 'node:net';

export type Payer = string & { readonly [payerBrand]: true };
declare const payerBrand: unique symbol;

/**
 * @param container The name of the container of somebody who has the uid of root or of the daemon's user there, and is neither: all
 * such of one container are one, and have nothing of what is kept for operators.
 */
export function payerOfContainer(container: string): Payer {
  return `container ${container}` as Payer;
}

/** Whom nothing is known of: all of these together are one. */
export const unknownPayer = 'unknown' as Payer;

/** @param uid As the kernel has it, and of a subordinate uid already its owner's. */
export function payerOfUid(uid: number): Payer {
  return `uid ${uid}` as Payer;
}

/**
 * An IPv4 address, or the /64 network of an IPv6 address: one host has all the addresses of such a network. Whoever calls
 * from this machine can choose among many addresses, so all of `127.0.0.0/8` and `::1` are one payer.
 *
 * @param address As Node.js writes it, `::ffff:` before an IPv4 address included; anything else is `unknownPayer`.
 */
export function payerOfAddress(address: string): Payer {
  const plain = (address.split('%')[0] ?? '').replace(/^::ffff:(?=\d+\.)/i, '');
  if (isIPv4(plain)) return `address ${plain.startsWith('127.') ? '127.0.0.1' : plain}` as Payer;
  if (!isIPv6(plain)) return unknownPayer;
  return (plain === '::1' ? 'address 127.0.0.1' : `address ${networkOf(plain)}`) as Payer;
}

/** @param arn Whose signature was verified; of a session of a role, the role: names of sessions are free. */
export function payerOfPrincipal(arn: string): Payer {
  return `principal ${arn}` as Payer;
}

/** The machine's root, and the daemon's own user: nobody keeps these out. */
export function isOperator(payer: Payer): boolean {
  return payer === payerOfUid(0) || payer === payerOfUid(process.getuid?.() ?? 0);
}

/** `2001:db8:0:1::/64` of a valid address, without leading zeros. */
function networkOf(address: string): string {
  const [head = '', tail] = address.split('::');
  const before = head === '' ? [] : head.split(':');
  const after = tail === undefined || tail === '' ? [] : tail.split(':');
  // An IPv4 address at the end stands for two groups, and these are never among the first four.
  const missing = 8 - before.length - after.length - (after.at(-1)?.includes('.') === true ? 1 : 0);
  const groups = tail === undefined ? before : [...before, ...Array<string>(Math.max(0, missing)).fill('0'), ...after];
  return `${groups
    .slice(0, 4)
    .map((group) => Number.parseInt(group, 16).toString(16))
    .join(':')}::/64`;
}
