/**
 * `drawbridge keys import`: brings a key that there is already into the HSM, from a person's file.
 *
 * The file is read, checked against the key's KeySpec and wrapped here, under a key pair that the HSM made for this import; what leaves
 * this process can be opened in the HSM alone. What was read is wiped from memory. The file itself stays, unless the person wants it
 * overwritten and removed.
 */

import { Command, InvalidArgumentError, Option } from 'commander';
import type { SecretEncoding } from '../../import/digits.ts';
import { connectTo, type SocketOptions, withJson, withSocket } from '../../requests/command-options.ts';
import type { KmsClient, Members } from '../../requests/kms-client.ts';
import { ApiError, UsageError } from '../../terminal/cli-error.ts';
import { note, print, printJson } from '../../terminal/output.ts';
import { askSecret, canAsk, confirm } from '../../terminal/questions.ts';
import type { SecretFile } from '../../terminal/secret-file.ts';
import { createKey, type NewKeyOptions, withNewKey } from './make-key.ts';

const dayMs = 24 * 60 * 60 * 1000;
/** AWS KMS API reference, ImportKeyMaterial, ValidTo. */
const maxDays = 365;
const maxPassphraseBytes = 4096;

interface Options extends SocketOptions, NewKeyOptions {
  readonly create?: true;
  readonly expires?: Date;
  /** `--does-not-expire`. */
  readonly doesNotExpire?: true;
  readonly encoding?: SecretEncoding;
  readonly passphraseFile?: string;
  readonly new?: true;
  readonly existing?: true;
  readonly material?: string;
  readonly description?: string;
  readonly wrappingKeySpec: string;
  readonly wipe?: true;
  readonly keep?: true;
  readonly json?: true;
}

export function importCommand(): Command {
  const command = new Command('import')
    .description('import a key from a file into the HSM')
    .usage('[options] <key> <file>\n       drawbridge keys import --create [options] <file>')
    .argument('<key>', 'key id, key ARN, alias/NAME or alias ARN of a key with Origin EXTERNAL; not with --create')
    .argument('[file]', 'the file with the key; `-`: stdin')
    .option('--expires <when>', 'after so many days, 365 at most, or at a time, 2030-01-31T00:00:00Z', pointInTime)
    .option('--does-not-expire', 'keep it until it is deleted')
    .addOption(new Option('--encoding <encoding>', 'of the file').choices(['raw', 'hex', 'base64']))
    .option('--passphrase-file <file>', 'its first line decrypts the file; without it, you are asked')
    .option('--new', 'it is key material that this key never had')
    .option('--existing', 'it is key material that this key has or had')
    .option('--material <id>', 'import only if it is this key material')
    .option('--description <text>', 'of the key material')
    .addOption(
      new Option('--wrapping-key-spec <spec>', 'of the key pair that protects it on its way')
        .choices(['RSA_2048', 'RSA_3072', 'RSA_4096'])
        .default('RSA_4096'),
    )
    .option('--wipe', 'overwrite and remove the file when its key was imported')
    .option('--keep', 'keep the file, and do not ask')
    .option('--create', 'create the key to import into');
  return withJson(withSocket(withNewKey(command)))
    .addHelpText(
      'after',
      `
The file of a symmetric or HMAC key has the key's bytes, exactly as many as its spec has; hexadecimal digits and base64 are
read with --encoding. That of an RSA or EC key is PKCS#8, PKCS#1 or SEC1, in PEM or DER, perhaps encrypted.

Choose --expires or --does-not-expire: AWS's own default is that key material expires, and then it wants a date. When it
has expired the key cannot be used until the same key material is imported again. --alias, --spec, --usage, --policy
and --tag are for --create.

At a terminal you are asked whether the file is to be overwritten and removed; without one it is kept. Overwriting does not
reach copies, backups, snapshots, or the blocks that an SSD or a copy-on-write file system has put aside.

Examples:
  drawbridge keys import alias/brought key.bin --does-not-expire
  drawbridge keys import --create --alias alias/web --spec RSA_2048 --usage SIGN_VERIFY --expires 90 web.pem
  drawbridge keys import alias/brought next.bin --new --does-not-expire --wipe`,
    )
    .action(importKey);
}

