/**
 * A key store that was not there at the start: when it is connected, what a start does with those that it needs is done with it.
 *
 * What of a creation in it did not finish is undone, and its objects are compared with the records. Nothing is made in it before
 * that. But where it was connected before, somebody may have made something in it then whose turn is yet to come.
 *
 * INVARIANT: no object is destroyed whose intent has not been given another version before. So either that turn was first, and the object is left
 * alone, or it is refused.
 */

import type { KeyStore } from '../../hsm/key-store.ts';
import type { Logger } from '../../kms/logger.ts';
import { removed, replaced } from '../../store/records/changes.ts';
import type { BackingKeyRecord } from '../../store/records/records.ts';
import type { Turns } from '../../store/turns.ts';
import type { KeyView } from '../key-view.ts';
import { materialsOfRegions } from '../regions-of-material.ts';
import type { DomainKeys } from './domain-keys.ts';
import type { LeftIntents } from './left-intents.ts';
import { isDestroyed, isNeeded, isOfNode, reportDifferences } from './unfinished.ts';

export interface LateParts {
  /** Of any Region: what is unfinished may be another one's. */
  readonly directory: KeyView;
  readonly domainKeys: DomainKeys;
  readonly turns: Turns;
  readonly nodeId: string;
  readonly leftIntents: Pick<LeftIntents, 'add'>;
  readonly log: Logger;
}

/** @throws KeyStoreError when it cannot be settled now; what is left is settled by the next call. */
export async function settleLateKeyStore(
  name: string,
  keyStore: Pick<KeyStore, 'destroyKey' | 'describeKey' | 'listKeys' | 'status'>,
  { directory, domainKeys, turns, nodeId, leftIntents, log }: LateParts,
): Promise<void> {
  const records = [...materialsOfRegions(directory.regions.values(), name)];
  for (const record of records.filter(({ state }) => state === 'Creating')) {
    const { backingKeyId, keyId } = record;
    if (!isOfNode(record, nodeId) || isNeededNow(record, directory)) {
      log.warn({ keyStore: name, backingKeyId, keyId }, 'an unfinished key creation is left as it is');
      continue;
    }
    const taken = await takenOver(record, { directory, turns });
    if (taken === undefined) continue;
    if (!(await isDestroyed(keyStore, backingKeyId, log))) {
      leftIntents.add(taken);
      continue;
    }
    await turns.take(() => ({ changes: [removed('backingKey', taken)], response: undefined }), { isQuiet: true });
    log.info({ keyStore: name, backingKeyId, keyId }, 'undid an unfinished key creation');
  }
  await domainKeys.settle(name, keyStore);
  const isNamed = (backingKeyId: string): boolean =>
    domainKeys.isThere(backingKeyId) ||
    [...directory.regions.values()].some((each) => each.namesMaterial(backingKeyId));
  await reportDifferences(name, keyStore, { records, isNamed }, log);
}

/** @returns The intent as nobody else knows it; `undefined` where it is none any more. */
function takenOver(record: BackingKeyRecord, { directory, turns }: Pick<LateParts, 'directory' | 'turns'>) {
  return turns.take<BackingKeyRecord | undefined>(
    () => {
      const found = [...directory.regions.values()].flatMap(
        ({ onRecord }) => onRecord.findMaterial(record.backingKeyId)?.record ?? [],
      );
      const now = found.find(({ state, regions }) => state === 'Creating' && regions === record.regions);
      if (now === undefined) return { changes: [], response: undefined };
      return { changes: [replaced('backingKey', now, {})], response: { ...now, version: now.version + 1 } };
    },
    { isQuiet: true },
  );
}

function isNeededNow(record: BackingKeyRecord, directory: KeyView): boolean {
  const { keyId } = record;
  const key = [...directory.regions.values()].flatMap(({ onRecord }) => onRecord.of(keyId)?.key ?? []);
  const backingKey = [...directory.regions.values()].flatMap((each) => each.materialRecords(keyId));
  return isNeeded(record, { key, backingKey });
}
