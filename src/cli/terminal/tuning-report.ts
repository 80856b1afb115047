/** What `doctor --tune` found out about a token: for people, with the lines that belong into the configuration. */

import type { Tuning } from '../../hsm/token-tuning.ts';
import { facts, table } from './output.ts';

export function describeTuning(name: string, tuning: Tuning): string {
  const { roundTripMs, signedWith, cores, tried, recommended, isCutShort } = tuning;
  const head = facts([
    ['key store', name],
    ['round trip', `${roundTripMs} ms to the token and back`],
    ['cores', String(cores)],
  ]);
  const rows = tried.map(({ hosts, lanes, encryptsPerSecond, signsPerSecond, memoryMb }) => [
    String(hosts),
    String(lanes),
    encryptsPerSecond.toLocaleString('en'),
    signsPerSecond.toLocaleString('en'),
    `${memoryMb} MB`,
  ]);
  const columns = ['HOSTS', 'LANES', 'ENCRYPT/S', `SIGN ${signedWith}/S`, 'MEMORY OF THE HOSTS'];
  const short = isCutShort ? '\n\nThe time was over before more gave no more. Give it longer with --tune-seconds.' : '';
  return `${head}\n\n${table(columns, rows)}${short}

Write into the configuration, under keyStores, ${name}:

    hosts: ${recommended.hosts}
    lanes: ${recommended.lanes}`;
}
