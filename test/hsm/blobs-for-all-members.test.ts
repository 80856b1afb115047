/** What one member of a key store wraps is for all of them. */

import { expect, test } from 'vitest';
import { WrappedKey } from '../../src/hsm/wrapped-key.ts';
import { newBackingKeyId } from '../../src/kms/names.ts';
import { nssSoftoken, softHsm2 } from '../support/tokens.ts';
import { mixedMembers } from './mixed-members.ts';

const missing = softHsm2.missing ?? nssSoftoken.missing;
if (missing !== null) process.stdout.write(`skipped: blobs for mixed members: ${missing}\n`);

test.skipIf(missing !== null)('a key is not wrapped anew into what another member does not open', async () => {
  const { keyStore, strict, lax } = await mixedMembers();
  // Of one id, and two keys: as if what the one writes were nothing to the other.
  const domainKey = { backingKeyId: newBackingKeyId(), label: 'drawbridge:domain:default:1' };
  const own = { backingKeyId: newBackingKeyId(), label: 'drawbridge:domain:default:2' };
  for (const member of [strict, lax]) await member.call((opened) => opened.generateDomainKey(domainKey));
  await lax.call((opened) => opened.generateDomainKey(own));
  const outline = { keySpec: 'ECC_NIST_P256', keyUsage: 'SIGN_VERIFY' } as const;
  const { backingKeyId: domainKeyId } = domainKey;
  const made = await lax.call((opened) => opened.generateWrappedKey({ ...outline, domainKeyId }));
  const key = {
    backingKeyId: newBackingKeyId(),
    wrapped: new WrappedKey({ ...outline, ...made, domainKeyId }),
  };
  const { publicKey } = made;
  await expect(keyStore.wrapKey({ ...key, ...outline, publicKey, domainKeyId })).rejects.toMatchObject({
    failure: 'keyUnavailable',
    message: expect.stringMatching(/^the member `strict` does not open what another one has wrapped: /),
  });
  // A member that has no such domain key is none that could.
  const anew = await keyStore.wrapKey({ ...key, ...outline, publicKey, domainKeyId: own.backingKeyId });
  const wrapped = new WrappedKey({ ...outline, publicKey, blob: anew.blob, domainKeyId: own.backingKeyId });
  expect(await keyStore.describeKey({ backingKeyId: newBackingKeyId(), wrapped })).toMatchObject({ sensitive: true });
});
