/**
 * A token that is a network away: SoftHSM2 behind the shim of the tests, which lets some milliseconds pass before each call that
 * does something. What such a token gives is a matter of how many of its lanes are at work at once, and of nothing else.
 *
 * The daemon has one host with several lanes; the most that they can give is lanes / round trip.
 */

import { execFileSync } from 'node:child_process';
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseDocument } from 'yaml';
import { libraryOf } from '../../src/daemon/configured-key-stores.ts';
import { plainEncrypt } from './cases.ts';
import { renderTable, round } from './results.ts';
import { makeInstance, startDaemon } from './targets.ts';
import { progress } from './warming.ts';

const lanes = 8;
const connections = 128;
const roundTripsMs = [1, 3, 5];
/** Of the functions that a request calls or a host opens with: those that do something in the token. */
const farFunctions = ['C_OpenSession', 'C_Encrypt', 'C_Decrypt', 'C_Sign', 'C_GenerateRandom'];

export const farTokenName = 'far token';

/** One row of `--json`. */
export interface FarTokenRow {
  readonly roundTripMs: number;
  readonly lanes: number;
  readonly connections: number;
  readonly requestsPerSecond: number;
  /** Of lanes / round trip. */
  readonly ratioToFull: number;
  readonly p50Micros: number;
  readonly p99Micros: number;
}

export async function benchFarToken(folder: string, load: string, quick: boolean): Promise<readonly FarTokenRow[]> {
  const dir = join(folder, 'far-instance');
  await makeInstance(dir, '1');
  const faults = join(folder, 'shim');
  mkdirSync(faults);
  putShimBefore(join(dir, 'drawbridge.yaml'), folder, faults);
  const dawdle = (ms: number): void => {
    for (const name of farFunctions) writeFileSync(join(faults, name), `delay ${ms}`);
  };
  // The way is measured when the host connects.
  dawdle(roundTripsMs[0] ?? 0);
  await using running = new AsyncDisposableStack();
  const daemon = running.adopt(await startDaemon(dir, load), (target) => target.close());
  const rows: FarTokenRow[] = [];
  for (const roundTripMs of quick ? roundTripsMs.slice(0, 1) : roundTripsMs) {
    progress(`a token ${roundTripMs} ms away`);
    dawdle(roundTripMs);
    const timing = quick ? { warmupMs: 20, measureMs: 100 } : { warmupMs: 2000, measureMs: 3000 };
    const { count, seconds, p50Micros, p99Micros } = await daemon.measure(plainEncrypt, connections, timing);
    const perSecond = count / seconds;
    rows.push({
      roundTripMs,
      lanes,
      connections,
      requestsPerSecond: round(perSecond, 0),
      ratioToFull: round((perSecond * roundTripMs) / 1000 / lanes, 3),
      p50Micros: round(p50Micros, 1),
      p99Micros: round(p99Micros, 1),
    });
  }
  progress('');
  return rows;
}

/** Has the instance's key store load the shim, with as many lanes, and take its sessions for parallel. */
function putShimBefore(file: string, folder: string, faults: string): void {
  const library = join(folder, 'pkcs11-shim.so');
  const source = fileURLToPath(new URL('../../test/support/pkcs11-shim.c', import.meta.url));
  execFileSync('cc', ['-shared', '-fPIC', '-O1', '-o', library, source, '-ldl'], { stdio: 'inherit' });
  const profile = join(folder, 'far.yaml');
  const shipped = readFileSync(new URL('../../native-config/vendors/softhsm2.yaml', import.meta.url), 'utf8');
  writeFileSync(profile, shipped.replace('sessionsAreParallel: false', 'sessionsAreParallel: true'));
  const document = parseDocument(readFileSync(file, 'utf8'));
  const { keyStores } = document.toJS() as {
    keyStores: Readonly<Record<string, { profile: string; library?: string }>>;
  };
  for (const [name, keyStore] of Object.entries(keyStores)) {
    const real = libraryOf(keyStore);
    for (const [member, value] of Object.entries({ profile, library, lanes })) {
      document.setIn(['keyStores', name, member], value);
    }
    document.setIn(['keyStores', name, 'environment', 'DRAWBRIDGE_SHIM_LIBRARY'], real);
    document.setIn(['keyStores', name, 'environment', 'DRAWBRIDGE_SHIM_FOLDER'], faults);
  }
  writeFileSync(file, document.toString());
}

export function renderFarToken(rows: readonly FarTokenRow[]): string {
  const cells = rows.map((row) => [
    String(row.roundTripMs),
    String(row.lanes),
    String(row.connections),
    row.requestsPerSecond.toLocaleString('en'),
    row.ratioToFull.toFixed(2),
    row.p50Micros.toFixed(0),
    row.p99Micros.toFixed(0),
  ]);
  const head = ['ms to the token', 'lanes', 'connections', 'requests/s', 'of lanes / ms', 'p50 µs', 'p99 µs'];
  return `A token that is far away, Encrypt of 64 bytes\n${renderTable(head, cells, new Set())}`;
}
