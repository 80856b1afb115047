/** `scripts/bench --many-keys`: that it runs, measures what it says, and leaves nothing. */

import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { ManyKeysResult } from '../../scripts/benchmark/many-keys.ts';
import { softHsm2 } from '../support/tokens.ts';
import { runScript } from './run-script.ts';

const { missing } = softHsm2;
if (missing !== null) process.stdout.write(`skipped: scripts/bench --many-keys: ${missing}\n`);

describe.skipIf(missing !== null)('scripts/bench --many-keys', () => {
  let folder: string;
  beforeAll(() => {
    folder = mkdtempSync(join(tmpdir(), 'many-keys-'));
  });
  afterAll(() => rmSync(folder, { recursive: true, force: true }));

  test('measures start, memory, lists and use without keys, with wrapped keys and with keys in the token', {
    timeout: 240_000,
  }, async () => {
    const file = join(folder, 'many-keys.json');
    const env = { ...process.env, TMPDIR: folder };
    const ended = await runScript('bench', ['--many-keys', '--quick', '--json', file], { env });
    expect(ended).toMatchObject({ code: 0 });
    expect(ended.stdout).toContain('start, s');
    const results = JSON.parse(readFileSync(file, 'utf8')) as readonly ManyKeysResult[];
    expect(results.map(({ name, keys }) => [name, keys])).toEqual([
      ['no keys', 0],
      ['wrapped', 120],
      ['in the token', 5],
    ]);
    for (const { name, rates } of results) {
      if (name !== 'wrapped') expect(rates).toBeNull();
      else expect(rates).toMatchObject({ firstUses: null, firstUsesAtHand: null, underMore: null });
      for (const measured of rates === null ? [] : [rates.underOne, rates.underKept, rates.directUnwraps])
        expect(measured).toBeGreaterThan(0);
    }
    for (const { keys, startSeconds, startApiCpuSeconds, apiMebibytes, describeKeyMicros, encryptMicros } of results) {
      for (const measured of [startSeconds, startApiCpuSeconds, apiMebibytes]) expect(measured).toBeGreaterThan(0);
      for (const measured of [describeKeyMicros, encryptMicros]) {
        if (keys === 0) expect(measured).toBeNull();
        else expect(measured).toBeGreaterThan(0);
      }
    }
    expect(readdirSync(folder)).toEqual(['many-keys.json']);
  });

  test('is refused together with what measures something else', async () => {
    const ended = await runScript('bench', ['--many-keys', '--only', 'Sign'], {});
    expect(ended).toMatchObject({ code: 2, stderr: 'bench: --many-keys goes with --quick and --json alone\n' });
    const alone = await runScript('bench', ['--million'], {});
    expect(alone).toMatchObject({ code: 2, stderr: 'bench: --million goes with --many-keys\n' });
  });
});
