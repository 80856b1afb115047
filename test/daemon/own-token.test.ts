/** A token without the keys that it should have: who reads it is told what to do about this one. */

import { expect, onTestFinished, test } from 'vitest';
import { assertTokenIsOurs } from '../../src/daemon/own-token.ts';
import { newBackingKeyId } from '../../src/kms/names.ts';
import { openTestStore } from '../hsm/test-store.ts';
import { softHsm2 } from '../support/tokens.ts';

const missing = softHsm2.missing;
if (missing !== null) process.stdout.write(`skipped: tokens without keys: ${missing}\n`);

test.skipIf(missing !== null)(
  'a fresh start and a domain are told of to whom they help: where the service keys are',
  async () => {
    const token = softHsm2.create();
    onTestFinished(() => token.remove());
    const { keyStore } = await openTestStore(token);
    const told = (isOfServiceKeys: boolean) =>
      assertTokenIsOurs(keyStore, '/data', [newBackingKeyId()], isOfServiceKeys).then(
        () => '',
        ({ message }: Error) => message,
      );
    const [first, other] = [await told(true), await told(false)];
    for (const message of [first, other])
      expect(message).toMatch(
        /has none of the keys that `\/data` knows: .*restore the token from its backup.*cannot be decrypted/,
      );
    for (const command of ['drawbridge init', 'drawbridge domain invite']) {
      expect(first).toContain(command);
      expect(other).not.toContain(command);
    }
  },
);
