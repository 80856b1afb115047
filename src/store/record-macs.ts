/**
 * MACs of many records, in few calls to the HSM.
 *
 * A store of 100,000 keys has three records and more for each and verifies all of them when it is loaded. One by one they cost the
 * API process more than they cost the HSM; many to a call, they are a small part of reading and judging the records.
 */

import { inLists, mapBounded } from './bounded-map.ts';
import type { RecordMacs } from './metadata-store.ts';
import { macBytes } from './record-mac.ts';

/** As many as the HSM is given in one call. */
export const macsPerCall = 128;

/**
 * So many calls are under way at once, so that the HSM has the next ones while the answers are dealt with; and few enough to
 * leave room in the queue of a key store that takes its MACs one by one.
 */
export const callsAtOnce = 4;

/** The MACs of one call. @throws TypeError when they are not as many as the messages, or no HMAC-SHA-256. */
export async function macsOfCall(macs: RecordMacs, messages: readonly Buffer[]): Promise<readonly Buffer[]> {
  if (messages.length === 0) return [];
  const computed = await macs(messages);
  if (computed.length !== messages.length)
    throw new TypeError(`${computed.length} MACs for ${messages.length} messages`);
  const other = computed.find(({ length }) => length !== macBytes);
  if (other !== undefined) throw new TypeError(`a MAC has ${macBytes} bytes, not ${other.length}`);
  return computed;
}

/** The MACs of any number of messages, in their order. Throws as `macsOfCall`, and what `macs` rejects with. */
export async function macsOfAll(macs: RecordMacs, messages: readonly Buffer[]): Promise<readonly Buffer[]> {
  const calls = await mapBounded(inLists(messages, macsPerCall), callsAtOnce, (some) => macsOfCall(macs, some));
  return calls.flat();
}
