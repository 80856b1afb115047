/**
 * Lists a page at a time: `Limit`, `Marker`, `NextMarker`, `Truncated`.
 *
 * A marker names the last entry of the page before, so what others create or delete between two pages neither shifts nor
 * repeats the rest. It also names the list that it belongs to, so that one list's marker is refused by another. It is
 * opaque to callers but no secret and no permission: whoever invents one only chooses where to begin.
 *
 * Every list takes the limits that the service model has, 1 to 1,000. The reference gives some operations a narrower range;
 * a page of theirs is never larger than that, whatever the request asks for. ("KMS … might return fewer" covers this answer, and
 * clients that page get everything. Nothing public says that the service refuses what its model lets through.)
 *
 * Source: AWS KMS API reference, `Limit` of each operation.
 */

import { KmsError } from '../../kms/errors.ts';

interface PageSize {
  /** When the request does not say. */
  readonly default: number;
  readonly max: number;
}

/** ListAliases, ListGrants and ListRetirableGrants. */
export const shortPages: PageSize = { default: 50, max: 100 };
/** ListResourceTags. */
export const pagesOfTags: PageSize = { default: 50, max: 50 };
/** ListKeys and ListKeyRotations. */
export const longPages: PageSize = { default: 100, max: 1000 };

export function pageSize(limit: number | undefined, { default: whenAbsent, max }: PageSize): number {
  return Math.min(limit ?? whenAbsent, max);
}

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
