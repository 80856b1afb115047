/**
 * The census: is what the records name in the HSMs, and what is in them that no record names?
 *
 * A start compares lists. This uses every key (`key-proof.ts`), which is what somebody wants to know who has put a token and a
 * database back beside each other.
 */

import { DetachableKeyStore } from '../../hsm/detachable-key-store.ts';
import { joiningKeyLabelPrefix } from '../../hsm/key-carrying.ts';
import {
  domainKeyLabelPrefix,
  type KeyStore,
  KeyStoreError,
  markLabelPrefix,
  serviceKeyLabelPrefix,
  wrappingKeyLabelPrefix,
} from '../../hsm/key-store.ts';
import { JoinedKeyStore } from '../../hsm/members/joined-key-store.ts';
import type { KeySpec, KeyUsage } from '../../kms/key-specs.ts';
import type { BackingKeyId, KeyId } from '../../kms/names.ts';
import { mapBounded } from '../../store/bounded-map.ts';
import type { BackingKeyRecord } from '../../store/records/records.ts';
import type { KmsKey } from '../kms-key.ts';
import { proveMaterial } from './key-proof.ts';

/** A KMS key, and what is on record of its material. */
export interface CountedKey {
  readonly keySpec: KeySpec;
  readonly keyUsage: KeyUsage;
  readonly materials: readonly BackingKeyRecord[];
  /** In a running daemon: what each is used by; absent: nobody else uses it. */
  readonly backingKeys?: KmsKey['backingKeys'];
  /** The name of the key store in which the key's Region uses it; absent: the one that the record names. */
  readonly placeOf?: (material: BackingKeyRecord) => string;
}

export interface CensusProblem {
  readonly keyId: KeyId;
  readonly backingKeyId: BackingKeyId;
  readonly keyStore: string;
  readonly problem: string;
  /** Does it work in another member of its key store? Then whoever uses it does not notice. */
  readonly worksElsewhere: boolean;
  /** Was it found in a token that answered? Otherwise no token that should have it could be asked, and nothing is known of it. */
  readonly wasAsked: boolean;
}

export interface CensusResult {
  /** Backing keys that are there and work. */
  readonly proven: number;
  readonly problems: readonly CensusProblem[];
}

/** An object in an HSM that no record names. It may be another daemon's. */
export interface Orphan {
  readonly keyStore: string;
  readonly backingKeyId: BackingKeyId;
  readonly label: string;
  /** Without a record, what was wrapped under a domain key is lost to whoever destroys it, though no key in the HSM shows it. */
  readonly what: 'backing key' | 'domain key';
}

/** As many as keep a few lanes busy, and leave room between them for everybody else's. */
const provenAtOnce = 8;

/**
 * Uses each backing key that is to be there, in each member of its key store that has to have it.
 * @param unopened Why key stores are not among `keyStores`, by their names and for operators.
 */
export async function proveKeys(
  keys: Iterable<CountedKey>,
  keyStores: ReadonlyMap<string, KeyStore>,
  unopened: ReadonlyMap<string, string> = new Map(),
): Promise<CensusResult> {
  const problems: CensusProblem[] = [];
  let proven = 0;
  await mapBounded(activeMaterials(keys), provenAtOnce, async (material) => {
    const { record, place } = material;
    const keyStore = keyStores.get(place);
    const problem =
      keyStore === undefined
        ? nothingKnown(unopened.get(place) ?? 'its key store is not configured')
        : await problemOf(keyStore, material);
    if (problem === null) proven++;
    else {
      const { keyId, backingKeyId } = record;
      problems.push({ keyId, backingKeyId, keyStore: place, ...problem });
    }
  });
  return { proven, problems };
}

function* activeMaterials(keys: Iterable<CountedKey>) {
  for (const { keySpec, keyUsage, materials, backingKeys, placeOf } of keys)
    for (const record of materials) {
      if (record.state !== 'Active') continue;
      const reference = backingKeys?.get(record.backingKeyId)?.reference;
      yield { record, keySpec, keyUsage, reference, place: placeOf?.(record) ?? record.keyStore };
    }
}

