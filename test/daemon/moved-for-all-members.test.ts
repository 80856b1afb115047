/** A key goes into a key store of several members once each of them that is there has opened it. */

import { expect, onTestFinished, test } from 'vitest';
import { present } from '../end-to-end/support/daemon.ts';
import { openStore } from '../hsm/test-store.ts';
import { softHsm2 } from '../support/tokens.ts';
import { InstanceOfMembers, MemberFolder } from './instance-of-members.ts';
import { askOf } from './joining-key-stores.ts';

const missing = softHsm2.missing;
if (missing !== null) process.stdout.write(`skipped: moves into key stores of several members: ${missing}\n`);

interface Shown {
  readonly domain: readonly string[];
}

test.skipIf(missing !== null)('a key is not moved into a key store of which one member does not open it', async () => {
  const instance = await InstanceOfMembers.create({
    ...{ names: ['first'], annex: ['third', 'fourth'] },
    prepare: async (kms) => void (await kms.createKey({})),
  });
  onTestFinished(() => instance.remove());
  await instance.start();
  const KeyId = present((await instance.kms.createKey({})).KeyMetadata?.KeyId);
  const place = async () => (await askOf(instance.socket, `/status/keys/${KeyId}`)).backingKeys[0];
  const { domainKeyId } = await place();
  const move = () => askOf(instance.socket, '/moves', { keys: [KeyId], to: 'annex', residency: null, dryRun: false });
  const domains = async () => (await askOf(instance.socket, '/status')).keyStores.map((each: Shown) => each.domain);
  await expect.poll(domains).toEqual([expect.arrayContaining(['annex']), expect.arrayContaining(['annex'])]);
  const fourth = new MemberFolder(instance.folder, 'fourth');
  const token = await openStore({ ...instance.token, environment: fourth.environment });
  try {
    const [own] = (await token.listKeys()).filter(({ backingKeyId }) => backingKeyId === domainKeyId);
    // Of one id, and another key.
    await token.destroyKey({ backingKeyId: domainKeyId });
    await token.generateDomainKey({ backingKeyId: domainKeyId, label: present(own).label });
  } finally {
    await token.close();
  }
  const { moved, refused } = await move();
  expect(moved).toEqual([]);
  expect(refused).toMatchObject([{ keyId: KeyId }]);
  expect(refused[0].reason).toMatch(/the member `fourth` does not open what another one has wrapped/);
  expect(await place()).toMatchObject({ keyStore: 'default', domainKeyId });
});
