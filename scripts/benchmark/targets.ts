/**
 * The three things that are measured, over one token: the direct loop, the HSM host through the pipe alone, and the
 * whole daemon over its socket with policy and audit on. Each is its own process, idle while another one is measured.
 *
 * The instance is that of `drawbridge dev`; the other two read its configuration for the library, the token and the PIN.
 */

import { generateKeyPairSync } from 'node:crypto';
import { readFileSync, writeFileSync } from 'node:fs';
import { request } from 'node:http';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { loadConfiguration } from '../../src/config/load.ts';
import { pinReader } from '../../src/config/secrets.ts';
import { libraryOf } from '../../src/daemon/configured-key-stores.ts';
import type { DevLine } from '../../src/daemon/dev.ts';
import { LineProcess } from '../line-process.ts';
import { policyOf, prepare } from './authorization.ts';
import { type Case, type OperationName, operationUsages, requestFor } from './cases.ts';
import {
  CpuWindow,
  childrenOf,
  type LoopResult,
  type Measurement,
  systemShare,
  type Timing,
  threadTimes,
} from './measurement.ts';
import { isSigned, shortLivedCredentials, signedRequests } from './signed-requests.ts';

export interface Target {
  /** `copy`: the direct loop, over a session copy of the key. */
  readonly name: 'direct' | 'copy' | 'host' | 'daemon';
  measure(what: Case, connections: number, timing: Timing): Promise<Measurement>;
  close(): Promise<void>;
}

const fromHere = (path: string): string => fileURLToPath(new URL(path, import.meta.url));

/** A folder with `src/` and what that needs. Of another commit's, nothing but the command line and the wire is used. */
export interface Checkout {
  readonly folder: string;
  /** What is run from it, as in `the daemon ended early`. */
  readonly daemonName: string;
}

export const thisCheckout: Checkout = { folder: fromHere('../..'), daemonName: 'the daemon' };

export const mainOf = ({ folder }: Pick<Checkout, 'folder'>): string => join(folder, 'src', 'cli', 'main.ts');

/** @param dir The folder of a `drawbridge dev` instance. */
export async function startDirect(
  program: string,
  dir: string,
): Promise<{ object: Target; copy: Target; unwraps(timing: Timing, isCopied: boolean): Promise<LoopResult> }> {
  const { regions, keyStores } = await loadConfiguration(join(dir, 'drawbridge.yaml'));
  const keyStore = keyStores.get(regions[0].defaultKeyStore)?.members[0];
  if (keyStore === undefined || !('label' in keyStore.token))
    throw new Error('the direct loop finds its token by label');
  const loop = new LineProcess('the direct loop', [program, libraryOf(keyStore), keyStore.token.label], {
    env: { ...process.env, ...keyStore.environment },
  });
  using pin = await pinReader(keyStore.pin, process.env)();
  loop.write(`${pin.reveal().toString()}\n`);
  const over = (name: 'direct' | 'copy'): Target => ({
    name,
    async measure({ operation, keySpec, payloadBytes }, _connections, { warmupMs, measureMs }) {
      const window = new CpuWindow([loop.pid]);
      loop.write(`${operation} ${keySpec} ${payloadBytes} ${warmupMs} ${measureMs} ${name === 'copy' ? 1 : 0}\n`);
      const result = await loop.nextJson<LoopResult>();
      // The warm-up is in the window too, at the same rate.
      const requests = (result.count * (warmupMs + measureMs)) / measureMs;
      const [hostCpuMicros = 0] = window.end(requests);
      return { ...result, apiCpuMicros: null, apiSystemShare: null, hostCpuMicros };
    },
    close: () => loop.close(),
  });
  const unwraps = ({ warmupMs, measureMs }: Timing, isCopied: boolean): Promise<LoopResult> => {
    loop.write(`UnwrapAndEncrypt SYMMETRIC_DEFAULT 64 ${warmupMs} ${measureMs} ${isCopied ? 1 : 0}\n`);
    return loop.nextJson<LoopResult>();
  };
  return { object: over('direct'), copy: over('copy'), unwraps };
}

