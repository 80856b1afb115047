/**
 * The address of the listener for signed requests: `127.0.0.1:PORT`, `[::1]:PORT` or `localhost:PORT`, and no other.
 *
 * The listener is plain HTTP, and nothing but signatures protects it: on a network, everybody on the way would read the
 * plaintexts.
 */

import { isIPv4 } from 'node:net';

export interface LoopbackAddress {
  readonly host: string;
  /** 0: any free one. */
  readonly port: number;
}

export function parseLoopbackAddress(text: string): LoopbackAddress | undefined {
  const match = /^(127(?:\.\d{1,3}){3}|localhost|\[::1\]):(\d{1,5})$/.exec(text);
  const host = match?.[1]?.replace(/^\[|\]$/g, '');
  const port = Number(match?.[2]);
  if (host === undefined || port > 65_535) return undefined;
  return host.startsWith('127') && !isIPv4(host) ? undefined : { host, port };
}
