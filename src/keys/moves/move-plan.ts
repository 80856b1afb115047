/**
 * Which of a key's material has to move so that all of it lives where it is wanted, and why that cannot be, where it cannot.
 *
 * A key's material gets another place only because an operator asks for it by name. What is possible follows from what the tokens do:
 *
 *     from, to                                what has to be possible
 *     token, wrapped                          the token wraps a key that is not extractable (`C_WrapKey`); SoftHSM2 does not, NSS does
 *     wrapped, token                          the token makes a token object of what it has unwrapped
 *     wrapped, token of another key store     that one is in the domain of the first, and makes a token object as above
 *     wrapped, wrapped in another key store   as `ways-into-key-stores.ts` says
 *     token, another key store                that, and the first wraps it under a domain key
 *
 * What the token refuses only when it is asked (its room, its attributes) is found out when it is. A key in a custom key store stays there,
 * as in AWS KMS, where its origin is its key store. The material of a multi-Region key is shared by all of its Regions: it stays wrapped, and
 * moves to no key store that one of them neither has nor has another one of its domain for.
 */

import type { KeyStoreCapabilities } from '../../hsm/key-store.ts';
import { KmsError } from '../../kms/errors.ts';
import { type BackingKeyId, isCustomKeyStoreId, isMultiRegion } from '../../kms/names.ts';
import type { Residency } from '../../kms/residencies.ts';
import type { BackingKeyRecord } from '../../store/records/records.ts';
import type { KeyView } from '../key-view.ts';
import type { KmsKey } from '../kms-key.ts';
import type { DomainKeys } from '../life/domain-keys.ts';
import { relatedKeys } from '../multi-region.ts';

/** Where material is to live; `null`: as it does. */
export interface MoveTarget {
  readonly keyStore: string | null;
  readonly residency: Residency | null;
}

/** Where material lives. */
export interface KeyPlaceOnRecord {
  readonly keyStore: string;
  readonly residency: Residency;
}

/** One piece of material that has to move. */
export interface PlannedMove {
  readonly record: BackingKeyRecord;
  readonly to: KeyPlaceOnRecord;
  /** The domain key that is needed for it: under which it is wrapped, or will be. `null`: none, there is no material to move. */
  readonly domainKeyId: BackingKeyId | null;
}

export interface MovePlanParts {
  readonly directory: KeyView;
  readonly domainKeys: Pick<DomainKeys, 'of' | 'holds' | 'newestOf'>;
  /** Of a configured key store; `undefined` for none, and for one that was never connected. */
  readonly capabilities: (keyStore: string) => KeyStoreCapabilities | undefined;
}

/** In the words of `protection-trials.ts`. */
const wrapsAnything = 'wrap a key that is not extractable';

/** @throws KmsError `UnsupportedOperationException` that says which attribute, key store or rule is in the way. */
export function movePlan(key: KmsKey, target: MoveTarget, parts: MovePlanParts): readonly PlannedMove[] {
  const moving = key.materials.filter(({ state }) => state === 'Active' || state === 'Removed');
  const planned = moving.flatMap((record): PlannedMove[] => {
    const residency = record.residency === 'wrapped' ? 'wrapped' : 'token';
    const to = { keyStore: target.keyStore ?? record.keyStore, residency: target.residency ?? residency };
    const isInPlace = to.keyStore === record.keyStore && to.residency === residency;
    return isInPlace ? [] : [{ record, to, domainKeyId: null }];
  });
  for (const { record, to } of planned) assertMayMove(key, record, to, parts);
  return planned.map((move) =>
    move.record.state === 'Removed' ? move : { ...move, domainKeyId: domainKeyFor(key, move, parts) },
  );
}

