/**
 * Another process that uses a store: `open PATH` opens and closes it; `write PATH FIRST` writes records without end,
 * from number FIRST, several at once, and prints the number of each when it is acknowledged.
 */

import { openSqliteStore } from '../../src/store/sqlite-store.ts';
import { aliasPut, examples, testMac } from './records.ts';

const [action, path = '', first = '0'] = process.argv.slice(2);
const store = await openSqliteStore({ path, mac: testMac });
if (action === 'open') await store.close();
else {
  let number = Number(first);
  const writeOn = async (): Promise<void> => {
    for (;;) {
      const mine = number++;
      // Two records in one transaction, so that half of one would show.
      await store.write([
        aliasPut(`n${mine}`, mine),
        aliasPut(`twin${mine}`, mine),
        { put: 'keyPolicy', record: { ...examples.keyPolicy, document: 'x'.repeat(mine % 20_000) } },
      ]);
      process.stdout.write(`${mine}\n`);
    }
  };
  await Promise.all([writeOn(), writeOn(), writeOn()]);
}
