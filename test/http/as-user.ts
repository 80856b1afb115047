/**
 * Connections of other users, out of this process: it is root, and is the other user for as long as connecting takes. The
 * kernel notes who he is then, and cannot tell that from a process of his own.
 */

import { once } from 'node:events';
import { chmodSync } from 'node:fs';
import { dirname } from 'node:path';
import { RawClient } from './wire.ts';

/** Users that no machine has. */
export const users = { alice: 54_401, mallory: 54_402, trudy: 54_403 } as const;

/** Lets all users reach a socket that a test made, as an administrator would. */
export function openToAll(socketPath: string): void {
  chmodSync(dirname(socketPath), 0o711);
  chmodSync(socketPath, 0o666);
}

/** @param endpoint A socket's path, or `http://HOST:PORT`. */
export async function connectAs(uid: number, endpoint: string): Promise<RawClient> {
  process.seteuid?.(uid);
  let client: RawClient;
  try {
    client = new RawClient(endpoint);
    // The call to the kernel is made by now. What else this process does, the daemon under test included, it does as itself.
    await new Promise<void>((go) => process.nextTick(go));
  } finally {
    process.seteuid?.(0);
  }
  await Promise.race([once(client.socket, 'connect'), client.closed]);
  return client;
}

export async function connectManyAs(uid: number, endpoint: string, count: number): Promise<RawClient[]> {
  const clients: RawClient[] = [];
  while (clients.length < count) clients.push(await connectAs(uid, endpoint));
  return clients;
}
