/** A key that is to be destroyed while its token is taken out under a host that is connected: it is not gone, whatever the library says. */

import { cpSync, mkdirSync, renameSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { describeEachToken, type TestToken } from '../support/tokens.ts';
import { failureOf, newKey, openTestStore, until } from './test-store.ts';

const filesOf = ({ profile, folder }: TestToken): string => (profile === 'nss' ? folder : join(folder, 'tokens'));

describeEachToken('A key in a token that is taken out', (token) => {
  test.each([
    ['leaves nothing', () => undefined],
    ['leaves an empty folder', (files: string) => void mkdirSync(files)],
  ] as const)('and %s is not destroyed before the token is back', async (_what, leave) => {
    const made = await openTestStore(token());
    const backingKeyId = await newKey(made.keyStore);
    await made.keyStore.close();
    // As a daemon has it that starts with the key: the only one that its host knows.
    const { keyStore } = await openTestStore(token(), { limits: { reconnectWaitMs: 100 } });
    const files = filesOf(token());
    renameSync(files, `${files}.out`);
    leave(files);
    expect(await failureOf(keyStore.destroyKey({ backingKeyId }))).toMatchObject({ failure: 'unavailable' });
    rmSync(files, { recursive: true, force: true });
    renameSync(`${files}.out`, files);
    await until(() => keyStore.status().state === 'connected');
    expect(await keyStore.describeKey({ backingKeyId })).toMatchObject({ backingKeyId });
    await keyStore.destroyKey({ backingKeyId });
    expect(await failureOf(keyStore.describeKey({ backingKeyId }))).toMatchObject({ failure: 'keyUnavailable' });
  });

  test('for a copy of it is destroyed in the copy, by whoever opens that', async () => {
    const { keyStore } = await openTestStore(token());
    const backingKeyId = await newKey(keyStore);
    const files = filesOf(token());
    renameSync(files, `${files}.out`);
    cpSync(`${files}.out`, files, { recursive: true });
    await keyStore.destroyKey({ backingKeyId });
    expect(await failureOf(keyStore.describeKey({ backingKeyId }))).toMatchObject({ failure: 'keyUnavailable' });
    rmSync(`${files}.out`, { recursive: true });
  });
});