/** Makes the instance beforehand, with so many HSM hosts in its key store. */
export async function makeInstance(dir: string, hosts: string, checkout: Checkout = thisCheckout): Promise<void> {
  if (!/^[1-9]\d?$/.test(hosts)) throw new Error(`\`${hosts}\` is no number of HSM hosts`);
  const daemon = new LineProcess(checkout.daemonName, [process.execPath, mainOf(checkout), 'dev', '--dir', dir]);
  await daemon.nextLine();
  await daemon.close('SIGTERM');
  const file = join(dir, 'drawbridge.yaml');
  const configuration = readFileSync(file, 'utf8');
  const changed = configuration.replace('# hosts: 1', `hosts: ${hosts}`);
  if (changed === configuration) throw new Error('the configuration has no place for the number of hosts');
  writeFileSync(file, changed);
}

export async function startHost(dir: string): Promise<Target> {
  const loop = new LineProcess('the loop over the HSM host', [process.execPath, fromHere('host-loop.ts'), dir]);
  const { pids } = await loop.nextJson<{ pids: number[] }>();
  return {
    name: 'host',
    async measure({ operation, keySpec, payloadBytes }, connections, { warmupMs, measureMs }) {
      loop.write(`${operation} ${keySpec} ${payloadBytes} ${connections} ${warmupMs} ${measureMs}\n`);
      await loop.nextLine();
      const window = new CpuWindow([loop.pid], pids);
      const result = await loop.nextJson<LoopResult>();
      const [apiCpuMicros = 0, hostCpuMicros = 0] = window.end(result.count);
      return { ...result, apiCpuMicros, apiSystemShare: null, hostCpuMicros };
    },
    close: () => loop.close(),
  };
}

export interface DaemonTarget extends Target {
  readonly pid: number;
  /** What the daemon wrote to standard error last. */
  log(): string;
}

interface DaemonOptions {
  readonly checkout?: Checkout;
  /** For the process of the API. */
  readonly nodeOptions?: readonly string[];
}

export async function startDaemon(
  dir: string,
  loadProgram: string,
  { checkout = thisCheckout, nodeOptions = [] }: DaemonOptions = {},
): Promise<DaemonTarget> {
  const command = [process.execPath, ...nodeOptions, mainOf(checkout), 'dev', '--dir', dir, '--tcp', '127.0.0.1:0'];
  const daemon = new LineProcess(checkout.daemonName, command);
  const line = await daemon.nextJson<DevLine>();
  const { socket } = line;
  const bodies = new Map<Case, string>();

  return {
    name: 'daemon',
    pid: daemon.pid,
    log: () => daemon.errors,
    async measure(what, connections, { warmupMs, measureMs, ratePerSecond }) {
      const body = bodies.get(what) ?? JSON.stringify(await prepareRequest(socket, what));
      bodies.set(what, body);
      const { where, count, requests } = await requestsFor(line, what, body, warmupMs + measureMs);
      const load = new LineProcess('the load generator', [
        loadProgram,
        where,
        String(connections),
        String(warmupMs),
        String(measureMs),
        what.burden === 'refused' ? '400' : '200',
        String(count),
        ...(ratePerSecond === undefined ? [] : [String(ratePerSecond)]),
      ]);
      load.endInput(requests);
      await load.nextLine();
      // Anew each time: further hosts join after the first has served.
      const window = new CpuWindow([daemon.pid], childrenOf(daemon.pid));
      const before = threadTimes(daemon.pid);
      const result = await load.nextJson<LoopResult>();
      const [apiCpuMicros = 0, hostCpuMicros = 0] = window.end(result.count);
      const apiSystemShare = systemShare(daemon.pid, before);
      await load.close();
      return { ...result, apiCpuMicros, apiSystemShare, hostCpuMicros };
    },
    close: () => daemon.close('SIGTERM'),
  };
}

