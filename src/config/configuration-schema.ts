/**
 * The configuration of a daemon: what `drawbridge.yaml` may say, what it means, and what holds when it says nothing.
 *
 * The schema is the declaration: `Configuration` is derived from it, an unknown member is an error (nothing is read and
 * ignored), and every refusal says what was expected. Paths are resolved later, by `load.ts`, against the file's folder.
 * A PIN is never in here, only where it is to be read from.
 *
 * The file tells of the first Region at its top, and of others in a list; a `Configuration` has one list of all, and whoever works with it
 * assumes nothing about their number.
 */

import { z } from 'zod';
import { budgetsSchema } from './budgets-schema.ts';
import {
  type HsmConfiguration,
  type KeyStoreConfiguration,
  keyStore,
  keyStoreName,
  refuseUnclearDefault,
} from './key-store-schema.ts';
import type { LoopbackAddress } from './loopback-address.ts';
import {
  furtherRegion,
  listen,
  type pem,
  refuseUnclearRegions,
  regionName,
  socket,
  type tls,
} from './region-schema.ts';
import { refuseRolesOfTwoKinds, rolesSchema } from './roles-schema.ts';

const text = z.string().min(1, { error: 'a text that is not empty' });

/** Unquoted, YAML makes a number of an account id, and loses its leading zeros. */
const account = z
  .string({ error: 'an account id of 12 digits in quotes, such as "000000000000"' })
  .regex(/^\d{12}$/, { error: 'an account id of 12 digits in quotes, such as "000000000000"' });

const principal = z.string().regex(/^arn:aws:iam::\d{12}:(?:user|role)\/[\w+=,.@/-]{1,576}$/, {
  error: 'the ARN of a user or role, such as "arn:aws:iam::000000000000:user/app"',
});

/** As in `alias/aws/NAME` and `NAME.REGION.amazonaws.com`. */
const serviceName = z.string().regex(/^[a-z](?:[a-z0-9-]{0,61}[a-z0-9])?$/, {
  error: 'the name of a service, such as `ebs`: lower-case letters, digits and `-`, at most 63',
});

const managedKey = z.strictObject({
  /** The users and roles that are this service: their requests, and no others, are those that came through it. */
  principals: z.array(principal).min(1, { error: 'the ARN of at least one user or role' }),
});

type ManagedKeys = Readonly<Record<string, z.output<typeof managedKey>>>;

/** A request came through one service; whoever is two would have to be asked which. */
function refusePrincipalsOfTwo(managedKeys: ManagedKeys, context: z.RefinementCtx): void {
  const known = new Map<string, string>();
  for (const [service, { principals }] of Object.entries(managedKeys)) {
    for (const [index, arn] of principals.entries()) {
      const other = known.get(arn);
      known.set(arn, service);
      if (other === undefined) continue;
      const message = `each principal once: \`${arn}\` is \`${other}\` already`;
      context.addIssue({ code: 'custom', path: [service, 'principals', index], message });
    }
  }
}

/** As `/proc/PID/cgroup` shows it to the daemon; `*` stands for anything in one part. Not the root of all: that is the machine. */
const containerCgroup = z.string().regex(/^(?:\/[^/\s]+)+\/?$/, {
  error: 'a cgroup such as `/system.slice/docker-*.scope`, as the last field of a line in /proc/PID/cgroup has it',
});

/** A part of an ARN. What has no name is `unnamed`, and nothing else may be called so. */
const containerName = z
  .string()
  .regex(/^(?!unnamed$)[\w+=,.@-]{1,64}$/, { error: 'a name of letters, digits and `+=,.@-_`, other than `unnamed`' });

/** Members that map somebody to a principal. */
const mappings = ['users', 'groups'] as const;
type Mappings = Readonly<Record<(typeof mappings)[number], Readonly<Record<string, string>>>>;

