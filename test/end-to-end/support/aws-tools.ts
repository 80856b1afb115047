/**
 * Debian's AWS CLI and boto3, run as programs of a user who has nothing but a profile: no secret, no configuration of this
 * machine, and `drawbridge credentials` as its `credential_process`.
 */

import { execFile, spawnSync } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { program } from '../../support/program.ts';

/** The profile that the documentation tells people to use. */
const profile = fileURLToPath(new URL('../../../native-config/aws/config', import.meta.url));

/** The distribution's, which a Python of somebody's own on PATH does not hide. */
const python = '/usr/bin/python3';
const cli = '/usr/bin/aws';

/** What this machine lacks (`no awscli`), or `null`. */
export const missingAwsTools = {
  cli: spawnSync(cli, ['--version']).status === 0 ? null : 'no awscli (apt-get install awscli)',
  boto3:
    spawnSync(python, ['-c', 'import boto3']).status === 0 ? null : 'no python3-boto3 (apt-get install python3-boto3)',
} as const;

export interface Outcome {
  readonly exitCode: number;
  readonly stdout: string;
  readonly stderr: string;
}

export class AwsTools {
  readonly #endpoint: string;
  readonly #environment: NodeJS.ProcessEnv;

  /**
   * @param folder For the profile; must be the test's own.
   * @param authority The file with the certificate that is to be trusted, of an endpoint over TLS.
   */
  constructor(folder: string, socket: string, endpoint: string, authority?: string) {
    this.#endpoint = endpoint;
    const config = join(folder, 'aws-config');
    const text = readFileSync(profile, 'utf8')
      .replace('= drawbridge credentials', `= "${process.execPath}" "${program}" credentials`)
      .replace('/run/drawbridge/kms.sock', `"${socket}"`)
      .replace('http://127.0.0.1:4599', endpoint);
    writeFileSync(config, `${text}output = json\nretry_mode = standard\nmax_attempts = 1\n`);
    const { TMPDIR } = process.env;
    this.#environment = {
      ...(TMPDIR === undefined ? {} : { TMPDIR }),
      PATH: '/usr/bin:/bin',
      HOME: folder,
      LC_ALL: 'C.UTF-8',
      AWS_CONFIG_FILE: config,
      AWS_SHARED_CREDENTIALS_FILE: '/dev/null',
      AWS_PROFILE: 'drawbridge',
      AWS_EC2_METADATA_DISABLED: 'true',
      AWS_PAGER: '',
      ...(authority === undefined ? {} : { AWS_CA_BUNDLE: authority }),
    };
  }

  cli(args: readonly string[]): Promise<Outcome> {
    return run(cli, ['--endpoint-url', this.#endpoint, ...args], this.#environment);
  }

  /** With an access key that nobody has, and without the profile. */
  cliWith(accessKeyId: string, args: readonly string[]): Promise<Outcome> {
    const { AWS_PROFILE: _, ...environment } = this.#environment;
    return run(cli, ['--endpoint-url', this.#endpoint, '--region', 'us-east-1', ...args], {
      ...environment,
      AWS_ACCESS_KEY_ID: accessKeyId,
      AWS_SECRET_ACCESS_KEY: 'nobody-knows',
    });
  }

  /** Runs a script with `session` and `endpoint` at hand. */
  python(script: string): Promise<Outcome> {
    const prelude = `import boto3, json\nsession = boto3.Session()\nendpoint = ${JSON.stringify(this.#endpoint)}\n`;
    return run(python, ['-c', prelude + script], this.#environment);
  }
}

async function run(program: string, args: readonly string[], env: NodeJS.ProcessEnv): Promise<Outcome> {
  try {
    const { stdout, stderr } = await promisify(execFile)(program, args, { env, timeout: 170_000 });
    return { exitCode: 0, stdout, stderr };
  } catch (error) {
    // What `execFile` rejects with has both texts; a program that did not run at all has no number as its code.
    const { code, stdout = '', stderr = '' } = error as { code?: unknown; stdout?: string; stderr?: string };
    if (typeof code !== 'number') throw error;
    return { exitCode: code, stdout, stderr };
  }
}
