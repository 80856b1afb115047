/**
 * `drawbridge credentials`: temporary credentials for whoever runs it, or for a session of a role that he may assume, as AWS's tools
 * ask a `credential_process` for them.
 *
 * The kernel tells the daemon who that is, so no secret lies on any disk. stdout is the JSON alone, whatever happens;
 * tools show what comes on stderr when the exit code is not 0.
 *
 * Source: AWS SDKs and Tools reference guide, "Process credential provider".
 */

import { userInfo } from 'node:os';
import { Command, InvalidArgumentError, Option } from 'commander';
import { connectTo, type SocketOptions, withSocket } from '../requests/command-options.ts';
import type { Members } from '../requests/kms-client.ts';
import { UsageError } from '../terminal/cli-error.ts';
import { printJson } from '../terminal/output.ts';

interface RoleOptions {
  readonly role?: string;
  readonly sessionName?: string;
  readonly externalId?: string;
  readonly policy?: string;
  readonly sourceIdentity?: string;
}

type Options = SocketOptions & RoleOptions & { readonly duration?: number };

export function credentialsCommand(): Command {
  return withSocket(
    new Command('credentials').description('temporary credentials for yourself or for a role, for AWS SDKs and tools'),
  )
    .addOption(
      new Option(
        '--duration <seconds>',
        'how long they are good: 900 to 3600, of a role to what it allows; 3600 if not given',
      ).argParser(parseSeconds),
    )
    .option('--role <arn>', 'assume this role, `roles` of the configuration, and give the credentials of the session')
    .option('--session-name <name>', 'with --role, what the session is called; your user name if not given')
    .option('--external-id <text>', 'with --role, what its trust policy may ask for')
    .option('--policy <file>', 'with --role, a policy that takes away from what the role may do; - for stdin')
    .option(
      '--source-identity <name>',
      'with --role, who you are, which stays with the session and those that it assumes',
    )
    .addHelpText(
      'after',
      `
Prints the JSON that AWS calls a credential_process' output.

Example, in ~/.aws/config:
  [profile drawbridge]
  region = us-east-1
  endpoint_url = http://127.0.0.1:4599
  credential_process = drawbridge credentials --socket /run/drawbridge/kms.sock

  [profile deploy]
  region = us-east-1
  endpoint_url = http://127.0.0.1:4599
  credential_process = drawbridge credentials --role arn:aws:iam::000000000000:role/deploy

The endpoint is \`listen.tcp\` of the daemon's configuration. Tools run it again before the credentials end: boto3 and
the AWS CLI from 15 minutes before that, so with the shortest duration they would run it for each request.`,
    )
    .action(printCredentials);
}

async function printCredentials({ duration, ...options }: Options): Promise<void> {
  const seconds = duration === undefined ? {} : { DurationSeconds: duration };
  const session = await sessionOf(options);
  const client = await connectTo(options);
  const issued =
    session === undefined
      ? await client.post('/credentials', seconds)
      : await client.post('/credentials/role', { ...session, ...seconds });
  printJson({ Version: 1, ...issued });
}

/** The parameters of AssumeRole; `undefined`: no role is asked for. */
async function sessionOf(options: RoleOptions): Promise<Members | undefined> {
  const { role, sessionName, externalId, policy, sourceIdentity } = options;
  if (role === undefined) {
    const given = Object.entries({ sessionName, externalId, policy, sourceIdentity }).find(([, value]) => value);
    if (given === undefined) return undefined;
    throw new UsageError(`--${given[0].replaceAll(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`)} goes with --role`);
  }
  return {
    RoleArn: role,
    RoleSessionName: sessionName ?? ownName(),
    ...(externalId === undefined ? {} : { ExternalId: externalId }),
    ...(policy === undefined ? {} : { Policy: await readSessionPolicy(policy) }),
    ...(sourceIdentity === undefined ? {} : { SourceIdentity: sourceIdentity }),
  };
}

async function readSessionPolicy(path: string): Promise<string> {
  const { readPolicy } = await import('../terminal/input.ts');
  return readPolicy(path);
}

/** As far as a session can be called so. */
function ownName(): string {
  const uid = process.getuid?.() ?? 0;
  try {
    const { username } = userInfo();
    return /^[\w+=,.@-]{2,64}$/.test(username) ? username : `uid=${uid}`;
  } catch {
    return `uid=${uid}`; // Without a name.
  }
}

function parseSeconds(text: string): number {
  if (!/^\d{1,9}$/.test(text)) throw new InvalidArgumentError('expected a whole number of seconds.');
  return Number(text);
}
