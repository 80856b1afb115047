/**
 * Reads `drawbridge.yaml`: text in, a valid `Configuration` with absolute paths out, or one error that names every
 * mistake with its line, the member it concerns, and what was expected there.
 *
 * Trusted for nothing: the file may be missing, huge, not YAML, or say the same thing twice. Values are not repeated in
 * messages, because the most likely wrong value is a PIN that somebody wrote where it does not belong.
 */

import { open } from 'node:fs/promises';
import { dirname, resolve } from 'node:path';
import { isNode, LineCounter, parseDocument } from 'yaml';
import type { z } from 'zod';
import { fileProblem } from '../secrets/file-problem.ts';
import { assertSafePath } from '../secrets/safe-path.ts';
import {
  type Configuration,
  configurationSchema,
  type HsmConfiguration,
  type KeyStoreConfiguration,
  type MemberConfiguration,
  type PemSource,
  type PinSource,
  type TlsConfiguration,
  type TokenConfiguration,
} from './configuration-schema.ts';

/** Far above any real configuration; keeps a wrong path (`/dev/zero`) from filling the memory. */
const maxConfigurationBytes = 1024 * 1024;

/** What to do about a configuration that cannot be read, by what the system says. */
const adviceOnReading: ReadonlyMap<string, string> = new Map([
  ['ENOENT', '; `drawbridge init` writes one, `--config` names another'],
  ['EACCES', "; run this as a user who may read it: root, or the daemon's own"],
  ['EISDIR', ', and `--config` wants the file in it'],
]);

export class ConfigurationError extends Error {
  override readonly name = 'ConfigurationError';
}

/** @throws ConfigurationError for anything that keeps the file from being used. */
export async function loadConfiguration(path: string): Promise<Configuration> {
  return parseConfiguration(await readBounded(path), path);
}

/**
 * As `loadConfiguration`, for whoever does what it says: it names the library that is loaded, so nobody but root and this process's
 * user may be able to change what is at this path.
 * @throws ConfigurationError; UnsafePathError.
 */
export async function loadTrustedConfiguration(path: string): Promise<Configuration> {
  await assertSafePath(path).catch((error: NodeJS.ErrnoException) => {
    // What cannot be looked at cannot be read, which is told with what to do.
    if (error.code === undefined) throw error;
  });
  return loadConfiguration(path);
}

/** @param path Where the text came from: for messages, and to resolve relative paths against its folder. */
export function parseConfiguration(text: string, path: string): Configuration {
  const lineCounter = new LineCounter();
  const document = parseDocument(text, { lineCounter, strict: true, uniqueKeys: true, version: '1.2' });
  const lineOf = (offset: number): number => lineCounter.linePos(offset).line;
  if (document.errors.length > 0) {
    throw mistakes(
      path,
      document.errors.map((error) => ({ line: lineOf(error.pos[0]), message: firstLine(error.message) })),
    );
  }
  const parsed = configurationSchema.safeParse(toValue(document, path));
  if (parsed.success) return toConfiguration(parsed.data, dirname(resolve(path)));
  throw mistakes(
    path,
    parsed.error.issues
      .flatMap((issue) => describeIssue(issue, document.hasIn(issue.path)))
      .map(({ at, message }) => ({
        line: lineAt(at),
        message,
      })),
  );

  /** The line of the member, or of the nearest one around it that the file has. */
  function lineAt(at: readonly PropertyKey[]): number {
    for (let depth = at.length; depth > 0; depth--) {
      const parent = document.getIn(at.slice(0, depth - 1), true);
      const key = at[depth - 1];
      const pair = (parent as { items?: readonly unknown[] } | undefined)?.items?.find(
        (item) => String((item as { key?: unknown }).key) === String(key),
      ) as { key?: unknown } | undefined;
      if (pair !== undefined && isNode(pair.key) && pair.key.range) return lineOf(pair.key.range[0]);
      const node = document.getIn(at.slice(0, depth), true);
      if (isNode(node) && node.range) return lineOf(node.range[0]);
    }
    return 1;
  }
}

