/**
 * `drawbridge doctor`: what this HSM can and cannot do, and what is wrong with the set-up.
 *
 * With `--config` it looks at the configuration, the permissions, the library and the token itself (the PIN is tried
 * once, as at any start), as the owner of the data folder; with `--socket` it asks a running daemon, which has found all that out already.
 */

import { stat } from 'node:fs/promises';
import { Command, InvalidArgumentError } from 'commander';
import type { Configuration, MemberConfiguration } from '../../config/configuration-schema.ts';
import type { KeyStore } from '../../hsm/key-store.ts';
import type { Tuning } from '../../hsm/token-tuning.ts';
import {
  connectTo,
  readTrustedConfiguration,
  type SocketOptions,
  usualConfiguration,
  withJson,
  withSocket,
} from '../requests/command-options.ts';
import { becomeOwnerOf } from '../requests/owners-work.ts';
import { describeError, UsageError } from '../terminal/cli-error.ts';
import { print, printJson } from '../terminal/output.ts';
import { describeTuning } from '../terminal/tuning-report.ts';
import {
  type Check,
  type CustomHsm,
  describeChecks,
  describeHsms,
  describeKeyStore,
  type Examined,
  type Findings,
  forPrograms,
} from './doctor/doctor-findings.ts';

/** A token of a key store: of several, or its only one. */
interface MemberPlace {
  /** The name of the key store. */
  readonly keyStore: string;
  readonly member: MemberConfiguration;
}

/** Notes how it went; `undefined` when it failed. */
type RunCheck = <T>(
  name: string,
  run: () => T | Promise<T>,
  detail: (value: T) => string,
  keyStore?: string,
) => Promise<T | undefined>;

interface Examination extends Findings {
  readonly configuration?: Configuration;
}

interface Options extends SocketOptions {
  readonly json?: true;
  readonly tune?: true;
  readonly tuneSeconds: number;
}

/** The longest that somebody waits for; most tokens take a tenth of it. */
const maxTuneSeconds = 3600;

export function doctorCommand(): Command {
  return withJson(
    withSocket(new Command('doctor').description('check the set-up, and show what the HSM can and cannot do')),
  )
    .option(
      '--tune',
      'with --config: measure what the token gives with so many hosts and lanes, and say what to configure',
    )
    .option('--tune-seconds <number>', 'with --tune: how long for each key store, more or less', parseTuneSeconds, 60)
    .addHelpText(
      'after',
      `
With --config it checks the configuration, the permissions, the library, and the token (the PIN is tried once), and whether it has
the keys of the data folder. Root does so as the owner of the data folder.
With --socket it asks the running daemon what its token can do. The exit code is 1 when a check fails.
It also lists the service keys: those that Drawbridge keeps in the HSM for itself, and that no caller sees. What must fail was tried with
throw-away keys: whatever the token does there, whoever has its PIN can do with every key in it.
With --tune it makes two keys in the token, lets more and more hosts and lanes use them at once, destroys them, and says what to write
into the configuration. It takes what the token and this machine have: a daemon that uses them meanwhile is slower, and so is what is
measured.

Examples:
  drawbridge doctor --config /etc/drawbridge/drawbridge.yaml
  drawbridge doctor --config /etc/drawbridge/drawbridge.yaml --tune
  drawbridge doctor --socket /run/drawbridge/kms.sock --json`,
    )
    .action(doctor);
}

function parseTuneSeconds(text: string): number {
  if (/^[1-9]\d{0,3}$/.test(text) && Number(text) <= maxTuneSeconds) return Number(text);
  throw new InvalidArgumentError(`It is a number from 1 to ${maxTuneSeconds}.`);
}

async function doctor(options: Options): Promise<void> {
  if (options.tune && options.socket !== undefined)
    throw new UsageError('--tune goes with --config: it measures the token itself, and no daemon');
  const checks: Check[] = [];
  const { keyStores, hsms, configuration } =
    options.socket === undefined
      ? await examine(options.config ?? usualConfiguration, checks)
      : await askDaemon(options, checks);
  const healthy = checks.every(({ ok }) => ok);
  // Where something is wrong, that is to be mended first.
  const tunings = options.tune && healthy && configuration ? await tune(configuration, options) : undefined;
  if (options.json)
    printJson({ healthy, checks, keyStores: keyStores.map(forPrograms), hsms, ...(tunings && { tunings }) });
  else {
    const measured = Object.entries(tunings ?? {}).map(([name, tuning]) => describeTuning(name, tuning));
    const found = measured.length > 0 ? measured : [...describeHsms(hsms), ...keyStores.map(describeKeyStore)];
    print([...(checks.length > 0 ? [describeChecks(checks)] : []), ...found].join('\n\n'));
  }
  if (!healthy) process.exitCode = 1;
}

