/**
 * Has the HSM at the other end of a connection left the domain? Told by what it holds and lacks, and by its name only where nothing else is
 * known of it: the one that left has our service keys still, and may be put in the place of another member.
 *
 *     it holds a domain key of when a member left last, or a later one       it is a member: those that left got none of these
 *     it lacks them, and bears the mark of a member that did not leave       it is an older copy of that one, restored from its backup
 *     it lacks them, and bears the mark of one that left                     it has left
 *     it lacks them, and bears no mark that is on record                     it has left, if one that left had no mark or has this name;
 *                                                                            any other is an older copy, of before there were marks
 *
 * What left one key store serves in no other one either: its mark tells, wherever the configuration has it.
 */

import { timingSafeEqual } from 'node:crypto';
import { KeyStoreError } from '../hsm/key-store.ts';
import { LeftError } from '../hsm/members/left-error.ts';
import type { TokenConnection } from '../hsm/token-connection.ts';
import { proofOnRecord } from '../keys/domain/key-proofs.ts';
import { proofOfMark } from '../keys/domain/member-marks.ts';
import { hasLeft, type MembersOnRecord } from '../keys/domain/members-on-record.ts';
import type { DomainKeys } from '../keys/life/domain-keys.ts';
import { type BackingKeyId, newBackingKeyId } from '../kms/names.ts';
import type { DomainKeyRecord, MemberRecord } from '../store/records/records.ts';

/** The records, once they are verified. */
export interface LeaveRecords {
  readonly domainKeys: Pick<DomainKeys, 'of'>;
  readonly members: Pick<MembersOnRecord, 'of' | 'all'>;
}

/** Where a connection is to. */
export interface MemberPlace {
  readonly keyStore: string;
  readonly name: string;
  readonly member: TokenConnection;
}

/**
 * @throws LeftError when it has left, in words for operators; KeyStoreError when it does not tell.
 */
export async function assertHasNotLeft(place: MemberPlace, { domainKeys, members }: LeaveRecords): Promise<void> {
  const { keyStore, name, member } = place;
  const activeIn = (each: string) => domainKeys.of(each).filter(({ state }) => state === 'Active');
  const elsewhere = members.all().filter((record) => record.keyStore !== keyStore && hasLeft(record));
  const formerly = await markBorne(member, elsewhere);
  if (formerly !== undefined && !(await holdsKeySince(member, activeIn(formerly.keyStore), formerly.leftUnder)))
    throw leftElsewhere(place, formerly);
  const known = members.of(keyStore);
  const left = known.filter(hasLeft);
  if (left.length === 0) return;
  const active = activeIn(keyStore);
  if (await holdsKeySince(member, active, Math.max(...left.map(({ leftUnder }) => leftUnder)))) return;
  const borne = await markBorne(member, known);
  if (borne !== undefined) {
    if (!hasLeft(borne) || (await holdsKeySince(member, active, borne.leftUnder))) return;
    throw leftError(place, `it is the one that left as \`${borne.name}\``);
  }
  const named = left.find((record) => record.name === name);
  const unmarked = left.find(({ proof }) => proof.length === 0);
  if (named !== undefined) throw leftError(place, `it bears no mark of another one, and \`${name}\` has left`);
  if (unmarked !== undefined)
    throw leftError(place, `it may be the one that left as \`${unmarked.name}\`, which was never seen with a mark`);
}

function leftError({ keyStore, name, member }: MemberPlace, why: string): LeftError {
  const { label, serial } = member.capabilities().token;
  const isOnly = name === keyStore;
  const empty = isOnly
    ? `Name it among the \`members\` of \`${keyStore}\`, beside one that stays, and empty it there (\`drawbridge domain leave\`)`
    : `Empty it (\`drawbridge domain leave ${name} --key-store ${keyStore}\`) and take it out of the configuration`;
  return new LeftError(
    `the token \`${label}\`, serial ${serial}, has the keys of the domain as they were before a member left, and none since: ${why}; nothing is ` +
      `served by it. ${empty}; or have it join again (\`drawbridge domain invite --help\`), then run \`drawbridge reconnect ${keyStore}${isOnly ? '' : ` ${name}`}\``,
  );
}

function leftElsewhere({ keyStore, member }: MemberPlace, formerly: MemberRecord): LeftError {
  const { label, serial } = member.capabilities().token;
  return new LeftError(
    `the token \`${label}\`, serial ${serial}, is the one that left the key store \`${formerly.keyStore}\` as \`${formerly.name}\`, and has its keys still; nothing is served by it in ` +
      `\`${keyStore}\` either. Name it among the \`members\` of \`${formerly.keyStore}\` once more and empty it (\`drawbridge domain leave ${formerly.name} --key-store ${formerly.keyStore}\`), or initialise it anew`,
  );
}

/** Any of those that were made when a member left, or after that. */
async function holdsKeySince(
  member: TokenConnection,
  active: readonly DomainKeyRecord[],
  ordinal: number,
): Promise<boolean> {
  for (const record of active) if (record.ordinal >= ordinal && (await holdsDomainKey(member, record))) return true;
  return false;
}

/** An id can be given to any key: one that is on record with what it does has to do that. */
async function holdsDomainKey(member: TokenConnection, record: DomainKeyRecord): Promise<boolean> {
  const { backingKeyId, proof } = record;
  if (!(await holds(member, backingKeyId))) return false;
  if (proof.length === 0) return true;
  const { algorithm, wrapped, message, mac } = proofOnRecord(record);
  const reference = { backingKeyId: trialOf(record), wrapped };
  const [made] = (await unlessLacking(member.macs({ ...reference, algorithm, messages: [message] }))) ?? [];
  return made?.length === mac.length && timingSafeEqual(made, mac);
}

/** Under one id for each domain key, so that a lane that has unwrapped it does not do so again. */
function trialOf({ backingKeyId }: DomainKeyRecord): BackingKeyId {
  const known = trials.get(backingKeyId) ?? newBackingKeyId();
  trials.set(backingKeyId, known);
  return known;
}

const trials = new Map<BackingKeyId, BackingKeyId>();

async function markBorne(member: TokenConnection, known: readonly MemberRecord[]): Promise<MemberRecord | undefined> {
  for (const record of known) {
    if (record.proof.length === 0 || !(await holds(member, record.backingKeyId))) continue;
    const made = await unlessLacking(proofOfMark(member, record.backingKeyId));
    if (made?.length === record.proof.length && timingSafeEqual(made, record.proof)) return record;
  }
  return undefined;
}

/** Is there a secret or private key object of this id? @throws KeyStoreError when it does not tell. */
export async function holds(member: TokenConnection, backingKeyId: BackingKeyId): Promise<boolean> {
  return (await unlessLacking(member.describeKey({ backingKeyId }))) !== undefined;
}

/** What a token cannot do with its key it does not have the key for. */
async function unlessLacking<Result>(answer: Promise<Result>): Promise<Result | undefined> {
  try {
    return await answer;
  } catch (error) {
    if (error instanceof KeyStoreError && lacking.has(error.failure)) return undefined;
    throw error;
  }
}

const lacking: ReadonlySet<KeyStoreError['failure']> = new Set([
  'keyUnavailable',
  'ciphertextInvalid',
  'materialInvalid',
]);