/**
 * The ARN of a session has the role's name without its path, so that two roles of one name would be one to a policy or grant
 * that names their sessions. IAM prevents that: names of roles are unique in an account, and not distinguished by case.
 */
function refuseRolesOfOneName(identity: Mappings, context: z.RefinementCtx): void {
  const known = new Map<string, { readonly arn: string; readonly place: string }>();
  for (const member of mappings) {
    for (const [who, arn] of Object.entries(identity[member])) {
      if (!arn.includes(':role/')) continue;
      const name = arn.slice(arn.lastIndexOf('/') + 1);
      const other = known.get(name.toLowerCase());
      if (other === undefined) known.set(name.toLowerCase(), { arn, place: `identity.${member}.${who}` });
      else if (other.arn !== arn) {
        const message = `a role whose name no other role has: \`${arn}\` is called like \`${other.arn}\` (\`${other.place}\`), and the ARNs of their sessions would not tell them apart`;
        context.addIssue({ code: 'custom', path: [member, who], message });
      }
    }
  }
}

interface UserSources {
  readonly identity: Mappings;
  readonly managedKeys: ManagedKeys;
}

/** As in IAM, where the path is no part of a user's name; policies rely on it (`aws:username`). */
function refuseUsersOfOneName({ identity, managedKeys }: UserSources, context: z.RefinementCtx): void {
  const named: (readonly [path: readonly (string | number)[], arn: string])[] = [];
  for (const member of mappings)
    for (const [who, arn] of Object.entries(identity[member])) named.push([['identity', member, who], arn]);
  for (const [service, { principals }] of Object.entries(managedKeys))
    for (const [index, arn] of principals.entries()) named.push([['managedKeys', service, 'principals', index], arn]);
  const known = new Map<string, { readonly arn: string; readonly place: string }>();
  for (const [path, arn] of named) {
    if (!arn.includes(':user/')) continue;
    const name = arn.slice(arn.lastIndexOf('/') + 1).toLowerCase();
    const other = known.get(name);
    if (other === undefined) known.set(name, { arn, place: path.join('.') });
    const refuse = (message: string): void => context.addIssue({ code: 'custom', path: [...path], message });
    if (other !== undefined && other.arn !== arn)
      refuse(
        `a user whose name no other user has: \`${arn}\` is called like \`${other.arn}\` (\`${other.place}\`), and \`aws:username\` would not tell them apart`,
      );
    if (/^(?:unix|container)=/.test(name))
      refuse(`another name for \`${arn}\`: \`unix=…\` and \`container=…\` are kept for users of the operating system`);
  }
}

/** Nobody of another account ever calls. */
function refuseOtherAccounts(
  { account, managedKeys }: { readonly account: string; readonly managedKeys: ManagedKeys },
  context: z.RefinementCtx,
): void {
  for (const [service, { principals }] of Object.entries(managedKeys)) {
    for (const [index, arn] of principals.entries()) {
      if (arn.startsWith(`arn:aws:iam::${account}:`)) continue;
      const message = `a principal of the account ${account}, and not \`${arn}\``;
      context.addIssue({ code: 'custom', path: ['managedKeys', service, 'principals', index], message });
    }
  }
}

