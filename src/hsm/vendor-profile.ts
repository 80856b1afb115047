/**
 * Vendor profiles: what differs between PKCS#11 libraries, as data.
 *
 * A profile is a YAML file in `native-config/vendors/`, or a file of the operator's own that the configuration names by
 * its absolute path. It is validated as a whole before anything is done with it: an unknown member, a missing one or a
 * wrong value is a `VendorProfileError` that names file, line and member. Code never asks which vendor it has; it reads
 * a member. How to write one: `native-config/README.md`.
 */

import { existsSync, readFileSync } from 'node:fs';
import { isAbsolute } from 'node:path';
import { fileURLToPath } from 'node:url';
import { LineCounter, parseDocument } from 'yaml';
import { z } from 'zod';
import { keySpecNames } from '../kms/key-specs.ts';

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
export const returnValueMeanings = [
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

const text = z.string().min(1);
const name = (prefix: string) => z.string().regex(new RegExp(`^${prefix}_[A-Z0-9_]+$`), `expected a name ${prefix}_…`);
const count = (max: number) => z.int().min(1).max(max);

const profileSchema = z.strictObject({
  /** For people. */
  name: text,
  /** Where distributions put the library, in the order in which they are tried when the configuration names none. */
  libraries: z.array(text),
  /** For `C_Initialize`'s reserved argument, `{folder}` standing for the token's folder; `null` where it takes none. */
  libraryParameters: text.nullable(),
  /** What a key store of this vendor gets when the configuration says nothing: processes, and sessions in each. */
  defaults: z.strictObject({ hosts: count(64), lanes: count(64) }),
  attributes: z.strictObject({
    /** Are keys made with `CKA_MODIFIABLE` false? */
    nonModifiable: z.boolean(),
    /** Attributes that the token does not report truly; the check after a key's generation leaves them out. */
    notReadBack: z.array(name('CKA')),
  }),
  /** The key types whose token keys are used through a session copy (`C_CopyObject`), because that is faster. */
  sessionCopies: z.array(name('CKK')),
  /** Return values that mean something else here than in the host's table. */
  returnValues: z.array(
    z.strictObject({
      mechanism: name('CKM'),
      function: z.string().regex(/^C_[A-Za-z]+$/, 'expected the name of a PKCS#11 function, C_…'),
      values: z.record(name('CKR'), z.enum(returnValueMeanings)),
    }),
  ),
  /** What the token's mechanism list promises and the token does not do. */
  cannot: z.array(
    z.strictObject({ keySpec: z.enum(keySpecNames).optional(), algorithm: text.optional(), reason: text }),
  ),
  /** Oddities that somebody met, with the version that has them; for people. */
  measured: z.array(z.strictObject({ library: text, fact: text })),
});

export type VendorProfile = Readonly<z.infer<typeof profileSchema>>;

export class VendorProfileError extends Error {
  override readonly name = 'VendorProfileError';
}

/**
 * Reads a profile.
 * @param nameOrPath The name of one of ours (`softhsm2`), or an absolute path.
 */
export function loadVendorProfile(nameOrPath: string): VendorProfile {
  const path = profilePath(nameOrPath);
  let source: string;
  try {
    source = readFileSync(path, 'utf8');
  } catch (cause) {
    throw new VendorProfileError(`cannot read vendor profile \`${nameOrPath}\` (${path})`, { cause });
  }
  return parseVendorProfile(source, path);
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
  const result = profileSchema.safeParse(document.toJS());
  if (result.success) return result.data;
  const issue = result.error.issues[0];
  if (issue === undefined) throw new VendorProfileError(`${path}: not a vendor profile`);
  const member = issue.code === 'unrecognized_keys' ? [...issue.path, issue.keys[0] ?? ''] : issue.path;
  throw new VendorProfileError(`${path}:${lineOf(member)}: \`${member.join('.')}\`: ${issue.message}`);

  /** The line of a member, or of the nearest one around it that is there. */
  function lineOf(member: readonly PropertyKey[]): number {
    for (let depth = member.length; depth > 0; depth--) {
      const node: unknown = document.getIn(member.slice(0, depth), true);
      const range = typeof node === 'object' && node !== null && 'range' in node ? node.range : undefined;
      if (Array.isArray(range) && typeof range[0] === 'number') return lines.linePos(range[0]).line;
    }
    return 1;
  }
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
  return fileURLToPath(new URL(`../../native-config/vendors/${nameOrPath}.yaml`, import.meta.url));
}
