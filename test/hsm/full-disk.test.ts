/** SoftHSM2 on a disk that is full: a login would empty the file by which the token is one, and may find no room to write it. */

import { cpSync, readdirSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, onTestFinished, test } from 'vitest';
import { readJoiningPair, trustJoiningKeys } from '../../src/hsm/joining-key-trust.ts';
import { newBackingKeyId } from '../../src/kms/names.ts';
import { Pin } from '../../src/secrets/secret-bytes.ts';
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
    `# directories.tokendir = /nowhere\ndirectories.tokendir = ${tokens} # a disk of its own\nobjectstore.backend = file\nlog.level = ERROR\n`,
  );
  return { token, tokens };
}

/** When its file was written last. */
function writtenIn(tokens: string): () => bigint {
  const tokenFile = join(tokens, String(readdirSync(tokens)[0]), 'token.object');
  return () => statSync(tokenFile, { bigint: true }).mtimeNs;
}

function fill(tokens: string): string {
  const filler = join(tokens, 'filler');
  writeFileSync(filler, Buffer.alloc(3 * mebibyte + mebibyte / 2));
  return filler;
}

const noRoom = /^the disk of `.+` has \d+ KiB left, and a login on a full disk loses the token/;

test.skipIf(missing !== null)(
  'a host logs in to no token whose disk is full, and does once there is room',
  async () => {
    const { token, tokens } = tokenOnSmallDisk();
    const { keyStore } = await openTestStore(token);
    const backingKeyId = await newKey(keyStore);
    const written = writtenIn(tokens);
    const filler = fill(tokens);
    // Whoever is connected serves on.
    await roundTrip(keyStore, backingKeyId);
    const before = written();
    for (const pid of keyStore.status().pids) process.kill(pid, 'SIGKILL');
    await until(() => keyStore.status().restarts >= 3);
    expect(keyStore.status()).toMatchObject({
      state: 'reconnecting',
      lastFailure: expect.stringMatching(noRoom),
    });
    expect(written()).toBe(before);
    rmSync(filler);
    await until(() => keyStore.status().state === 'connected');
    await roundTrip(keyStore, backingKeyId);
  },
);

test.skipIf(missing !== null)('nor does anybody log in to it for keys that join', async () => {
  const { token, tokens } = tokenOnSmallDisk();
  const [written, settings] = [writtenIn(tokens), token.settings()];
  const pinOf = (text: string | null) => new Pin(Buffer.from(text ?? ''));
  const read = async () => {
    const asked = { backingKeyId: newBackingKeyId(), pin: pinOf(token.pin) };
    return (await readJoiningPair(settings, asked, token.environment)) as { readonly problem: string };
  };
  const trust = () => trustJoiningKeys(settings, { keys: [], soPin: pinOf(token.soPin) }, token.environment);
  const filler = fill(tokens);
  const before = written();
  expect((await read()).problem).toMatch(noRoom);
  expect(await trust()).toMatch(noRoom);
  expect(written()).toBe(before);
  rmSync(filler);
  expect((await read()).problem).toBe('it has no such pair');
  expect(await trust()).toBeNull();
});
