/**
 * One program against one instance, which listens on its socket, on the loopback address, and over TLS.
 *
 * `test/clients/NAME/client.json` says what it is; `test/clients/NAME/run` installs and runs it in a temporary folder that is
 * removed afterwards. It ends with 0 when the program got what it should, with 77 when it cannot be installed here (the reason
 * is the last line on standard error), and prints `version: …` on a line of its own.
 */

import { execFileSync, spawn } from 'node:child_process';
import { appendFileSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as later } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { stripVTControlCharacters } from 'node:util';
import { LineProcess } from '../line-process.ts';

export const clientsFolder = new URL('../../test/clients/', import.meta.url);
const command = (file: string): string => fileURLToPath(new URL(`../../src/cli/${file}`, import.meta.url));
const cli = command('main.ts');
/** The commands that the package installs. */
const installed = new Map([
  ['drawbridge', cli],
  ['age-plugin-drawbridge', command('age-plugin-drawbridge.ts')],
  ['sigstore-kms-drawbridge', command('sigstore-kms-drawbridge.ts')],
]);
/** What scripts of programs may call. */
const commands = fileURLToPath(new URL('commands', import.meta.url));
/** The profile that the documentation tells people to use. */
const profile = new URL('../../native-config/aws/config', import.meta.url);

interface Client {
  readonly program: string;
  /** For the table. */
  readonly did: string;
  /** On record afterwards, at least so often, and without an error. */
  readonly operations: Readonly<Record<string, number>>;
}

export interface ClientRun {
  readonly program: string;
  readonly version: string;
  readonly did: string;
  readonly requests: number;
  readonly result: 'passed' | 'failed' | `skipped: ${string}`;
  /** What went wrong; empty when nothing did. */
  readonly output: string;
  /** `2026-01-31` */
  readonly date: string;
}

const skippedCode = 77;
const maxRunMs = 1_800_000;

/** Those in which the suites of others make replicas; the rest of them, and all other programs, are in us-east-1. */
const furtherRegions = ['ap-southeast-1', 'us-west-1', 'us-west-2'];

export async function runClient(name: string): Promise<ClientRun> {
  const from = fileURLToPath(new URL(`${name}/`, clientsFolder));
  const client = JSON.parse(readFileSync(join(from, 'client.json'), 'utf8')) as Client;
  const folder = mkdtempSync(join(tmpdir(), 'drawbridge-client-'));
  const data = join(folder, 'instance');
  const work = join(folder, 'work');
  mkdirSync(work);
  makeInstance(data);
  const daemon = new LineProcess('drawbridge dev', [
    process.execPath,
    cli,
    'dev',
    '--tcp',
    '127.0.0.1:0',
    '--dir',
    data,
    ...furtherRegions.flatMap((region) => ['--region', region]),
  ]);
  try {
    const line = await daemon.nextJson<Record<string, string>>();
    const instance = {
      ...line,
      tlsEndpoint: await tlsEndpointOf(daemon),
      authority: join(data, 'tls', 'authority.pem'),
    };
    const { code, output } = await runScript(join(from, 'run'), work, environment(instance, folder));
    await daemon.close('SIGTERM');
    const events = eventsIn(join(data, 'data', 'audit'));
    const missing = Object.entries(client.operations).filter(
      ([operation, times]) =>
        events.filter((event) => event.eventName === operation && !event.errorCode).length < times,
    );
    const lines = output.trimEnd().split('\n');
    const isSkipped = code === skippedCode;
    const result = isSkipped
      ? `skipped: ${reasonIn(lines.at(-1) ?? '')}`
      : code === 0 && missing.length === 0
        ? 'passed'
        : 'failed';
    const absent = missing.map(([operation, times]) => `not on record ${times} times: ${operation}`).join('\n');
    return {
      program: client.program,
      did: client.did,
      version: /^version: (.*)$/m.exec(output)?.[1]?.trim() ?? '',
      requests: events.length,
      result: result as ClientRun['result'],
      output: result === 'failed' ? `${lines.slice(-40).join('\n')}\n${absent}`.trim() : '',
      date: new Date().toISOString().slice(0, 10),
    };
  } finally {
    await daemon.close('SIGTERM');
    rmSync(folder, { recursive: true, force: true });
  }
}

