import { spawnSync } from 'node:child_process';
import { once } from 'node:events';
import {
  chmodSync,
  chownSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { createServer, type Server } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeEach, describe, expect, test } from 'vitest';
import { listenAt } from '../../src/http/unix-socket.ts';

const folder = mkdtempSync(join(tmpdir(), 'drawbridge-socket-'));
const servers: Server[] = [];
let path: string;
let count = 0;

beforeEach(() => {
  const own = join(folder, String(count++));
  mkdirSync(own);
  path = join(own, 'kms.sock');
});
afterAll(() => {
  for (const server of servers) server.close();
  rmSync(folder, { recursive: true });
});

function server(): Server {
  const created = createServer((socket) => socket.destroy());
  servers.push(created);
  return created;
}

/** What a daemon leaves that was killed. */
function leaveStaleSocket(at = path): void {
  const script = `require('net').createServer().listen(${JSON.stringify(at)}, () => process.kill(process.pid, 'SIGKILL'))`;
  spawnSync(process.execPath, ['-e', script]);
  expect(statSync(at).isSocket()).toBe(true);
}

/** Where the socket is while it has no permissions yet. */
async function temporaryName(): Promise<string> {
  const seen = server();
  const listening = listenAt(seen, { path, mode: '0600' });
  await once(seen, 'listening');
  const name = String(seen.address());
  await (await listening).release();
  return name;
}

describe('the socket', () => {
  test.each(['0600', '0660', '0666'])('has mode %s when it appears, whatever the umask', async (mode) => {
    const before = process.umask(0o027);
    try {
      await listenAt(server(), { path, mode });
    } finally {
      process.umask(before);
    }
    expect((statSync(path).mode & 0o777).toString(8)).toBe(mode.slice(1));
    expect(readdirSync(join(path, '..'))).toEqual(['kms.sock']);
  });

  test.skipIf(process.getuid?.() !== 0)('is given to its group, by name or gid', async () => {
    await listenAt(server(), { path, mode: '0660', group: 'daemon' });
    const gid = statSync(path).gid;
    expect(gid).toBeGreaterThan(0);
    await listenAt(server(), {
      path: `${path}2`,
      mode: '0660',
      group: String(gid),
    });
    expect(statSync(`${path}2`).gid).toBe(gid);
  });

  test('takes the place of the socket of a dead daemon', async () => {
    leaveStaleSocket();
    await listenAt(server(), { path, mode: '0600' });
    await expect(listenAt(server(), { path, mode: '0600' })).rejects.toThrow('another daemon answers');
  });

  test('takes the place of one that a daemon left under its first name', async () => {
    const name = await temporaryName();
    leaveStaleSocket(name);
    await listenAt(server(), { path, mode: '0600' });
    expect(readdirSync(join(path, '..'))).toEqual(['kms.sock']);
  });

  test("is nobody else's before it has its permissions, whatever the umask", async () => {
    const before = process.umask(0);
    try {
      const listening = server();
      const listened = listenAt(listening, { path, mode: '0600' });
      await once(listening, 'listening');
      expect(statSync(String(listening.address())).mode & 0o077).toBe(0);
      await listened;
    } finally {
      process.umask(before);
    }
  });

  test('is removed at the end', async () => {
    const { release } = await listenAt(server(), { path, mode: '0600' });
    await release();
    expect(existsSync(path)).toBe(false);
    await release();
  });

  test("is left alone at the end when it is another daemon's by then", async () => {
    const first = await listenAt(server(), { path, mode: '0600' });
    rmSync(path);
    await listenAt(server(), { path, mode: '0600' });
    await first.release();
    expect(existsSync(path)).toBe(true);
  });
});

