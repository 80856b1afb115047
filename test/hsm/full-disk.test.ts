/** SoftHSM2 on a disk that is full: a login would empty the file by which the token is one, and may find no room to write it. */

import { cpSync, readdirSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, onTestFinished, test } from 'vitest';
import { createSmallDisk, smallDiskMissing } from '../support/small-disk.ts';
import { softHsm2, type TestToken } from '../support/tokens.ts';
import { newKey, openTestStore, roundTrip, until } from './test-store.ts';

const missing = softHsm2.missing ?? smallDiskMissing;
const mebibyte = 1024 * 1024;

/** A token whose folder is a disk of its own. */
function tokenOnSmallDisk(): { readonly token: TestToken; readonly tokens: string } {
  const token = softHsm2.create();
  const { folder: tokens, remove } = createSmallDisk(4 * mebibyte);
  onTestFinished(() => {
    token.remove();
    remove();
  });
  cpSync(join(token.folder, 'tokens'), tokens, { recursive: true });
  writeFileSync(
    join(token.folder, 'softhsm2.conf'),
    `directories.tokendir = ${tokens}\nobjectstore.backend = file\nlog.level = ERROR\n`,
  );
  return { token, tokens };
}

test.skipIf(missing !== null)(
  'a host logs in to no token whose disk is full, and does once there is room',
  async () => {
    const { token, tokens } = tokenOnSmallDisk();
    const { keyStore } = await openTestStore(token);
    const backingKeyId = await newKey(keyStore);
    const tokenFile = join(tokens, String(readdirSync(tokens)[0]), 'token.object');
    const written = () => statSync(tokenFile, { bigint: true }).mtimeNs;
    const filler = join(tokens, 'filler');
    writeFileSync(filler, Buffer.alloc(3 * mebibyte + mebibyte / 2));
    // Whoever is connected serves on.
    await roundTrip(keyStore, backingKeyId);
    const before = written();
    for (const pid of keyStore.status().pids) process.kill(pid, 'SIGKILL');
    await until(() => keyStore.status().restarts >= 3);
    expect(keyStore.status()).toMatchObject({
      state: 'reconnecting',
      lastFailure: expect.stringMatching(
        /^the disk of `.+` has \d+ KiB left, and a login on a full disk loses the token/,
      ),
    });
    expect(written()).toBe(before);
    rmSync(filler);
    await until(() => keyStore.status().state === 'connected');
    await roundTrip(keyStore, backingKeyId);
  },
);
