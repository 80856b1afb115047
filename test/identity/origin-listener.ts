/**
 * A server on a Unix socket that answers every request with what `originOfPeer` says of who connected, as a process of its own:
 * `node origin-listener.ts PATH '{"CGROUP": "NAME"}'`. It says `ready` when it listens.
 */

import { createServer } from 'node:http';
import type { Socket } from 'node:net';
import type { PeerOrigin } from '../../src/identity/caller.ts';
import { ContainerNames } from '../../src/identity/container-names.ts';
import { readUnixPeer } from '../../src/identity/peer-credentials.ts';
import { canTellOrigins, originOfPeer } from '../../src/identity/peer-origin.ts';

const [, , path, names = '{}'] = process.argv;
const containers = new ContainerNames(JSON.parse(names) as Record<string, string>);
const origins = new WeakMap<Socket, PeerOrigin>();
const server = createServer((request, response) => {
  response.end(JSON.stringify({ origin: origins.get(request.socket), canTell: canTellOrigins() }));
});
server.on('connection', (socket) => origins.set(socket, originOfPeer(socket, readUnixPeer(socket), containers)));
server.listen(path, () => process.stdout.write('ready\n'));
