/** A start that takes long, and what is said of it meanwhile: systemd, which waits for one line, and operators. */

import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import { Patience } from '../../src/daemon/patience.ts';
import { rewritingProgress } from '../../src/daemon/rewriting-progress.ts';
import { KeyStoreError } from '../../src/hsm/key-store.ts';
import type { Logger } from '../../src/kms/logger.ts';
import { present } from '../end-to-end/support/daemon.ts';

const logged: unknown[][] = [];
const line = (...args: unknown[]): void => void logged.push(args);
const log: Logger = { debug: line, info: line, warn: line, error: line };

beforeEach(() => {
  vi.useFakeTimers();
  logged.length = 0;
});
afterEach(() => {
  vi.useRealTimers();
});

/** One whose connection the test decides on. */
const keyStoreThat = (connected: Promise<void>) => ({
  connected,
  keyStore: { status: () => ({ state: 'connected' }) as never },
});

test('A start whose token is there says after ten seconds what it is doing, and that it goes on', async () => {
  const patience = new Patience(true, log);
  const records = Promise.withResolvers<string>();
  const opening = patience.open([keyStoreThat(Promise.resolve())], () => records.promise);
  await vi.advanceTimersByTimeAsync(9_999);
  expect([patience.reason, logged]).toEqual([null, []]);
  const began = vi.fn();
  void patience.began.then(began);
  const progress = rewritingProgress(log, (what) => patience.tell(what));
  progress(1_000, 3_500_000);
  await vi.advanceTimersByTimeAsync(1);
  expect(began).toHaveBeenCalledOnce();
  expect(patience.reason).toBe('records are written anew in the format of this version: 1000 of 3500000');
  progress(2_000, 3_500_000);
  expect(patience.reason).toBe('records are written anew in the format of this version: 2000 of 3500000');
  records.resolve('open');
  expect([await opening, patience.reason]).toEqual(['open', null]);
});

test('A start that waits for its token says so, then that the records are read, and again why it failed', async () => {
  const patience = new Patience(true, log);
  const token = Promise.withResolvers<void>();
  const attempts = [Promise.withResolvers<string>(), Promise.withResolvers<string>()];
  let attempt = 0;
  const opening = patience.open([keyStoreThat(token.promise)], () => present(attempts[attempt++]).promise);
  await vi.advanceTimersByTimeAsync(10_000);
  expect(patience.reason).toBe('the token is being connected');
  token.resolve();
  await vi.advanceTimersByTimeAsync(1);
  expect(patience.reason).toBe('the records are being read');
  attempts[0]?.reject(new KeyStoreError('unavailable', 'the token was pulled'));
  await vi.advanceTimersByTimeAsync(1);
  expect(patience.reason).toBe('the token was pulled');
  await vi.advanceTimersByTimeAsync(500);
  patience.tell('records are written anew');
  expect(patience.reason).toBe('records are written anew');
  attempts[1]?.resolve('open');
  expect([await opening, patience.reason]).toEqual(['open', null]);
});

test('Records that are written anew for minutes are told of every few seconds, also the last of them', () => {
  let nowMs = 0;
  const told: string[] = [];
  const progress = rewritingProgress(
    log,
    (what) => told.push(what),
    () => nowMs,
  );
  for (let written = 1_000; written <= 60_000; written += 1_000, nowMs += 100) progress(written, 60_000);
  expect(told).toHaveLength(60);
  const lines = logged.map(([fields]) => (fields as { readonly written: number }).written);
  expect(lines).toEqual([1_000, 21_000, 41_000, 60_000]);
});
