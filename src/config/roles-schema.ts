/** `roles:` of the configuration: roles that programs assume by `sts:AssumeRole`. Read again at SIGHUP. */

import { z } from 'zod';

/** AWS's bounds of a session; IAM has no role with less than 3,600, and whoever wants shorter sessions may say so here. */
const sessionBounds = { min: 900, max: 43_200 } as const;
const sessionExpectation = `a whole number of seconds from ${sessionBounds.min} to ${sessionBounds.max}`;

const trustExpectation =
  'the path of a file with a trust policy, or the policy itself (`Version` and `Statement`, which say who may assume the role)';

export const roleSchema = z.strictObject({
  /** Who may assume it: a file, or the policy as it stands here. */
  trustPolicy: z.union([z.string().min(1), z.record(z.string(), z.unknown())], { error: trustExpectation }),
  /** How long a session may be at most. */
  maxSessionSeconds: z
    .int({ error: sessionExpectation })
    .min(sessionBounds.min, { error: sessionExpectation })
    .max(sessionBounds.max, { error: sessionExpectation })
    .default(3600),
  /** What stands between `role` and its name in its ARN. */
  path: z
    .string()
    .regex(/^\/(?:[\w+=,.@-]+\/)*$/, { error: 'a path that begins and ends with `/`, such as `/ci/`' })
    .max(512)
    .default('/'),
});

export const rolesSchema = z
  .record(
    z.string().regex(/^[\w+=,.@-]{1,64}$/, { error: 'the name of a role: at most 64 letters, digits and `+=,.@-_`' }),
    roleSchema,
  )
  .default({});

export type RoleConfiguration = z.output<typeof roleSchema>;
export type RolesConfiguration = z.output<typeof rolesSchema>;

/**
 * Whoever is mapped to a role is in a session of it that has his own name, which the kernel vouches for; whoever assumes one chooses the
 * name. So no role is had both ways: somebody could choose another's name, and be what policies say of that session.
 */
export function refuseRolesOfTwoKinds(
  { roles, identity }: { readonly roles: RolesConfiguration; readonly identity: MappedPrincipals },
  context: z.RefinementCtx,
): void {
  const assumable = new Map<string, string>();
  for (const name of Object.keys(roles)) {
    const other = assumable.get(name.toLowerCase());
    assumable.set(name.toLowerCase(), name);
    if (other === undefined) continue;
    const message = `a name that no other role has: \`${other}\` differs in case alone`;
    context.addIssue({ code: 'custom', path: ['roles', name], message });
  }
  for (const [member, mapping] of Object.entries({ users: identity.users, groups: identity.groups })) {
    for (const [who, arn] of Object.entries(mapping)) {
      const name = arn.includes(':role/') ? arn.slice(arn.lastIndexOf('/') + 1).toLowerCase() : undefined;
      const role = name === undefined ? undefined : assumable.get(name);
      if (role === undefined) continue;
      const message = `a role that cannot be assumed: whoever assumes \`roles.${role}\` chooses the name of the session, and could choose that of a user who is mapped to it`;
      context.addIssue({ code: 'custom', path: ['identity', member, who], message });
    }
  }
}

interface MappedPrincipals {
  readonly users: Readonly<Record<string, string>>;
  readonly groups: Readonly<Record<string, string>>;
}
