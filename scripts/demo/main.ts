/**
 * The demonstration behind `scripts/quickstart`: the main job of Drawbridge on real input, step by step.
 *
 * Everything happens for real, over a fresh instance in a temporary folder: the program is the unmodified AWS SDK, the
 * key is in SoftHSM2, the refusals are the daemon's own words. A step that does not end as told fails the whole run, so
 * this is a test too.
 */

import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { chmodSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { Agent, type AgentOptions } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { CreateAliasCommand, CreateKeyCommand, KMSClient } from '@aws-sdk/client-kms';
import { NodeHttpHandler } from '@smithy/node-http-handler';
import { decryptFile, type EncryptionContext, encryptFile } from './envelope.ts';
import { command, done, explain, farewell, output, refused, step, title } from './narrator.ts';

const help = `Usage: scripts/quickstart

Boots Drawbridge over SoftHSM2 in a temporary folder, encrypts and decrypts a real file through the AWS SDK, shows what
the HSM says about the key, what is refused, and what is on record, and cleans up. Takes some seconds. Run as root, it
also shows how another Unix user is refused.
`;

const root = fileURLToPath(new URL('../../', import.meta.url));
const drawbridge = join(root, 'scripts', 'drawbridge');
const alias = 'alias/backup';

async function main(): Promise<void> {
  if (process.argv.includes('--help')) {
    process.stdout.write(help);
    return;
  }
  const folder = mkdtempSync(join(tmpdir(), 'db-quickstart-'));
  chmodSync(folder, 0o755); // Other users have to reach the socket to be refused by the policy.
  const running: Running = {};
  const interrupted = (): void => void running.daemon?.kill('SIGTERM');
  process.on('SIGINT', interrupted).on('SIGTERM', interrupted);
  try {
    await demonstrate(folder, running);
  } finally {
    await stop(running.daemon);
    rmSync(folder, { recursive: true, force: true });
  }
}

interface Running {
  daemon?: ChildProcess;
}

async function demonstrate(folder: string, running: Running): Promise<void> {
  title('Drawbridge: an HSM behind the AWS KMS API');
  explain('Everything below happens for real, in a temporary folder, and is removed at the end.');

  const socket = await boot(join(folder, 'kms'), running);
  const kms = connect(socket);
  const keyId = await createKey(kms);
  const file = await encryptBackup(kms, folder);
  showKey();
  await showWrongContext(kms, file);
  await showOtherUser(socket, keyId, file);
  showAudit();

  step('Clean up');
  kms.destroy();
  await stop(running.daemon);
  done('the daemon has stopped; the folder with the token and the key in it goes too');
  farewell(
    `Next: ./scripts/drawbridge --help, README.md for how to connect your own program,\nand ./scripts/test for everything that is promised.`,
  );
}

async function boot(dir: string, running: Running): Promise<string> {
  step('Boot an instance');
  explain(
    `One process speaks the AWS KMS API on a Unix socket; another one, which it starts, loads the PKCS#11 library of the HSM
and holds the PIN. The HSM here is SoftHSM2, a software token; with a card or a network HSM only the configuration differs.`,
  );
  command(`./scripts/drawbridge dev --dir ${dir}`);
  const daemon = spawn(drawbridge, ['dev', '--dir', dir], { stdio: ['ignore', 'pipe', 'pipe'] });
  running.daemon = daemon;
  let log = '';
  daemon.stderr.setEncoding('utf8').on('data', (text: string) => {
    log += text;
  });
  for await (const line of createInterface({ input: daemon.stdout })) {
    const { socket } = JSON.parse(line) as { socket: string };
    done(`ready on ${socket}`);
    command(`export DRAWBRIDGE_SOCKET=${socket}`);
    process.env['DRAWBRIDGE_SOCKET'] = socket;
    return socket;
  }
  throw new Error(`the instance did not start:\n${log}`);
}

/** The SDK as it comes, told to send its HTTP over the socket. */
function connect(socketPath: string): KMSClient {
  // Node's agents hand their options on to `connect`, which takes a path; the published type knows of TCP alone.
  const overSocket: AgentOptions & { readonly socketPath: string } = { socketPath, keepAlive: true };
  return new KMSClient({
    region: 'us-east-1',
    endpoint: 'http://kms',
    // The kernel says who calls. The SDK wants something to sign with, and nobody looks at it.
    credentials: { accessKeyId: 'unused', secretAccessKey: 'unused' },
    requestHandler: new NodeHttpHandler({ httpAgent: new Agent(overSocket) }),
  });
}

const policy = {
  Version: '2012-10-17',
  Statement: [
    { Effect: 'Allow', Principal: { AWS: 'arn:aws:iam::000000000000:root' }, Action: 'kms:*', Resource: '*' },
    {
      Effect: 'Allow',
      Principal: { AWS: 'arn:aws:iam::000000000000:user/unix/backup' },
      Action: ['kms:GenerateDataKey', 'kms:Decrypt'],
      Resource: '*',
    },
  ],
};

async function createKey(kms: KMSClient): Promise<string> {
  step('Create a key, with the AWS SDK for JavaScript');
  explain(
    `The key is generated inside the HSM. Its policy lets the account's root do everything (that is you: who starts
\`drawbridge dev\` is the account's root) and the Unix user \`backup\` encrypt and decrypt files. Nobody else is named.`,
  );
  const { KeyMetadata } = await kms.send(
    new CreateKeyCommand({ Description: 'nightly backups', Policy: JSON.stringify(policy) }),
  );
  const { KeyId: keyId, Arn: arn } = KeyMetadata ?? {};
  if (keyId === undefined || arn === undefined) throw new Error('CreateKey returned no key');
  await kms.send(new CreateAliasCommand({ AliasName: alias, TargetKeyId: keyId }));
  done(`CreateKey    ${arn}`);
  done(`CreateAlias  ${alias}`);
  return keyId;
}

interface EncryptedFile {
  readonly context: EncryptionContext;
  readonly envelope: Buffer;
  readonly encryptedDataKey: Buffer;
}

async function encryptBackup(kms: KMSClient, folder: string): Promise<EncryptedFile> {
  step('Encrypt a real file, and decrypt it');
  const source = join(folder, 'backup.tar');
  const packed = ['fastify', '@types/node'];
  execFileSync('tar', ['--create', '--file', source, '--directory', join(root, 'node_modules'), ...packed]);
  const file = readFileSync(source);
  const megabytes = (file.length / 1_000_000).toFixed(1);
  explain(
    `backup.tar, an archive of node_modules/{${packed.join(',')}}, has ${megabytes} MB. That is not sent anywhere: KMS makes a data key, the
program encrypts the file with it (AES-256-GCM), forgets it, and keeps only its encrypted form, in front of the file.
The encryption context is bound to it: whoever decrypts must say the same.`,
  );
  const context = { file: 'backup.tar', host: 'web1' };
  const started = performance.now();
  const { envelope, encryptedDataKey } = await encryptFile(kms, alias, context, file);
  writeFileSync(`${source}.enc`, envelope);
  done(
    `GenerateDataKey and AES-256-GCM: backup.tar.enc, ${(envelope.length - file.length).toLocaleString('en')} bytes longer, ` +
      `of which ${encryptedDataKey.length} are the encrypted data key (${elapsed(started)})`,
  );
  const again = performance.now();
  const decrypted = await decryptFile(kms, context, readFileSync(`${source}.enc`));
  done(`Decrypt and AES-256-GCM (${elapsed(again)})`);
  const [before, after] = [file, decrypted].map((bytes) => createHash('sha256').update(bytes).digest('hex'));
  if (before !== after) throw new Error('the decrypted file differs from the original');
  done(`both files have the SHA-256 ${before}`);
  return { context, envelope, encryptedDataKey };
}

function elapsed(since: number): string {
  return `${(performance.now() - since).toFixed(0)} ms`;
}

function showKey(): void {
  step('Ask the HSM about the key');
  explain(
    `What follows is read from the PKCS#11 object itself. SENSITIVE and not EXTRACTABLE: no call gets the key out of the
token, not even for Drawbridge. ALWAYS and NEVER: that was so from the beginning. LOCAL: the token generated it.`,
  );
  runDrawbridge('keys', 'show', alias);
}

async function showWrongContext(kms: KMSClient, { envelope }: EncryptedFile): Promise<void> {
  step('Be refused: another encryption context');
  explain('The same caller and the same bytes, but the program says `host: web2`:');
  try {
    await decryptFile(kms, { file: 'backup.tar', host: 'web2' }, envelope);
  } catch (error) {
    if (!(error instanceof Error) || error.name !== 'InvalidCiphertextException') throw error;
    // AWS sends no text with this one, and the SDK puts its own in place.
    refused(error.message === '' || error.message === 'UnknownError' ? error.name : `${error.name}: ${error.message}`);
    return;
  }
  throw new Error('the other encryption context was accepted');
}

async function showOtherUser(socket: string, keyId: string, file: EncryptedFile): Promise<void> {
  step('Be refused: another Unix user');
  if (process.getuid?.() !== 0) {
    explain(
      `This part needs root, because it asks as the user \`nobody\`; run \`sudo ./scripts/quickstart\` to see it. The kernel tells
the daemon who connects (SO_PEERCRED); \`nobody\` would be arn:aws:iam::000000000000:user/unix/nobody, which the policy
does not name, and get AccessDeniedException.`,
    );
    return;
  }
  explain(
    `The same request once more, everything right in it, from a process of the user \`nobody\`. The kernel tells the daemon
who connects (SO_PEERCRED), so there is nothing to steal and nothing to forge:`,
  );
  command(`setpriv --reuid nobody --clear-groups curl --unix-socket $DRAWBRIDGE_SOCKET http://kms/v1/Decrypt -d '{…}'`);
  const program = fileURLToPath(new URL('other-user.ts', import.meta.url));
  const answer = execFileSync(process.execPath, [program, socket, keyId, file.encryptedDataKey.toString('base64')], {
    input: JSON.stringify(file.context),
    encoding: 'utf8',
  });
  const { __type, message } = JSON.parse(answer) as { __type?: string; message?: string };
  if (__type === 'unreachable') {
    refused(
      `${message}: others cannot even reach the folder for temporary files here; set TMPDIR=/tmp to see the rest`,
    );
    return;
  }
  if (__type !== 'AccessDeniedException') throw new Error(`\`nobody\` was not refused: ${__type ?? 'success'}`);
  refused(`${__type}: ${message}`);
}

function showAudit(): void {
  step('Look at the record');
  explain(
    `Nothing is answered before it is on record. Each line holds the hash of the one before it; here is what was just done:`,
  );
  runDrawbridge('audit', 'show');
}

/** A command of the CLI, which finds the socket in the environment, and what it prints. */
function runDrawbridge(...args: readonly string[]): void {
  command(`./scripts/drawbridge ${args.join(' ')}`);
  output(execFileSync(drawbridge, args, { encoding: 'utf8' }));
}

async function stop(daemon: ChildProcess | undefined): Promise<void> {
  if (daemon === undefined || daemon.exitCode !== null || daemon.signalCode !== null) return;
  daemon.kill('SIGTERM');
  await once(daemon, 'exit');
}

try {
  await main();
} catch (error) {
  process.stderr.write(`quickstart: ${error instanceof Error ? error.message : error}\n`);
  process.exitCode = 1;
}
