/**
 * A client of a Unix socket under another user, as a process of its own: `node connect-as.ts '{"path": …, "uid": …}'`.
 *
 * It starts as root and gives that up before it connects, so that the program itself need not be readable to that user.
 * It sends one line, if told nothing else, and ends when the server has closed.
 */

import { type ChildProcess, spawn } from 'node:child_process';
import { connect, type Socket } from 'node:net';

export interface ConnectAs {
  readonly path: string;
  readonly uid: number;
  readonly gid: number;
  readonly groups: readonly number[];
  /** Instead of the line: nothing. Or before it: change to another user, or let a child of another user send it. */
  readonly afterwards?: 'nothing' | { readonly changeTo: number } | { readonly childOf: number };
}

function become({ uid, gid, groups }: Pick<ConnectAs, 'uid' | 'gid' | 'groups'>): void {
  process.setgroups?.([...groups]);
  process.setegid?.(gid);
  process.seteuid?.(uid);
}

function main(argument: ConnectAs): void {
  become(argument);
  const socket = connect(argument.path);
  socket.on('connect', () => {
    const { afterwards } = argument;
    if (afterwards === undefined) {
      socket.write(`${process.pid}\n`);
      return;
    }
    if (afterwards === 'nothing') return;
    process.seteuid?.(0); // The real uid still is root's, so the effective one can go back.
    if ('changeTo' in afterwards) {
      process.seteuid?.(afterwards.changeTo);
      socket.write(`${process.pid}\n`);
    } else {
      sendFromChild(socket, afterwards.childOf);
    }
  });
  socket.resume();
}

/** The child has the connection as its standard output. */
function sendFromChild(socket: Socket, uid: number): ChildProcess {
  return spawn('/bin/sh', ['-c', 'echo "$PPID"'], { stdio: ['ignore', socket, 'inherit'], uid, gid: uid });
}

const [, , text] = process.argv;
if (text !== undefined) main(JSON.parse(text) as ConnectAs);
