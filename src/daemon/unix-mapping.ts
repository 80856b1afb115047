/** Who Unix users are, as the configuration says; and what an operator should hear of it. */

import type { Configuration } from '../config/configuration-schema.ts';
import { ConfigurationError } from '../config/load.ts';
import { ContainerNames } from '../identity/container-names.ts';
import { canTellOrigins } from '../identity/peer-origin.ts';
import { assertUnixMapping, findUnknownNames, type UnixMapping, unixUserCalled } from '../identity/unix-caller.ts';
import { UserNames } from '../identity/user-names.ts';
import type { Logger } from '../kms/logger.ts';
import { type PrincipalArn, parsePrincipalArn } from '../kms/names.ts';

/** @throws UnixMappingError for a mapping to what no caller can be. */
export function unixMapping({ account, identity, regions, roles }: Configuration): UnixMapping {
  const { root: roots } = identity;
  const [users, groups] = [principals(identity.users), principals(identity.groups)];
  const services = regions.flatMap(({ managedKeys }) => [...(managedKeys?.values() ?? [])].flat());
  const userNames = new UserNames([
    ...Object.values(users),
    ...Object.values(groups),
    ...services.map(parsePrincipalArn).filter((arn) => arn !== undefined),
  ]);
  const containers = new ContainerNames(identity.containers);
  const demandsDatabaseGroups = identity.groupsFrom === 'kernelAndDatabase';
  const arns = Object.entries(roles)
    .map(([name, { path }]) => parsePrincipalArn(`arn:aws:iam::${account}:role${path}${name}`))
    .filter((arn) => arn !== undefined);
  const assumableRoles = (): readonly PrincipalArn[] => arns;
  const named = { account, roots, users, groups, containers, assumableRoles };
  const mapping = { ...named, demandsDatabaseGroups, userNames };
  assertUnixMapping(mapping);
  return mapping;
}

export function warnOfMapping(mapping: UnixMapping, log: Logger): void {
  if (!canTellOrigins())
    log.warn(
      {},
      'processes of other users cannot be seen in /proc (hidepid, ProtectProc=): nobody but this user is recognised as root',
    );
  const unknown = findUnknownNames(mapping);
  if (unknown.length > 0)
    log.warn({ unknown }, 'the configuration names users or groups that this machine does not have');
  for (const arn of mapping.userNames?.all() ?? []) {
    const unixUser = calledLike(arn, mapping);
    if (unixUser !== undefined && unixUser !== arn)
      log.warn(
        { unixUser, arn, awsUsername: mapping.userNames?.nameOf(unixUser) },
        'a Unix user is called like a user of the configuration; his `aws:username` is another one',
      );
  }
}

function calledLike(arn: PrincipalArn, mapping: UnixMapping): PrincipalArn | undefined {
  try {
    return unixUserCalled(arn.slice(arn.lastIndexOf('/') + 1), mapping);
  } catch {
    // The user database does not answer now: whoever is called so has the other name all the same.
    return undefined;
  }
}

function principals(mapping: Readonly<Record<string, string>>): Record<string, PrincipalArn> {
  return Object.fromEntries(
    Object.entries(mapping).map(([name, text]) => {
      const arn = parsePrincipalArn(text);
      if (arn === undefined) throw new ConfigurationError(`\`identity\`: \`${text}\` is not the ARN of a principal`);
      return [name, arn];
    }),
  );
}
