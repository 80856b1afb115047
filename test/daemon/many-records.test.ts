/** Key stores that come after the start, where there are more records than a start verifies. */

import { readFileSync, writeFileSync } from 'node:fs';
import { onTestFinished, test } from 'vitest';
import { parse, stringify } from 'yaml';
import { fillStore } from '../../scripts/benchmark/filled-store.ts';
import { startCustomHsms } from '../end-to-end/support/custom-hsms.ts';
import { present } from '../end-to-end/support/daemon.ts';
import { missingForShim } from '../support/pkcs11-shim.ts';
import { nssSoftoken, softHsm2 } from '../support/tokens.ts';

const missing = softHsm2.missing ?? nssSoftoken.missing ?? missingForShim();
if (missing !== null) process.stdout.write(`skipped: key stores of many records: ${missing}\n`);

test.skipIf(missing !== null)(
  'a custom key store is connected again by a start that has not verified all records',
  async () => {
    const hsms = await startCustomHsms();
    onTestFinished(() => hsms.remove());
    const { instance } = hsms;
    const id = String((await instance.kms.createCustomKeyStore(hsms.wanted({}))).CustomKeyStoreId);
    await instance.kms.connectCustomKeyStore({ CustomKeyStoreId: id });
    await hsms.until(id, 'CONNECTED');
    const keys: string[] = [];
    for (let made = 0; made < 3; made++) {
      const { KeyMetadata } = await instance.kms.createKey({ Origin: 'AWS_CLOUDHSM', CustomKeyStoreId: id });
      keys.push(present(KeyMetadata?.KeyId));
    }
    // A wrapped one, whose material the others have as well.
    await instance.kms.createKey({ MultiRegion: true });
    await instance.stop();
    await fillStore(instance.folder, 1_500);
    const written = parse(readFileSync(instance.configurationFile, 'utf8'));
    written.budgets = { ...written.budgets, memory: { ...written.budgets?.memory, keysInMemory: 1 } };
    writeFileSync(instance.configurationFile, stringify(written));
    await instance.start();
    await hsms.until(id, 'CONNECTED');
    for (const each of keys) await instance.kms.encrypt({ KeyId: each, Plaintext: Buffer.from('x') });
  },
);
