/** A key store of two members that hold to different things, for tests: SoftHSM2, `strict`, and NSS softoken, `lax`. They share no keys. */

import { expect, onTestFinished } from 'vitest';
import { beginJoinedKeyStore } from '../../src/hsm/members/open-joined-key-store.ts';
import { beginKeyStore } from '../../src/hsm/open-key-store.ts';
import { loadVendorProfile } from '../../src/hsm/vendor-profile.ts';
import type { Logger } from '../../src/kms/logger.ts';
import { Pin } from '../../src/secrets/secret-bytes.ts';
import { nssSoftoken, softHsm2, type TestToken } from '../support/tokens.ts';

const silent: Logger = { debug() {}, info() {}, warn() {}, error() {} };

export async function mixedMembers() {
  const tokens = [softHsm2.create(), nssSoftoken.create()] as const;
  const opening = (name: string, token: TestToken) => ({
    name,
    begin: (terms: object) =>
      beginKeyStore(
        {
          name,
          settings: token.settings(1),
          hosts: 1,
          sessionsAreParallel: loadVendorProfile(token.profile).sessionsAreParallel,
          pin: async () => new Pin(Buffer.alloc(token.pin.length, token.pin)),
          environment: token.environment,
          log: silent,
          ...terms,
        },
        () => true,
      ),
  });
  const { keyStore, connected } = beginJoinedKeyStore({
    name: 'default',
    members: [opening('strict', tokens[0]), opening('lax', tokens[1])],
    prove: async () => undefined,
    log: silent,
  });
  onTestFinished(async () => {
    await keyStore.close();
    for (const token of tokens) token.remove();
  });
  await connected;
  const [strict, lax] = keyStore.members;
  if (strict === undefined || lax === undefined) throw new TypeError('it has two members');
  expect(keyStore.members.map(({ isServing }) => isServing)).toEqual([true, true]);
  return { keyStore, strict, lax };
}
