/** The only token of a key store is gone for a host that connects anew, while another host serves on with what it has open. */

import { mkdirSync, renameSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { expect, onTestFinished, test } from 'vitest';
import { hostsText } from '../../src/cli/commands/status-command.ts';
import { partlyAway } from '../../src/daemon/health.ts';
import { newKey, openTestStore, roundTrip, until } from '../hsm/test-store.ts';
import { softHsm2 } from '../support/tokens.ts';

if (softHsm2.missing !== null) process.stdout.write(`skipped: hosts that are away: ${softHsm2.missing}\n`);

test.skipIf(softHsm2.missing !== null)(
  'a key store that serves without one of its hosts is degraded for as long as that one cannot connect',
  async () => {
    const token = softHsm2.create();
    onTestFinished(() => token.remove());
    const { keyStore } = await openTestStore(token, { hosts: 2 });
    const key = await newKey(keyStore);
    await Promise.all(Array.from({ length: 8 }, () => roundTrip(keyStore, key)));
    const health = () => partlyAway({ keyStores: new Map([['default', keyStore]]), required: new Set(['default']) });
    expect(health()).toBeNull();
    expect(hostsText({ ...keyStore.status() })).toBe('2 with 2 lanes, 0 replaced');

    const [tokens, out] = [join(token.folder, 'tokens'), join(token.folder, 'out')];
    renameSync(tokens, out);
    mkdirSync(tokens);
    process.kill(keyStore.status().pids[1] ?? 0, 'SIGKILL');
    await until(() => keyStore.status().hostsAway === 1);
    expect(keyStore.status()).toMatchObject({ state: 'connected', hosts: 1, lastFailure: expect.any(String) });
    expect(health()).toBe('key store default is degraded: one of its hosts cannot connect');
    expect(hostsText({ ...keyStore.status() })).toMatch(/^1 with 1 lanes, \d+ replaced; 1 more cannot connect$/);

    rmSync(tokens, { recursive: true });
    renameSync(out, tokens);
    await until(() => keyStore.status().hosts === 2);
    expect(keyStore.status().hostsAway).toBe(0);
    expect(health()).toBeNull();
  },
);