/** By the names of key stores and members. Ends early, with its keys destroyed, when it is told to end. */
async function tune({ keyStores }: Configuration, { tuneSeconds }: Options): Promise<Readonly<Record<string, Tuning>>> {
  const { createLog, memberPath, tuneConfiguredKeyStore } = await import('../../daemon/index.ts');
  const early = new AbortController();
  const end = (): void => early.abort();
  for (const signal of ['SIGINT', 'SIGTERM'] as const) process.on(signal, end);
  const tunings: Record<string, Tuning> = {};
  try {
    const all = [...keyStores].flatMap(([name, { members }]) =>
      members.map((member) => ({ name: memberPath(name, member), member })),
    );
    for (const { name, member } of all) {
      if (early.signal.aborted) break;
      tunings[name] = await tuneConfiguredKeyStore(name, member, process.env, createLog('error'), {
        atMostMs: tuneSeconds * 1000,
        signal: early.signal,
        progress: ({ hosts, lanes }) => {
          if (process.stderr.isTTY) process.stderr.write(`${name}: measuring ${hosts} × ${lanes} lanes\n`);
        },
      });
    }
    return tunings;
  } finally {
    for (const signal of ['SIGINT', 'SIGTERM'] as const) process.off(signal, end);
  }
}

async function askDaemon(options: Options, checks: Check[]): Promise<Examination> {
  const { keyStores, hsms = [], waitsFor } = await (await connectTo(options)).get('/status');
  if (typeof waitsFor === 'string') checks.push({ check: 'key stores', ok: false, detail: waitsFor });
  // What a token can do is known once it was connected.
  const known = (keyStores as Examined[]).filter(({ capabilities }) => capabilities !== undefined);
  return { keyStores: known, hsms: hsms as CustomHsm[] };
}

/** Runs the checks in the order in which a start depends on them; what depends on a failed one is left out. */
async function examine(config: string, checks: Check[]): Promise<Examination> {
  const check: RunCheck = async (name, run, detail, keyStore) => {
    const of = { check: name, ...(keyStore === undefined ? {} : { keyStore }) };
    try {
      const value = await run();
      checks.push({ ...of, ok: true, detail: detail(value) });
      return value;
    } catch (error) {
      checks.push({ ...of, ok: false, detail: describeError(error) });
      return undefined;
    }
  };
  const configuration = await check(
    'configuration',
    () => readTrustedConfiguration(config),
    () => config,
  );
  if (configuration === undefined) return { keyStores: [], hsms: [] };
  await check(
    'paths',
    () => becomeOwnerOf(configuration),
    () => 'nobody else can change them',
  );
  await check(
    'data folder',
    () => assertFolderIsPrivate(configuration),
    () => configuration.dataDir,
  );
  const isFolderFine = checks.every(({ ok }) => ok);
  const roleNames = Object.keys(configuration.roles);
  if (roleNames.length > 0)
    await check(
      'roles',
      () => assertRolesAreUsable(configuration),
      () => roleNames.join(', '),
    );
  const found: Examined[] = [];
  for (const [name, { members }] of configuration.keyStores) {
    for (const member of members) {
      const capabilities = await examineMember({ keyStore: name, member }, configuration, isFolderFine, check);
      if (capabilities !== undefined) found.push(capabilities);
    }
  }
  const hsms: CustomHsm[] = [];
  for (const name of configuration.hsms?.keys() ?? []) hsms.push(await examineHsm(name, configuration, check));
  return { keyStores: found, hsms, configuration };
}

/** As a start would: who may assume them is read and compiled. */
async function assertRolesAreUsable(configuration: Configuration): Promise<void> {
  const { ConfiguredRoles } = await import('../../daemon/configured-roles.ts');
  const { unixMapping } = await import('../../daemon/unix-mapping.ts');
  await ConfiguredRoles.open(configuration, unixMapping(configuration));
}

