/** Whose calls the MACs of records are: the daemon's own, which wait for nobody. */

import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, onTestFinished, test, vi } from 'vitest';
import { createDataFolder, createMetadata, openStore } from '../../src/daemon/data-folder.ts';
import { openStore as openKeyStore } from '../hsm/test-store.ts';
import { describeEachToken } from '../support/tokens.ts';

describeEachToken('The metadata store of a daemon', (token) => {
  test('has its MACs computed as prompt calls', async () => {
    const folder = join(mkdtempSync(join(tmpdir(), 'drawbridge-record-macs-')), 'data');
    const place = { dataDir: folder, region: 'us-east-1' };
    onTestFinished(() => rmSync(join(folder, '..'), { recursive: true }));
    const keyStore = await openKeyStore(token());
    onTestFinished(() => keyStore.close());
    await createDataFolder(folder);
    await createMetadata(place, keyStore);
    const { store, useServiceKey } = await openStore(place);
    onTestFinished(() => store.close());
    await useServiceKey(keyStore);
    const macs = vi.spyOn(keyStore, 'macs');
    await store.deriveKey('grant-tokens');
    expect(macs.mock.calls.map(([{ messages }]) => messages.length)).toEqual([1]);
  });
});