async function importKey(first: string, second: string | undefined, options: Options): Promise<void> {
  const { name, path } = argumentsOf(first, second, options);
  assertTogether(options);
  const [{ assertReadable, maxKeyFileBytes }, { readSecretFile, wipingProblem }] = await Promise.all([
    import('../../import/key-file.ts'),
    import('../../terminal/secret-file.ts'),
  ]);
  const client = await connectTo(options);
  const key = name === undefined ? undefined : await externalKey(client, name);
  const keySpec = String(key?.['KeySpec'] ?? options.spec ?? 'SYMMETRIC_DEFAULT');
  assertReadable(keySpec);
  const file = await readSecretFile(path, maxKeyFileBytes);
  let imported: Imported;
  try {
    const problem = options.wipe ? await wipingProblem(file) : undefined;
    if (problem !== undefined) throw new UsageError(`--wipe cannot be done: ${problem}`);
    imported = await importFile(client, { file, keySpec, key, options });
  } finally {
    file.bytes.fill(0);
  }
  report(imported, options);
  await offerToWipe(file, options);
}

function argumentsOf(first: string, second: string | undefined, { create }: Options): { name?: string; path: string } {
  if (create && second === undefined) return { path: first };
  if (!create && second !== undefined) return { name: first, path: second };
  throw new UsageError('give the key and the file (`-`: stdin); with --create, the file alone');
}

/** Options that contradict each other, or would say nothing. */
function assertTogether(options: Options): void {
  const { expires, doesNotExpire, wipe, keep, create } = options;
  if ((expires === undefined) === (doesNotExpire === undefined)) {
    throw new UsageError(
      'give --expires or --does-not-expire: key material expires unless it is said not to, and then a date is needed',
    );
  }
  if (options.new && options.existing) throw new UsageError('give --new or --existing');
  if (options.new && options.material !== undefined) throw new UsageError('--material is for material that there was');
  if (wipe && keep) throw new UsageError('give --wipe or --keep');
  const unused = (['alias', 'spec', 'usage', 'policy', 'tag'] as const).find((name) => options[name] !== undefined);
  if (!create && unused !== undefined) throw new UsageError(`--${unused} is for a key that --create makes`);
}

async function externalKey(client: KmsClient, name: string): Promise<Members> {
  const key = (await client.call('DescribeKey', { KeyId: name }))['KeyMetadata'] as Members;
  if (key['Origin'] === 'EXTERNAL') return key;
  throw new Error(
    `the key material of \`${name}\` is the HSM's own (Origin ${key['Origin']}); import into a key that \`drawbridge keys create --external\` made`,
  );
}

interface Import {
  readonly file: SecretFile;
  readonly keySpec: string;
  /** `undefined` when it is to be created. */
  readonly key: Members | undefined;
  readonly options: Options;
}

interface Imported {
  readonly answer: Members;
  /** As it was before. */
  readonly key: Members;
}

async function importFile(client: KmsClient, { file, keySpec, key: existing, options }: Import): Promise<Imported> {
  const { readKeyMaterialFile } = await import('../../import/key-file.ts');
  const passphrase = (): Promise<Buffer> => passphraseFor(file, options);
  const material = await readKeyMaterialFile({ ...file, encoding: options.encoding, passphrase }, keySpec);
  try {
    if (existing !== undefined) {
      return {
        answer: await importMaterial(client, String(existing['KeyId']), material, { keySpec, options }),
        key: existing,
      };
    }
    const key = await createKey(client, options, { Origin: 'EXTERNAL' });
    try {
      return { answer: await importMaterial(client, String(key['KeyId']), material, { keySpec, options }), key };
    } catch (error) {
      note(`the key ${key['KeyId']} was created, but it got no key material; import into it, or delete it`);
      throw error;
    }
  } finally {
    material.fill(0);
  }
}