/** One for a custom key store: who connects that brings the PIN, so none is tried. */
async function examineHsm(name: string, configuration: Configuration, check: RunCheck): Promise<CustomHsm> {
  const { attachableHsms, cloudHsmClusterIdOf, createLog } = await import('../../daemon/index.ts');
  const clusterId = cloudHsmClusterIdOf(configuration.account, name);
  await check(
    'HSM',
    async () => {
      const hsm = (await attachableHsms(configuration, createLog('error'))).get(clusterId);
      const problem = await hsm?.problem();
      if (problem !== null) throw new Error(`${clusterId}: ${problem ?? 'it is not known'}`);
    },
    () => `${clusterId}, for a custom key store`,
    name,
  );
  return { name, clusterId };
}

/** The token is not asked, and so no PIN tried, where something before it is wrong. */
async function examineMember(
  place: MemberPlace,
  configuration: Configuration,
  isFolderFine: boolean,
  check: RunCheck,
): Promise<Examined | undefined> {
  const { member } = place;
  const { assertPinIsPrivate, assertSecurityOfficerPinIsPrivate, libraryOf, memberPath } = await import(
    '../../daemon/index.ts'
  );
  const name = memberPath(place.keyStore, member);
  const pin = await check(
    'PIN is private',
    async () => {
      await assertPinIsPrivate(member.pin, process.env);
      await assertSecurityOfficerPinIsPrivate(member.environment);
      return Object.keys(member.pin).join();
    },
    (place) => place,
    name,
  );
  const library = await check(
    'library',
    () => libraryOf(member),
    (path) => path,
    name,
  );
  if (!isFolderFine || pin === undefined || library === undefined) return undefined;
  const opened = await check(
    'token',
    () => examineToken(place, configuration),
    ({ examined: { token } }) => `${token.label}, serial ${token.serial}: PIN accepted`,
    name,
  );
  if (opened === undefined) return undefined;
  await check('keys', opened.keysFound, (found) => found, name);
  return opened.examined;
}

async function assertFolderIsPrivate({ dataDir }: Configuration): Promise<void> {
  const { assertPrivate } = await import('../../daemon/index.ts');
  assertPrivate(dataDir, await stat(dataDir));
}

/** The token is opened once, and closed when this resolves. `keysFound` tells whether it is the one that the metadata is of. */
async function examineToken(
  { keyStore: name, member }: MemberPlace,
  configuration: Configuration,
): Promise<{ readonly examined: Examined; readonly keysFound: () => Promise<string> }> {
  const { cloudHsmClusterIdOf, createLog, listServiceKeys, memberPath, openConfiguredMember } = await import(
    '../../daemon/index.ts'
  );
  const clusterId = cloudHsmClusterIdOf(configuration.account, name);
  const keyStore = await openConfiguredMember(memberPath(name, member), member, process.env, createLog('error'));
  try {
    const of = { name: memberPath(name, member), clusterId };
    const examined = { ...keyStore.capabilities(), ...of, serviceKeys: await listServiceKeys(keyStore) };
    const [found] = await Promise.allSettled([findKeys(keyStore, name, configuration)]);
    return {
      examined,
      keysFound: () => (found.status === 'fulfilled' ? Promise.resolve(found.value) : Promise.reject(found.reason)),
    };
  } finally {
    await keyStore.close();
  }
}

/** @throws an error for operators when the token has none of the keys that it should have. */
async function findKeys(keyStore: KeyStore, name: string, configuration: Configuration): Promise<string> {
  const { dataDir, serviceKeyStore, keyStores } = configuration;
  const { assertTokenIsOurs, namedKeys } = await import('../../daemon/index.ts');
  let named: Awaited<ReturnType<typeof namedKeys>>;
  try {
    named = await namedKeys(dataDir);
  } catch (error) {
    if ((error as { failure?: unknown }).failure !== 'locked') throw error;
    return 'not compared: a daemon has the metadata open, and compared them at its start';
  }
  const { serviceKey, backingKeys } = named;
  if (name === serviceKeyStore) await assertTokenIsOurs(keyStore, dataDir, [serviceKey], true);
  // Of several members each has the service keys, and a key that is a token object is in one of them.
  const isOneOfSeveral = (keyStores.get(name)?.members.length ?? 1) > 1;
  if (isOneOfSeveral && name === serviceKeyStore) return 'the service key of the data folder';
  const inUse = backingKeys.get(name) ?? [];
  await assertTokenIsOurs(keyStore, dataDir, inUse);
  return inUse.length > 0 || name === serviceKeyStore ? 'those of the data folder' : 'none yet';
}