/** More are not needed in a second; a measurement that takes longer may send them again. */
const signedPerMs = 10;
const maxSigned = 20_000;

/** What is sent, and where: of signed requests many, each with its own signature. */
async function requestsFor(
  line: DevLine,
  { operation, burden }: Case,
  body: string,
  durationMs: number,
): Promise<{ readonly where: string; readonly count: number; readonly requests: string }> {
  const { socket, endpoint, region } = line;
  if (!isSigned(burden)) return { where: socket, count: 1, requests: httpRequest(operation, body) };
  if (endpoint === null) throw new Error('the daemon has no loopback listener');
  const credentials = burden === 'signed' ? line : await shortLivedCredentials(socket);
  const { port } = new URL(endpoint);
  const count = Math.min(maxSigned, durationMs * signedPerMs);
  return { where: port, count, requests: signedRequests(credentials, { region, port, operation, body }, count) };
}

/** The request of a case, with a key of its own, and what it takes made by the daemon itself. */
async function prepareRequest(socket: string, what: Case): Promise<object> {
  const ask = <T>(operation: string, members: object): Promise<T> => post<T>(socket, operation, members);
  const { operation, keySpec } = what;
  const { KeyMetadata } = await ask<CreatedKey>('CreateKey', {
    KeySpec: keySpec,
    KeyUsage: operationUsages[operation],
    Policy: policyOf(what.burden),
    BypassPolicyLockoutSafetyCheck: true,
  });
  const keyId = KeyMetadata.KeyId;
  await prepare(what.burden, keyId, ask);
  const peer = generateKeyPairSync('ec', { namedCurve: 'P-256' }).publicKey.export({ format: 'der', type: 'spki' });
  const material = { ciphertextBlob: '', signature: '', publicKey: peer.toString('base64') };
  const make = <T>(operation: OperationName): Promise<T> =>
    ask<T>(operation, requestFor({ ...what, operation }, keyId, material));
  if (operation === 'Decrypt')
    material.ciphertextBlob = (await make<{ CiphertextBlob: string }>('Encrypt')).CiphertextBlob;
  if (operation === 'Verify') material.signature = (await make<{ Signature: string }>('Sign')).Signature;
  return requestFor(what, keyId, material);
}

interface CreatedKey {
  readonly KeyMetadata: { readonly KeyId: string };
}

/** The bytes that an AWS SDK would send, less the headers that nobody reads here (signature, SDK's telemetry). */
export function httpRequest(operation: string, body: string): string {
  return [
    'POST / HTTP/1.1',
    'Host: kms',
    'Content-Type: application/x-amz-json-1.1',
    `X-Amz-Target: TrentService.${operation}`,
    `Content-Length: ${Buffer.byteLength(body)}`,
    '',
    body,
  ].join('\r\n');
}

/** One request by the short path, over a connection that is kept. Rejects with the answer when that is not 200. */
export function post<T>(socketPath: string, operation: string, members: object): Promise<T> {
  return answered<T>(socketPath, 'POST', `/v1/${operation}`, JSON.stringify(members));
}

/** What the daemon says of itself. */
export function statusOf<T>(socketPath: string): Promise<T> {
  return answered<T>(socketPath, 'GET', '/status', '');
}

function answered<T>(socketPath: string, method: string, path: string, text: string): Promise<T> {
  return new Promise((resolve, reject) => {
    const headers = { 'content-type': 'application/json', 'content-length': Buffer.byteLength(text) };
    const call = request({ socketPath, method, path, headers }, (response) => {
      let answer = '';
      response.setEncoding('utf8').on('data', (chunk: string) => {
        answer += chunk;
      });
      response.on('end', () => {
        if (response.statusCode === 200) resolve(JSON.parse(answer) as T);
        else reject(new Error(`${path}: ${answer}`));
      });
    });
    call.on('error', reject);
    call.end(text);
  });
}
