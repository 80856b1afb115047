/**
 * Which daemon is meant: what options, environment and configuration say together. Without the library that parses command lines,
 * which programs that other tools start for each step need not wait for.
 *
 * The socket is the first of: --socket, the one in the configuration that --config names, DRAWBRIDGE_SOCKET, the one in the
 * configuration at its usual place, and the usual socket. What is said on the command line goes before the environment.
 */

import { existsSync } from 'node:fs';
import type { Configuration } from '../../config/configuration-schema.ts';
import { KmsClient } from './kms-client.ts';

export const usualConfiguration = '/etc/drawbridge/drawbridge.yaml';
const usualSocket = '/run/drawbridge/kms.sock';

export interface SocketOptions {
  readonly socket?: string;
  readonly daemonUid?: number;
  readonly config?: string;
}

/** For a program that has no options for it. @throws Error when a variable makes no sense. */
export function socketOfEnvironment(environment: NodeJS.ProcessEnv = process.env): SocketOptions {
  const { DRAWBRIDGE_SOCKET: socket = '', DRAWBRIDGE_DAEMON_UID: uid = '' } = environment;
  const daemonUid = uid === '' ? undefined : parseUid(uid);
  if (uid !== '' && daemonUid === undefined) throw new Error(`DRAWBRIDGE_DAEMON_UID is \`${uid}\`, which is no uid`);
  return { ...(socket === '' ? {} : { socket }), ...(daemonUid === undefined ? {} : { daemonUid }) };
}

/** `undefined` for what is none. */
export function parseUid(text: string): number | undefined {
  return /^\d{1,10}$/.test(text) ? Number(text) : undefined;
}

export async function connectTo({ socket, config, daemonUid }: SocketOptions): Promise<KmsClient> {
  if (socket !== undefined) return new KmsClient(socket, daemonUid);
  const configuration = await configurationIfAny(config);
  return new KmsClient(configuration === undefined ? usualSocket : socketOf(configuration), daemonUid);
}

/** Of several Regions the first is asked; `--socket` names another one's. */
function socketOf({ regions: [{ socket }] }: Configuration): string {
  return socket.path;
}

/** Loaded when it is needed, as its libraries take longer to load than most commands run. */
export async function readConfiguration(path: string): Promise<Configuration> {
  const { loadConfiguration } = await import('../../config/load.ts');
  return loadConfiguration(path);
}

/** As `readConfiguration`, for commands that load the library that it names. */
export async function readTrustedConfiguration(path: string): Promise<Configuration> {
  const { loadTrustedConfiguration } = await import('../../config/load.ts');
  return loadTrustedConfiguration(path);
}

/** The named configuration, or the usual one if there is one. */
export async function configurationIfAny(config: string | undefined): Promise<Configuration | undefined> {
  if (config !== undefined) return readConfiguration(config);
  return existsSync(usualConfiguration) ? readConfiguration(usualConfiguration) : undefined;
}
