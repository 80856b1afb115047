/** `drawbridge keys move`: other places for the material of keys, inside of the HSMs and without an interruption of their use. */

import { Command, Option } from 'commander';
import { residencies } from '../../../kms/residencies.ts';
import { connectTo, type SocketOptions, withJson, withSocket } from '../../requests/command-options.ts';
import type { KmsClient, Members } from '../../requests/kms-client.ts';
import { ApiError, UsageError } from '../../terminal/cli-error.ts';
import { counted } from '../../terminal/counted.ts';
import { note, print, printJson, table } from '../../terminal/output.ts';
import { showCount } from '../../terminal/progress.ts';

type Options = SocketOptions & {
  readonly all?: true;
  readonly from?: string;
  readonly to?: string;
  readonly residency?: string;
  readonly dryRun?: true;
  readonly json?: true;
};

/** The daemon moves as many at once. */
const namesAtOnce = 16;

export function moveCommand(): Command {
  const command = new Command('move').description(
    'give key material another place: in the token, wrapped, or in another key store',
  );
  return withJson(withSocket(command))
    .argument('[keys...]', 'key ids, ARNs or aliases')
    .option('--all', 'all keys that have material in the key store that --from names')
    .option('--from <store>', 'with --all')
    .option('--to <store>', 'the key store to move to; without it, the keys stay in theirs')
    .addOption(
      new Option('--residency <kind>', 'where the keys live there; without it, as now').choices([...residencies]),
    )
    .option('--dry-run', 'say what would be moved and what would be refused, and change nothing')
    .addHelpText(
      'after',
      `
Everything of a key moves, also what it was rotated from; ids, aliases, policies and ciphertexts stay what they are, and the key serves
requests all the while. Each piece of material is used in its new place before the record names it, and destroyed in the old one after
that. What is in place is passed over, so a run that was cut off is repeated; what a crash left is cleaned up by the daemon.
What cannot be moved is named with the reason, and the exit code is 1. A token that keeps to CKA_EXTRACTABLE (SoftHSM2) lets no key out that it
has: there a key goes from wrapped into the token and not back. Such imported keys are moved by deleting their material, moving the
key, and importing it again.
Into another key store, which has joined the domain of the first (drawbridge domain join --key-store), material goes wrapped as it is, or as an
object of its token.
Backups from before do not have the keys in their new place: make a new one. Only the account's root may move keys; it is on record.

Examples:
  drawbridge keys move alias/orders --residency token --dry-run
  drawbridge keys move alias/orders alias/invoices --residency token
  drawbridge keys move --all --from default --residency wrapped
  drawbridge keys move --all --from old-hsm --to new-hsm`,
    )
    .action(async (keys: readonly string[], options: Options) => {
      assertWanted(keys, options);
      const client = await connectTo(options);
      const result = await move(client, keys, options);
      if (options.json) printJson(result);
      else show(result, options);
      if (result.refused.length > 0) process.exitCode = 1;
    });
}

function assertWanted(keys: readonly string[], { all, from, to, residency }: Options): void {
  if (to === undefined && residency === undefined)
    throw new UsageError('say where: --to STORE, --residency KIND, or both');
  if ((all === true) !== (from !== undefined)) throw new UsageError('--all and --from STORE belong together');
  if ((all === true) === keys.length > 0) throw new UsageError('name the keys, or --all --from STORE');
  if (keys.includes('')) throw new UsageError('the name of a key is empty');
}

interface Result {
  readonly moved: readonly Members[];
  readonly refused: readonly Members[];
  readonly inPlace: number;
}

async function move(client: KmsClient, keys: readonly string[], options: Options): Promise<Result> {
  const { from, to = null, residency = null, dryRun = false } = options;
  const count = await showCount(dryRun ? 'would move' : 'move', 'keys');
  const moved: Members[] = [];
  const refused: Members[] = [];
  let inPlace = 0;
  let looked = 0;
  const take = (part: Members, total: number): void => {
    moved.push(...(part['moved'] as Members[]));
    refused.push(...(part['refused'] as Members[]));
    inPlace += Number(part['inPlace']);
    looked += Number(part['keys']);
    count.update(looked, Math.max(looked, total));
  };
  const target = { to, residency, dryRun };
  const post = (what: object): Promise<Members> =>
    client.post('/moves', { ...target, ...what }).catch((error: unknown) => {
      throw isMissing(error) && isResidency(to) ? noKeyStore(to) : error;
    });
  try {
    for (let at = 0; at < keys.length; at += namesAtOnce)
      take(await post({ keys: keys.slice(at, at + namesAtOnce) }), keys.length);
    for (let next: unknown = null; from !== undefined; ) {
      const part: Members = await post({ from, after: next });
      take(part, Number(part['totalKeys']));
      next = part['next'];
      if (next === null) break;
    }
  } finally {
    count.stop();
  }
  return { moved, refused, inPlace };
}

const isMissing = (error: unknown): boolean => error instanceof ApiError && error.type === 'NotFoundException';
const isResidency = (name: string | null): name is string => residencies.some((each) => each === name);

/** A key store may be called so, and there is none of this name. */
function noKeyStore(residency: string): UsageError {
  return new UsageError(`there is no key store \`${residency}\`; did you mean --residency ${residency}?`);
}

function show({ moved, refused, inPlace }: Result, { dryRun }: Options): void {
  const pieces = moved.reduce((sum, { backingKeys }) => sum + Number(backingKeys), 0);
  const said = [
    `${counted(moved.length, 'key')} ${dryRun ? 'would be moved' : 'moved'}${pieces === 0 ? '' : `, with ${counted(pieces, 'backing key')}`}`,
    ...(inPlace === 0 ? [] : [`${inPlace} ${inPlace === 1 ? 'is' : 'are'} there already`]),
    ...(refused.length === 0 ? [] : [`${refused.length} cannot be moved`]),
  ];
  print(said.join('; '));
  if (refused.length > 0) {
    const rows = refused.map(({ region, keyId, reason }) => [region, keyId, reason].map(String));
    print(`\n${table(['REGION', 'KEY', 'WHY NOT'], rows)}`);
  }
  if (!dryRun && moved.length > 0)
    note('backups from before do not have them there: make a new one (`drawbridge backup`)');
}
