/**
 * The two members of a grant that are more than a text, as JSON text in one column each.
 *
 * One value has one text: operations keep their order, pairs of an encryption context are sorted by name, members stand
 * in the order below. What comes back is taken apart to the last string; anything that this file would not have written
 * is `undefined`, and the record is refused.
 */

import {
  type EncryptionContextPairs,
  type GrantConstraints,
  type GrantOperation,
  grantOperationNames,
} from '../kms/grant-terms.ts';
import { type Member, wellFormed } from './column-member.ts';

export const grantOperations: Member<readonly GrantOperation[]> = {
  toColumn: (value) => JSON.stringify(value),
  fromColumn(column) {
    const list = parseText(column);
    if (!Array.isArray(list)) return undefined;
    const operations = list.flatMap((item) => grantOperationNames.find((name) => name === item) ?? []);
    return operations.length === list.length ? operations : undefined;
  },
};

export const grantConstraints: Member<GrantConstraints> = {
  toColumn(value) {
    const { EncryptionContextEquals, EncryptionContextSubset, SourceArn } = value;
    return JSON.stringify({
      ...(EncryptionContextEquals && { EncryptionContextEquals: sortedPairs(EncryptionContextEquals) }),
      ...(EncryptionContextSubset && { EncryptionContextSubset: sortedPairs(EncryptionContextSubset) }),
      ...(SourceArn !== undefined && { SourceArn: wellFormed(SourceArn) }),
    });
  },
  fromColumn(column) {
    const value = parseText(column);
    if (typeof value !== 'object' || value === null || Array.isArray(value)) return undefined;
    const { EncryptionContextEquals, EncryptionContextSubset, SourceArn, ...others } = value as Record<string, unknown>;
    if (Object.keys(others).length > 0) return undefined;
    const equals = parsePairs(EncryptionContextEquals);
    const subset = parsePairs(EncryptionContextSubset);
    if (equals === null || subset === null) return undefined;
    if (SourceArn !== undefined && typeof SourceArn !== 'string') return undefined;
    return {
      ...(equals && { EncryptionContextEquals: equals }),
      ...(subset && { EncryptionContextSubset: subset }),
      ...(SourceArn !== undefined && { SourceArn }),
    };
  },
};

/** Without prototype, so that a name like `__proto__` is one like any other. */
function sortedPairs(pairs: EncryptionContextPairs): EncryptionContextPairs {
  const sorted: Record<string, string> = Object.create(null);
  for (const name of Object.keys(pairs).sort()) sorted[wellFormed(name)] = wellFormed(pairs[name] ?? '');
  return sorted;
}

/** `undefined` where there are none, `null` for what are no pairs. */
function parsePairs(value: unknown): EncryptionContextPairs | undefined | null {
  if (value === undefined) return undefined;
  if (typeof value !== 'object' || value === null || Array.isArray(value)) return null;
  const pairs: Record<string, string> = Object.create(null);
  for (const [name, text] of Object.entries(value)) {
    if (typeof text !== 'string') return null;
    pairs[name] = text;
  }
  return pairs;
}

function parseText(column: unknown): unknown {
  if (typeof column !== 'string') return undefined;
  try {
    return JSON.parse(column);
  } catch {
    // Not JSON: no write of ours.
    return undefined;
  }
}
