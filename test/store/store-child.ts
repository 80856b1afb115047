/**
 * Another process that uses a store: `open PATH` opens and closes it; `write PATH FIRST` writes records without end,
 * from number FIRST, several at once, and prints the number of each when it is acknowledged;
 * `load-halfway PATH` loads it and kills itself after the first transaction that writes former records anew.
 */

import { openSqliteStore } from '../../src/store/sqlite-store.ts';
import { aliasPut, examples, formerRegion, testMacs } from './records.ts';

const [action, path = '', first = '0'] = process.argv.slice(2);
const store = await openSqliteStore({ path, macs: testMacs, formerRegion });
if (action === 'open') await store.close();
else if (action === 'load-halfway') await store.load(() => process.kill(process.pid, 'SIGKILL'));
else {
  let number = Number(first);
  let policyVersion = (await store.load()).keyPolicy[0]?.version ?? null;
  const writeOn = async (): Promise<void> => {
    for (;;) {
      const mine = number++;
      const replaces = policyVersion;
      policyVersion = (replaces ?? 0) + 1;
      // Two records in one transaction, so that half of one would show.
      await store.write([
        aliasPut(`n${mine}`, mine),
        aliasPut(`twin${mine}`, mine),
        {
          put: 'keyPolicy',
          record: { ...examples.keyPolicy, version: policyVersion, document: 'x'.repeat(mine % 20_000) },
          replaces,
        },
      ]);
      process.stdout.write(`${mine}\n`);
    }
  };
  await Promise.all([writeOn(), writeOn(), writeOn()]);
}