describe('a socket path', () => {
  test('on which a daemon answers is refused and goes on working', async () => {
    await listenAt(server(), { path, mode: '0600' });
    const { ino } = statSync(path);
    await expect(listenAt(server(), { path, mode: '0600' })).rejects.toThrow(
      `another daemon answers on \`${path}\`; stop it or configure another path`,
    );
    expect(statSync(path).ino).toBe(ino);
  });

  test.each([
    ['a file', () => writeFileSync(path, 'precious')],
    ['a folder', () => mkdirSync(path)],
  ])('that is %s is refused, and what is there is left alone', async (_name, make) => {
    make();
    const before = statSync(path);
    await expect(listenAt(server(), { path, mode: '0600' })).rejects.toThrow(
      `\`${path}\` exists and is not a socket; it is left alone: remove it or configure another path`,
    );
    expect(statSync(path)).toEqual(before);
  });

  test('that is too long is refused with the limit', async () => {
    const long = join(folder, 'new', 'x'.repeat(102 - folder.length));
    await listenAt(server(), { path: long, mode: '0600' });
    await expect(listenAt(server(), { path: `${long}é`, mode: '0600' })).rejects.toMatchObject({
      name: 'SocketPathError',
      message: `the socket path \`${long}é\` is too long: a Unix socket's path has at most 107 bytes; choose one that is 2 bytes shorter`,
    });
    await expect(listenAt(server(), { path: join(folder, 'y'.repeat(107), 's'), mode: '0600' })).rejects.toThrow(
      'bytes shorter',
    );
    expect(existsSync(join(folder, 'y'.repeat(107)))).toBe(false);
  });

  test('in a folder where everybody may replace it is refused with the command to run', async () => {
    const open = join(path, '..');
    chmodSync(open, 0o777);
    await expect(listenAt(server(), { path, mode: '0600' })).rejects.toThrow(
      `\`${open}\` is not safe to use: it can be written by everybody; run: chmod o-w ${open}; whoever can put another socket there gets`,
    );
    await listenAt(server(), { path: `${path}2`, mode: '0600', sharedFolder: true });
    chmodSync(open, 0o1777);
    await listenAt(server(), { path, mode: '0600' });
  });

  test.each([0o000, 0o022, 0o077])(
    'has its folder made where that is missing, for all to pass, with umask %o',
    async (umask) => {
      const before = process.umask(umask);
      const run = join(path, '..', 'run');
      try {
        await listenAt(server(), { path: join(run, 'kms.sock'), mode: '0600' });
      } finally {
        process.umask(before);
      }
      expect(statSync(run).mode & 0o7777).toBe(0o755);
    },
  );

  test('has nothing made above its folder, and the mode of a folder that is there left alone', async () => {
    const missing = join(path, '..', 'rnu');
    await expect(listenAt(server(), { path: join(missing, 'drawbridge', 'kms.sock'), mode: '0600' })).rejects.toThrow(
      `there is no folder \`${missing}\`, in which the socket's folder \`${join(missing, 'drawbridge')}\` would be made; make it, or`,
    );
    expect(existsSync(missing)).toBe(false);
    writeFileSync(missing, 'a file');
    await expect(
      listenAt(server(), { path: join(missing, 'drawbridge', 'run', 'kms.sock'), mode: '0600' }),
    ).rejects.toThrow(
      `cannot look at the socket path \`${join(missing, 'drawbridge')}\`: a part of its path is no folder (ENOTDIR)`,
    );
    chmodSync(join(path, '..'), 0o700);
    await listenAt(server(), { path, mode: '0600' });
    expect(statSync(join(path, '..')).mode & 0o7777).toBe(0o700);
  });

  test('in a folder that this user may not make is refused with what makes it', async () => {
    chmodSync(folder, 0o755);
    const asNobody = process.getuid?.() === 0 ? 65_534 : undefined;
    chmodSync(join(path, '..'), 0o555);
    if (asNobody !== undefined) process.seteuid?.(asNobody);
    try {
      await expect(listenAt(server(), { path: join(path, '..', 'run', 'kms.sock'), mode: '0600' })).rejects.toThrow(
        /^cannot make the folder .*you may not make folders in .*RuntimeDirectory=/,
      );
    } finally {
      if (asNobody !== undefined) process.seteuid?.(0);
    }
  });

  test.skipIf(process.getuid?.() !== 0)("in somebody else's folder, or below one, is refused", async () => {
    const deep = join(path, '..', 'deep');
    mkdirSync(deep);
    chownSync(join(path, '..'), 12_345, 0);
    for (const place of [path, join(deep, 'kms.sock')]) {
      await expect(listenAt(server(), { path: place, mode: '0600' })).rejects.toThrow(
        'belongs to uid 12345, who can put something else there',
      );
    }
    await listenAt(server(), { path, mode: '0600', sharedFolder: true });
  });

  test.skipIf(process.getuid?.() !== 0)('in a shared folder gives its mode to nothing but itself', async () => {
    const precious = join(folder, `precious-${count}`);
    writeFileSync(precious, '', { mode: 0o600 });
    const temporary = await temporaryName();
    chmodSync(join(path, '..'), 0o777);
    const listening = server();
    const attempt = listenAt(listening, { path, mode: '0666', sharedFolder: true });
    // Whoever shares the folder is as fast as can be: the name is a link by the time that permissions are given.
    listening.once('listening', () => {
      rmSync(temporary);
      symlinkSync(precious, temporary);
    });
    await expect(attempt).rejects.toThrow('cannot give the socket');
    expect(statSync(precious).mode & 0o777).toBe(0o600);
  });

  test.skipIf(process.getuid?.() !== 0)(
    'in a shared folder takes another name than one that somebody has before',
    async () => {
      const taken = await temporaryName();
      chmodSync(join(path, '..'), 0o1777);
      writeFileSync(taken, '');
      chownSync(taken, 12_345, 12_345);
      await listenAt(server(), { path, mode: '0600' });
      expect(statSync(path).isSocket()).toBe(true);
      expect(statSync(taken).uid).toBe(12_345);
    },
  );

  test.skipIf(process.getuid?.() !== 0)('is told whose the socket is that answers in its place', async () => {
    await listenAt(server(), { path, mode: '0600' });
    chownSync(path, 12_345, 12_345);
    await expect(listenAt(server(), { path, mode: '0600' })).rejects.toThrow(
      `another daemon answers on \`${path}\`; stop it or configure another path (it belongs to uid 12345)`,
    );
  });

  test('for a group that does not exist is refused, and nothing is left', async () => {
    await expect(listenAt(server(), { path, mode: '0660', group: 'no-such-group' })).rejects.toThrow(
      'there is no group `no-such-group`, to which the socket is to be given',
    );
    expect(readdirSync(join(path, '..'))).toEqual([]);
  });
});
