/**
 * Puts the MACs that are asked for one by one, but at the same time, into one call to the HSM.
 *
 * A store of 100,000 keys has three records for each and verifies all of them when it is loaded. One by one they cost the
 * API process more than they cost the HSM; together they are a small part of reading and judging the records. What is asked for alone goes
 * alone, and at once: a batch ends with the running microtasks, before anything else is waited for. It ends with `maxBatch` too, so
 * that records are read and judged while the HSM is at the next batch.
 */

import type { RecordMac } from './metadata-store.ts';

interface Wanted {
  readonly data: Buffer;
  readonly resolve: (mac: Buffer) => void;
  readonly reject: (error: unknown) => void;
}

/** As many as the HSM is given in one call. */
const maxBatch = 128;

/** @param macs Computes the MACs of all messages, in their order; when it rejects, so does each that was asked for. */
export function inBatches(macs: (messages: readonly Buffer[]) => Promise<readonly Buffer[]>): RecordMac {
  let batch: Wanted[] = [];
  const send = async (): Promise<void> => {
    const sent = batch;
    if (sent.length === 0) return;
    batch = [];
    try {
      const computed = await macs(sent.map(({ data }) => data));
      if (computed.length !== sent.length) throw new TypeError(`${computed.length} MACs for ${sent.length} messages`);
      for (const [index, { resolve }] of sent.entries()) resolve(computed[index] as Buffer); // There are as many.
    } catch (error) {
      for (const { reject } of sent) reject(error);
    }
  };
  return (data) =>
    new Promise((resolve, reject) => {
      const size = batch.push({ data, resolve, reject });
      if (size === 1) queueMicrotask(send);
      else if (size === maxBatch) send();
    });
}
