/** A line of the audit log as text, for tests that read what was rendered. */

import { type Link, maxLinkBytes, writeChainedLine } from '../../src/audit/chain.ts';

/** Completes a line, without its line feed; arguments as of `writeChainedLine`. */
export function chainLine(event: string, previous: Link): { readonly line: string; readonly link: Link } {
  const bytes = Buffer.allocUnsafe(Buffer.byteLength(event) + maxLinkBytes);
  const { end, link } = writeChainedLine(event, previous, bytes, 0);
  return { line: bytes.toString('utf8', 0, end - 1), link };
}
