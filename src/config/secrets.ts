/**
 * Reads the PIN from where the configuration says, at the moment when it is needed, and refuses a place that others can
 * read.
 *
 * INVARIANT: nothing in here puts a PIN into a message, and no PIN outlives the `Pin` that is handed out, which its user
 * wipes. A PIN in an environment variable is the weakest of the three: it is a string that cannot be wiped and that
 * child processes could inherit; it is taken out of this process's environment when it is first read, so that no HSM
 * host and no tool gets it. Line ends after the PIN are dropped, because every editor adds one.
 *
 * A process that has read one writes no core file from then on, whichever it is: a command opens an HSM as the daemon does.
 */

import { constants, type Stats } from 'node:fs';
import { open, stat } from 'node:fs/promises';
import { dirname, isAbsolute, join } from 'node:path';
import { fileProblem } from '../secrets/file-problem.ts';
import { Pin } from '../secrets/secret-bytes.ts';
import { secretMemory } from '../secrets/secret-memory.ts';
import type { KeyStoreConfiguration, PinSource } from './configuration-schema.ts';
import { ConfigurationError } from './load.ts';

/** PKCS#11 leaves the length to the token; no token takes more. */
const maxPinBytes = 256;

export type PinReader = () => Promise<Pin>;

/** PINs that were taken out of an environment: several tokens may have the same, and a token may be opened anew. */
const takenOut = new WeakMap<NodeJS.ProcessEnv, Map<string, string>>();

/** A function that reads the PIN anew each time, except from the environment, where it is read once. */
export function pinReader(source: PinSource, environment: NodeJS.ProcessEnv): PinReader {
  if ('file' in source) return () => readPinFile(source.file, assertPrivate);
  if ('credential' in source) {
    return () => readPinFile(credentialPath(source.credential, environment, 'the PIN'), assertPrivateCredential);
  }
  const taken = takenOut.get(environment) ?? new Map<string, string>();
  takenOut.set(environment, taken);
  const now = environment[source.env];
  if (now !== undefined) taken.set(source.env, now);
  delete environment[source.env];
  const text = taken.get(source.env);
  return async () => {
    await keepFromCores();
    if (text === undefined || text === '') {
      throw new ConfigurationError(`the environment variable \`${source.env}\`, which holds the PIN, is not set`);
    }
    return pinOf(Buffer.from(text), `the environment variable \`${source.env}\``);
  };
}

/** @throws ConfigurationError when the PIN's file is missing or open to others. Reads nothing of it. */
export async function assertPinIsPrivate(source: PinSource, environment: NodeJS.ProcessEnv): Promise<void> {
  if ('env' in source) return;
  const path = 'file' in source ? source.file : credentialPath(source.credential, environment, 'the PIN');
  try {
    const stats = await stat(path);
    if ('file' in source) assertPrivate(path, stats);
    else assertPrivateCredential(path, stats);
  } catch (error) {
    throw asConfigurationError(error, path);
  }
}

/** Of all members of a key store. @throws ConfigurationError when anybody but its owner may read a PIN. */
export async function assertPinsArePrivate(
  { members }: Pick<KeyStoreConfiguration, 'members'>,
  environment: NodeJS.ProcessEnv,
): Promise<void> {
  for (const { pin } of members) await assertPinIsPrivate(pin, environment);
}

/** Where `init` leaves the security officer's PIN of a token that it makes: beside the library's configuration file. */
export const securityOfficerPinFile = 'so-pin';

/**
 * @param libraryEnvironment The variables that the library reads; some are the paths of its files.
 * @throws ConfigurationError when a security officer's PIN lies beside one of them, open to others: whoever has it can set
 * a new PIN.
 */
export async function assertSecurityOfficerPinIsPrivate(
  libraryEnvironment: Readonly<Record<string, string>>,
): Promise<void> {
  for (const path of Object.values(libraryEnvironment).filter((value) => isAbsolute(value))) {
    const pinFile = join(dirname(path), securityOfficerPinFile);
    const stats = await stat(pinFile).catch(() => undefined); // Most installations have none, or keep it elsewhere.
    if (stats !== undefined) assertPrivate(pinFile, stats);
  }
}

/** @throws ConfigurationError with the command to run, when anybody but its owner may read the file or enter the folder. */
export function assertPrivate(path: string, stats: Stats): void {
  if ((stats.mode & 0o077) === 0) return;
  const mode = stats.isDirectory() ? '0700' : stats.mode & 0o200 ? '0600' : '0400';
  const found = (stats.mode & 0o7777).toString(8).padStart(4, '0');
  throw new ConfigurationError(
    `\`${path}\` has mode ${found}, so others can get at what is secret in it; run: chmod ${mode} ${path}`,
  );
}

/**
 * systemd 254 and later let the service's user read a credential through an ACL, and of an ACL the mode shows only how far
 * it goes at most, where it else shows what the group may (bug report 29435 of systemd): 0440 and root:root. Without the ACL, root's
 * group could read that file, and nobody else.
 */
export function assertPrivateCredential(path: string, stats: Stats): void {
  const isOfSystemd = stats.uid === 0 && stats.gid === 0 && (stats.mode & 0o777) === 0o440;
  if (!isOfSystemd) assertPrivate(path, stats);
}

/** @param what Is in it: for the message. @throws ConfigurationError where systemd has not started this. */
export function credentialPath(name: string, environment: NodeJS.ProcessEnv, what: string): string {
  const folder = environment['CREDENTIALS_DIRECTORY'];
  if (folder === undefined) {
    throw new ConfigurationError(
      `${what} is the systemd credential \`${name}\`, but CREDENTIALS_DIRECTORY is not set; start with systemd and LoadCredential=${name}:PATH`,
    );
  }
  return join(folder, name);
}

let isKeptFromCores = false;

/** Loaded when it is needed: most commands read no PIN, and it takes as long as the rest of one. */
async function keepFromCores(): Promise<void> {
  if (isKeptFromCores) return;
  const { disableCoreDumps } = await import('../secrets/core-dumps.ts');
  disableCoreDumps();
  isKeptFromCores = true;
}

async function readPinFile(path: string, assertKept: typeof assertPrivate): Promise<Pin> {
  await keepFromCores();
  try {
    await using file = await open(path, constants.O_RDONLY | constants.O_NONBLOCK);
    assertKept(path, await file.stat());
    const bytes = Buffer.alloc(maxPinBytes + 3);
    const { bytesRead } = await file.read(bytes, 0, bytes.length, 0);
    return pinOf(bytes.subarray(0, bytesRead), `\`${path}\``);
  } catch (error) {
    throw asConfigurationError(error, path);
  }
}

function pinOf(bytes: Buffer, where: string): Pin {
  let length = bytes.length;
  while (length > 0 && (bytes[length - 1] === 0x0a || bytes[length - 1] === 0x0d)) length--;
  const own = secretMemory(length);
  bytes.copy(own);
  bytes.fill(0);
  if (length === 0) throw new ConfigurationError(`${where} holds no PIN: it is empty`);
  if (length > maxPinBytes)
    throw new ConfigurationError(`${where} holds no PIN: it is longer than ${maxPinBytes} bytes`);
  return new Pin(own);
}

function asConfigurationError(error: unknown, path: string): ConfigurationError {
  if (error instanceof ConfigurationError) return error;
  const isMissing = (error as NodeJS.ErrnoException).code === 'ENOENT';
  const words = isMissing
    ? 'there is no such file, which `pin:` names (ENOENT)'
    : fileProblem(error, 'read', 'this user');
  return new ConfigurationError(`cannot read the PIN from \`${path}\`: ${words}`, { cause: error });
}
