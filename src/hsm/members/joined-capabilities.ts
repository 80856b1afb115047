/**
 * What all members of a key store can do: what one of them lacks is refused by its name, because a key has to be usable
 * whichever of them is there.
 */

import type { Capability, KeyStoreCapabilities } from '../key-store.ts';

export interface MemberCapabilities {
  readonly member: string;
  readonly capabilities: KeyStoreCapabilities;
}

/** @param all Of the members that were connected at least once; token, library and profile are told of the first. */
export function joinedCapabilities(all: readonly [MemberCapabilities, ...MemberCapabilities[]]): KeyStoreCapabilities {
  const [{ capabilities: first }, ...others] = all;
  if (others.length === 0) return first;
  const mechanisms = others.map(({ capabilities }) => new Set(capabilities.mechanisms));
  return {
    ...first,
    mechanisms: first.mechanisms.filter((mechanism) => mechanisms.every((theirs) => theirs.has(mechanism))),
    roundTripMs: Math.max(...all.map(({ capabilities }) => capabilities.roundTripMs)),
    capabilities: joinedRows(
      all,
      ({ capabilities }) => capabilities,
      (row: Capability) => `${row.keySpec} ${row.keyUsage} ${row.algorithm}`,
    ),
    imports: joinedRows(
      all,
      ({ imports }) => imports,
      ({ subject }) => subject,
    ),
    wrapping: joinedRows(
      all,
      ({ wrapping }) => wrapping,
      ({ keySpec }) => keySpec,
    ),
    protection: first.protection.map((trial) => {
      const lax = all.flatMap(({ member, capabilities }) =>
        capabilities.protection
          .filter(({ attempt, isHeld }) => attempt === trial.attempt && !isHeld)
          .map(({ answer }) => ({ ...trial, isHeld: false, answer: `${member}: ${answer}` })),
      );
      return lax[0] ?? trial;
    }),
  };
}

interface Row {
  readonly works: boolean;
  readonly reason: string | null;
}

/** Works where it does in all; else the first member that lacks it says why. */
function joinedRows<Kind extends Row>(
  all: readonly MemberCapabilities[],
  rowsOf: (capabilities: KeyStoreCapabilities) => readonly Kind[],
  nameOf: (row: Kind) => string,
): readonly Kind[] {
  const theirs = all.map(({ member, capabilities }) => {
    return { member, rows: new Map(rowsOf(capabilities).map((row) => [nameOf(row), row])) };
  });
  const names = new Map(theirs.flatMap(({ rows }) => [...rows]));
  return [...names].map(([name, some]) => {
    for (const { member, rows } of theirs) {
      const row = rows.get(name);
      if (row?.works === true) continue;
      return { ...some, works: false, reason: `member ${member}: ${row?.reason ?? 'it does not say that it can'}` };
    }
    return theirs[0]?.rows.get(name) ?? some;
  });
}