function toValue(document: ReturnType<typeof parseDocument>, path: string): unknown {
  try {
    return document.toJS({ maxAliasCount: 10 }) ?? {};
  } catch (error) {
    // Aliases that multiply into something huge, or that refer to nothing.
    throw new ConfigurationError(`${path}: ${firstLine(String(error instanceof Error ? error.message : error))}`);
  }
}

interface Mistake {
  readonly line: number;
  readonly message: string;
}

function mistakes(path: string, list: readonly Mistake[]): ConfigurationError {
  const ordered = [...list].sort((a, b) => a.line - b.line);
  return new ConfigurationError(ordered.map(({ line, message }) => `${path}:${line}: ${message}`).join('\n'));
}

function describeIssue(issue: z.core.$ZodIssue, isThere: boolean): { at: readonly PropertyKey[]; message: string }[] {
  const name = issue.path.length === 0 ? 'the configuration' : `\`${issue.path.map(String).join('.')}\``;
  if (issue.code === 'unrecognized_keys') {
    return issue.keys.map((key) => ({
      at: [...issue.path, key],
      message: `\`${[...issue.path.map(String), key].join('.')}\` is not known here; check the spelling`,
    }));
  }
  const problem = isThere ? ': expected' : ' is missing:';
  return [{ at: issue.path, message: `${name}${problem} ${expectationOf(issue)}` }];
}

/** Zod's own messages begin with a capital; ours say what was expected and do not. */
function isOurWording(message: string): boolean {
  return !/^[A-Z]/.test(message) || message.startsWith('AWS');
}

const typeNames: Readonly<Record<string, string>> = {
  string: 'a text',
  number: 'a number',
  int: 'a whole number',
  object: 'a mapping with members',
  record: 'a mapping of names to values',
  array: 'a list',
  boolean: '`true` or `false`',
};

function expectationOf(issue: z.core.$ZodIssue): string {
  if (isOurWording(issue.message)) return issue.message;
  if (issue.code === 'invalid_type') return typeNames[issue.expected] ?? issue.expected;
  if (issue.code === 'invalid_format' && issue.format === 'regex') return `a text that matches ${issue.pattern ?? ''}`;
  if (issue.code === 'invalid_key') {
    const [reason] = issue.issues;
    return reason !== undefined && isOurWording(reason.message) ? reason.message : 'another name for this member';
  }
  return 'another value';
}

/** The file's Regions become one list, the first of them first, and its paths absolute. */
function toConfiguration(parsed: z.output<typeof configurationSchema>, folder: string): Configuration {
  const absolute = (path: string): string => resolve(folder, path);
  const { region, regions, socket, listen, keyStores, defaultKeyStore, managedKeys, ...shared } = parsed;
  const dataDir = absolute(parsed.dataDir);
  const ownKeyStores = new Map<string, KeyStoreConfiguration>();
  const hsms = new Map<string, HsmConfiguration>();
  for (const [name, written] of Object.entries(keyStores)) {
    const { residency, keySpecs } = written;
    const members = ownMembers(name, written).map((member) => withAbsolutePaths(member, absolute));
    const [first, ...others] = members;
    if (first !== undefined) ownKeyStores.set(name, { residency, keySpecs, members: [first, ...others] });
    else if (written.members === undefined && written.trustAnchorCertificate !== undefined) {
      const trustAnchorCertificate = absolute(written.trustAnchorCertificate);
      hsms.set(name, { ...withAbsolutePaths(tokenOf(written), absolute), trustAnchorCertificate });
    }
  }
  const names = [...ownKeyStores.keys()];
  const theDefault = defaultKeyStore ?? names[0];
  if (theDefault === undefined) throw new TypeError('the schema lets no configuration without a key store through');
  const place = ({ region, socket, listen }: Pick<typeof parsed, 'region' | 'socket' | 'listen'>) => ({
    region,
    socket: { ...socket, path: absolute(socket.path) },
    loopback: listen.tcp,
    tls: listen.tls === undefined ? undefined : withAbsoluteFiles(listen.tls, absolute),
  });
  return {
    ...shared,
    dataDir,
    regions: [
      {
        ...place({ region, socket, listen }),
        keyStores: names,
        defaultKeyStore: theDefault,
        managedKeys: new Map(Object.entries(managedKeys).map(([service, { principals }]) => [service, principals])),
      },
      ...regions.map(({ keyStores: theirs = names, defaultKeyStore: own, ...further }) => ({
        ...place(further),
        keyStores: theirs,
        defaultKeyStore: own ?? (theirs.length === 1 ? (theirs[0] ?? theDefault) : theDefault),
      })),
    ],
    keyStores: ownKeyStores,
    hsms,
    serviceKeyStore: theDefault,
    roles: Object.fromEntries(
      Object.entries(parsed.roles).map(([name, role]) => {
        const { trustPolicy } = role;
        return [name, typeof trustPolicy === 'string' ? { ...role, trustPolicy: absolute(trustPolicy) } : role];
      }),
    ),
    identity: {
      ...parsed.identity,
      policies: parsed.identity.policies === undefined ? undefined : absolute(parsed.identity.policies),
    },
    audit: {
      ...parsed.audit,
      folder: parsed.audit.folder === undefined ? resolve(dataDir, 'audit') : absolute(parsed.audit.folder),
    },
  };
}

