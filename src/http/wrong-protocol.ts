/**
 * TLS that is spoken to a listener for plain HTTP, and HTTP to one for TLS: the most common mistake in an endpoint's URL, which
 * neither end's library calls by its name. The log does, and not more often than somebody can read.
 */

import type { Logger } from '../kms/logger.ts';

const pauseMs = 10_000;

/** What Node.js says about a connection that it cannot go on with. */
export interface ClientError extends Error {
  readonly code?: string;
  /** What it could not parse, if that is it: a `Buffer`, whatever its declarations say. */
  readonly rawPacket?: unknown;
}

const problems = {
  tlsToHttp:
    'a client speaks TLS to the listener for plain HTTP: its endpoint must begin with http://, or name the port of `listen.tls`',
  httpToTls: 'a client speaks plain HTTP to the listener for TLS: its endpoint must begin with https://',
  noCommonTls:
    'a client offers no version or cipher suite of TLS that is taken here: TLS 1.2 or 1.3 with forward secrecy',
} as const;

export function wrongProtocolLog(log: Logger): (error: ClientError, source: string) => void {
  let quietUntilMs = 0;
  return (error, source) => {
    const problem = problemOf(error);
    if (problem === undefined || performance.now() < quietUntilMs) return;
    quietUntilMs = performance.now() + pauseMs;
    log.warn({ source }, problems[problem]);
  };
}

function problemOf({ code = '', rawPacket }: ClientError): keyof typeof problems | undefined {
  // A record of TLS: a handshake, and the first byte of every version that there is.
  if (code.startsWith('HPE_') && Buffer.isBuffer(rawPacket) && rawPacket[0] === 0x16 && rawPacket[1] === 0x03) {
    return 'tlsToHttp';
  }
  if (code === 'ERR_SSL_HTTP_REQUEST') return 'httpToTls';
  return tooOld.has(code) ? 'noCommonTls' : undefined;
}

const tooOld: ReadonlySet<string> = new Set([
  'ERR_SSL_UNSUPPORTED_PROTOCOL',
  'ERR_SSL_NO_SHARED_CIPHER',
  'ERR_SSL_VERSION_TOO_LOW',
  'ERR_SSL_WRONG_VERSION_NUMBER',
]);