type Found = Pick<CensusProblem, 'problem' | 'worksElsewhere' | 'wasAsked'>;

function nothingKnown(problem: string): Found {
  return { problem, worksElsewhere: false, wasAsked: false };
}

function problemOf(keyStore: KeyStore, material: Parameters<typeof proveMaterial>[1]): Promise<Found | null> {
  const place = (keyStore instanceof DetachableKeyStore ? keyStore.served : undefined) ?? keyStore;
  return place instanceof JoinedKeyStore ? problemAmongMembers(place, material) : problemIn(place, material);
}

async function problemAmongMembers(
  keyStore: JoinedKeyStore,
  material: Parameters<typeof proveMaterial>[1],
): Promise<Found | null> {
  const problems: string[] = [];
  const working: string[] = [];
  let wasAsked = false;
  const all = [...holders(keyStore, material)];
  for (const { member, place, why } of all) {
    const found =
      place === undefined
        ? nothingKnown(`it is not there, and proves nothing${why ? `: ${why}` : ''}`)
        : await problemIn(place, material);
    if (found === null) working.push(member);
    else problems.push(`member ${member}: ${found.problem}`);
    if (found?.wasAsked === true) wasAsked = true;
  }
  if (problems.length === 0) return null;
  if (working.length > 0) problems.push(`the key works in member ${working.join(', ')}`);
  else if (all.length === 1) problems.push('the key is only there');
  return { problem: problems.join('; '), worksElsewhere: working.length > 0, wasAsked };
}

/**
 * Where it has to be: a wrapped key in every member, a token object in the one that has it, whoever that is. That is asked of all
 * together, where no member is known to have it.
 */
function* holders(
  keyStore: JoinedKeyStore,
  { record: { residency, backingKeyId } }: Parameters<typeof proveMaterial>[1],
): Generator<{ readonly member: string; readonly place: KeyStore | undefined; readonly why?: string | null }> {
  const isWrapped = residency === 'wrapped';
  const those = keyStore.members.filter(({ inventory }) => isWrapped || inventory?.has(backingKeyId));
  for (const member of those) {
    const { name, isServing, attached } = member;
    yield { member: name, place: isServing ? attached : undefined, why: member.status().lastFailure };
  }
  if (those.length === 0) yield { member: keyStore.members.map(({ name }) => name).join(', '), place: keyStore };
}

async function problemIn(keyStore: KeyStore, material: Parameters<typeof proveMaterial>[1]): Promise<Found | null> {
  try {
    const problem = await proveMaterial(keyStore, material);
    return problem === null ? null : { problem, worksElsewhere: false, wasAsked: true };
  } catch (error) {
    if (!(error instanceof KeyStoreError)) throw error;
    const { failure, message } = error;
    return { problem: message, worksElsewhere: false, wasAsked: failure !== 'away' && failure !== 'unavailable' };
  }
}

/**
 * What is in the HSM and named by nothing. Pairs for imports are not counted: they end by themselves.
 * @param named The ids of all records of backing keys and domain keys.
 * @throws KeyStoreError when the token cannot be listed now.
 */
export async function orphansIn(
  keyStore: KeyStore,
  isNamed: (backingKeyId: string) => boolean,
): Promise<readonly Orphan[]> {
  const isOurs = ({ label }: { readonly label: string }): boolean =>
    ![serviceKeyLabelPrefix, wrappingKeyLabelPrefix, joiningKeyLabelPrefix, markLabelPrefix].some((prefix) =>
      label.startsWith(prefix),
    );
  const found = (await keyStore.listKeys()).filter((key) => isOurs(key) && !isNamed(key.backingKeyId));
  return found.map(({ backingKeyId, label }) => {
    const what = label.startsWith(domainKeyLabelPrefix) ? 'domain key' : 'backing key';
    return { keyStore: keyStore.name, backingKeyId, label, what };
  });
}
