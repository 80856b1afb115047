/**
 * Can anybody be this user, role or group? A policy that is attached to a misspelt one says nothing, and says it of a `Deny` too.
 *
 * Nothing of this decides: a Unix user, a mapping or an access key may come later. It is for warnings.
 */

import { readFileSync } from 'node:fs';
import { type PrincipalArn, unixUserArn } from '../kms/names.ts';
import { namesOf, type UnixMapping, unixUserCalled } from './unix-caller.ts';
import { idOfGroup, nameOfUser } from './unix-names.ts';

export interface Unreachable {
  readonly who: string;
  /** In words, as the continuation of a sentence about it. */
  readonly why: string;
  /** Somebody who is called nearly so. */
  readonly didYouMean?: string;
}

/** @param mapping Whose `userNames` also know who has access keys, where that can be told. */
export function findUnreachable(
  principals: readonly PrincipalArn[],
  groups: readonly string[],
  mapping: UnixMapping,
): readonly Unreachable[] {
  const found: Unreachable[] = [];
  const add = (who: string, why: string | undefined, candidates: () => Iterable<string>): void => {
    if (why === undefined) return;
    const didYouMean = closest(who, candidates());
    found.push({ who, why, ...(didYouMean === undefined ? {} : { didYouMean }) });
  };
  for (const arn of principals) add(arn, whyNobodyIs(arn, mapping), () => principalsOf(mapping));
  for (const group of groups)
    add(group, isGroup(group) ? undefined : 'is no group of this machine', () => namesIn('/etc/group'));
  return found;
}

/** As a sentence for operators. */
export function describeUnreachable({ who, why, didYouMean }: Unreachable): string {
  return `\`${who}\` ${why}${didYouMean === undefined ? '' : `; did you mean \`${didYouMean}\`?`}`;
}

function whyNobodyIs(arn: PrincipalArn, mapping: UnixMapping): string | undefined {
  const mapped = [...Object.values(mapping.users), ...Object.values(mapping.groups)];
  if (mapped.includes(arn) || mapping.assumableRoles?.().includes(arn) === true) return undefined;
  if (arn.includes(':role/')) return 'is a role that nobody is mapped to, and that nobody can assume';
  if (namesOf(mapping).has(arn)) return undefined;
  const [, container] = /:user\/container\/([^/]+)\/(?:root|uid=\d+)$/.exec(arn) ?? [];
  if (container !== undefined)
    return mapping.containers?.has(container) === false
      ? 'is nobody: `identity.containers` calls no container so'
      : undefined;
  const [, unixName] = /:user\/unix\/([^/]+)$/.exec(arn) ?? [];
  if (unixName === undefined) return 'is nobody: nothing maps to it, and it has no access key';
  const [, uid] = /^uid=(\d+)$/.exec(unixName) ?? [];
  try {
    const named =
      uid === undefined
        ? unixUserCalled(unixName, mapping)
        : unixUserArn(mapping, Number(uid), nameOfUser(Number(uid)));
    if (named === arn) return undefined;
    return named === undefined
      ? 'is nobody: no Unix user is called so, or he is root or mapped to another principal'
      : `is nobody: that user is \`${named}\``;
  } catch {
    // The user database does not answer now, so nothing is known.
    return undefined;
  }
}

function isGroup(name: string): boolean {
  try {
    return idOfGroup(name) !== undefined;
  } catch {
    return true; // As above.
  }
}

function* principalsOf(mapping: UnixMapping): Iterable<string> {
  yield* Object.values(mapping.users);
  yield* Object.values(mapping.groups);
  yield* mapping.assumableRoles?.() ?? [];
  yield* namesOf(mapping).all();
  for (const name of namesIn('/etc/passwd')) yield unixUserArn(mapping, 0, name);
}

/** Users or groups of the machine itself; those of a directory are not all asked for. */
function namesIn(path: string): readonly string[] {
  try {
    return readFileSync(path, 'utf8')
      .split('\n')
      .map((line) => line.split(':')[0] ?? '')
      .filter((name) => name !== '');
  } catch {
    return []; // Without it there is just no proposal.
  }
}

/** What differs in at most two letters, or in its path alone. */
function closest(who: string, candidates: Iterable<string>): string | undefined {
  const nameOf = (text: string): string => text.slice(text.lastIndexOf('/') + 1);
  let best: string | undefined;
  let fewest = 3;
  for (const candidate of candidates) {
    if (candidate === who) continue;
    const isOtherPath = nameOf(candidate) === nameOf(who) && who.includes('/');
    const edits = isOtherPath ? 1 : editsBetween(who, candidate, fewest);
    if (edits < fewest) [best, fewest] = [candidate, edits];
  }
  return best;
}

/** Levenshtein's distance, given up when it is no less than `limit`. */
function editsBetween(one: string, other: string, limit: number): number {
  if (Math.abs(one.length - other.length) >= limit) return limit;
  let before = Array.from({ length: other.length + 1 }, (_, index) => index);
  for (let at = 1; at <= one.length; at++) {
    const row = [at];
    for (let column = 1; column <= other.length; column++) {
      const changed = (before[column - 1] ?? 0) + Number(one[at - 1] !== other[column - 1]);
      row.push(Math.min(changed, (before[column] ?? 0) + 1, (row[column - 1] ?? 0) + 1));
    }
    if (Math.min(...row) >= limit) return limit;
    before = row;
  }
  return before[other.length] ?? limit;
}
