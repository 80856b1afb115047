/**
 * Another process that writes an audit log: `open FOLDER` opens and closes it; `append FOLDER DURABILITY` appends without
 * end from eight callers and prints the number of each event when it is acknowledged.
 */

import type { Durability } from '../../src/audit/audit-log.ts';
import { openAuditLog } from '../../src/audit/open-audit-log.ts';
import { exampleEvent } from './example-event.ts';

const [action, folder = '', durability = 'written'] = process.argv.slice(2);
const log = await openAuditLog({ folder, sync: 'default' });
if (action === 'open') await log.close();
else {
  let number = log.head().sequence;
  const appendOn = async (): Promise<void> => {
    for (;;) {
      const mine = ++number;
      await log.append(exampleEvent(mine), durability as Durability);
      process.stdout.write(`${mine}\n`);
    }
  };
  await Promise.all(Array.from({ length: 8 }, appendOn));
}
