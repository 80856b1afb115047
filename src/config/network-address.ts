/**
 * The address of the listener for TLS: an IP address and a port, or `localhost:PORT`.
 *
 * No other name: what it stands for could change, or be several, and an operator is to see in the configuration on which
 * network the daemon is.
 */

import { isIPv4, isIPv6 } from 'node:net';

export interface NetworkAddress {
  readonly host: string;
  /** 0: any free one. */
  readonly port: number;
}

export function parseNetworkAddress(text: string): NetworkAddress | undefined {
  const match = /^(?:\[([\d.:A-Fa-f]+)\]|([\d.]+|localhost)):(\d{1,5})$/.exec(text);
  const [, ipv6, other = '', port] = match ?? [];
  if (match === null || Number(port) > 65_535) return undefined;
  if (ipv6 === undefined ? other !== 'localhost' && !isIPv4(other) : !isIPv6(ipv6)) return undefined;
  return { host: ipv6 ?? other, port: Number(port) };
}