/** For one cell of the table, without the address of a registry, which is this machine's own affair. */
function reasonIn(line: string): string {
  return stripVTControlCharacters(line)
    .replaceAll(/https?:\/\/[^\s)"]*/g, 'its registry')
    .replaceAll('|', '/');
}

/** As a person does it who wants TLS and a role: `init`, `tls create`, and a few lines of `drawbridge.yaml`. */
function makeInstance(folder: string): void {
  const configuration = join(folder, 'drawbridge.yaml');
  const drawbridge = (...args: readonly string[]): void => {
    execFileSync(process.execPath, [cli, ...args], { stdio: 'pipe' });
  };
  mkdirSync(folder);
  drawbridge(
    'init',
    '--token',
    'softhsm2',
    '--config',
    configuration,
    '--dir',
    folder,
    '--socket',
    join(folder, 'kms.sock'),
  );
  drawbridge('tls', 'create', '--out', join(folder, 'tls'));
  appendFileSync(
    configuration,
    `listen:
  tls: { address: "127.0.0.1:0", certificate: { file: tls/server.pem }, key: { file: tls/server.key } }
roles:
  deploy: { trustPolicy: ${JSON.stringify(trustPolicy)} }
`,
  );
}

/** Of the role that programs may assume as the user `ci`: the account's root cannot. */
const trustPolicy = {
  Version: '2012-10-17',
  Statement: [{ Effect: 'Allow', Principal: { AWS: 'arn:aws:iam::000000000000:user/ci' }, Action: 'sts:AssumeRole' }],
};

/** From its log, which is another pipe than the line that says it is ready. */
async function tlsEndpointOf(daemon: LineProcess): Promise<string> {
  for (let tries = 0; tries < 100; tries += 1) {
    const found = /"tlsEndpoint":"(https:[^"]*)"/.exec(daemon.errors)?.[1];
    if (found !== undefined) return found;
    await later(50);
  }
  throw new Error('the daemon does not say where it listens over TLS');
}

/**
 * What a program of a user has: the socket, the loopback listener with an access key, the listener over TLS, a profile (for
 * `by-profile`), and nothing of this machine's own AWS.
 */
function environment(instance: Record<string, string>, folder: string): NodeJS.ProcessEnv {
  const { socket, endpoint, tlsEndpoint, authority, region, accessKeyId, secretAccessKey } = instance;
  const bin = join(folder, 'bin');
  mkdirSync(bin);
  for (const [name, program] of installed) {
    writeFileSync(join(bin, name), `#!/bin/sh\nexec '${process.execPath}' '${program}' "$@"\n`, { mode: 0o755 });
  }
  const config = join(folder, 'aws-config');
  const text = readFileSync(profile, 'utf8').replace('/run/drawbridge/kms.sock', `${socket}`);
  writeFileSync(config, text.replace('http://127.0.0.1:4599', `${endpoint}`));
  return {
    ...process.env,
    PATH: `${bin}:${commands}:${process.env['PATH']}`,
    DRAWBRIDGE_SOCKET: socket,
    DRAWBRIDGE_TLS_ENDPOINT: tlsEndpoint,
    DRAWBRIDGE_TLS_AUTHORITY: authority,
    DRAWBRIDGE_AWS_CONFIG: config,
    AWS_ENDPOINT_URL: endpoint,
    AWS_REGION: region,
    AWS_DEFAULT_REGION: region,
    AWS_ACCESS_KEY_ID: accessKeyId,
    AWS_SECRET_ACCESS_KEY: secretAccessKey,
    AWS_CONFIG_FILE: '/dev/null',
    AWS_SHARED_CREDENTIALS_FILE: '/dev/null',
    AWS_EC2_METADATA_DISABLED: 'true',
    PYTHONDONTWRITEBYTECODE: '1',
  };
}

function runScript(
  script: string,
  cwd: string,
  env: NodeJS.ProcessEnv,
): Promise<{ readonly code: number | null; readonly output: string }> {
  return new Promise((resolve, reject) => {
    // A process group of its own, so that what it leaves behind is ended with it.
    const child = spawn('bash', ['--norc', script], { cwd, env, detached: true, stdio: ['ignore', 'pipe', 'pipe'] });
    const end = (): void => {
      if (child.pid !== undefined) process.kill(-child.pid, 'SIGKILL');
    };
    const late = setTimeout(end, maxRunMs);
    let output = '';
    for (const stream of [child.stdout, child.stderr]) {
      stream.setEncoding('utf8').on('data', (text: string) => {
        output += text;
      });
    }
    child.once('error', reject);
    child.once('close', (code) => {
      clearTimeout(late);
      resolve({ code, output });
    });
  });
}

interface Event {
  readonly eventName: string;
  readonly eventType: string;
  readonly errorCode?: string;
}

/** Of requests, and not of what the daemon did by itself. */
function eventsIn(folder: string): readonly Event[] {
  return readdirSync(folder)
    .flatMap((name) => readFileSync(join(folder, name), 'utf8').split('\n'))
    .filter((line) => line !== '')
    .map((line) => JSON.parse(line) as Event)
    .filter(({ eventType }) => eventType === 'AwsApiCall');
}
