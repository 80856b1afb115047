/**
 * The agent's socket. The kernel lets its user and root connect to it, and nobody else (mode 0600): whoever connects may use
 * what this user may use, as with any agent.
 */

import { createServer, type Server, type Socket } from 'node:net';
import { type ListeningSocket, listenAt } from '../../http/unix-socket.ts';
import { describeError } from '../terminal/cli-error.ts';
import { type Agent, AgentConnection } from './agent-connection.ts';
import { framed, MessageFrames } from './agent-messages.ts';

/** Programs connect for one signature; a forwarded connection stays for a session. A user has not so many of them. */
const maxConnections = 256;

export interface AgentServer {
  readonly path: string;
  /** Ends all connections and removes the socket. */
  close(): Promise<void>;
}

/** @throws Error in words for the user, when nobody can listen there. */
export async function serveAgent(agent: Agent, path: string): Promise<AgentServer> {
  const sockets = new Set<Socket>();
  const server = createServer((socket) => {
    sockets.add(socket);
    socket.once('close', () => sockets.delete(socket));
    // A client that breaks off harms itself alone.
    serve(agent, socket).catch((error: unknown) => {
      if ((error as NodeJS.ErrnoException).code === undefined)
        agent.say(`a connection was ended: ${describeError(error)}`);
      socket.destroy();
    });
  });
  server.maxConnections = maxConnections;
  const listening = await listenAt(server, { path, mode: '0600' });
  return { path, close: () => close(server, sockets, listening) };
}

async function serve(agent: Agent, socket: Socket): Promise<void> {
  const connection = new AgentConnection(agent);
  const frames = new MessageFrames();
  for await (const chunk of socket as AsyncIterable<Buffer>) {
    for (const message of frames.take(chunk)) socket.write(framed(await connection.answer(message)));
  }
}

async function close(server: Server, sockets: ReadonlySet<Socket>, listening: ListeningSocket): Promise<void> {
  await listening.release();
  for (const socket of sockets) socket.destroy();
  await new Promise((resolve) => server.close(resolve));
}
