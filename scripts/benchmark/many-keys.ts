/**
 * What many keys cost: an instance without keys, some with wrapped keys in growing number, and one whose token is full of them.
 *
 * Each is the whole daemon, started anew over its folder, so that its start is that of a daemon which finds all of this. What it
 * is asked then goes over one connection, one request after the other. CPU seconds stand beside the seconds of the start, because
 * on a machine with other work to do they alone can be compared.
 */

import { appendFileSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { LineProcess } from '../line-process.ts';
import { compile } from './compile.ts';
import { type EncryptRates, encryptRates } from './encrypt-rates.ts';
import { fillStore } from './filled-store.ts';
import { childrenOf, cpuMicros } from './measurement.ts';
import { median, renderTable } from './results.ts';
import { mainOf, post, thisCheckout } from './targets.ts';
import { progress } from './warming.ts';

export interface ManyKeysChoices {
  readonly quick: boolean;
  /** A million keys as well. */
  readonly million: boolean;
  readonly json?: string | undefined;
}

interface Effort {
  readonly wrapped: readonly number[];
  readonly inToken: number;
  readonly starts: number;
  readonly requests: number;
  /** With more keys they are read on demand. */
  readonly keysInMemory: number;
}
const fullEffort: Effort = {
  wrapped: [10, 1000, 100_000],
  inToken: 2000,
  starts: 3,
  requests: 2000,
  keysInMemory: 20_000,
};
const quickEffort: Effort = { wrapped: [120], inToken: 5, starts: 1, requests: 20, keysInMemory: 50 };

/** A column of the table, and what `--json` writes of it. */
export interface ManyKeysResult {
  readonly name: string;
  readonly keys: number;
  /** From the start of the process to the line that says that it listens. */
  readonly startSeconds: number;
  readonly startApiCpuSeconds: number;
  readonly startHostCpuSeconds: number;
  readonly apiMebibytes: number;
  readonly hostMebibytes: number;
  /** Above the instance without keys; `null` for that. */
  readonly apiBytesPerKey: number | null;
  /** A page of 1,000, the median of all. */
  readonly listKeysPageMs: number;
  /** A page of 100. */
  readonly listAliasesPageMs: number;
  /** Of any key, medians. */
  readonly describeKeyMicros: number | null;
  readonly listAliasesOfKeyMicros: number | null;
  /** Of any key. */
  readonly encryptMicros: number | null;
  /** Where the keys are wrapped. */
  readonly rates: EncryptRates | null;
  /** When these were measured, of the API process. */
  readonly apiBytesPerKeyAfter: number | null;
  readonly createKeyMicros: number;
}

export async function benchManyKeys(folder: string, { quick, million, json }: ManyKeysChoices): Promise<void> {
  const effort = quick ? quickEffort : fullEffort;
  const programs = { load: compile('load', folder), direct: compile('direct', folder) };
  const ratesOf = (at: Place, keyIds: readonly string[]) => encryptRates(at, keyIds, programs, quick);
  const empty = join(folder, 'empty');
  await makeKeys(empty, 0);
  const none = await measure('no keys', empty, effort, {});
  const results: ManyKeysResult[] = [];
  // After each: a million takes many minutes, and somebody may end it in the last of them.
  const note = (result: ManyKeysResult): void => {
    results.push(result);
    if (json !== undefined) writeFileSync(json, `${JSON.stringify(results, null, 2)}\n`);
  };
  note(none);

  for (const keys of million ? [...effort.wrapped, 1_000_000] : effort.wrapped) {
    const dir = join(folder, `wrapped-${keys}`);
    await makeKeys(dir, 0);
    configure(dir, effort);
    await makeKeys(dir, 1);
    await fillStore(dir, keys - 1, (made) => progress(`${made} of ${keys} keys are on record`));
    note(await measure('wrapped', dir, effort, { none, ratesOf }));
  }

  const full = join(folder, 'full');
  await makeKeys(full, effort.inToken);
  note(await measure('in the token', full, effort, { none }));

  progress('');
  process.stdout.write(`${render(results)}\n`);
}

interface Place {
  readonly dir: string;
  readonly socket: string;
}

interface Started {
  readonly daemon: LineProcess;
  readonly socket: string;
  readonly seconds: number;
}

async function start(dir: string): Promise<Started> {
  const startedAtMs = performance.now();
  const daemon = new LineProcess('the daemon', [process.execPath, mainOf(thisCheckout), 'dev', '--dir', dir]);
  const { socket } = await daemon.nextJson<{ socket: string }>();
  return { daemon, socket, seconds: (performance.now() - startedAtMs) / 1000 };
}

/** An instance with so many AES keys more than it had. */
async function makeKeys(dir: string, count: number): Promise<void> {
  const { daemon, socket } = await start(dir);
  await using _ = daemon;
  for (let made = 0; made < count; made++) {
    if (made % 100 === 0) progress(`${made} of ${count} keys are made`);
    await createKey(socket);
  }
}

/** Has new keys wrapped, and lets there be more than a Region may have. */
function configure(dir: string, { keysInMemory }: Effort): void {
  const file = join(dir, 'drawbridge.yaml');
  const text = readFileSync(file, 'utf8');
  const changed = text.replace('# residency: token', 'residency: wrapped');
  if (changed === text) throw new Error('the configuration has no place for the residency');
  writeFileSync(file, changed);
  appendFileSync(file, `budgets:\n  quotas: { keys: 2000000 }\n  memory: { keysInMemory: ${keysInMemory} }\n`);
}

async function createKey(socket: string): Promise<string> {
  const { KeyMetadata } = await post<{ KeyMetadata: { KeyId: string } }>(socket, 'CreateKey', {});
  return KeyMetadata.KeyId;
}

async function measure(
  name: string,
  dir: string,
  { starts, requests }: Effort,
  {
    none,
    ratesOf,
  }: {
    readonly none?: ManyKeysResult;
    readonly ratesOf?: (at: Place, keyIds: readonly string[]) => Promise<EncryptRates>;
  },
): Promise<ManyKeysResult> {
  const seconds: number[] = [];
  const apiCpuSeconds: number[] = [];
  const hostCpuSeconds: number[] = [];
  for (let left = starts; ; left--) {
    progress(`${name}: starting`);
    const started = await start(dir);
    const { daemon, socket } = started;
    await using _ = daemon;
    const hosts = childrenOf(daemon.pid);
    seconds.push(started.seconds);
    apiCpuSeconds.push(cpuMicros([daemon.pid]) / 1e6);
    hostCpuSeconds.push(cpuMicros(hosts) / 1e6);
    if (left > 1) continue;
    const apiMebibytes = residentMebibytes([daemon.pid]);
    const hostMebibytes = residentMebibytes(hosts);
    progress(`${name}: asking`);
    const { entries: keyIds, pageMs: listKeysPageMs } = await listAll(socket, 'ListKeys', 'Keys', 'KeyId', 1000);
    const { pageMs: listAliasesPageMs } = await listAll(socket, 'ListAliases', 'Aliases', 'AliasName', 100);
    const ask = (operation: string, of: readonly string[], members: object = {}): Promise<number | null> =>
      askOf(of, requests, (KeyId) => post(socket, operation, { KeyId, ...members }));
    const rates = (await ratesOf?.({ dir, socket }, keyIds)) ?? null;
    const bytesPerKey = (mebibytes: number): number | null =>
      none === undefined ? null : ((mebibytes - none.apiMebibytes) * 2 ** 20) / Math.max(1, keyIds.length);
    const result: ManyKeysResult = {
      name,
      keys: keyIds.length,
      startSeconds: median(seconds),
      startApiCpuSeconds: median(apiCpuSeconds),
      startHostCpuSeconds: median(hostCpuSeconds),
      apiMebibytes,
      hostMebibytes,
      apiBytesPerKey: bytesPerKey(apiMebibytes),
      listKeysPageMs,
      listAliasesPageMs,
      describeKeyMicros: await ask('DescribeKey', keyIds),
      listAliasesOfKeyMicros: await ask('ListAliases', keyIds),
      rates,
      apiBytesPerKeyAfter: bytesPerKey(residentMebibytes([daemon.pid])),
      encryptMicros: await ask('Encrypt', keyIds, { Plaintext: Buffer.alloc(64, 'x').toString('base64') }),
      createKeyMicros: (await askOf([''], Math.ceil(requests / 100), () => createKey(socket))) ?? 0,
    };
    return result;
  }
}

/** The median over so many requests, each of one of `keyIds` at random; `null` without keys. */
async function askOf(
  keyIds: readonly string[],
  requests: number,
  request: (keyId: string) => Promise<unknown>,
): Promise<number | null> {
  if (keyIds.length === 0) return null;
  const micros: number[] = [];
  for (let count = 0; count < requests; count++) {
    const keyId = keyIds[Math.floor(Math.random() * keyIds.length)] ?? '';
    const sentAtMs = performance.now();
    await request(keyId);
    micros.push((performance.now() - sentAtMs) * 1000);
  }
  return median(micros);
}

async function listAll(
  socket: string,
  operation: string,
  list: string,
  member: string,
  Limit: number,
): Promise<{ readonly entries: readonly string[]; readonly pageMs: number }> {
  const pagesMs: number[] = [];
  const entries: string[] = [];
  let Marker: string | undefined;
  do {
    const askedAtMs = performance.now();
    const page: Record<string, unknown> = await post(socket, operation, { Limit, Marker });
    pagesMs.push(performance.now() - askedAtMs);
    for (const entry of page[list] as Record<string, string>[]) entries.push(entry[member] ?? '');
    Marker = page['NextMarker'] as string | undefined;
  } while (Marker !== undefined);
  return { entries, pageMs: median(pagesMs) };
}

function residentMebibytes(pids: readonly number[]): number {
  const kibibytes = pids.map((pid) =>
    Number(/^VmRSS:\s*(\d+) kB$/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1]),
  );
  return kibibytes.reduce((sum, each) => sum + each, 0) / 1024;
}

