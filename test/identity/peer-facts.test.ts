/** What is said of the process at the other end of a Unix socket, and when nothing is said. */

import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { realpathSync } from 'node:fs';
import { describe, expect, test } from 'vitest';
import type { UnixPeer } from '../../src/identity/caller.ts';
import { peerFacts, unitOf } from '../../src/identity/peer-facts.ts';

const peer = (pid: number, more: Partial<UnixPeer> = {}): UnixPeer => ({
  kind: 'unix',
  uid: 0,
  gid: 0,
  pid,
  groups: [],
  acceptedAtMs: performance.now(),
  ...more,
});

describe('the executable', () => {
  test('is the program that the peer runs', () => {
    expect(peerFacts(peer(process.pid)).executable()).toBe(realpathSync(process.execPath));
  });

  test('is not told of a process that was started after the connection was accepted', async () => {
    const before = performance.now() - 1000;
    const child = spawn('sleep', ['30'], { stdio: 'ignore' });
    try {
      await once(child, 'spawn');
      expect(peerFacts(peer(child.pid ?? 0, { acceptedAtMs: before })).executable()).toBeUndefined();
    } finally {
      child.kill('SIGKILL');
      await once(child, 'exit');
    }
    expect(peerFacts(peer(child.pid ?? 0)).executable()).toBeUndefined();
  });

  test.each([
    ['without a time of connection', peer(process.pid, { acceptedAtMs: undefined as unknown as number })],
    ['with the pid 0 of another pid namespace', peer(0)],
    ['with a pid that nobody has', peer(2 ** 22 + 1)],
  ])('is not told of a peer %s', (_, who) => {
    expect(peerFacts(who).executable()).toBeUndefined();
    expect(peerFacts(who).systemdUnit()).toBeUndefined();
  });
});

test('user and groups have the names that the machine has for them', () => {
  const { userName, groupNames } = peerFacts(peer(process.pid, { gid: 0, groups: [0, 65_534, 54_321] }));
  expect(userName()).toBe('root');
  expect(groupNames()).toEqual(['root', 'nogroup']);
});

test.each<[string, string | undefined]>([
  ['0::/system.slice/app.service\n', 'app.service'],
  ['0::/system.slice/system-app.slice/app@1.service/worker\n', 'app@1.service'],
  ['12:cpu:/x\n1:name=systemd:/system.slice/old.service\n0::/\n', 'old.service'],
  // What a user names in his own service manager is his manager's.
  ['0::/user.slice/user-1000.slice/user@1000.service/app.slice/app.service\n', 'user@1000.service'],
  ['0::/user.slice/user-1000.slice/session-4.scope\n', 'session-4.scope'],
  ['0::/\n', undefined],
  ['0::/docker/0123abc\n', undefined],
  ['0::/../../app.service\n', undefined],
  ['0::/system.slice\n', undefined],
  ['', undefined],
])('the unit in %j is %s', (cgroup, unit) => {
  expect(unitOf(cgroup)).toBe(unit);
});
