/** Somebody clears the folder of the socket: the daemon notices, and clients find it again. */

import { spawnSync } from 'node:child_process';
import {
  chmodSync,
  chownSync,
  existsSync,
  linkSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  renameSync,
  rmSync,
  statSync,
} from 'node:fs';
import { createServer as createHttp, request, type Server } from 'node:http';
import { connect, createServer, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, onTestFinished, test, vi } from 'vitest';
import { acceptsPerTurn, maxBesidePerSecond } from '../../src/http/further-listeners.ts';
import { KeptSocket } from '../../src/http/kept-socket.ts';
import type { UnixSocketPlace } from '../../src/http/unix-socket.ts';
import { whyOnlyOwnUser } from '../support/readable-checkout.ts';

let folder: string;
let path: string;
let server: Server;
let said: { level: string; fields: object; message: string }[];
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'drawbridge-socket-'));
  path = join(folder, 'kms.sock');
  said = [];
  server = createHttp((_request, response) => void response.end('here'));
});
afterEach(async () => {
  vi.useRealTimers();
  // One that is kept makes its folder anew where somebody has removed it.
  for (const each of opened.splice(0)) {
    await each.release();
    await each.close();
  }
  server.closeAllConnections();
  server.close();
  rmSync(folder, { recursive: true });
});

const opened: KeptSocket[] = [];
async function openFor(place: UnixSocketPlace): Promise<void> {
  opened.push(await KeptSocket.open(server, place, log));
}

const log = {
  debug() {},
  info() {},
  warn: (fields: object, message: string) => void said.push({ level: 'warn', fields, message }),
  error: (fields: object, message: string) => void said.push({ level: 'error', fields, message }),
};

function ask(): Promise<string> {
  return new Promise((resolve, reject) => {
    request({ socketPath: path, agent: false }, (response) => {
      response.setEncoding('utf8').once('data', resolve);
    })
      .once('error', reject)
      .end();
  });
}

/** The most that one turn of the event loop accepts of so many who connect at once. */
async function acceptedAtOnce(count: number): Promise<number> {
  const turns = [0];
  const accepted = (): number => turns.reduce((all, some) => all + some, 0);
  const take = (): void => void turns.push((turns.pop() ?? 0) + 1);
  server.on('connection', take);
  const clients = Array.from({ length: count }, () => connect(path));
  for (; accepted() < count; turns.push(0)) await new Promise((resolve) => void setImmediate(resolve));
  server.off('connection', take);
  for (const client of clients) client.destroy();
  return Math.max(...turns);
}

const again = { timeout: 170_000, interval: 50 };

describe.each(['listen', 'open'] as const)('a socket that is kept (%s)', (how) => {
  let kept: KeptSocket;
  let connected: Socket | undefined;
  beforeEach(async () => {
    kept = await KeptSocket[how](server, { path, mode: '0640' }, log);
  });
  afterEach(async () => {
    connected?.destroy();
    await kept.release();
    await kept.close();
  });

  test('is there again when its file was removed, with its mode, and whoever was connected stays so', async () => {
    connected = connect(path);
    await new Promise((resolve) => connected?.once('connect', resolve));
    for (const round of [1, 2]) {
      rmSync(path);
      await expect.poll(ask, again).toBe('here');
      expect(statSync(path).mode & 0o777).toBe(0o640);
      // Found by a client before it is told of.
      await expect.poll(() => said.length, again).toBe(round);
      // The listener that nobody can find any more has ended; a server's own goes on until that ends.
      const listeners = process.getActiveResourcesInfo().filter((name) => name === 'PipeServerWrap');
      expect(listeners.length).toBeLessThanOrEqual(acceptsPerTurn + (how === 'listen' ? 1 : 0));
      expect(said[0]).toMatchObject({ level: 'warn', fields: { socket: path } });
    }
    connected.write('GET / HTTP/1.1\r\nHost: localhost\r\n\r\n');
    const answer = await new Promise((resolve) => connected?.once('data', resolve));
    expect(String(answer)).toContain('here');
  });

  test('leaves alone what somebody else listens on, says so once, and takes its place when that has ended', async () => {
    const other = createServer();
    const elsewhere = join(folder, 'other.sock');
    await new Promise<void>((resolve) => void other.listen(elsewhere, resolve));
    renameSync(elsewhere, path);
    await expect.poll(() => said.length, again).toBe(1);
    expect(said[0]).toMatchObject({
      level: 'error',
      fields: { reason: `another daemon answers on \`${path}\`; stop it or configure another path` },
    });
    await new Promise((resolve) => other.close(resolve));
    await expect.poll(ask, again).toBe('here');
    await expect.poll(() => said.length, again).toBe(2);
  });

  test('accepts several of those who connect at once in one turn of the event loop', async () => {
    expect(await acceptedAtOnce(4 * acceptsPerTurn)).toBe(acceptsPerTurn);
  });

  test('has the kernel keep more at once than Node.js has by itself, until they are accepted', async () => {
    const codes = new Set<string>();
    const clients = Array.from({ length: 700 }, () =>
      connect(path).on('error', (error: NodeJS.ErrnoException) => void codes.add(error.code ?? error.message)),
    );
    await Promise.all(
      clients.map((client) => new Promise((resolve) => client.once('connect', resolve).once('close', resolve))),
    );
    for (const client of clients) client.destroy();
    expect([...codes]).toEqual([]);
  });

  test('listens no more on the same socket by whatever name once it is closed', async () => {
    const otherName = join(folder, 'other-name.sock');
    linkSync(path, otherName);
    await kept.release();
    server.close();
    await kept.close();
    const failure = await new Promise((resolve) => connect(otherName).once('error', resolve).once('connect', resolve));
    expect(failure).toMatchObject({ code: 'ECONNREFUSED' });
  });

  test('is not made anew after it was released', async () => {
    rmSync(path);
    await kept.release();
    await new Promise((resolve) => setTimeout(resolve, 1_200));
    expect(existsSync(path)).toBe(false);
  });
});

