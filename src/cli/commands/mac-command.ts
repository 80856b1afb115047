/** `drawbridge mac`: the MAC of a short file or pipe under a key in the HSM, made or verified. */

import { Command } from 'commander';
import { connectTo, type SocketOptions, withSocket } from '../requests/command-options.ts';
import { algorithmFor, shortMessage } from '../requests/signing-message.ts';
import {
  assertFitsOutput,
  decode,
  type Encoding,
  encode,
  encodingOption,
  writeWhole,
} from '../terminal/binary-output.ts';
import { ApiError, UsageError } from '../terminal/cli-error.ts';
import { readUpTo } from '../terminal/input.ts';
import { print } from '../terminal/output.ts';

/** A MAC is 64 bytes at most; that is the room for its digits and lines. */
const maxMacFileBytes = 1024;

interface Options extends SocketOptions {
  readonly key: string;
  readonly algorithm?: string;
  readonly encoding: Encoding;
  readonly in?: string;
  readonly out?: string;
  readonly verify?: string;
}

export function macCommand(): Command {
  return withSocket(new Command('mac').description('make or verify the MAC of a short file or pipe'))
    .requiredOption('--key <key>', 'key id, key ARN, alias/NAME or alias ARN of an HMAC key')
    .option('--algorithm <algorithm>', "the MAC algorithm; without it, the key's own")
    .option('--in <file>', 'what the MAC is of, 4,096 bytes at most; without it, stdin')
    .option('--out <file>', 'where to; without it, stdout')
    .option('--verify <file>', 'verify this MAC instead of making one')
    .addOption(encodingOption('the MAC'))
    .addHelpText(
      'after',
      `
With --verify the exit code is 0 for a good MAC alone, and 1 for a bad one.

Examples:
  drawbridge mac --key alias/tokens --in token --encoding hex
  drawbridge mac --key alias/tokens --in token --verify token.mac --encoding hex`,
    )
    .action(async (options: Options) => {
      const { key, in: from, out, verify, encoding } = options;
      if (verify !== undefined && out !== undefined)
        throw new UsageError('--verify makes no MAC that --out could take');
      if (verify === undefined) assertFitsOutput(out, encoding !== 'raw', '--encoding hex');
      const expected = verify === undefined ? undefined : await readMac(verify, encoding);
      const message = await shortMessage(from, 'HMAC keys take the message itself');
      const client = await connectTo(options);
      const MacAlgorithm = await algorithmFor(client, key, options.algorithm, 'MacAlgorithms');
      const request = { KeyId: key, MacAlgorithm, Message: message.toString('base64') };
      if (expected === undefined) {
        const { Mac } = await client.call('GenerateMac', request);
        return writeWhole(out, encode(Buffer.from(String(Mac), 'base64'), encoding));
      }
      try {
        await client.call('VerifyMac', { ...request, Mac: expected.toString('base64') });
      } catch (error) {
        if (!(error instanceof ApiError) || error.type !== 'KMSInvalidMacException') throw error;
        throw new Error(`bad MAC: it is not that of \`${from ?? '-'}\` under this key with ${MacAlgorithm}`, {
          cause: error,
        });
      }
      print(`good MAC, ${MacAlgorithm}`);
    });
}

async function readMac(path: string, encoding: Encoding): Promise<Buffer> {
  const file = await readUpTo(path, maxMacFileBytes);
  if (file === undefined) throw new Error(`\`${path}\` is too long for a MAC`);
  return decode(file, encoding, `\`${path}\``);
}
