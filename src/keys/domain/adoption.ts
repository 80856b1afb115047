/**
 * A key store of this instance gets on record which domain keys of other ones it has: then it uses what is wrapped under them, and the two are
 * a domain from then on.
 *
 * The keys came by the files (`invitation.ts`) or by a rotation. What is believed is neither a file nor an id, but what its HSMs do: each of them
 * unwraps what the other key store has just wrapped, and computes the same with it. The record of that is under a MAC as every
 * record, and is what is asked from then on.
 *
 * Key stores of a domain have the same newest domain key. So one that is by itself takes the newest of the other for its own, above all that it has;
 * one that is in a domain already, or gets a former one, takes it as a former one: it opens what is under it, and wraps nothing under it.
 */

import { type KeyStore, KeyStoreError } from '../../hsm/key-store.ts';
import { JoinedKeyStore } from '../../hsm/members/joined-key-store.ts';
import type { Logger } from '../../kms/logger.ts';
import type { BackingKeyId } from '../../kms/names.ts';
import type { DomainKeyRecord } from '../../store/records/records.ts';
import { type DomainKeys, domainKeyLabel, isInHsm } from '../life/domain-keys.ts';
import { doesTheSame, proveKey } from './key-proofs.ts';

export interface AdoptionParts {
  readonly domainKeys: Pick<DomainKeys, 'of' | 'holds' | 'everywhere' | 'newestOf' | 'domainOf' | 'adopt'>;
  /** Those that are configured, by name. */
  readonly keyStores: ReadonlyMap<string, KeyStore>;
  /** What the domain is called wherever its keys are. */
  readonly domainId: string;
  readonly log: Logger;
}

/** What a domain key is proven as: any secret key of its type is that. */
const anySecret = { keySpec: 'SYMMETRIC_DEFAULT', keyUsage: 'ENCRYPT_DECRYPT' } as const;

/**
 * Looks in a key store that is there for domain keys of others, and puts on record which it has.
 * @param tokens Its own, with nothing between (`tokensOf`).
 * @returns Those that are new on record.
 * @throws KeyStoreError when the key store does not tell. What another one has to prove and cannot now is looked for the next time.
 */
export async function adoptDomainKeys(
  name: string,
  parts: AdoptionParts,
  tokens: readonly KeyStore[],
): Promise<readonly BackingKeyId[]> {
  const { domainKeys, log } = parts;
  const found: DomainKeyRecord[] = [];
  for (const foreign of foreignTo(name, parts))
    if (!found.some(({ backingKeyId }) => backingKeyId === foreign.backingKeyId))
      if (await isIn(tokens, foreign, parts)) found.push(foreign);
  if (found.length === 0) return [];
  const adopted = await domainKeys.adopt(() => adoptedRecords(name, found, domainKeys));
  const ids = adopted.map(({ backingKeyId }) => backingKeyId);
  if (domainKeys.of(name).length === 0) {
    log.warn(
      { keyStore: name, of: [...new Set(found.map(({ keyStore }) => keyStore))] },
      'a key store has only former domain keys of others, under which nothing new is wrapped: have it join again (`drawbridge domain invite`)',
    );
    return [];
  }
  const domain = domainKeys.domainOf(name);
  log.info({ keyStore: name, domainKeys: ids, domain }, 'a key store has domain keys of others');
  return ids;
}

/** Domain keys that others have and it has not, as far as that is on record. */
function foreignTo(name: string, { domainKeys, keyStores }: AdoptionParts): readonly DomainKeyRecord[] {
  const own = new Set(domainKeys.of(name).map(({ backingKeyId }) => backingKeyId));
  const others = [...keyStores.keys()].filter((other) => other !== name).flatMap((other) => domainKeys.of(other));
  return others.filter(({ state, backingKeyId }) => state === 'Active' && !own.has(backingKeyId));
}

/** In each of the tokens, and the same key there. */
async function isIn(
  tokens: readonly KeyStore[],
  record: DomainKeyRecord,
  { keyStores, domainId, log }: AdoptionParts,
): Promise<boolean> {
  const { keyStore: other, backingKeyId } = record;
  for (const token of tokens) if (!(await isInHsm(token, backingKeyId))) return false;
  const holder = keyStores.get(other);
  if (holder === undefined || tokens.length === 0) return false;
  try {
    const label = domainKeyLabel(record);
    const key = await proveKey(holder, { backingKeyId, label, domainId, ...anySecret });
    for (const token of tokens) {
      // Its lanes may know another object by this id, which was there before.
      await token.forgetWrappedKey({ backingKeyId });
      if (await doesTheSame(token, key)) continue;
      log.error(
        { keyStore: token.name, backingKeyId },
        `an object with the id of a domain key of \`${other}\` is another key, and is not used`,
      );
      return false;
    }
    return true;
  } catch (error) {
    if (!(error instanceof KeyStoreError)) throw error;
    log.warn(
      { keyStore: other, backingKeyId, problem: error.message },
      'whether another key store has the same domain key could not be tried',
    );
    return false;
  }
}

/** As they are on record from now on, with what is there in this turn. */
function adoptedRecords(
  name: string,
  found: readonly DomainKeyRecord[],
  domainKeys: Pick<DomainKeys, 'of' | 'holds' | 'newestOf' | 'domainOf' | 'everywhere'>,
): readonly DomainKeyRecord[] {
  const own = domainKeys.of(name);
  const isOwn = (id: BackingKeyId): boolean => own.some(({ backingKeyId }) => backingKeyId === id);
  const coming = found.filter(
    (each) => domainKeys.holds(each.keyStore, each.backingKeyId) && !isOwn(each.backingKeyId),
  );
  const isAlone = domainKeys.domainOf(name).length === 1;
  const isNewest = (id: BackingKeyId): boolean =>
    domainKeys.everywhere(id).some(({ keyStore }) => domainKeys.newestOf(keyStore) === id);
  const leading = isAlone ? coming.find(({ backingKeyId }) => isNewest(backingKeyId)) : undefined;
  // With none of its own it would wrap what is new under a former one, which somebody may have who left.
  if (own.length === 0 && leading === undefined) return [];
  const former = coming
    .filter((each) => each !== leading)
    .sort((one, other) => one.createdAtMs - other.createdAtMs || one.ordinal - other.ordinal);
  const first = own[0]?.ordinal ?? 1;
  const last = own.at(-1)?.ordinal ?? 0;
  const common = { keyStore: name, version: 1, state: 'Active', owner: '', createdAtMs: Date.now() } as const;
  return [
    ...former.map(({ backingKeyId, proof }, at) => ({
      ...{ ...common, backingKeyId, proof, ordinal: first - former.length + at },
    })),
    ...(leading === undefined
      ? []
      : [{ ...common, backingKeyId: leading.backingKeyId, proof: leading.proof, ordinal: last + 1 }]),
  ];
}

/** Each member of a key store has to have what the key store has, but for what has left: none, where one of them is not there. */
export function tokensOf(keyStore: KeyStore): readonly KeyStore[] {
  if (!(keyStore instanceof JoinedKeyStore)) return [keyStore];
  const members = keyStore.members.filter((member) => !keyStore.isGone(member));
  const serving = members.flatMap(({ isServing, attached }) => (isServing && attached ? [attached] : []));
  return serving.length === members.length ? serving : [];
}
