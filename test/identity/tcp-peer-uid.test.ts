/** Who opened a loopback connection, by the kernel's table of sockets; both ways of asking it. */

import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { connect, createServer, type Server, type Socket } from 'node:net';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { type TcpPeer, uidOfTcpPeer, uidOfTcpPeerInTables } from '../../src/identity/tcp-peer-uid.ts';

const isRoot = process.getuid?.() === 0;
if (!isRoot) process.stdout.write('skipped: not root, so no client can be started as another user\n');

let server: Server;
let port: number;

beforeAll(async () => {
  server = createServer().listen(0, '::');
  await once(server, 'listening');
  ({ port } = server.address() as { port: number });
});

afterAll(() => {
  server.close();
});

const nextConnection = async (): Promise<Socket> => {
  const [accepted] = (await once(server, 'connection')) as [Socket];
  accepted.on('error', () => accepted.destroy());
  return accepted.resume();
};

function peerOf({ localAddress = '', localPort = 0, remoteAddress = '', remotePort = 0 }: Socket): TcpPeer {
  return { localAddress, localPort, remoteAddress, remotePort };
}

const both = (peer: TcpPeer): readonly (number | undefined)[] => [uidOfTcpPeer(peer), uidOfTcpPeerInTables(peer)];

/** A client under another user, which connects to this address and keeps the connection until it is killed. */
const client = `
  const [uid, port, host] = process.argv.slice(1);
  process.seteuid(Number(uid));
  require('node:net').connect(Number(port), host);
`;

describe.skipIf(!isRoot)('the user of a connection (needs root)', () => {
  test.each([
    ['over IPv4', '127.0.0.1', 54_321],
    ['over IPv6', '::1', 54_322],
    ['over IPv4 from a socket of IPv6', '::ffff:127.0.0.1', 54_323],
    ['from another address of the loopback', '127.0.0.77', 54_324],
  ])('%s is who made the socket', async (_, host, uid) => {
    const child = spawn(process.execPath, ['-e', client, String(uid), String(port), host], { stdio: 'ignore' });
    const accepted = await nextConnection();
    try {
      const peer = peerOf(accepted);
      expect(both(peer)).toEqual([uid, uid]);
      // As a listener of IPv4 alone gives it.
      const short = (address: string): string => address.replace('::ffff:', '');
      expect(
        uidOfTcpPeer({ ...peer, localAddress: short(peer.localAddress), remoteAddress: short(peer.remoteAddress) }),
      ).toBe(uid);
    } finally {
      child.kill('SIGKILL');
      accepted.destroy();
      await once(child, 'exit');
    }
  });
});

test('a client who has sent all he wants to is known as long as he has his socket, and is nobody afterwards', async () => {
  const socket = connect({ port, host: '127.0.0.1', allowHalfOpen: true });
  const accepted = await nextConnection();
  const peer = peerOf(accepted);
  const own = process.geteuid?.();
  expect(both(peer)).toEqual([own, own]);
  socket.end('bye');
  await once(accepted, 'end');
  expect(both(peer)).toEqual([own, own]);
  // Not root, to whom the kernel gives sockets that nobody has.
  socket.destroy();
  await once(socket, 'close');
  expect(both(peer)).toEqual([undefined, undefined]);
  accepted.destroy();
});

test('nobody is made up of who listens at the address of a client, or of addresses that are none', () => {
  const daemon = { localAddress: '127.0.0.1', localPort: 1 };
  expect(both({ ...daemon, remoteAddress: '127.0.0.1', remotePort: port })).toEqual([undefined, undefined]);
  expect(both({ ...daemon, remoteAddress: '::1', remotePort: port })).toEqual([undefined, undefined]);
  expect(both({ ...daemon, remoteAddress: '192.0.2.1', remotePort: 2 })).toEqual([undefined, undefined]);
  expect(both({ ...daemon, remoteAddress: 'unknown', remotePort: 0 })).toEqual([undefined, undefined]);
});
