/** `drawbridge keys create`: a new key, whose material the HSM makes, or for which there is none until it is imported. */

import { Command } from 'commander';
import { keySpecs } from '../../../kms/key-specs.ts';
import { parseAliasName } from '../../../kms/names.ts';
import { collectPairs, connectTo, type SocketOptions, withJson, withSocket } from '../../requests/command-options.ts';
import { inNamedKeyStore } from '../../requests/key-store-names.ts';
import type { KmsClient, Members } from '../../requests/kms-client.ts';
import { ApiError, UsageError } from '../../terminal/cli-error.ts';
import { readPolicy } from '../../terminal/input.ts';
import { note, print, printable, printJson } from '../../terminal/output.ts';

/** What `keys import --create` can say of its key, too. */
export interface NewKeyOptions {
  readonly alias?: string;
  readonly spec?: string;
  readonly usage?: string;
  readonly policy?: string;
  readonly tag?: Readonly<Record<string, string>>;
}

interface Options extends NewKeyOptions, SocketOptions {
  readonly description?: string;
  readonly external?: true;
  readonly keyStore?: string;
  readonly multiRegion?: true;
  readonly json?: true;
}

export function withNewKey(command: Command): Command {
  return command
    .option('--alias <name>', 'give the key this alias, alias/…')
    .option('--spec <KeySpec>', 'SYMMETRIC_DEFAULT if not given; `drawbridge doctor` shows what this HSM has')
    .option('--usage <KeyUsage>', 'needed where the spec has several: RSA_2048, ECC_NIST_P256, …')
    .option('--policy <file>', 'the key policy; without it, the account decides')
    .option('--tag <name=value>', 'a tag of the key; can be repeated', collectPairs);
}

export function createCommand(): Command {
  const command = new Command('create').description('create a key, in the HSM or for key material of your own');
  return withJson(withSocket(withNewKey(command)))
    .option('--description <text>', 'what it is for')
    .option(
      '--key-store <id>',
      'in this key store: one that the configuration names, or a custom one, by name or id (cks-…)',
    )
    .option('--multi-region', 'a primary key that `drawbridge keys replicate` can replicate into other Regions')
    .option('--external', 'without key material: `drawbridge keys import` brings it (Origin EXTERNAL)')
    .addHelpText(
      'after',
      `
Examples:
  drawbridge keys create --alias alias/backup --description 'nightly backups' --tag owner=ops
  drawbridge keys create --alias alias/releases --spec ECC_NIST_P256 --usage SIGN_VERIFY
  drawbridge keys create --alias alias/orders --multi-region
  drawbridge keys create --alias alias/brought --external`,
    )
    .action(async (options: Options) => {
      const client = await connectTo(options);
      const { alias, description, external, keyStore, multiRegion } = options;
      if (external && keyStore !== undefined)
        throw new UsageError('key material can be imported into the default key store alone');
      const members = {
        ...(description === undefined ? {} : { Description: description }),
        ...(external ? { Origin: 'EXTERNAL' } : {}),
        ...(multiRegion ? { MultiRegion: true } : {}),
      };
      const createIn = (CustomKeyStoreId: string): Promise<Members> =>
        createKey(client, options, { ...members, Origin: 'AWS_CLOUDHSM', CustomKeyStoreId });
      const key =
        keyStore === undefined
          ? await createKey(client, options, members)
          : await inNamedKeyStore(client, keyStore, createIn);
      if (options.json) return printJson({ ...key, Aliases: alias === undefined ? [] : [alias] });
      print(String(key['Arn']));
      if (external)
        note(`it has no key material yet: \`drawbridge keys import ${alias ?? key['KeyId']} FILE\` brings it`);
    });
}

/** Creates a key and gives it its name. @param members What else `CreateKey` is told. @returns Its `KeyMetadata`. */
export async function createKey(client: KmsClient, options: NewKeyOptions, members: Members): Promise<Members> {
  const { alias, spec, usage, policy, tag = {} } = options;
  const chosen = usage ?? onlyUsageOf(spec);
  if (alias !== undefined) await assertFree(client, alias);
  const { KeyMetadata } = await client.call('CreateKey', {
    ...members,
    ...(spec === undefined ? {} : { KeySpec: spec }),
    ...(chosen === undefined ? {} : { KeyUsage: chosen }),
    ...(policy === undefined ? {} : { Policy: await readPolicy(policy) }),
    Tags: Object.entries(tag).map(([TagKey, TagValue]) => ({ TagKey, TagValue })),
  });
  const key = KeyMetadata as Members;
  if (alias !== undefined) await nameKey(client, key, alias);
  return key;
}

/** The KeyUsage of a KeySpec that has one alone; AWS wants it said for all but symmetric keys. */
function onlyUsageOf(spec: string | undefined): string | undefined {
  const row = Object.entries(keySpecs).find(([name]) => name === spec)?.[1];
  const [usage, ...others] = Object.keys(row?.usages ?? {});
  return others.length === 0 ? usage : undefined;
}

/** Before there is a key: one that then does not get its name would stay. */
async function assertFree(client: KmsClient, alias: string): Promise<void> {
  if (parseAliasName(alias) === undefined) {
    throw new UsageError(`\`${printable(alias)}\` is no alias: it is alias/ and then letters, digits, /, _ and -`);
  }
  if (alias.startsWith('alias/aws/')) {
    throw new UsageError(
      `\`${alias}\`: alias/aws/ is for the AWS managed keys, which the daemon makes; no key was created`,
    );
  }
  try {
    await client.call('DescribeKey', { KeyId: alias });
  } catch (error) {
    if (error instanceof ApiError && error.type === 'NotFoundException') return;
    // A key that this caller may not see has it.
    if (!(error instanceof ApiError && error.type === 'AccessDeniedException')) throw error;
  }
  throw new Error(`the alias \`${alias}\` is taken; no key was created`);
}

async function nameKey(client: KmsClient, key: Members, alias: string): Promise<void> {
  try {
    await client.call('CreateAlias', { AliasName: alias, TargetKeyId: key['KeyId'] });
  } catch (error) {
    note(`the key ${key['KeyId']} was created, but it did not get its alias`);
    throw error;
  }
}
