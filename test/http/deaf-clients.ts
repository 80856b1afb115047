/**
 * Clients that send and never read, in a process of their own: `node deaf-clients.ts '{"path": …}'`. They send the same
 * requests over and over, as much as the kernel takes, and connect again when they are closed.
 *
 * One line on standard output says how many connections were closed so far, whenever one is.
 */

import { type ChildProcess, spawn } from 'node:child_process';
import { connect } from 'node:net';
import { fileURLToPath } from 'node:url';

export interface DeafClients {
  readonly path: string;
  readonly uid: number;
  readonly connections: number;
  /** Sent in pieces of 64 KB. */
  readonly request: string;
  /** Of each connection; absent: without end. */
  readonly requests?: number;
}

export function startDeafClients(clients: DeafClients): ChildProcess {
  const argument = JSON.stringify(clients);
  return spawn(process.execPath, [fileURLToPath(import.meta.url), argument], { stdio: ['ignore', 'pipe', 'inherit'] });
}

function main({ path, uid, connections, request, requests }: DeafClients): void {
  process.setgroups?.([]);
  process.setgid?.(uid);
  process.setuid?.(uid);
  let closed = 0;
  const piece = Buffer.from(request.repeat(Math.min(requests ?? Infinity, Math.ceil(65_536 / request.length))));
  const open = (): void => {
    const socket = connect(path);
    socket.pause();
    const send = (): void => {
      while (socket.write(piece));
    };
    socket.once('connect', requests === undefined ? send : () => socket.write(piece));
    if (requests === undefined) socket.on('drain', send);
    socket.on('error', () => undefined); // It is closed then, which is what is counted.
    socket.on('close', () => {
      process.stdout.write(`${++closed}\n`);
      setTimeout(open, 20);
    });
  };
  for (let index = 0; index < connections; index++) open();
  // Connections that are not read keep no process.
  setInterval(() => undefined, 60_000);
}

const [, file, text] = process.argv;
if (file === fileURLToPath(import.meta.url) && text !== undefined) main(JSON.parse(text) as DeafClients);