function assertMayMove(
  { record: { keyId, origin, keySpec } }: KmsKey,
  { keyStore: from, regions, importedMaterialId, domainKeyId }: BackingKeyRecord,
  { keyStore, residency }: KeyPlaceOnRecord,
  { directory, domainKeys, capabilities }: MovePlanParts,
): void {
  if (isCustomKeyStoreId(from) || (origin === 'AWS_CLOUDHSM' && keyStore !== from))
    throw unmovable(
      `a key in a custom key store stays in it, as in AWS KMS (\`${from}\`); make a key elsewhere, ReEncrypt what this one has encrypted, and delete it`,
    );
  if (isCustomKeyStoreId(keyStore))
    throw unmovable(`\`${keyStore}\` is a custom key store, in which keys are made and none is moved`);
  if (isMultiRegion(keyId) && residency === 'token')
    throw unmovable('the material of a multi-Region key is for the HSMs of all its Regions, and stays wrapped');
  const sharing =
    regions === '' ? relatedKeys(directory, keyId).map(({ record }) => record.region) : regions.split(' ');
  const isHeld = domainKeyId !== null && domainKeys.holds(keyStore, domainKeyId);
  const under = isHeld ? domainKeyId : domainKeys.newestOf(keyStore);
  const isShared = isMultiRegion(keyId) && importedMaterialId === '';
  const serves = (region: string): boolean => {
    const theirs = directory.regions.get(region)?.keyStores;
    return theirs?.has(keyStore) === true || (isShared && under !== undefined && theirs?.hasInDomain(under) === true);
  };
  const without = sharing.find((region) => !serves(region));
  if (without !== undefined)
    throw unmovable(
      `the Region ${without}, which uses the material, does not have the key store \`${keyStore}\`${isShared ? ', nor another one of its domain' : ''}`,
    );
  if (residency !== 'wrapped') return;
  const row = capabilities(keyStore)?.wrapping.find((each) => each.keySpec === keySpec);
  if (row?.works === false)
    throw unmovable(`\`${keyStore}\` cannot keep ${keySpec} keys wrapped: ${row.reason ?? 'not possible'}`);
}

function domainKeyFor({ record: { origin } }: KmsKey, move: PlannedMove, parts: MovePlanParts): BackingKeyId | null {
  const { record } = move;
  const { domainKeyId, keyStore: from } = record;
  if (record.residency === 'wrapped' && domainKeyId !== null) return domainKeyId;
  const newest = parts.domainKeys.of(from).findLast(({ state }) => state === 'Active');
  const why = whyNotWrappedAgain(parts.capabilities(from));
  if (why === null) return newest?.backingKeyId ?? null;
  const again = origin === 'EXTERNAL' ? '; delete its imported key material, move the key, and import it again' : '';
  throw unmovable(`\`${from}\` does not let the key out: ${why}${again}`);
}

export function notJoined(from: string, to: string): KmsError {
  return unmovable(
    `the token of \`${to}\` does not have the domain key of \`${from}\` under which it could go there: have it join that domain ` +
      `(\`drawbridge domain invite ${from}\`, \`drawbridge domain join --key-store ${to}\`), then \`drawbridge reconnect ${to}\``,
  );
}

export function hasLeft(from: string, to: string): KmsError {
  return unmovable(
    `\`${to}\` has left the domain of \`${from}\`, and gets nothing of it: have it join again (\`drawbridge domain invite ${from}\`, ` +
      `\`drawbridge domain join --key-store ${to}\`), then \`drawbridge reconnect ${to}\``,
  );
}

/**
 * Why a token wraps no key that it holds already, with what it answers; `null`: it does, or nobody knows. What was tried on it says so and
 * not whose it is.
 */
export function whyNotWrappedAgain(capabilities: Pick<KeyStoreCapabilities, 'protection'> | undefined): string | null {
  const trial = capabilities?.protection.find(({ attempt }) => attempt === wrapsAnything);
  return trial?.isHeld === true
    ? `CKA_EXTRACTABLE of keys in it is false, and the token keeps to that (${trial.answer})`
    : null;
}

export function unmovable(message: string): KmsError {
  return new KmsError('UnsupportedOperationException', message);
}
