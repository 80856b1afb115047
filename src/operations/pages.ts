/**
 * Lists a page at a time: `Limit`, `Marker`, `NextMarker`, `Truncated`.
 *
 * A marker names the last entry of the page before, so what others create or delete between two pages neither shifts nor
 * repeats the rest. It also names the list that it belongs to, so that one list's marker is refused by another. It is
 * opaque to callers but no secret and no permission: whoever invents one only chooses where to begin.
 */

import { KmsError } from '../kms/errors.ts';

const separator = '\n';

function encodeMarker(list: string, last: string): string {
  return Buffer.from(`${list}${separator}${last}`, 'utf8').toString('base64url');
}

/**
 * @param list Which list the marker is for: the operation, and the key where there is one.
 * @returns The name after which the page begins, `undefined` for the first page.
 * @throws KmsError `InvalidMarkerException`.
 */
export function decodeMarker(list: string, marker: string | undefined): string | undefined {
  if (marker === undefined) return undefined;
  const text = Buffer.from(marker, 'base64url').toString('utf8');
  const prefix = `${list}${separator}`;
  if (!text.startsWith(prefix) || encodeMarker(list, text.slice(prefix.length)) !== marker) {
    throw new KmsError('InvalidMarkerException', 'Could not deserialize marker');
  }
  return text.slice(prefix.length);
}

/** The members that end a list: a marker for the next page where there is one. */
export function pageEnd(
  list: string,
  page: { readonly names: readonly string[]; readonly truncated: boolean },
): { readonly Truncated: boolean; readonly NextMarker?: string } {
  const last = page.names.at(-1);
  if (!page.truncated || last === undefined) return { Truncated: false };
  return { Truncated: true, NextMarker: encodeMarker(list, last) };
}
