/**
 * What many keys cost: an instance without keys, one whose metadata was filled, and one whose token was.
 *
 * Each is the whole daemon, started anew over its folder, so that its start is that of a daemon which finds all of this. What it
 * is asked then goes over one connection, one request after the other. CPU seconds stand beside the seconds of the start, because
 * on a machine with other work to do they alone can be compared.
 */

import { appendFileSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { LineProcess } from '../line-process.ts';
import { fillStore } from './filled-store.ts';
import { childrenOf, cpuMicros } from './measurement.ts';
import { median, renderTable } from './results.ts';
import { mainOf, post, thisCheckout } from './targets.ts';
import { progress } from './warming.ts';

export interface ManyKeysChoices {
  readonly quick: boolean;
  readonly json?: string | undefined;
}

interface Effort {
  readonly onRecord: number;
  /** Of those on record: they are also in the token. */
  readonly usable: number;
  readonly inToken: number;
  readonly starts: number;
  readonly requests: number;
}
const fullEffort: Effort = { onRecord: 100_000, usable: 100, inToken: 2000, starts: 3, requests: 2000 };
const quickEffort: Effort = { onRecord: 500, usable: 5, inToken: 10, starts: 1, requests: 50 };

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
  /** All pages, of 1,000 each. */
  readonly listKeysMs: number;
  /** All pages, of 100 each. */
  readonly listAliasesMs: number;
  /** Of any key, medians. */
  readonly describeKeyMicros: number | null;
  readonly listAliasesOfKeyMicros: number | null;
  /** Of any key that is in the token. */
  readonly encryptMicros: number | null;
  readonly createKeyMicros: number;
}

export async function benchManyKeys(folder: string, { quick, json }: ManyKeysChoices): Promise<void> {
  const effort = quick ? quickEffort : fullEffort;
  const empty = join(folder, 'empty');
  await makeKeys(empty, 0);
  const none = await measure('no keys', empty, [], effort, undefined);

  const filled = join(folder, 'filled');
  const usable = await makeKeys(filled, effort.usable);
  allowMoreKeys(filled);
  await fillStore(filled, effort.onRecord - effort.usable, (keys) => progress(`${keys} keys are on record`));
  const onRecord = await measure('on record', filled, usable, effort, none);

  const full = join(folder, 'full');
  const keyIds = await makeKeys(full, effort.inToken);
  const inToken = await measure('in the token', full, keyIds, effort, none);

  progress('');
  const results = [none, onRecord, inToken];
  process.stdout.write(`${render(results)}\n`);
  if (json !== undefined) writeFileSync(json, `${JSON.stringify(results, null, 2)}\n`);
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

/** An instance with so many AES keys. @returns Their ids. */
async function makeKeys(dir: string, count: number): Promise<readonly string[]> {
  const { daemon, socket } = await start(dir);
  await using _ = daemon;
  const keyIds: string[] = [];
  while (keyIds.length < count) {
    if (keyIds.length % 100 === 0) progress(`${keyIds.length} of ${count} keys are made`);
    keyIds.push(await createKey(socket));
  }
  return keyIds;
}

/** So that a key can still be created when as many are on record as a Region may have. */
function allowMoreKeys(dir: string): void {
  appendFileSync(join(dir, 'drawbridge.yaml'), 'budgets:\n  quotas:\n    keys: 1000000\n');
}

async function createKey(socket: string): Promise<string> {
  const { KeyMetadata } = await post<{ KeyMetadata: { KeyId: string } }>(socket, 'CreateKey', {});
  return KeyMetadata.KeyId;
}

async function measure(
  name: string,
  dir: string,
  usable: readonly string[],
  { starts, requests }: Effort,
  none: ManyKeysResult | undefined,
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
    const { entries: keyIds, milliseconds: listKeysMs } = await listAll(socket, 'ListKeys', 'Keys', 'KeyId', 1000);
    const { milliseconds: listAliasesMs } = await listAll(socket, 'ListAliases', 'Aliases', 'AliasName', 100);
    const ask = (operation: string, of: readonly string[], members: object = {}): Promise<number | null> =>
      askOf(of, requests, (KeyId) => post(socket, operation, { KeyId, ...members }));
    const result: ManyKeysResult = {
      name,
      keys: keyIds.length,
      startSeconds: median(seconds),
      startApiCpuSeconds: median(apiCpuSeconds),
      startHostCpuSeconds: median(hostCpuSeconds),
      apiMebibytes,
      hostMebibytes,
      apiBytesPerKey:
        none === undefined ? null : ((apiMebibytes - none.apiMebibytes) * 2 ** 20) / Math.max(1, keyIds.length),
      listKeysMs,
      listAliasesMs,
      describeKeyMicros: await ask('DescribeKey', keyIds),
      listAliasesOfKeyMicros: await ask('ListAliases', keyIds),
      encryptMicros: await ask('Encrypt', usable, { Plaintext: Buffer.alloc(64, 'x').toString('base64') }),
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
): Promise<{ readonly entries: readonly string[]; readonly milliseconds: number }> {
  const startedAtMs = performance.now();
  const entries: string[] = [];
  let Marker: string | undefined;
  do {
    const page: Record<string, unknown> = await post(socket, operation, { Limit, Marker });
    for (const entry of page[list] as Record<string, string>[]) entries.push(entry[member] ?? '');
    Marker = page['NextMarker'] as string | undefined;
  } while (Marker !== undefined);
  return { entries, milliseconds: performance.now() - startedAtMs };
}

function residentMebibytes(pids: readonly number[]): number {
  const kibibytes = pids.map((pid) =>
    Number(/^VmRSS:\s*(\d+) kB$/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1]),
  );
  return kibibytes.reduce((sum, each) => sum + each, 0) / 1024;
}

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
      row('memory of the HSM hosts, MiB', ({ hostMebibytes }) => hostMebibytes),
      row('ListKeys, all pages, ms', ({ listKeysMs }) => listKeysMs),
      row('ListAliases, all pages, ms', ({ listAliasesMs }) => listAliasesMs),
      row('DescribeKey, µs', ({ describeKeyMicros }) => describeKeyMicros),
      row('ListAliases of a key, µs', ({ listAliasesOfKeyMicros }) => listAliasesOfKeyMicros),
      row('Encrypt, µs', ({ encryptMicros }) => encryptMicros),
      row('CreateKey, µs', ({ createKeyMicros }) => createKeyMicros),
    ],
    new Set([0]),
  );
}
