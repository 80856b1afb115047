/**
 * Containers as engines make them, of real namespaces and cgroups: root in them is no root of the machine, to a daemon beside them
 * and to one that is in one itself.
 */

import { type ChildProcess, execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { chmodSync, mkdirSync, mkdtempSync, rmdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { ContainerNames, isInOtherContainer } from '../../src/identity/container-names.ts';
import { lookByPid, namespacePidsIn, originOfProcess, type ProcessLook } from '../../src/identity/peer-origin.ts';
import { whyOnlyOwnUser } from '../support/readable-checkout.ts';

const run = promisify(execFile);
const folder = mkdtempSync(join(tmpdir(), 'drawbridge-origin-'));
const container = ['unshare', '--pid', '--mount', '--fork', '--kill-child', '--mount-proc'];
const id = 'a'.repeat(64);
const none = new ContainerNames({});
const unnamed = { container: 'unnamed' };

/** Whether this machine lets a test have them. */
const cgroupRoot = ['/sys/fs/cgroup/unified', '/sys/fs/cgroup'].find((path) => {
  try {
    mkdirSync(join(path, 'drawbridge-probe'));
    writeFileSync(join(path, 'drawbridge-probe', 'cgroup.procs'), '');
    return true;
  } catch {
    return false;
  } finally {
    try {
      rmdirSync(join(path, 'drawbridge-probe'));
    } catch {
      // It is not there.
    }
  }
});
const canUnshare = await run(container[0] ?? '', [...container.slice(1), 'true']).then(
  () => true,
  () => false,
);
if (!canUnshare) process.stdout.write('skipped: containers, because this user cannot make pid namespaces\n');
if (cgroupRoot === undefined) process.stdout.write('skipped: cgroups, because this user cannot make any\n');
const onlyOwnUser = whyOnlyOwnUser();
if (onlyOwnUser !== null) process.stdout.write(`skipped: a daemon of another user: ${onlyOwnUser}\n`);

const children: ChildProcess[] = [];
let listeners = 0;

afterAll(async () => {
  for (const child of children.filter(({ exitCode, signalCode }) => exitCode === null && signalCode === null)) {
    child.kill('SIGKILL');
    await once(child, 'exit');
  }
  rmSync(folder, { recursive: true });
});

async function listen(before: readonly string[], names = {}): Promise<{ path: string; pid: number }> {
  const path = join(folder, `${listeners++}.sock`);
  const script = join(import.meta.dirname, 'origin-listener.ts');
  const [command = '', ...rest] = [...before, process.execPath, script, path, JSON.stringify(names)];
  const child = spawn(command, rest, { stdio: ['ignore', 'pipe', 'inherit'] });
  children.push(child);
  await once(child.stdout, 'data');
  return { path, pid: child.pid ?? 0 };
}

/** What a listener says of `curl`, run by that command. */
async function askedBy(path: string, before: readonly string[] = [], output = '.origin'): Promise<unknown> {
  const [command = '', ...rest] = [...before, 'curl', '--silent', '--unix-socket', path, 'http://x/'];
  const { stdout } = await run(command, rest);
  const answer = JSON.parse(stdout) as Record<string, unknown>;
  return output === '.origin' ? answer['origin'] : answer;
}

/** A cgroup for as long as `during` takes, and the command that begins in it. */
async function inCgroup(name: string, during: (before: readonly string[]) => Promise<void>): Promise<void> {
  const path = join(cgroupRoot ?? '', name);
  mkdirSync(path, { recursive: true });
  try {
    await during(['sh', '-c', `echo $$ > ${path}/cgroup.procs && exec "$@"`, 'sh']);
  } finally {
    for (let part = name; part !== '.'; part = join(part, '..')) rmdirSync(join(cgroupRoot ?? '', part));
  }
}

describe.skipIf(onlyOwnUser !== null)('to a daemon of another user on the machine', () => {
  let path: string;
  beforeAll(async () => {
    // What it needs to know, it can read as whoever it is.
    chmodSync(folder, 0o777);
    const asNobody = ['setpriv', '--reuid', '65534', '--regid', '65534', '--clear-groups'];
    ({ path } = await listen(asNobody, { '/drawbridge-test/web-*': 'web', '/drawbridge-test/web-1': 'never' }));
  });

  test('a process of the machine is the machine’s', async () => {
    expect(await askedBy(path, [], 'all')).toEqual({ origin: 'machine', canTell: true });
  });

  test.skipIf(!canUnshare)('a process in a pid namespace of its own is not', async () => {
    expect(await askedBy(path, container)).toEqual(unnamed);
  });

  test.skipIf(cgroupRoot === undefined)('a container is called what the first cgroup that is its says', async () => {
    await inCgroup('drawbridge-test/web-1', async (before) => {
      expect(await askedBy(path, before)).toEqual({ container: 'web' });
      if (canUnshare) expect(await askedBy(path, [...before, ...container])).toEqual({ container: 'web' });
    });
    await inCgroup('drawbridge-test/other', async (before) => expect(await askedBy(path, before)).toBe('machine'));
  });

  test.skipIf(cgroupRoot === undefined)(
    'a container in the machine’s pid namespace is told by its cgroup',
    async () => {
      await inCgroup(`drawbridge-test/docker-${id}.scope`, async (before) => {
        expect(await askedBy(path, before)).toEqual(unnamed);
      });
    },
  );

  test.skipIf(!canUnshare)('nobody is shown to be the machine’s where /proc hides other users’ processes', async () => {
    const hidden =
      'mount -t proc -o hidepid=2 proc /proc && exec setpriv --reuid 65534 --regid 65534 --clear-groups "$@"';
    const listener = await listen(['unshare', '--mount', 'sh', '-c', hidden, 'sh']);
    expect(await askedBy(listener.path, [], 'all')).toEqual({ origin: unnamed, canTell: false });
  });

  test('a process that has ended before its connection was accepted is nobody’s', async () => {
    const listener = await listen([]);
    process.kill(listener.pid, 'SIGSTOP');
    // Somebody who has the other end still hears what is said of who opened it.
    const holder = `
      const { spawn } = require('node:child_process');
      const socket = require('node:net').connect(process.argv[1], () => {
        socket.write('GET / HTTP/1.1\\r\\nHost: x\\r\\nConnection: close\\r\\n\\r\\n');
        spawn('cat', { stdio: [socket, 'inherit', 'ignore'], detached: true });
        process.exit();
      });`;
    const child = spawn(process.execPath, ['-e', holder, listener.path], { stdio: ['ignore', 'pipe', 'inherit'] });
    const heard = text(child.stdout);
    await once(child, 'exit');
    process.kill(listener.pid, 'SIGCONT');
    expect(await heard).toContain('{"origin":{"container":"unnamed"}');
  });
});

describe.skipIf(!canUnshare)('to a daemon that is in a container', () => {
  let path: string;
  let inSame: readonly string[];
  beforeAll(async () => {
    const listener = await listen(container);
    const { stdout } = await run('pgrep', ['--parent', String(listener.pid)]);
    path = listener.path;
    inSame = ['nsenter', '--target', stdout.trim(), '--pid', '--mount'];
  });

  test('who is in the same one is of its machine', async () => {
    expect(await askedBy(path, inSame, 'all')).toEqual({ origin: 'machine', canTell: true });
  });

  test('who is in one below it, in another one or on the machine is not', async () => {
    expect(await askedBy(path, [...inSame, ...container])).toEqual(unnamed);
    expect(await askedBy(path, container)).toEqual(unnamed);
    expect(await askedBy(path)).toEqual(unnamed);
  });
});

describe.skipIf(!canUnshare)('without descriptors of peers', () => {
  test('a process is looked at by its pid, and one that has ended cannot be', async () => {
    expect(originOfProcess(process.pid, lookByPid(process.pid), none)).toBe('machine');
    const child = spawn(container[0] ?? '', [...container.slice(1), 'sleep', '30'], { stdio: 'ignore' });
    children.push(child);
    await expect.poll(() => run('pgrep', ['--parent', String(child.pid)])).toBeDefined();
    const inside = Number((await run('pgrep', ['--parent', String(child.pid)])).stdout);
    expect(originOfProcess(inside, lookByPid(inside), none)).toEqual(unnamed);
    expect(() => lookByPid(2 ** 22 + 1)).toThrow();
  });
});

const look = (more: Partial<ProcessLook>): ProcessLook => ({ namespacePids: [7], cgroups: '0::/\n', ...more });

test.each<[string, ProcessLook | undefined]>([
  ['whose pid the kernel does not name', undefined],
  ['in a namespace below', look({ namespacePids: [7, 1] })],
  ['whose pid is another’s in the daemon’s namespace', look({ namespacePids: [8] })],
  ['of which nothing can be read', look({ namespacePids: [] })],
  ['in another container', look({ cgroups: `0::/docker/${id}\n` })],
])('a process %s is not shown to be the machine’s', (_, seen) => {
  expect(originOfProcess(7, seen, none)).toEqual(unnamed);
});

test('a process that is called like a line of its status has the pids that the kernel wrote', () => {
  const status = (name: string) => `Name:\t${name}\nPid:\t77\nNSpid:\t77\t1\nThreads:\t1\n`;
  for (const name of ['sleep', '\rNSpid:\t77', '\u2028NSpid:\t77', 'NSpid:\t77']) {
    expect(namespacePidsIn(status(name))).toEqual([77, 1]);
  }
  expect(namespacePidsIn('Name:\t\rPid:\t1\nPid:\t77\n')).toEqual([77]);
});

test.each<[string, string, boolean]>([
  ['0::/', '0::/', false],
  ['0::/user.slice/user-0.slice/session-1.scope', '0::/system.slice/drawbridge.service', false],
  [`0::/system.slice/docker-${id}.scope`, '0::/system.slice/drawbridge.service', true],
  [`4:memory:/docker/${id}\n0::/`, '4:memory:/\n0::/', true],
  [`0::/machine.slice/libpod-${id}.scope/container`, '0::/', true],
  ['0::/kubepods.slice/kubepods-burstable.slice/x', '0::/', true],
  ['0::/kubepods/burstable/x', '0::/', true],
  ['0::/lxc.payload.web/init.scope', '0::/', true],
  ['0::/machine.slice/systemd-nspawn@web.service/payload', '0::/', true],
  // A transient unit of systemd, and somebody’s slice that only sounds like an engine’s.
  [`0::/system.slice/run-r${'0'.repeat(32)}.service`, '0::/', false],
  ['0::/dockers.slice/machinery.service', '0::/', false],
  // The daemon is in a container itself: who is in the same one, above it, beside it and in one below.
  [`0::/docker/${id}/worker`, `0::/docker/${id}`, false],
  ['0::/system.slice', `0::/docker/${id}`, true],
  [`0::/docker/${id.replaceAll('a', 'b')}`, `0::/docker/${id}`, true],
  [`0::/docker/${id}/docker/${id.replaceAll('a', 'b')}`, `0::/docker/${id}`, true],
  [`0::/../docker-${id}.scope`, '0::/', true],
  // A cgroup may be called anything that has no line feed in it.
  [`0::/docker/${id}/x\r0::/`, '0::/', true],
])('a process in %s is in another container than a daemon in %s: %s', (cgroups, own, isOther) => {
  expect(isInOtherContainer(`${cgroups}\n`, `${own}\n`)).toBe(isOther);
});

test.each<[string, string, string | undefined]>([
  ['/web.slice/docker-*.scope', '/web.slice/docker-1.scope', 'web'],
  ['/web.slice/docker-*.scope', '/web.slice/docker-1.scope/init', 'web'],
  ['/web.slice/docker-*.scope', '/web.slice/docker-1/x.scope', undefined],
  ['/web.slice/docker-*.scope', '/web.slice/docker-1.scopes', undefined],
  ['/web.slice/docker-*.scope', '/x/web.slice/docker-1.scope', undefined],
  ['/web.slice/', '/web.slice', 'web'],
  ['/web.slice', '/webXslice', undefined],
  ['/a(b|c)+', '/a(b|c)+/x', 'web'],
])('the cgroup %s of the configuration and %s: %s', (cgroup, path, name) => {
  expect(new ContainerNames({ [cgroup]: 'web' }).find(`5:cpu:/\n0::${path}\n`)).toBe(name);
});
