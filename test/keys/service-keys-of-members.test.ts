/** Service keys of a key store whose members hold to different things: each answers for what is in it. */

import { expect, test } from 'vitest';
import { asEnforced, wrapsUnderUntrusted } from '../../src/hsm/token-protection.ts';
import { assertServiceKey, createServiceKey } from '../../src/keys/life/service-keys.ts';
import { newBackingKeyId } from '../../src/kms/names.ts';
import { mixedMembers } from '../hsm/mixed-members.ts';
import { nssSoftoken, softHsm2 } from '../support/tokens.ts';

const missing = softHsm2.missing ?? nssSoftoken.missing;
if (missing !== null) process.stdout.write(`skipped: service keys of mixed members: ${missing}\n`);

test.skipIf(missing !== null)(
  'a service key that its HSM lets go under trusted keys alone is taken, whatever another member lets go',
  async () => {
    const { keyStore, strict, lax } = await mixedMembers();
    expect(keyStore.capabilities().protection.every(({ isHeld }) => isHeld)).toBe(false);
    const made = await strict.call((member) => createServiceKey(member, 'metadata-integrity'));
    const attributes = await strict.call((member) => member.describeKey({ backingKeyId: made }));
    expect(attributes).toMatchObject({ extractable: true, wrapWithTrusted: true });
    await expect(assertServiceKey(keyStore, 'metadata-integrity', made)).resolves.toBeUndefined();
    const other = await lax.call((member) => createServiceKey(member, 'session-credentials'));
    await expect(assertServiceKey(keyStore, 'session-credentials', other)).resolves.toBeUndefined();
    await expect(assertServiceKey(keyStore, 'metadata-integrity', other)).rejects.toMatchObject({
      failure: 'keyUnavailable',
    });
    await expect(assertServiceKey(keyStore, 'metadata-integrity', newBackingKeyId())).rejects.toMatchObject({
      failure: 'keyUnavailable',
    });
  },
);

test('a mark for trusted keys alone counts where the token was found to hold to it', () => {
  const trial = { attempt: wrapsUnderUntrusted, isPromised: true, answer: '' };
  const marked = { wrapWithTrusted: true };
  expect(asEnforced(marked, [{ ...trial, isHeld: true }])).toEqual(marked);
  for (const protection of [[], [{ ...trial, isHeld: false }], [{ ...trial, attempt: 'another', isHeld: true }]])
    expect(asEnforced(marked, protection)).toEqual({ wrapWithTrusted: false });
  expect(asEnforced({ wrapWithTrusted: false }, [{ ...trial, isHeld: true }])).toEqual({ wrapWithTrusted: false });
});