describe.skipIf(process.getuid?.() !== 0)("a socket that is nobody's but ours", () => {
  const place = () => ({ path, mode: '0600', isOursAlone: true });

  test('takes the place of one on which another user listens', async () => {
    const other = createServer((socket) => void socket.end('the other'));
    onTestFinished(() => void other.close());
    await new Promise<void>((resolve) => void other.listen(path, resolve));
    chownSync(path, 12_345, 12_345);
    await openFor(place());
    expect(await ask()).toBe('here');
    expect(said).toEqual([]);
  });

  test.skipIf(whyOnlyOwnUser() !== null)(
    "is waited for by nobody in a folder with the sticky bit, where it is another user's for good",
    async () => {
      const other = createServer();
      onTestFinished(() => void other.close());
      await new Promise<void>((resolve) => void other.listen(path, resolve));
      chownSync(path, 54_321, 54_321);
      chmodSync(folder, 0o1777);
      const module = new URL('../../src/http/kept-socket.ts', import.meta.url).href;
      const code = `const { KeptSocket } = await import(${JSON.stringify(module)});
      const error = ({ reason }, message) => void process.stdout.write(\`\${message}: \${reason}\`);
      const place = ${JSON.stringify(place())};
      await (await KeptSocket.open(new (await import('node:http')).Server(), place, { error })).release();`;
      const daemon = { uid: 12_345, gid: 12_345, cwd: '/', encoding: 'utf8' } as const;
      const { stdout, stderr } = spawnSync(process.execPath, ['--input-type=module', '--eval', code], daemon);
      expect([stdout, stderr]).toEqual([
        `a socket beside the first one cannot be made yet: what is at \`${path}\` belongs to uid 54321, and cannot be replaced: EPERM; remove it or configure another path`,
        '',
      ]);
      expect(readdirSync(folder)).toEqual(['kms.sock']);
    },
  );

  test('is waited for by nobody where what another user has put there cannot be replaced, and is made when that is gone', async () => {
    mkdirSync(path);
    chownSync(path, 12_345, 12_345);
    await openFor(place());
    expect(said).toMatchObject([{ level: 'error', fields: { socket: path } }]);
    rmSync(path, { recursive: true });
    await expect.poll(ask, again).toBe('here');
  });
});

test('a socket accepts one connection in a turn once it had its part of a second', async () => {
  vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] });
  await openFor({ path, mode: '0640' });
  expect(await acceptedAtOnce(1.5 * maxBesidePerSecond)).toBe(acceptsPerTurn);
  expect(await acceptedAtOnce(2 * acceptsPerTurn)).toBe(1);
  vi.advanceTimersToNextTimer();
  expect(await acceptedAtOnce(2 * acceptsPerTurn)).toBe(acceptsPerTurn);
});
