/**
 * Gives keys what no request can: a state to which their policies let nobody bring them, a date that has passed.
 *
 * The records it writes are as genuine as the daemon's (`stopped-instance.ts`).
 */

import { replaced } from '../../src/store/records/changes.ts';
import type { KeyRecord } from '../../src/store/records/records.ts';
import { Turns } from '../../src/store/turns.ts';
import { inside } from './stopped-instance.ts';

/** @param dir The folder of an instance that is not running. */
export async function changeKeys(
  dir: string,
  keyIds: ReadonlySet<string>,
  members: Partial<Pick<KeyRecord, 'state' | 'deletionDateMs'>>,
): Promise<void> {
  await inside(dir, async ({ store }) => {
    const { key: records } = await store.load();
    const chosen = records.filter(({ keyId }) => keyIds.has(keyId));
    if (chosen.length < keyIds.size) throw new Error(`of ${keyIds.size} keys, ${chosen.length} are in the store`);
    const changes = chosen.map((record) => replaced('key', record, members));
    await new Turns(store).take(() => ({ changes, response: undefined }));
  });
}
