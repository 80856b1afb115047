/**
 * The folder of identity policies: every `*.json` in it, read at the start and whenever the daemon is told to reload.
 *
 * INVARIANT: the policies in force are always one whole and valid state of the folder. At the start a mistake ends the
 * start; at a reload it is reported, and those before stay in force. Whoever can write there can give himself access, so
 * the folder and its files must belong to the daemon's user or root and be writable by nobody else.
 */

import { readdir, stat } from 'node:fs/promises';
import { join } from 'node:path';
import {
  type IdentityPolicies,
  type IdentityPolicyFile,
  noIdentityPolicies,
  parseIdentityPolicies,
} from '../authorization/identity-policies.ts';
import { ConfigurationError } from '../config/load.ts';
import { describeUnreachable, findUnreachable } from '../identity/reachable-principals.ts';
import type { UnixMapping } from '../identity/unix-caller.ts';
import { idOfGroup } from '../identity/unix-names.ts';
import type { Logger } from '../kms/logger.ts';
import { conditionVocabulary } from '../pipeline/condition-key-table.ts';
import { assertNobodyElseWrites, readPolicyFile, unreadable } from './policy-file.ts';

/** Far more than anybody keeps by hand; a wrong folder is noticed. */
const maxFileCount = 10_000;

export class IdentityPolicyFolder {
  readonly #folder: string | undefined;
  readonly #mapping: UnixMapping;
  #current: IdentityPolicies = noIdentityPolicies;

  private constructor(folder: string | undefined, mapping: UnixMapping) {
    this.#folder = folder;
    this.#mapping = mapping;
  }

  /**
   * @param folder `undefined`: there are no identity policies.
   * @throws ConfigurationError, IdentityPolicyError
   */
  static async open(folder: string | undefined, mapping: UnixMapping): Promise<IdentityPolicyFolder> {
    const opened = new IdentityPolicyFolder(folder, mapping);
    await opened.#read();
    return opened;
  }

  current(): IdentityPolicies {
    return this.#current;
  }

  /** Never rejects: what is wrong is in the log, and the policies before stay in force. */
  async reload(log: Logger): Promise<void> {
    try {
      const fileCount = await this.#read();
      log.info({ folder: this.#folder, fileCount }, 'the identity policies were read again');
      this.warnOfUnreachable(log);
    } catch (error) {
      log.error(
        { folder: this.#folder, problem: String(error instanceof Error ? error.message : error) },
        'the identity policies cannot be used; those before stay in force',
      );
    }
  }

  /**
   * They may come later, so it is no mistake; but a `Deny` for a user, role or group that is misspelt holds for nobody. To be
   * called when it is known who has access keys.
   */
  warnOfUnreachable(log: Logger): void {
    for (const { name, principals, groups, denies } of this.#current.files) {
      const nobody = findUnreachable(principals, groups, this.#mapping).map(describeUnreachable);
      if (nobody.length === 0) continue;
      const problem = denies
        ? 'an identity policy that denies is attached to who is nobody here: there it denies nothing'
        : 'an identity policy is attached to who is nobody here';
      log.warn({ file: join(this.#folder ?? '', name), nobody }, problem);
    }
  }

  async #read(): Promise<number> {
    if (this.#folder === undefined) return 0;
    const files = await readPolicyFiles(this.#folder);
    this.#current = parseIdentityPolicies(files, {
      realm: this.#mapping,
      vocabulary: conditionVocabulary,
      idOfGroup,
    });
    return files.length;
  }
}

/** In the order of their names. Other files are left alone, hidden ones too: editors put theirs beside. */
async function readPolicyFiles(folder: string): Promise<IdentityPolicyFile[]> {
  const names = await namesIn(folder);
  assertNobodyElseWrites(folder, await stat(folder));
  if (names.length > maxFileCount) {
    throw new ConfigurationError(
      `\`${folder}\` has more than ${maxFileCount} files: not a folder of identity policies`,
    );
  }
  const files: IdentityPolicyFile[] = [];
  for (const name of names) files.push({ name, text: await readPolicyFile(join(folder, name)) });
  return files;
}

async function namesIn(folder: string): Promise<string[]> {
  try {
    return (await readdir(folder)).filter((name) => name.endsWith('.json') && !name.startsWith('.')).sort();
  } catch (error) {
    throw unreadable(folder, error);
  }
}
