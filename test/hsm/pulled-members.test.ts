/** A member of a key store whose token is pulled out while a host connects to it, and is plugged in again. */

import { mkdirSync, renameSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { expect, onTestFinished, test } from 'vitest';
import { KeyStoreError } from '../../src/hsm/key-store.ts';
import type { JoinedKeyStore } from '../../src/hsm/members/joined-key-store.ts';
import { beginJoinedKeyStore } from '../../src/hsm/members/open-joined-key-store.ts';
import { openFailureOf } from '../../src/hsm/open-failure.ts';
import { beginKeyStore } from '../../src/hsm/open-key-store.ts';
import type { TokenConnection } from '../../src/hsm/token-connection.ts';
import { loadVendorProfile } from '../../src/hsm/vendor-profile.ts';
import type { Logger } from '../../src/kms/logger.ts';
import { Pin } from '../../src/secrets/secret-bytes.ts';
import { describeEachShimmedToken, type ShimmedToken } from '../support/pkcs11-shim.ts';
import { limitsOfTests, newKey, openStore, until } from './test-store.ts';

const log: Logger = { debug() {}, info() {}, warn() {}, error() {} };

const filesOf = ({ profile, folder }: ShimmedToken): string => (profile === 'nss' ? folder : join(folder, 'tokens'));

async function keyStoreOf(token: ShimmedToken): Promise<JoinedKeyStore> {
  const alone = await openStore(token);
  const backingKeyId = await newKey(alone);
  await alone.close();
  /** As a daemon proves one. */
  async function prove(connection: TokenConnection): Promise<void> {
    try {
      await connection.describeKey({ backingKeyId });
    } catch (error) {
      const isMissing = error instanceof KeyStoreError && error.failure === 'keyUnavailable';
      throw isMissing ? new Error('it is none of ours') : error;
    }
  }
  const begin = (terms: object) =>
    beginKeyStore(
      {
        ...{ name: 'only', settings: token.settings(1), hosts: 1, environment: token.environment, log },
        sessionsAreParallel: loadVendorProfile(token.profile).sessionsAreParallel,
        pin: async () => new Pin(Buffer.alloc(token.pin.length, token.pin)),
        limits: limitsOfTests,
        ...terms,
      },
      () => true,
    );
  const members = [{ name: 'only', begin }];
  const { keyStore, connected } = beginJoinedKeyStore({ name: 'default', members, prove, log });
  onTestFinished(() => keyStore.close());
  await connected;
  return keyStore;
}

describeEachShimmedToken('A member', (token) => {
  test('that is pulled out at any step of a connection comes back by itself', async () => {
    const keyStore = await keyStoreOf(token());
    const status = () => keyStore.status().members?.[0];
    const isLeftAlone = () => (status()?.command ?? null) !== null;
    // Nothing else: NSS softoken makes the folder's files anew.
    const files = filesOf(token());
    for (const step of ['C_Initialize', 'C_GetTokenInfo', 'C_Login', 'C_GetMechanismList', 'C_FindObjectsInit']) {
      const calls = token().counting(step);
      token().fault(step, 'hold');
      for (const pid of status()?.pids ?? []) process.kill(pid, 'SIGKILL');
      await until(() => calls() > 0);
      const before = status()?.restarts ?? 0;
      renameSync(files, `${files}.out`);
      mkdirSync(files);
      token().heal(step);
      // NSS softoken has opened its files by then, and reads on.
      const isServing = () => keyStore.members[0]?.isServing === true;
      await until(() => isLeftAlone() || isServing() || (status()?.restarts ?? 0) > before + 1);
      expect(status()?.command, step).toBeNull();
      rmSync(files, { recursive: true });
      renameSync(`${files}.out`, files);
      await until(() => isLeftAlone() || isServing());
      expect(status(), step).toMatchObject({ state: 'connected', command: null });
    }
  });

  test('whose folder is empty is told as one that is not there, and not by its PIN', async () => {
    const files = filesOf(token());
    renameSync(files, `${files}.out`);
    mkdirSync(files);
    const failed = await openStore(token()).catch((error: unknown) => error);
    rmSync(files, { recursive: true });
    renameSync(`${files}.out`, files);
    expect(openFailureOf(failed)).toBe('tokenAbsent');
  });
});