async function importMaterial(
  client: KmsClient,
  keyId: string,
  material: Buffer,
  { keySpec, options }: { readonly keySpec: string; readonly options: Options },
): Promise<Members> {
  const { wrapMaterial, wrappingAlgorithmFor } = await import('../../import/wrap-material.ts');
  const algorithm = wrappingAlgorithmFor(keySpec);
  const parameters = await client.call('GetParametersForImport', {
    KeyId: keyId,
    WrappingAlgorithm: algorithm,
    WrappingKeySpec: options.wrappingKeySpec,
  });
  const wrapped = wrapMaterial(material, Buffer.from(String(parameters['PublicKey']), 'base64'), algorithm);
  const request = {
    KeyId: keyId,
    ImportToken: parameters['ImportToken'],
    EncryptedKeyMaterial: wrapped.toString('base64'),
    ...(options.expires === undefined
      ? { ExpirationModel: 'KEY_MATERIAL_DOES_NOT_EXPIRE' }
      : { ExpirationModel: 'KEY_MATERIAL_EXPIRES', ValidTo: options.expires.getTime() / 1000 }),
    ...(options.new ? { ImportType: 'NEW_KEY_MATERIAL' } : {}),
    ...(options.existing ? { ImportType: 'EXISTING_KEY_MATERIAL' } : {}),
    ...(options.material === undefined ? {} : { KeyMaterialId: options.material }),
    ...(options.description === undefined ? {} : { KeyMaterialDescription: options.description }),
  };
  try {
    return await client.call('ImportKeyMaterial', request);
  } catch (error) {
    if (error instanceof ApiError && error.type === 'IncorrectKeyMaterialException' && !options.new) {
      note('a key that had key material takes the same again; a symmetric key takes another one with --new');
    }
    throw error;
  }
}

async function passphraseFor({ path }: SecretFile, { passphraseFile }: Options): Promise<Buffer> {
  if (passphraseFile !== undefined) {
    const { readSecretFile } = await import('../../terminal/secret-file.ts');
    const { bytes } = await readSecretFile(passphraseFile, maxPassphraseBytes);
    const end = bytes.findIndex((byte) => byte === 0x0a || byte === 0x0d);
    return end < 0 ? bytes : bytes.fill(0, end).subarray(0, end);
  }
  if (!canAsk()) throw new Error(`\`${path}\` is encrypted, and nobody is there to be asked: give --passphrase-file`);
  return askSecret(`Passphrase of ${path}: `);
}

function report({ answer, key }: Imported, options: Options): void {
  const { KeyId: arn, KeyMaterialId: id } = answer;
  if (options.json) {
    printJson(answer);
    return;
  }
  const until = options.expires === undefined ? 'does not expire' : `expires on ${options.expires.toISOString()}`;
  print(`${arn} has ${id === undefined ? 'its key material' : `the key material ${id}`}, which ${until}`);
  const { CurrentKeyMaterialId: current, KeyId } = key;
  if (options.new && current !== undefined && current !== id) {
    note(`the key goes on with its current key material until \`drawbridge keys rotate ${KeyId}\``);
  }
}

/** After the import, which is done whatever becomes of this. */
async function offerToWipe(file: SecretFile, { wipe, keep }: Options): Promise<void> {
  // What came through a pipe is gone already.
  if (keep || !file.stats?.isFile()) return;
  const { whatWipingIs, wipeFile, wipingProblem } = await import('../../terminal/secret-file.ts');
  const stays = `\`${file.path}\` still has the key in it`;
  if (wipe) return wipeFile(file);
  const problem = await wipingProblem(file);
  if (!canAsk() || problem !== undefined) return note(stays);
  note(`${stays}. It can be overwritten and removed now; ${whatWipingIs}.`);
  if (await confirm(`Overwrite and remove ${file.path}?`)) await wipeFile(file);
}

function pointInTime(text: string): Date {
  const days = /^\d{1,6}$/.test(text) ? Number(text) : undefined;
  const isTime = /^\d{4}-\d\d-\d\d(?:T\d\d:\d\d:\d\d(?:\.\d+)?Z)?$/.test(text);
  const time = new Date(days === undefined ? text : Date.now() + days * dayMs);
  if ((days === undefined && !isTime) || Number.isNaN(time.getTime())) {
    throw new InvalidArgumentError('expected a number of days, or a time in UTC, 2030-01-31T00:00:00Z.');
  }
  if (time.getTime() <= Date.now()) throw new InvalidArgumentError('this is over already.');
  if (time.getTime() > Date.now() + maxDays * dayMs) {
    throw new InvalidArgumentError(
      `key material expires after ${maxDays} days at most; --does-not-expire is the other choice.`,
    );
  }
  // The API's times are whole seconds for most programs that read them.
  return new Date(Math.floor(time.getTime() / 1000) * 1000);
}
