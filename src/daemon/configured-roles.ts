/**
 * The roles of the configuration: their trust policies read and compiled, at the start and at SIGHUP.
 *
 * INVARIANT: the roles in force are always one whole and valid state of the configuration. At the start a mistake ends the start; at a
 * reload it is reported, and those before stay in force. Sessions of a role that is taken out, or whose trust policy becomes another,
 * end with the reload (`identity/role-sessions.ts`).
 */

import { type AssumableRoles, noRoles, parseRoles } from '../authorization/assumable-roles.ts';
import type { Configuration } from '../config/configuration-schema.ts';
import { ConfigurationError } from '../config/load.ts';
import type { UnixMapping } from '../identity/unix-caller.ts';
import type { Logger } from '../kms/logger.ts';
import { conditionVocabulary } from '../pipeline/condition-key-table.ts';
import { assertWayIsSafe } from './own-paths.ts';
import { readPolicyFile } from './policy-file.ts';

type RolesOf = Pick<Configuration, 'account' | 'roles'>;

export class ConfiguredRoles {
  readonly #mapping: Pick<UnixMapping, 'account' | 'users' | 'groups'>;
  #current: AssumableRoles = noRoles;

  private constructor(mapping: Pick<UnixMapping, 'account' | 'users' | 'groups'>) {
    this.#mapping = mapping;
  }

  /**
   * @param mapping The one in force, which a reload does not change.
   * @throws ConfigurationError, RoleError, UnsafePathError
   */
  static async open(configuration: RolesOf, mapping: UnixMapping): Promise<ConfiguredRoles> {
    const opened = new ConfiguredRoles(mapping);
    opened.#current = await opened.#read(configuration);
    return opened;
  }

  current(): AssumableRoles {
    return this.#current;
  }

  /** Never rejects: what is wrong is in the log, and the roles before stay in force. */
  async reload(read: (() => Promise<RolesOf>) | undefined, log: Logger): Promise<void> {
    if (read === undefined) return;
    try {
      this.#current = await this.#read(await read());
      log.info({ roleCount: this.#current.all.length }, 'the roles of the configuration were read again');
    } catch (error) {
      const problem = String(error instanceof Error ? error.message : error);
      log.error({ problem }, 'the roles of the configuration cannot be used; those before stay in force');
    }
  }

  async #read({ roles }: RolesOf): Promise<AssumableRoles> {
    const declared = await Promise.all(
      Object.entries(roles).map(async ([name, { path, maxSessionSeconds, trustPolicy }]) => ({
        name,
        path,
        maxSessionSeconds,
        trustPolicy: typeof trustPolicy === 'string' ? await readTrust(trustPolicy) : JSON.stringify(trustPolicy),
      })),
    );
    const parsed = parseRoles(declared, { realm: this.#mapping, vocabulary: conditionVocabulary });
    this.#assertNobodyIsMapped(parsed);
    return parsed;
  }

  /** The schema compares with what the file says; this is about what holds until the daemon is started anew. */
  #assertNobodyIsMapped({ all }: AssumableRoles): void {
    const nameOf = (arn: string): string => arn.slice(arn.lastIndexOf('/') + 1).toLowerCase();
    const { users, groups } = this.#mapping;
    const mapped = [...Object.values(users), ...Object.values(groups)].filter((arn) => arn.includes(':role/'));
    const names = new Set(mapped.map(nameOf));
    const both = all.find(({ arn }) => names.has(nameOf(arn)));
    if (both === undefined) return;
    throw new ConfigurationError(
      `\`${both.arn}\` can only be assumed once nobody is mapped to it by \`identity\`, which takes a restart`,
    );
  }
}

async function readTrust(path: string): Promise<string> {
  await assertWayIsSafe(path);
  return readPolicyFile(path);
}
