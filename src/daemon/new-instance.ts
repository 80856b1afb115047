/**
 * Makes what a daemon needs before its first start: a token with random PINs (or an existing one), the configuration, the
 * data folder, the service key. Used by `init` and by `dev`.
 *
 * INVARIANT: nothing that exists is overwritten or removed. The configuration is written last, so a folder with a
 * configuration is a folder that works. What fails removes what it made, but for a service key in a token that was there
 * before: then the data folder stays, which names it, and `init` can be repeated.
 */

import { execFile } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { access, mkdir, open, readdir, rename, rm, unlink } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { promisify } from 'node:util';
import { ConfigurationError, loadConfiguration } from '../config/load.ts';
import { securityOfficerPinFile } from '../config/secrets.ts';
import { type ConfigurationChoices, renderConfiguration } from '../config/template.ts';
import type { KeyStore } from '../hsm/key-store.ts';
import { initializeToken } from '../hsm/token-initialization.ts';
import { findLibrary, libraryParametersFor, loadVendorProfile, type VendorProfile } from '../hsm/vendor-profile.ts';
import { assertSocketPathFits } from '../http/unix-socket.ts';
import type { Logger } from '../kms/logger.ts';
import { fileProblem } from '../secrets/file-problem.ts';
import { makeFolder } from '../secrets/make-folder.ts';
import { openConfiguredKeyStore } from './configured-key-stores.ts';
import { assertTokenIsFresh, createDataFolder, createMetadata, metadataPath } from './data-folder.ts';
import { assertWayIsSafe } from './own-paths.ts';
import { type NewTokenKind, newTokenKinds, tokenPackages } from './token-kinds.ts';

type KeyStoreChoices = ConfigurationChoices['keyStore'];

/** A newcomer gets no keys and no metadata: its HSM joins the domain of another one, whose backup is restored beside it. */
export type InstanceKind = 'instance' | 'newcomer';

export interface NewTokenChoices {
  readonly kind: NewTokenKind;
  /** Where the token goes. */
  readonly folder: string;
  /** 1 to 32 characters; NSS softoken's token has a name of its own, which cannot be chosen. */
  readonly label: string;
  /** Is written with mode 0600. */
  readonly pinFile: string;
}

/** A token and an instance over it. Leaves nothing behind when it fails. The new key store is open: the caller closes it. */
export async function createInstanceWithToken(
  path: string,
  token: NewTokenChoices,
  choices: Omit<ConfigurationChoices, 'keyStore'>,
  environment: NodeJS.ProcessEnv,
  log: Logger,
  kind: InstanceKind = 'instance',
): Promise<KeyStore> {
  assertSocketPathFits(choices.socket.path);
  for (const place of [token.folder, token.pinFile, choices.dataDir]) await assertWayIsSafe(place);
  await assertNothingLeft(token, choices.dataDir);
  await using made = new AsyncDisposableStack();
  for (const place of [token.folder, token.pinFile, choices.dataDir]) {
    if (!(await exists(place))) made.defer(() => rm(place, { recursive: true, force: true }));
  }
  const all = { ...choices, keyStore: await createToken(token) };
  const keyStore = await createInstance(path, all, environment, log, kind);
  made.move();
  return keyStore;
}

/**
 * What a new token would meet: another token, its PIN, or metadata of keys that it does not have. All of it is named at once,
 * because one without the others is of no use.
 */
