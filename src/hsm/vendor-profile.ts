/**
 * Vendor profiles: what differs between PKCS#11 libraries, as data.
 *
 * A profile is a YAML file in `native-config/vendors/`, or a file of the operator's own that the configuration names by
 * its absolute path. It is validated as a whole before anything is done with it: an unknown member, a missing one or a
 * wrong value is a `VendorProfileError` that names file, line and member. Code never asks which vendor it has; it reads
 * a member. How to write one: `native-config/README.md`.
 */

import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { isAbsolute, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { LineCounter, parseDocument } from 'yaml';
import { keySpecNames } from '../kms/key-specs.ts';
import { fileProblem } from '../secrets/file-problem.ts';

/**
 * What a PKCS#11 return value means, that is, what is done about it:
 *
 * - `callersFault`: the ciphertext is refused; nothing is wrong here.
 * - `keyUnavailable`: the key is not there or may not be used for this.
 * - `resolveAgain`: the handle is stale; look the key up again and repeat once.
 * - `reopenSession`: the session is unusable; open another and repeat once.
 * - `tokenGone`: token or login is lost; the host is replaced.
 * - `restartHost`: the library is in an unknown state; the host is replaced.
 * - `busy`: try again later; nothing is broken.
 * - `unsupported`, `tokenFull`, `pinRefused`: as they say.
 * - `internal`: we asked wrongly; the call fails and nothing is restarted.
 */
const returnValueMeanings = [
  'callersFault',
  'keyUnavailable',
  'resolveAgain',
  'reopenSession',
  'tokenGone',
  'restartHost',
  'busy',
  'unsupported',
  'tokenFull',
  'pinRefused',
  'internal',
] as const;
export type ReturnValueMeaning = (typeof returnValueMeanings)[number];

const text = matching(/./s, 'text');
const name = (prefix: string) => matching(new RegExp(`^${prefix}_[A-Z0-9_]+$`), `a name ${prefix}_…`);
const count = check(
  'a number from 1 to 64',
  (value) => Number.isInteger(value) && Number(value) >= 1 && Number(value) <= 64,
);

/**
 * INVARIANT: no profile takes these out of the check after a key's generation: whether the key can leave the HSM, and who may see
 * it, is what everything else rests on. A token that reports them wrongly cannot hold keys, whatever else it can do.
 */
const indispensable: ReadonlyMap<string, string> = new Map([
  ['CKA_SENSITIVE', 'without it a key that can be read in the clear would be taken for a good one'],
  ['CKA_EXTRACTABLE', 'without it a key that can be taken out of the HSM would be taken for a good one'],
  ['CKA_PRIVATE', 'without it a key that can be used without a login would be taken for a good one'],
  ['CKA_TOKEN', 'without it a key that is gone with its session would be taken for a lasting one'],
]);

const readProfile = object({
  /** For people. */
  name: text,
  /** Where distributions put the library, in the order in which they are tried when the configuration names none. */
  libraries: list(text),
  /** For `C_Initialize`'s reserved argument, `{folder}` standing for the token's folder; `null` where it takes none. */
  libraryParameters: orNull(text),
  /** What a key store of this vendor gets when the configuration says nothing (`shapeOf`). */
  defaults: object({
    /** Processes, and sessions in each, on a machine with few cores. */
    hosts: count as Reader<number>,
    lanes: count as Reader<number>,
    /**
     * Of what there is one for each core of the machine, up to `atMost`: of a token that computes in its host's own process. `null` for
     * a device, which is no faster for the cores of the machine before it.
     */
    perCore: orNull(object({ of: oneOf(['hosts', 'lanes']), atMost: count as Reader<number> })),
  }),
  /** Are calls faster on several sessions of one process at once? If not, ordinary calls keep to one session of each. */
  sessionsAreParallel: check('true or false', (value) => typeof value === 'boolean') as Reader<boolean>,
  attributes: object({
    /** Are keys made with `CKA_MODIFIABLE` false? */
    nonModifiable: check('true or false', (value) => typeof value === 'boolean') as Reader<boolean>,
    /** Attributes that the token does not report truly; the check after a key's generation leaves them out. */
    notReadBack: list(butFor(indispensable, name('CKA'))),
  }),
  /** The key types whose token keys are used through a session copy (`C_CopyObject`), because that is faster. */
  sessionCopies: list(name('CKK')),
  /** Return values that mean something else here than in the host's table. */
  returnValues: list(
    object({
      mechanism: name('CKM'),
      function: matching(/^C_[A-Za-z]+$/, 'the name of a PKCS#11 function, C_…'),
      values: record(name('CKR'), oneOf(returnValueMeanings)),
    }),
  ),
  /**
   * Algorithms whose padding the token cannot remove, neither in `C_Decrypt` nor in `C_UnwrapKey`: it does `CKM_RSA_X_509`, and the host
   * removes the padding.
   */
  paddedOutside: list(oneOf(['RSAES_OAEP_SHA_1', 'RSAES_OAEP_SHA_256'])),
  /** How key material is brought in (`host/calls/imports.ts`). */
  imports: object({
    /**
     * Is the token's memory that of the HSM host, as a software token's is? Then the host may see key material while it is imported,
     * to check what such a token does not check and to do what it lacks, without showing it to anybody who had not seen it. Of a
     * device, never: it unwraps in itself or not at all.
     */
    software: check('true or false', (value) => typeof value === 'boolean') as Reader<boolean>,
    /** The mechanism that is AES Key Wrap with Padding of RFC 5649; `null` where the token has none. */
    keyWrap: orNull(oneOf(['CKM_AES_KEY_WRAP_KWP', 'CKM_AES_KEY_WRAP_PAD'])),
    /**
     * The key types that `C_UnwrapKey` makes with the attributes that are asked for. Others are made by `C_CreateObject` where `software` is
     * true, and refused otherwise.
     */
    unwraps: list(name('CKK')),
  }),
  /** Keys that live outside of the token, wrapped under a domain key in it (`host/token/key-wrapping.ts`); `null`: it wraps none. */
  wrapping: orNull(
    object({
      /** The mechanism that wraps as RFC 5649 has it, perhaps with zeros behind the key. */
      mechanism: oneOf(['CKM_AES_KEY_WRAP_KWP', 'CKM_AES_KEY_WRAP_PAD']),
      /** Does `C_UnwrapKey` refuse a template that conflicts with the domain key's `CKA_UNWRAP_TEMPLATE`? */
      unwrapTemplate: check('true or false', (value) => typeof value === 'boolean') as Reader<boolean>,
      /**
       * Does `C_WrapKey` refuse a key with `CKA_WRAP_WITH_TRUSTED` under one that no security officer made `CKA_TRUSTED`? Such a domain key
       * can be given to another HSM with the officer's help alone; elsewhere it is made not extractable.
       */
      wrapWithTrusted: check('true or false', (value) => typeof value === 'boolean') as Reader<boolean>,
      /** The attribute in which `C_UnwrapKey` wants the public point of a private key on a curve; `null`: it needs none. */
      publicPointAttribute: orNull(name('CKA')),
      /** What cannot be wrapped or unwrapped, with the reason. */
      cannot: list(object({ keySpec: oneOf(keySpecNames), reason: text })),
    }),
  ),
  /**
   * Of a token that loses what it is where a login finds its disk full: the folder whose disk needs room then. It is the value of
   * `setting` in the file that `variable` names, else in `otherwise`. `null`, or not there: a login loses nothing.
   */
  rewrittenAtLogin: orAbsent(
    object({ variable: matching(/^[A-Z][A-Z0-9_]*$/, 'the name of a variable'), otherwise: text, setting: text }),
  ),
  /** What the token's mechanism list promises and the token does not do: a KeySpec, an algorithm, or one with the other. */
  cannot: list(object({ keySpec: orNull(oneOf(keySpecNames)), algorithm: orNull(text), reason: text })),
  /** Oddities that somebody met, with the version that has them; for people. */
  measured: list(object({ library: text, fact: text })),
});

export type VendorProfile = ReturnType<typeof readProfile>;

export class VendorProfileError extends Error {
  override readonly name = 'VendorProfileError';
}

const ours = fileURLToPath(new URL('../../native-config/vendors', import.meta.url));
const profileEnd = '.yaml';

/** By path: what was read last, since each host is told what is in its profile and the text rarely changes. */
const known = new Map<string, { readonly source: string; readonly profile: VendorProfile }>();

/**
 * Reads a profile; the file anew, and what is in it if that is another text than last time.
 * @param nameOrPath The name of one of ours (`softhsm2`), or an absolute path.
 */
export function loadVendorProfile(nameOrPath: string): VendorProfile {
  const path = profilePath(nameOrPath);
  let source: string;
  try {
    source = readFileSync(path, 'utf8');
  } catch (cause) {
    const { code } = cause as NodeJS.ErrnoException;
    const hint =
      code === 'ENOENT' && path !== nameOrPath ? `; there are ${namesOfOurs()}, and files by their absolute paths` : '';
    throw new VendorProfileError(
      `cannot read vendor profile \`${nameOrPath}\` (${path}): ${fileProblem(cause, 'read', 'this user')}${hint}`,
      { cause },
    );
  }
  const last = known.get(path);
  if (last?.source === source) return last.profile;
  const profile = parseVendorProfile(source, path);
  known.set(path, { source, profile });
  return profile;
}

/** Parses and validates the text of a profile; `path` is for messages. */
export function parseVendorProfile(source: string, path: string): VendorProfile {
  const lines = new LineCounter();
  const document = parseDocument(source, { lineCounter: lines });
  const syntaxError = document.errors[0];
  if (syntaxError !== undefined) {
    const line = syntaxError.linePos?.[0].line ?? 1;
    throw new VendorProfileError(`${path}:${line}: not YAML: ${syntaxError.message.split('\n')[0]}`);
  }
  try {
    return readProfile(document.toJS(), []);
  } catch (error) {
    if (!(error instanceof Mistake)) throw error;
    const member = error.path.length === 0 ? '' : `\`${error.path.join('.')}\`: `;
    throw new VendorProfileError(`${path}:${lineOf(error.path)}: ${member}${error.message}`);
  }

  /** The line of a member, or of the nearest one around it that is there. */
  function lineOf(member: Path): number {
    for (let depth = member.length; depth > 0; depth--) {
      const node: unknown = document.getIn(member.slice(0, depth), true);
      const range = typeof node === 'object' && node !== null && 'range' in node ? node.range : undefined;
      if (Array.isArray(range) && typeof range[0] === 'number') return lines.linePos(range[0]).line;
    }
    return 1;
  }
}

export interface KeyStoreShape {
  /** Processes. */
  readonly hosts: number;
  /** Sessions in each. */
  readonly lanes: number;
}

/**
 * How many hosts and lanes a key store has: what the configuration says of either, else what the profile says for so many cores. Who
 * sets one of them means that one: the other does not grow with the cores.
 */
export function shapeOf(
  { defaults }: Pick<VendorProfile, 'defaults'>,
  configured: { readonly [Name in keyof KeyStoreShape]?: number | undefined },
  cores: number,
): KeyStoreShape {
  const { hosts, lanes, perCore } = defaults;
  const shape = { hosts: configured.hosts ?? hosts, lanes: configured.lanes ?? lanes };
  if (perCore === null || configured.hosts !== undefined || configured.lanes !== undefined) return shape;
  return { ...shape, [perCore.of]: Math.max(shape[perCore.of], Math.min(cores, perCore.atMost)) };
}

/** The first of the profile's libraries that is on this machine, or `undefined`. */
export function findLibrary(profile: VendorProfile): string | undefined {
  return profile.libraries.find((path) => existsSync(path));
}

/** The library parameters for a token in `folder`, or `null` where the library takes none. */
export function libraryParametersFor(profile: VendorProfile, folder: string): string | null {
  return profile.libraryParameters?.replaceAll('{folder}', () => folder) ?? null;
}

function profilePath(nameOrPath: string): string {
  if (isAbsolute(nameOrPath)) return nameOrPath;
  if (!/^[a-z0-9][a-z0-9-]*$/.test(nameOrPath))
    throw new VendorProfileError(`\`${nameOrPath}\` is neither the name of a vendor profile nor an absolute path`);
  return join(ours, `${nameOrPath}${profileEnd}`);
}

function namesOfOurs(): string {
  const files = readdirSync(ours).filter((file) => file.endsWith(profileEnd));
  return files
    .map((file) => `\`${file.slice(0, -profileEnd.length)}\``)
    .sort()
    .join(', ');
}

/*
 * A schema as a few functions: a host reads its profile each time it starts, and loading a schema library takes longer
 * than all the rest of a host's modules together (110 of 240 ms).
 */

type Path = readonly (string | number)[];
type Reader<Value> = (value: unknown, path: Path) => Value;

class Mistake extends Error {
  readonly path: Path;

  constructor(path: Path, message: string) {
    super(message);
    this.path = path;
  }
}

function check(expected: string, isGood: (value: unknown) => boolean): Reader<unknown> {
  return (value, path) => {
    if (!isGood(value))
      throw new Mistake(path, value === undefined ? `is missing; expected ${expected}` : `expected ${expected}`);
    return value;
  };
}

function matching(pattern: RegExp, expected: string): Reader<string> {
  return check(expected, (value) => typeof value === 'string' && pattern.test(value)) as Reader<string>;
}

function butFor(refused: ReadonlyMap<string, string>, reader: Reader<string>): Reader<string> {
  return (value, path) => {
    const given = reader(value, path);
    const why = refused.get(given);
    if (why !== undefined) throw new Mistake(path, `${given} is always read back: ${why}`);
    return given;
  };
}

function oneOf<const Name extends string>(names: readonly Name[]): Reader<Name> {
  return check(`one of ${names.join(', ')}`, (value) => names.some((name) => name === value)) as Reader<Name>;
}

function orNull<Value>(reader: Reader<Value>): Reader<Value | null> {
  return (value, path) => (value === null ? null : reader(value, path));
}

function orAbsent<Value>(reader: Reader<Value>): Reader<Value | null> {
  return (value, path) => (value === undefined ? null : orNull(reader)(value, path));
}

function list<Value>(reader: Reader<Value>): Reader<readonly Value[]> {
  return (value, path) => {
    if (!Array.isArray(value)) throw new Mistake(path, 'expected a list');
    return value.map((item: unknown, index) => reader(item, [...path, index]));
  };
}

function record<Name extends string, Value>(
  key: Reader<Name>,
  reader: Reader<Value>,
): Reader<Readonly<Record<Name, Value>>> {
  return (value, path) =>
    Object.fromEntries(
      membersOf(value, path).map(([name, item]) => [key(name, [...path, name]), reader(item, [...path, name])]),
    ) as Readonly<Record<Name, Value>>;
}

/** Exactly these members, none missing and none unknown. */
function object<Members extends Readonly<Record<string, Reader<unknown>>>>(
  members: Members,
): Reader<{ readonly [Name in keyof Members]: ReturnType<Members[Name]> }> {
  return (value, path) => {
    const given = new Map(membersOf(value, path));
    for (const name of given.keys())
      if (!Object.hasOwn(members, name)) throw new Mistake([...path, name], 'there is no such member');
    return Object.fromEntries(
      Object.entries(members).map(([name, reader]) => [name, reader(given.get(name), [...path, name])]),
    ) as { readonly [Name in keyof Members]: ReturnType<Members[Name]> };
  };
}

function membersOf(value: unknown, path: Path): [string, unknown][] {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) throw new Mistake(path, 'expected members');
  return Object.entries(value);
}
