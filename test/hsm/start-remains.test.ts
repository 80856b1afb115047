/** What a host's start took, and its calls do not need, is given back: with one lane, and when the last of several is open. */

import { readFileSync } from 'node:fs';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { softHsm2, type TestToken } from '../support/tokens.ts';
import { newKey, openTestStore, roundTrip, until } from './test-store.ts';

const { missing } = softHsm2;
if (missing !== null) process.stdout.write(`skipped: the memory of hosts: ${missing}\n`);

function megabytes(pid: number | undefined, name: 'VmHWM' | 'VmRSS' | 'RssFile'): number {
  const kilobytes = new RegExp(`^${name}:\\s*(\\d+) kB$`, 'm').exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1];
  return Number(kilobytes) / 1024;
}

describe.skipIf(missing !== null)('The start of a host', () => {
  let token: TestToken;
  beforeAll(() => {
    token = softHsm2.create();
  });
  afterAll(() => token?.remove());

  test.each([1, 4])('leaves nothing in the memory of one with %i lanes, which goes on', async (lanes) => {
    const { keyStore } = await openTestStore(token, { lanes });
    const [pid] = keyStore.status().pids;
    // Each lane had its part of Node.js's file in use; Node.js alone has 34 MB of it.
    await until(() => megabytes(pid, 'RssFile') < 34);
    await until(() => megabytes(pid, 'VmRSS') < 0.8 * megabytes(pid, 'VmHWM'));
    const backingKeyId = await newKey(keyStore);
    await Promise.all(Array.from({ length: 8 }, () => roundTrip(keyStore, backingKeyId)));
    expect(keyStore.status()).toMatchObject({ state: 'connected', restarts: 0 });
  });
});
