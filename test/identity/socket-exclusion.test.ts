/** The access control list by which somebody is kept out of a socket, where another file has the socket's name. */

import { chmodSync, mkdtempSync, renameSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { createServer, type Server } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import koffi from 'koffi';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { SocketExclusion } from '../../src/identity/socket-exclusion.ts';

const getAttribute = koffi
  .load(null)
  .func('long lgetxattr(const char *path, const char *name, _Out_ uint8_t *value, size_t size)');
const hasList = (path: string): boolean => getAttribute(path, 'system.posix_acl_access', Buffer.alloc(1024), 1024) > 0;

const somebody = 12_345;
let folder: string;
let path: string;
let server: Server;
let exclusion: SocketExclusion;

beforeEach(async () => {
  folder = mkdtempSync(join(tmpdir(), 'drawbridge-exclusion-'));
  path = join(folder, 'kms.sock');
  server = createServer();
  await new Promise<void>((resolve) => void server.listen(path, resolve));
  chmodSync(path, 0o666);
  const log = { debug() {}, info() {}, warn() {}, error() {} };
  exclusion = new SocketExclusion({ path, maxRefusedPerSecond: 1, log });
});
afterEach(() => {
  exclusion.close();
  server.close();
  rmSync(folder, { recursive: true });
});

/** Is there a file system of that kind below? */
function isPossible(): boolean {
  exclusion.refused(somebody);
  return hasList(path);
}

test('is on the socket', ({ skip }) => {
  if (!isPossible()) skip('no access control lists in the folder of temporary files');
  expect(hasList(path)).toBe(true);
});

test.each([
  ['a file', () => writeFileSync(path, '', { mode: 0o600 })],
  ['a link to the socket', () => symlinkSync(`${path}.before`, path)],
])('is not on %s that has taken its name', (_what, take) => {
  renameSync(path, `${path}.before`);
  take();
  exclusion.refused(somebody);
  expect([path, `${path}.before`].filter(hasList)).toEqual([]);
});