export const configurationSchema = z
  .strictObject({
    region: regionName.default('us-east-1'),
    account: account.default('000000000000'),
    /** Metadata, and the audit log unless it has a folder of its own. Nobody but the daemon's user may look into it. */
    dataDir: text,
    socket,
    listen: listen.prefault({}),
    /** Further Regions that this instance serves, each with a socket of its own. */
    regions: z.array(furtherRegion).default([]),
    keyStores: z.record(keyStoreName, keyStore),
    /** The one with the service keys, in which keys are made for whoever names none; absent: the only one. */
    defaultKeyStore: keyStoreName.optional(),
    identity: z
      .strictObject({
        /** Unix users (names or uids) who are the account's root. */
        root: z.array(z.union([text, z.int().min(0)], { error: 'a user name or a uid' })).default([0]),
        /** Unix user → principal. A user whom nothing maps is user/unix/NAME. */
        users: z.record(text, principal).default({}),
        /** Unix group → principal; the first that the user is in counts. */
        groups: z.record(text, principal).default({}),
        /** Whose word it takes that somebody is in a group: the kernel's, or that and what the user database says now. */
        groupsFrom: z
          .enum(['kernel', 'kernelAndDatabase'], { error: '`kernel` or `kernelAndDatabase`' })
          .default('kernel'),
        /** Cgroup → name of the container, whose root is `user/container/NAME/root`; the first that matches counts. */
        containers: z.record(containerCgroup, containerName).default({}),
        /** A folder of identity policies, `*.json`; absent: there are none. Read again at SIGHUP. */
        policies: text.optional(),
      })
      .superRefine(refuseRolesOfOneName)
      .prefault({}),
    /** Roles that can be assumed, by their names. Read again at SIGHUP. */
    roles: rolesSchema,
    /** AWS managed keys, by the names of their services. Read again at SIGHUP. */
    managedKeys: z.record(serviceName, managedKey).superRefine(refusePrincipalsOfTwo).default({}),
    audit: z
      .strictObject({
        folder: text.optional(),
        /** `default`: cryptographic operations are synced within 100 ms, changes before their answer. `always`: all before. */
        sync: z.enum(['default', 'always'], { error: '`default` or `always`' }).default('default'),
      })
      .prefault({}),
    /** What one payer may have at most, and all together. */
    budgets: budgetsSchema.prefault({}),
    log: z
      .strictObject({
        level: z
          .enum(['debug', 'info', 'warn', 'error'], { error: 'one of `debug`, `info`, `warn`, `error`' })
          .default('info'),
      })
      .prefault({}),
  })
  .superRefine(refuseUnclearDefault)
  .superRefine(refuseOtherAccounts)
  .superRefine(refuseUnclearRegions)
  .superRefine(refuseUsersOfOneName)
  .superRefine(refuseRolesOfTwoKinds);

type Parsed = z.output<typeof configurationSchema>;

export type {
  HsmConfiguration,
  KeyStoreConfiguration,
  MemberConfiguration,
  PinSource,
  TokenConfiguration,
} from './key-store-schema.ts';
export type TlsConfiguration = z.output<typeof tls>;
export type PemSource = z.output<typeof pem>;

/** One Region that the daemon serves: where it listens for it, and where its keys live. */
export interface RegionConfiguration {
  readonly region: string;
  readonly socket: Parsed['socket'];
  /** The listener for signed requests; absent: there is none. */
  readonly loopback?: LoopbackAddress | undefined;
  /** The one over HTTPS; absent: there is none. */
  readonly tls?: TlsConfiguration | undefined;
  /** The names of the key stores in which its keys are. */
  readonly keyStores: readonly string[];
  /** The one of them in which keys are made for whoever names none. */
  readonly defaultKeyStore: string;
  /** The services that have AWS managed keys in it, each with the principals that are that service; absent: none. */
  readonly managedKeys?: ReadonlyMap<string, readonly string[]> | undefined;
}

/** A valid configuration with absolute paths. */
export type Configuration = Omit<
  Parsed,
  'region' | 'regions' | 'socket' | 'listen' | 'keyStores' | 'defaultKeyStore' | 'managedKeys' | 'audit'
> & {
  readonly regions: readonly [RegionConfiguration, ...RegionConfiguration[]];
  /** By name. */
  readonly keyStores: ReadonlyMap<string, KeyStoreConfiguration>;
  /** The HSMs for custom key stores, by name: those without a PIN. Absent: there are none. */
  readonly hsms?: ReadonlyMap<string, HsmConfiguration>;
  /** The name of the key store that holds the service keys: those for metadata, access keys and session credentials. */
  readonly serviceKeyStore: string;
  readonly audit: { readonly folder: string; readonly sync: 'default' | 'always' };
};
