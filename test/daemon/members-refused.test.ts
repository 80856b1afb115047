/** PINs of members that are not those of their tokens: said of each of them, wherever somebody meets it. */

import { writeFileSync } from 'node:fs';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { loadConfiguration } from '../../src/config/load.ts';
import { trustPublicKeys } from '../../src/daemon/domain-joining.ts';
import { Pin } from '../../src/secrets/secret-bytes.ts';
import { softHsm2 } from '../support/tokens.ts';
import { InstanceOfMembers } from './instance-of-members.ts';

const missing = softHsm2.missing;
if (missing !== null) process.stdout.write(`skipped: PINs of members: ${missing}\n`);

let instance: InstanceOfMembers;
beforeAll(async () => {
  if (missing === null) instance = await InstanceOfMembers.create({ names: ['first', 'second'] });
});
afterAll(() => instance?.remove());

test.skipIf(missing !== null)('a start to which all tokens refuse their PINs names each of them', async () => {
  for (const { pinFile } of instance.members) writeFileSync(pinFile, 'not-the-pin\n');
  await expect(instance.start()).rejects.toThrow(
    /^key store `default`: member `first`: .*PIN refused.*; member `second`: .*PIN refused/,
  );
});

test.skipIf(missing !== null)("a security officer's PIN that is not the token's is called that", async () => {
  const configuration = await loadConfiguration(instance.configurationFile);
  const log = { debug() {}, info() {}, warn() {}, error() {} };
  const token = { configuration, keyStore: 'default', member: 'second', log };
  await expect(trustPublicKeys(token, [], new Pin(Buffer.from('not the PIN')))).rejects.toThrow(
    /the token of `default\/second` refuses the PIN of its security officer \(CKR_PIN_INCORRECT\)/,
  );
});
