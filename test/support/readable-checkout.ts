/** Whether tests can have a program of this checkout run by a user who owns nothing. */

import { spawnSync } from 'node:child_process';

const stranger = 65534;

/** `null` where they can; otherwise why not. A checkout in a folder of root's own is one that nobody else can read. */
export function whyOnlyOwnUser(): string | null {
  if (process.getuid?.() !== 0) return 'not root';
  const code = `fs.readFileSync(${JSON.stringify(import.meta.filename)})`;
  const seen = spawnSync(process.execPath, ['-e', code], { uid: stranger, gid: stranger, cwd: '/' });
  return seen.status === 0 ? null : 'others cannot read this checkout';
}
