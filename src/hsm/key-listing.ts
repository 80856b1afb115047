/** The list of a token's keys, which comes in pages. */

import type { CallDispatcher } from './call-dispatcher.ts';
import { u32 } from './call-fields.ts';
import { failed } from './call-words.ts';
import { callOn } from './host-lane.ts';
import { KeyStoreError } from './key-store.ts';
import type { CallLane } from './pending-call.ts';
import * as replies from './replies.ts';

/** A listing that is longer than this is a host that does not find its end. */
const maxListedKeys = 1_000_000;

/** All pages over one lane, which keeps one list for them. @throws KeyStoreError `unavailable` when that is lost. */
export async function listPages(dispatcher: CallDispatcher): Promise<readonly replies.ListedKey[]> {
  const keys: replies.ListedKey[] = [];
  let lane: CallLane | undefined;
  const decode = (reply: readonly Buffer[], from: CallLane) => {
    lane = from;
    return replies.listedPage(reply);
  };
  for (let offset = 0; offset < maxListedKeys; ) {
    const fields = [u32(offset)];
    const page = await (lane === undefined
      ? dispatcher.call('listKeys', fields, decode)
      : callOn(lane, 'listKeys', fields, decode));
    if (page.entries === 0) return keys;
    offset += page.entries;
    keys.push(...page.keys);
  }
  throw new KeyStoreError('internal', failed('listKeys', `there is no end after ${maxListedKeys} keys`));
}
