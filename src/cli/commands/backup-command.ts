/** `drawbridge backup`: the metadata of a running daemon, in one file. */

import { once } from 'node:events';
import { finished } from 'node:stream/promises';
import { Command } from 'commander';
import { connectTo, type SocketOptions, withJson, withSocket } from '../requests/command-options.ts';
import type { KmsClient, Members } from '../requests/kms-client.ts';
import { facts, print, printJson } from '../terminal/output.ts';
import { type Count, showCount, tellOfWait } from '../terminal/progress.ts';
import { openOutput } from '../terminal/whole-file.ts';

type Options = SocketOptions & { readonly out: string; readonly json?: true };

export function backupCommand(): Command {
  return withJson(withSocket(new Command('backup').description('write the metadata of a running daemon to one file')))
    .requiredOption('--out <file>', 'where to; it takes its name when it is complete')
    .addHelpText(
      'after',
      `
The file has all keys' policies, grants, aliases and states, as they are at one moment, and no key: keys are in the HSM, whose own
backup has them. It is authenticated by a key in the HSM, and only an HSM that has this key takes it back. Keep beside it the
configuration, the identity policies, the audit log and the HSM's backup. Only the account's root may make one; it is on record.

Examples:
  drawbridge backup --out /var/backups/drawbridge/metadata.backup
  drawbridge restore --check /var/backups/drawbridge/metadata.backup`,
    )
    .action(backup);
}

async function backup(options: Options): Promise<void> {
  const client = await connectTo(options);
  const made = await tellOfWait('backup: the daemon makes it', client.post('/backup', {}));
  const { id, bytes, sha256 } = made as { readonly id: string; readonly bytes: number; readonly sha256: string };
  const count = await showCount('backup', 'MB');
  try {
    await readBackup(options.out, client, { id, bytes, sha256 }, count);
  } finally {
    count.stop();
    // Where it fails it ends by itself, a minute later.
    await client.post('/backup/end', { id }).catch(() => undefined);
  }
  const { header } = made as { readonly header: Members };
  if (options.json) return printJson({ path: options.out, bytes, sha256, ...header });
  print(
    facts([
      ['wrote', `${options.out}, ${bytes} bytes`],
      ['state', String(header['treeHash'])],
      ['epoch', Number(header['epoch'])],
      ['SHA-256', sha256],
    ]),
  );
}

interface Source {
  readonly id: string;
  readonly bytes: number;
  readonly sha256: string;
}

const megabytes = (bytes: number): number => Math.round(bytes / 100_000) / 10;

/** @throws where it is not what the daemon made; then there is no file. */
export async function readBackup(
  out: string,
  client: Pick<KmsClient, 'post'>,
  { id, bytes, sha256 }: Source,
  count: Pick<Count, 'update'>,
): Promise<void> {
  const { createHash } = process.getBuiltinModule('node:crypto');
  const output = await openOutput(out, 0o600);
  try {
    const digest = createHash('sha256');
    const done = finished(output.stream);
    done.catch(() => undefined); // Whoever waits for it below is told.
    for (let offset = 0; offset < bytes; ) {
      const { data } = (await client.post('/backup/read', { id, offset })) as { readonly data: string };
      const piece = Buffer.from(data, 'base64');
      if (piece.length === 0) break;
      offset += piece.length;
      digest.update(piece);
      count.update(megabytes(offset), megabytes(bytes));
      if (!output.stream.write(piece)) await Promise.race([once(output.stream, 'drain'), done]);
    }
    if (digest.digest('hex') !== sha256) throw new Error('what was read is not what the daemon made; try again');
    output.stream.end();
    await done;
    await output.complete();
  } catch (error) {
    await output.abandon();
    throw error;
  }
}
