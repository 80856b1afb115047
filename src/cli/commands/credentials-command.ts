/**
 * `drawbridge credentials`: short-lived credentials for whoever runs it, as AWS's tools ask a `credential_process` for them.
 *
 * The kernel tells the daemon who that is, so no secret lies on any disk. stdout is the JSON alone, whatever happens;
 * tools show what comes on stderr when the exit code is not 0.
 *
 * Source: AWS SDKs and Tools reference guide, "Process credential provider".
 */

import { Command, InvalidArgumentError, Option } from 'commander';
import { connectTo, type SocketOptions, withSocket } from '../requests/command-options.ts';
import { printJson } from '../terminal/output.ts';

export function credentialsCommand(): Command {
  return withSocket(
    new Command('credentials').description('short-lived credentials for yourself, for AWS SDKs and tools'),
  )
    .addOption(
      new Option('--duration <seconds>', 'how long they are good: 900 to 3600; 3600 if not given').argParser(
        parseSeconds,
      ),
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

The endpoint is \`listen.tcp\` of the daemon's configuration. Tools run it again before the credentials end: boto3 and
the AWS CLI from 15 minutes before that, so with the shortest duration they would run it for each request.`,
    )
    .action(async ({ duration, ...options }: SocketOptions & { duration?: number }) => {
      const client = await connectTo(options);
      const issued = await client.post('/credentials', duration === undefined ? {} : { DurationSeconds: duration });
      printJson({ Version: 1, ...issued });
    });
}

function parseSeconds(text: string): number {
  if (!/^\d{1,9}$/.test(text)) throw new InvalidArgumentError('expected a whole number of seconds.');
  return Number(text);
}