const rate =
  (name: keyof EncryptRates) =>
  ({ rates }: ManyKeysResult): number | null =>
    rates?.[name] ?? null;

const ratio =
  (name: keyof EncryptRates, of: 'underOne' | 'directUnwraps') =>
  ({ rates }: ManyKeysResult): number | null => {
    const [measured, whole] = [rates?.[name] ?? null, rates?.[of] ?? null];
    return measured === null || whole === null ? null : measured / whole;
  };

function render(results: readonly ManyKeysResult[]): string {
  const row = (what: string, value: (result: ManyKeysResult) => number | null, digits = 0): string[] => [
    what,
    ...results.map((result) => value(result)?.toFixed(digits) ?? '-'),
  ];
  return renderTable(
    ['', ...results.map(({ name }) => name)],
    [
      row('keys', ({ keys }) => keys),
      row('start, s', ({ startSeconds }) => startSeconds, 1),
      row('  CPU of the API process, s', ({ startApiCpuSeconds }) => startApiCpuSeconds, 1),
      row('  CPU of the HSM hosts, s', ({ startHostCpuSeconds }) => startHostCpuSeconds, 1),
      row('memory of the API process, MiB', ({ apiMebibytes }) => apiMebibytes),
      row('  for each key, bytes', ({ apiBytesPerKey }) => apiBytesPerKey),
      row('    after all that is measured below', ({ apiBytesPerKeyAfter }) => apiBytesPerKeyAfter),
      row('memory of the HSM hosts, MiB', ({ hostMebibytes }) => hostMebibytes),
      row('ListKeys, page of 1,000, ms', ({ listKeysPageMs }) => listKeysPageMs, 1),
      row('ListAliases, page of 100, ms', ({ listAliasesPageMs }) => listAliasesPageMs, 1),
      row('DescribeKey, µs', ({ describeKeyMicros }) => describeKeyMicros),
      row('ListAliases of a key, µs', ({ listAliasesOfKeyMicros }) => listAliasesOfKeyMicros),
      row('Encrypt, µs', ({ encryptMicros }) => encryptMicros),
      row('CreateKey, µs', ({ createKeyMicros }) => createKeyMicros),
      row('Encrypt under one key, 16 connections, requests/s', rate('underOne')),
      row('  of the loop in C: what the API leaves of it', ratio('underOne', 'directUnwraps'), 2),
      row('Encrypt under as many as hosts keep unwrapped', rate('underKept')),
      row('  of one key (aim: at least 0.95)', ratio('underKept', 'underOne'), 2),
      row('Encrypt under keys drawn from all, not used since the start', rate('firstUses')),
      row('  of one key', ratio('firstUses', 'underOne'), 2),
      row('  of the loop in C (aim: at least 0.9)', ratio('firstUses', 'directUnwraps'), 2),
      row('Encrypt under keys drawn from all, not used since the start, once all are at hand', rate('firstUsesAtHand')),
      row('  of one key', ratio('firstUsesAtHand', 'underOne'), 2),
      row('  of the loop in C (aim: at least 0.9)', ratio('firstUsesAtHand', 'directUnwraps'), 2),
      row('Encrypt under more than hosts keep unwrapped', rate('underMore')),
      row('  of one key', ratio('underMore', 'underOne'), 2),
      row('  of the loop in C (aim: at least 0.9)', ratio('underMore', 'directUnwraps'), 2),
      row('unwrap, encrypt, destroy: loop in C, under the token object as a host, 1/s', rate('directUnwraps')),
      row('  the same under a session copy, which a domain key does not allow', rate('directUnwrapsByCopy')),
    ],
    new Set([0]),
  );
}
