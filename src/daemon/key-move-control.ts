/** What an operator has moved by a running daemon: keys that he names, or all of a key store, a number at a time. */

import type { KeyStore } from '../hsm/key-store.ts';
import type { CensusPlace } from '../http/census-routes.ts';
import type { MoveControl, MoveRequest } from '../http/move-routes.ts';
import type { KeyDirectory } from '../keys/key-directory.ts';
import { findReferencedKey } from '../keys/key-reference.ts';
import type { KmsKey } from '../keys/kms-key.ts';
import type { KeyMoves } from '../keys/moves/key-moves.ts';
import { KmsError } from '../kms/errors.ts';
import type { KeyId } from '../kms/names.ts';
import { whenVerified } from '../store/record-source.ts';
import type { Announcer } from '../store/turns.ts';
import type { NoSuchKeyStore } from './no-such-key-store.ts';

export interface KeyMoveParts {
  readonly regions: readonly { readonly directory: KeyDirectory }[];
  readonly keyStores: ReadonlyMap<string, KeyStore>;
  readonly moves: KeyMoves;
  readonly noSuchKeyStore: NoSuchKeyStore;
}

/** A key that was moved, or would be. */
interface MovedKey {
  readonly keyId: KeyId;
  readonly region: string;
  /** So many pieces of material. */
  readonly backingKeys: number;
}

interface RefusedKey {
  /** As it was named, where it is not known what it is. */
  readonly keyId: string;
  readonly region: string;
  readonly reason: string;
}

export interface MovedPart {
  /** Keys of this part that were looked at, and of all Regions. */
  readonly keys: number;
  readonly totalKeys: number;
  readonly moved: readonly MovedKey[];
  readonly refused: readonly RefusedKey[];
  /** Of those that were looked at and have material there: that many are where they are wanted already. */
  readonly inPlace: number;
  /** `null`: that was all. */
  readonly next: CensusPlace | null;
}

/** A key takes some ten calls to an HSM one after the other, and two turns: a second or so for these, on a slow HSM. */
const movedInPart = 16;
/** Keys that are elsewhere, or moved already, take no time. */
const lookedAtInPart = 512;

/** Gives what moves keys where one of the Regions is asked: names are those of its keys. */
export function keyMoveControl({
  regions,
  keyStores,
  moves,
  noSuchKeyStore,
}: KeyMoveParts): (asked: KeyDirectory) => MoveControl {
  const moveOne = async (key: KmsKey, { to, residency, dryRun }: MoveRequest, by: Announcer): Promise<MovedKey> => {
    const { keyId, region } = key.record;
    const target = { keyStore: to, residency };
    // Of a multi-Region key it reads what other Regions have, too.
    const planned = await whenVerified(() => moves.plan(region, key, target).length);
    const backingKeys = dryRun ? planned : await moves.move(region, keyId, target, by);
    return { keyId, region, backingKeys };
  };
  const moveAll = async (
    keys: readonly {
      readonly directory: KeyDirectory;
      readonly name: string;
      readonly find: () => KmsKey | undefined;
    }[],
    request: MoveRequest,
    by: Announcer,
  ): Promise<Pick<MovedPart, 'keys' | 'moved' | 'refused' | 'inPlace'>> => {
    const moved: MovedKey[] = [];
    const refused: RefusedKey[] = [];
    let inPlace = 0;
    let looked = 0;
    for (const { directory, name, find } of keys) {
      if (moved.length + refused.length === movedInPart) break;
      looked++;
      try {
        const key = await whenVerified(find);
        if (key === undefined) continue;
        const one = await moveOne(key, request, by);
        if (one.backingKeys === 0) inPlace++;
        else moved.push(one);
      } catch (error) {
        if (!(error instanceof KmsError)) throw error;
        refused.push({ keyId: name, region: directory.realm.region, reason: reasonOf(error) });
      }
    }
    return { keys: looked, moved, refused, inPlace };
  };
  const totalKeys = (): number => regions.reduce((sum, { directory }) => sum + directory.counts().keys, 0);
  const ofStore = async (
    request: MoveRequest & { readonly from: string; readonly after: CensusPlace | null },
    by: Announcer,
  ): Promise<MovedPart> => {
    const { from, after } = request;
    const at = after === null ? 0 : regions.findIndex(({ directory }) => directory.realm.region === after.region);
    const directory = regions[at]?.directory;
    if (directory === undefined) throw new KmsError('ValidationException', 'There is no such Region here.');
    const { region } = directory.realm;
    const { names, truncated } = directory.keyIds.page(after?.keyId, lookedAtInPart);
    const isMeant = (key: KmsKey): boolean => key.materials.some(({ keyStore }) => keyStore === from);
    const keys = names.map((keyId) => ({
      directory,
      name: keyId,
      find: () => {
        const key = directory.findKey(keyId);
        return key !== undefined && isMeant(key) ? key : undefined;
      },
    }));
    const part = await moveAll(keys, request, by);
    const last = names[part.keys - 1];
    const isMore = truncated || part.keys < names.length;
    const following = regions[at + 1]?.directory.realm.region;
    const inNextRegion = following === undefined ? null : { region: following, keyId: '' };
    const next = isMore && last !== undefined ? { region, keyId: last } : inNextRegion;
    return { ...part, totalKeys: totalKeys(), next };
  };
  return (asked) => ({
    async part(request, by) {
      for (const name of [request.to, 'from' in request ? request.from : null])
        if (name !== null && !keyStores.has(name)) throw noSuchKeyStore(name);
      if ('from' in request) return ofStore(request, by);
      const named = request.keys.map((name) => ({
        directory: asked,
        name,
        find: () => findReferencedKey(asked, name, 'keyOrAlias'),
      }));
      return { ...(await moveAll(named, request, by)), totalKeys: request.keys.length, next: null };
    },
  });
}

/** For an operator, who may know what a caller is not told. */
function reasonOf(error: KmsError): string {
  const { cause } = error;
  if (error.name !== 'KMSInternalException' || cause === undefined) return error.message;
  return cause instanceof Error ? cause.message : String(cause);
}
