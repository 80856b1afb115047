/** A new domain key is made in all HSMs of a domain: the one that is in the way is told by its name, also where its host was just replaced. */

import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, onTestFinished, test } from 'vitest';
import type { KeyStoreStatus } from '../../src/hsm/key-store.ts';
import { present } from '../end-to-end/support/daemon.ts';
import { softHsm2 } from '../support/tokens.ts';
import { InstanceOfStores } from './instance-of-stores.ts';
import { askOf, joinDomain } from './joining-key-stores.ts';

const missing = softHsm2.missing;
if (missing !== null) process.stdout.write(`skipped: domain keys and HSMs that hang: ${missing}\n`);

test.skipIf(missing !== null)('an HSM that hangs is named to whoever begins a rotation of the domain key', async () => {
  const token = softHsm2.create();
  onTestFinished(() => token.remove());
  const pinFile = join(token.folder, 'pin');
  writeFileSync(pinFile, `${token.pin}\n`, { mode: 0o600 });
  const deadlines = { callMs: 1_000 };
  const instance = await InstanceOfStores.create({
    annex: { ...InstanceOfStores.settingsOf(token, pinFile), deadlines },
  });
  onTestFinished(() => instance.remove());
  await instance.start();
  await instance.kms.createKey({ MultiRegion: true });
  await joinDomain(instance, 'default', 'annex');
  expect(await askOf(instance.socket, '/key-stores/annex/reconnect', {})).toMatchObject({ state: 'connected' });
  const { keyStores } = (await askOf(instance.socket, '/status')) as { keyStores: readonly KeyStoreStatus[] };
  const { pids } = present(keyStores.find(({ name }) => name === 'annex'));
  for (const pid of pids) process.kill(pid, 'SIGSTOP');
  const refused = await askOf(instance.socket, '/domains/default/rotation', {});
  expect(refused.message).toContain('`annex/annex`');
});