type WrittenKeyStore = z.output<typeof configurationSchema>['keyStores'][string];
type WrittenToken = Extract<WrittenKeyStore, { readonly profile: string }>;

/** None of an HSM for a custom key store. */
function ownMembers(name: string, keyStore: WrittenKeyStore): readonly MemberConfiguration[] {
  if (keyStore.members !== undefined) return keyStore.members;
  return keyStore.pin === undefined ? [] : [{ ...tokenOf(keyStore), name, pin: keyStore.pin }];
}

function tokenOf(keyStore: WrittenToken): TokenConfiguration {
  const { pin: _pin, trustAnchorCertificate: _anchor, residency: _residency, keySpecs: _specs, ...token } = keyStore;
  return token;
}

function withAbsolutePaths<Token extends TokenConfiguration & { readonly pin?: PinSource }>(
  token: Token,
  absolute: (path: string) => string,
): Token {
  const { profile, library, pin } = token;
  return {
    ...token,
    // A profile is a name unless it looks like a path.
    profile: profile.includes('/') ? absolute(profile) : profile,
    library: library === undefined ? undefined : absolute(library),
    ...(pin === undefined ? {} : { pin: 'file' in pin ? { file: absolute(pin.file) } : pin }),
  };
}

function withAbsoluteFiles(tls: TlsConfiguration, absolute: (path: string) => string): TlsConfiguration {
  const at = (source: PemSource): PemSource => ('file' in source ? { file: absolute(source.file) } : source);
  return { ...tls, certificate: at(tls.certificate), key: at(tls.key) };
}

function firstLine(message: string): string {
  return (message.split('\n')[0] ?? '').replace(/ at line \d+, column \d+:?$/, '');
}

async function readBounded(path: string): Promise<string> {
  try {
    await using file = await open(path, 'r');
    const buffer = Buffer.alloc(maxConfigurationBytes + 1);
    let length = 0;
    while (length < buffer.length) {
      const { bytesRead } = await file.read(buffer, length, buffer.length - length);
      if (bytesRead === 0) break;
      length += bytesRead;
    }
    if (length > maxConfigurationBytes) {
      throw new ConfigurationError(`\`${path}\` is larger than ${maxConfigurationBytes} bytes: not a configuration`);
    }
    return buffer.toString('utf8', 0, length);
  } catch (error) {
    if (error instanceof ConfigurationError) throw error;
    const advice = adviceOnReading.get((error as NodeJS.ErrnoException).code ?? '') ?? '';
    const why = fileProblem(error, 'read', 'this user');
    throw new ConfigurationError(`cannot read the configuration \`${path}\`: ${why}${advice}`, { cause: error });
  }
}
