/**
 * Which HSMs are members of a key store of several, and which were: a fold over their records.
 *
 * That a member has left is on record together with the domain key that it does not get, or neither is. It stays there: the HSM may come back
 * years later, under any name. One that joins again gets that domain key with the others, and is a member by that.
 */

import { type BackingKeyId, newBackingKeyId } from '../../kms/names.ts';
import { added, type Change, replaced } from '../../store/records/changes.ts';
import type { MemberRecord } from '../../store/records/records.ts';
import type { Fold } from '../../store/turns.ts';

export class MembersOnRecord implements Fold {
  readonly #records = new Map<string, MemberRecord>();

  constructor(loaded: readonly MemberRecord[]) {
    for (const record of loaded) this.#records.set(nameOf(record), record);
  }

  apply(changes: readonly Change[]): void {
    for (const change of changes) {
      if ('put' in change) {
        if (change.put === 'member') this.#records.set(nameOf(change.record), change.record);
      } else if (change.remove === 'member') this.#records.delete(nameOf(change.record));
    }
  }

  of(keyStore: string): readonly MemberRecord[] {
    return [...this.#records.values()].filter((record) => record.keyStore === keyStore);
  }

  /** Of all key stores. */
  all(): readonly MemberRecord[] {
    return [...this.#records.values()];
  }

  find(keyStore: string, mark: BackingKeyId): MemberRecord | undefined {
    return this.#records.get(nameOf({ keyStore, backingKeyId: mark }));
  }

  /** Has what was seen last under this name left, and nothing come in its place? */
  hasLeft(keyStore: string, name: string): boolean {
    const known = this.of(keyStore).filter((record) => record.name === name);
    return known.length > 0 && known.every(hasLeft);
  }

  /** In the turn that puts the new domain key in force: what was ever seen under these names has left. */
  leaving(keyStore: string, names: readonly string[], domainKeyOrdinal: number): readonly Change[] {
    const left = { leftUnder: domainKeyOrdinal, leftAtMs: Date.now() };
    return names.flatMap((name): readonly Change[] => {
      const known = this.of(keyStore).filter((record) => record.name === name);
      if (known.length > 0)
        return known.filter((record) => !hasLeft(record)).map((record) => replaced('member', record, left));
      const unmarked = { keyStore, backingKeyId: newBackingKeyId(), name, proof: Buffer.alloc(0), seenAtMs: 0 };
      return [added('member', { ...unmarked, version: 1, ...left })];
    });
  }
}

export function hasLeft({ leftUnder }: MemberRecord): boolean {
  return leftUnder > 0;
}

/** Neither part has a blank. */
function nameOf({ keyStore, backingKeyId }: Pick<MemberRecord, 'keyStore' | 'backingKeyId'>): string {
  return `${keyStore} ${backingKeyId}`;
}
