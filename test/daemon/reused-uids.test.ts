/**
 * A user is deleted and another one made with his uid, while the daemon runs: with the files that `useradd` and `userdel` write.
 * And somebody is taken out of a group.
 */

import { execFile, spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { expect, test } from 'vitest';

const canUnshare = spawnSync('unshare', ['--mount', 'true']).status === 0;
if (!canUnshare) process.stdout.write('skipped: reused uids, because this user cannot make a mount namespace\n');

test.skipIf(!canUnshare)(
  'whoever has a uid that was another’s is not taken for him, nor who is in no group any more for a member, at the next request',
  async () => {
    const etc = mkdtempSync(join(tmpdir(), 'drawbridge-etc-'));
    try {
      writeFileSync(join(etc, 'group'), 'root:x:0:\n');
      writeFileSync(join(etc, 'nsswitch.conf'), 'passwd: files\ngroup: files\n');
      const script = join(import.meta.dirname, 'reused-uids-run.ts');
      const inEtc = ['--mount', 'sh', '-c', 'mount --bind "$0" /etc && exec "$@"', etc, process.execPath, script];
      const { stdout } = await promisify(execFile)('unshare', inEtc);
      const unidentified = { caller: null, refusal: 'KMSInternalException' };
      expect(JSON.parse(stdout)).toEqual({
        asAlice: [{ caller: 'alice' }, { caller: 'alice' }, 'alice'],
        // Neither her credentials nor her connection are his, and the connection ends.
        reused: [null, unidentified],
        isClosed: true,
        asBob: [{ caller: 'bob' }],
        gone: [unidentified, { caller: 'uid=54501' }],
        again: [{ caller: 'alice' }, 'alice'],
        // The kernel's word alone, and with the database's: on connections that stay.
        inGroup: [{ caller: 'on-call' }, { caller: 'on-call' }],
        outOfGroup: [{ caller: 'on-call' }, { caller: 'alice' }],
        changes: [
          { of: 'uid', who: 54_501, before: 'alice', now: 'bob' },
          { of: 'uid', who: 54_501, before: 'bob', now: null },
          { of: 'uid', who: 54_501, before: null, now: 'alice' },
          { of: 'groups of user', who: 'alice', before: [54_501, 54_600], now: [54_501] },
        ],
      });
    } finally {
      rmSync(etc, { recursive: true });
    }
  },
);
