import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { chmodSync, mkdtempSync, rmSync } from 'node:fs';
import { connect, createServer, type Server, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { UnixPeer } from '../../src/identity/caller.ts';
import { PeerCredentialsError, readUnixPeer } from '../../src/identity/peer-credentials.ts';
import type { ConnectAs } from './connect-as.ts';

const program = fileURLToPath(new URL('connect-as.ts', import.meta.url));
const isRoot = process.getuid?.() === 0;
if (!isRoot) process.stdout.write('skipped: not root, so no client can be started as another user\n');

/** What the kernel said when the connection came, what it says when the line has come, and that line. */
interface Seen {
  readonly peer: UnixPeer;
  readonly peerLater: UnixPeer;
  readonly line: string;
}

let folder: string;
let server: Server;
let path: string;
const seen: Seen[] = [];

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'drawbridge-peer-'));
  chmodSync(folder, 0o755);
  path = join(folder, 'socket');
  server = createServer((socket: Socket) => {
    const peer = readUnixPeer(socket);
    socket.once('data', (data) => {
      seen.push({ peer, peerLater: readUnixPeer(socket), line: data.toString().trim() });
      socket.end();
    });
  });
  server.listen(path);
  await once(server, 'listening');
  chmodSync(path, 0o666);
});

afterAll(() => {
  server.close();
  rmSync(folder, { recursive: true });
});

/** Runs a client to its end. */
async function connectAs(client: Omit<ConnectAs, 'path'>): Promise<Seen & { readonly pid: number | undefined }> {
  seen.length = 0;
  const child = spawn(process.execPath, [program, JSON.stringify({ ...client, path })], {
    stdio: ['ignore', 'inherit', 'inherit'],
  });
  const [code] = await once(child, 'exit');
  const [first] = seen;
  if (code !== 0 || first === undefined) throw new Error(`the client ended with ${code}`);
  return { ...first, pid: child.pid };
}

test('the process itself is seen with its own uid, gid and pid', async () => {
  seen.length = 0;
  const socket = connect(path);
  socket.write('hello\n');
  await once(socket.resume(), 'close');
  expect(seen[0]?.peer).toMatchObject({
    kind: 'unix',
    uid: process.geteuid?.(),
    gid: process.getegid?.(),
    pid: process.pid,
    groups: expect.any(Array),
  });
  // Node.js adds the own group to the supplementary ones; the kernel does not.
  const peer = seen[0]?.peer;
  expect(new Set([peer?.gid, ...(peer?.groups ?? [])])).toEqual(new Set(process.getgroups?.()));
});

describe.skipIf(!isRoot)('a client under another user (needs root)', () => {
  test('is seen with his uid, gid and pid', async () => {
    const { peer, pid } = await connectAs({ uid: 54_321, gid: 54_322, groups: [] });
    expect(peer).toMatchObject({ kind: 'unix', uid: 54_321, gid: 54_322, pid, groups: [] });
  });

  test('is seen with his supplementary groups', async () => {
    const { peer } = await connectAs({ uid: 54_321, gid: 54_322, groups: [70_001, 70_003, 70_002] });
    expect(peer).toMatchObject({ gid: 54_322, groups: [70_001, 70_002, 70_003] });
  });

  test('is seen with all of his groups when there are thousands', async () => {
    const groups = Array.from({ length: 5_000 }, (_, index) => 100_000 + index);
    const { peer } = await connectAs({ uid: 54_321, gid: 54_322, groups });
    expect(peer.groups).toEqual(groups);
  });

  test('keeps the largest ids that there are', async () => {
    const { peer } = await connectAs({ uid: 0xffff_fffe, gid: 0xffff_fffd, groups: [0xffff_fffc] });
    expect(peer).toMatchObject({ uid: 0xffff_fffe, gid: 0xffff_fffd, groups: [0xffff_fffc] });
  });

  test('stays who he was when he changes his user after connecting', async () => {
    const { peer, peerLater } = await connectAs({
      uid: 54_321,
      gid: 54_322,
      groups: [],
      afterwards: { changeTo: 54_399 },
    });
    expect([peer.uid, peerLater.uid]).toEqual([54_321, 54_321]);
  });

  test('stays who he was when a process of another user sends on his connection', async () => {
    const { peer, peerLater, line, pid } = await connectAs({
      uid: 54_321,
      gid: 54_322,
      groups: [],
      afterwards: { childOf: 54_399 },
    });
    expect(line).toBe(String(pid)); // The child's word: it is the child that wrote.
    expect([peer.uid, peerLater.uid]).toEqual([54_321, 54_321]);
  });
});

describe('nobody is made up', () => {
  test('for a connection over TCP', async () => {
    const tcp = createServer().listen(0, '127.0.0.1');
    await once(tcp, 'listening');
    const { port } = tcp.address() as { port: number };
    const client = connect(port, '127.0.0.1');
    const [accepted] = (await once(tcp, 'connection')) as [Socket];
    expect(() => readUnixPeer(accepted)).toThrow(
      new PeerCredentialsError('the kernel knows no credentials of this peer'),
    );
    client.destroy();
    accepted.destroy();
    tcp.close();
  });

  test('for a connection that is closed', async () => {
    const socket = connect(path);
    await once(socket, 'connect');
    socket.destroy();
    await once(socket, 'close');
    expect(() => readUnixPeer(socket)).toThrow(new PeerCredentialsError('the connection is closed already'));
  });
});
