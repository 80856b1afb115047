/**
 * Gives each member of a key store of several its mark when it begins to serve, and keeps on record under which name it was seen last.
 *
 * The object comes first, then the record: a mark that a crash left without a record is found in the member, and taken.
 */

import { KeyStoreError } from '../hsm/key-store.ts';
import type { Inventory } from '../hsm/members/inventory.ts';
import { JoinedKeyStore } from '../hsm/members/joined-key-store.ts';
import type { Member } from '../hsm/members/member.ts';
import { createMark, markLabel, proofOfMark } from '../keys/domain/member-marks.ts';
import { hasLeft, type MembersOnRecord } from '../keys/domain/members-on-record.ts';
import type { DomainKeys } from '../keys/life/domain-keys.ts';
import type { Logger } from '../kms/logger.ts';
import type { BackingKeyId } from '../kms/names.ts';
import { added, type Change, replaced } from '../store/records/changes.ts';
import type { MemberRecord } from '../store/records/records.ts';
import { StoreError } from '../store/store-error.ts';
import type { Turns } from '../store/turns.ts';

export interface MarkedMembersParts {
  readonly turns: Turns;
  readonly members: MembersOnRecord;
  readonly domainKeys: Pick<DomainKeys, 'of'>;
  readonly log: Logger;
}

export class MarkedMembers {
  readonly #parts: MarkedMembersParts;
  /** One at a time: two members of one name would be noted as one. */
  #last: Promise<void> = Promise.resolve();
  #isClosed = false;

  constructor(parts: MarkedMembersParts) {
    this.#parts = parts;
  }

  /** Of a key store that is one token there is nothing to tell apart. */
  follow(keyStore: unknown): void {
    if (!(keyStore instanceof JoinedKeyStore) || keyStore.members.length < 2) return;
    const { name } = keyStore;
    keyStore.hasLeft = (member) => this.#parts.members.hasLeft(name, member);
    keyStore.followAdmissions((member) => {
      this.#last = this.#last.then(() => this.#note(name, member));
    });
  }

  async close(): Promise<void> {
    this.#isClosed = true;
    await this.#last;
  }

  /** What fails is made up for when it begins to serve again: until then it is known by what it holds alone. */
  async #note(keyStore: string, member: Member): Promise<void> {
    const { turns, members, log } = this.#parts;
    if (this.#isClosed) return;
    try {
      const backingKeyId = await markOf(keyStore, member, members);
      const proof = await member.call((theirs) => proofOfMark(theirs, backingKeyId));
      const { name, inventory } = member;
      const decide = () => this.#seen({ keyStore, backingKeyId, name, proof }, inventory);
      await turns.take(() => ({ changes: decide(), response: undefined }), { isQuiet: true });
      log.info({ keyStore, member: name, backingKeyId }, 'a member of a key store is known by its mark');
    } catch (error) {
      if (!(error instanceof KeyStoreError || error instanceof StoreError)) throw error;
      log.warn({ keyStore, member: member.name, err: error }, 'a member of a key store could not be given its mark');
    }
  }

  /** It served a moment ago, and may have left since: one that did, and joined again, holds a domain key of that time. */
  #seen(
    seen: Pick<MemberRecord, 'keyStore' | 'backingKeyId' | 'name' | 'proof'>,
    inventory: Inventory | undefined,
  ): readonly Change[] {
    const { members, domainKeys } = this.#parts;
    const { keyStore, name, proof } = seen;
    const known = members.find(keyStore, seen.backingKeyId);
    const namesake = members.of(keyStore).find((record) => record.name === name && hasLeft(record));
    const { leftUnder, leftAtMs } = known ?? (members.hasLeft(keyStore, name) ? namesake : undefined) ?? present;
    const since = domainKeys.of(keyStore).filter(({ state, ordinal }) => state === 'Active' && ordinal >= leftUnder);
    const isThere = leftUnder === 0 || since.some(({ backingKeyId }) => inventory?.has(backingKeyId));
    const now = { name, proof, ...(isThere ? present : { leftUnder, leftAtMs }) };
    if (known === undefined) return [added('member', { ...seen, ...now, version: 1, seenAtMs: Date.now() })];
    if (known.name === name && known.proof.equals(proof) && known.leftUnder === now.leftUnder) return [];
    return [replaced('member', known, { ...now, seenAtMs: Date.now() })];
  }
}

const present = { leftUnder: 0, leftAtMs: null };

/** That which is on record of those that it has; another one that it has; a new one. */
async function markOf(keyStore: string, member: Member, members: MembersOnRecord): Promise<BackingKeyId> {
  const listed = await member.call((theirs) => theirs.listKeys());
  const marks = listed.filter(({ label }) => label === markLabel(keyStore));
  const known = marks.find(({ backingKeyId }) => members.find(keyStore, backingKeyId) !== undefined) ?? marks[0];
  if (known !== undefined) return known.backingKeyId;
  return member.call((theirs) => createMark(theirs, keyStore));
}