async function assertNothingLeft({ folder, pinFile }: NewTokenChoices, dataDir: string): Promise<void> {
  const found: string[] = [];
  if ((await readdir(folder).catch(() => [])).length > 0) found.push(folder);
  for (const file of [pinFile, metadataPath(dataDir)]) if (await exists(file)) found.push(file);
  if (found.length === 0) return;
  throw new ConfigurationError(
    `cannot make a new token: there is ${found.map((path) => `\`${path}\``).join(' and ')} already, and nothing is overwritten; ` +
      'choose another folder, or remove all of it if an interrupted run left it and no key in it is needed',
  );
}

/** Makes a token of one of the two software kinds, with a random PIN. */
async function createToken({ kind, folder, label, pinFile }: NewTokenChoices): Promise<KeyStoreChoices> {
  await makeFolder(folder, 0o700);
  const pin = randomPin();
  await writeNew(pinFile, `${pin}\n`, 0o600);
  return kind === 'softhsm2' ? createSoftHsm2Token(folder, label, pin, pinFile) : createNssToken(folder, pinFile);
}

async function createSoftHsm2Token(
  folder: string,
  label: string,
  pin: string,
  pinFile: string,
): Promise<KeyStoreChoices> {
  const library = libraryOfProfile('softhsm2');
  const tokens = join(folder, 'tokens');
  const configurationFile = join(folder, 'softhsm2.conf');
  await mkdir(tokens, { mode: 0o700 });
  const lines = [
    `directories.tokendir = ${tokens}`,
    'objectstore.backend = file',
    'objectstore.umask = 0077',
    'log.level = ERROR',
  ];
  await writeNew(configurationFile, `${lines.join('\n')}\n`, 0o600);
  const environment = { SOFTHSM2_CONF: configurationFile };
  const soPin = randomPin();
  await writeNew(join(folder, securityOfficerPinFile), `${soPin}\n`, 0o600);
  await initializeToken({ library, libraryParameters: null, label, soPin, pin, environment });
  return { profile: 'softhsm2', token: { label }, pinFile, environment };
}

async function createNssToken(folder: string, pinFile: string): Promise<KeyStoreChoices> {
  libraryOfProfile('nss');
  try {
    await promisify(execFile)('certutil', ['-N', '-d', `sql:${folder}`, '-f', pinFile]);
  } catch (error) {
    const missing = (error as NodeJS.ErrnoException).code === 'ENOENT';
    const reason = missing ? 'no certutil; install libnss3-tools' : 'certutil refused';
    throw new Error(`cannot make an NSS database in \`${folder}\`: ${reason}`, { cause: error });
  }
  const libraryParameters = libraryParametersFor(loadVendorProfile('nss'), folder);
  return {
    profile: 'nss',
    token: { label: 'NSS Certificate DB' },
    pinFile,
    environment: {},
    ...(libraryParameters === null ? {} : { libraryParameters }),
  };
}

function libraryOfProfile(name: NewTokenKind): string {
  const profile = loadVendorProfile(name);
  const library = findLibrary(profile);
  if (library === undefined) throw notInstalled(name, profile);
  return library;
}

/** For whoever has just begun: what to install, and what else there is. */
export function notInstalled(
  kind: NewTokenKind,
  { name, libraries }: Pick<VendorProfile, 'name' | 'libraries'>,
): ConfigurationError {
  const other = newTokenKinds.filter((each) => each !== kind).map((each) => `\`--token ${each}\``);
  return new ConfigurationError(
    `${name} is not installed: looked for ${libraries.map((path) => `\`${path}\``).join(', ')}. ` +
      `Install it (on Debian and Ubuntu: \`apt-get install ${tokenPackages[kind]}\`), or take ${other.join(' or ')}, or a token that is there already ` +
      '(`drawbridge init --help`)',
  );
}

/**
 * Makes the data folder with its service key, and writes the configuration to `path`. The key store is open: the caller
 * closes it.
 * @throws ConfigurationError when there is a configuration already.
 */
export async function createInstance(
  path: string,
  choices: ConfigurationChoices,
  environment: NodeJS.ProcessEnv,
  log: Logger,
  kind: InstanceKind = 'instance',
): Promise<KeyStore> {
  await assertAbsent(path);
  assertSocketPathFits(choices.socket.path);
  await makeFolder(dirname(path));
  await assertWayIsSafe(path);
  const draft = `${path}.new`;
  await unlink(draft).catch(() => undefined); // Left by an interrupted run, or never there.
  await writeNew(draft, renderConfiguration(choices), 0o644);
  try {
    const configuration = await loadConfiguration(draft);
    const { dataDir, serviceKeyStore } = configuration;
    await createDataFolder(dataDir);
    const keyStore = await openConfiguredKeyStore(serviceKeyStore, configuration.keyStores, environment, log);
    try {
      if (kind === 'newcomer') await assertTokenIsFresh(dataDir, keyStore);
      else await createMetadata({ dataDir, region: choices.region }, keyStore);
      await rename(draft, path);
      return keyStore;
    } catch (error) {
      await keyStore.close();
      throw error;
    }
  } catch (error) {
    await unlink(draft).catch(() => undefined); // Renamed in the meantime, or gone.
    throw error;
  }
}

export async function assertAbsent(path: string): Promise<void> {
  if (await exists(path)) throw new ConfigurationError(`\`${path}\` exists; it is not overwritten`);
}

export function exists(path: string): Promise<boolean> {
  return access(path).then(
    () => true,
    () => false,
  );
}

async function writeNew(path: string, text: string, mode: number): Promise<void> {
  try {
    await using file = await open(path, 'wx', mode);
    await file.chmod(mode); // Whatever the umask took away.
    await file.writeFile(text);
    await file.sync();
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    const reason =
      code === 'EEXIST'
        ? 'it exists, and is not overwritten; remove it if an interrupted run left it'
        : fileProblem(error, 'write', 'you');
    throw new ConfigurationError(`cannot write \`${path}\`: ${reason}`, { cause: error });
  }
}

/** 144 bits in characters that every tool takes. */
function randomPin(): string {
  return randomBytes(18).toString('base64url');
}
