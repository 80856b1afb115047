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
import { residencies } from '../kms/residencies.ts';
import { budgetsSchema } from './budgets-schema.ts';
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

const credentialName = z.string().regex(/^[A-Za-z0-9_.-]+$/);

const pinExpectation =
  'one of { file: PATH }, { env: NAME } or { credential: NAME }; a PIN itself is never written into the configuration, ' +
  'because backups, editors and version control copy that file';
const pin = z.union(
  [
    z.strictObject({ file: text }),
    z.strictObject({ env: z.string().regex(/^[A-Za-z_][A-Za-z0-9_]*$/) }),
    z.strictObject({ credential: credentialName }),
  ],
  { error: pinExpectation },
);

const token = z.union([z.strictObject({ label: text }), z.strictObject({ serial: text })], {
  error: 'either { label: TEXT } or { serial: TEXT }; a token is never named by its slot number, which changes',
});

const small = (max: number) =>
  z
    .int({ error: `a whole number from 1 to ${max}` })
    .min(1, { error: `a whole number from 1 to ${max}` })
    .max(max, {
      error: `a whole number from 1 to ${max}`,
    });

const keyStore = z.strictObject({
  /** A file of `native-config/vendors/` without `.yaml`, or the path of one of your own. */
  profile: text,
  /** The vendor's PKCS#11 library; absent: the first of the profile's places where there is one. */
  library: text.optional(),
  token,
  /** Absent: CreateCustomKeyStore brings it. Then the HSM is for a custom key store, and no part of the daemon before. */
  pin: pin.optional(),
  /** Of an HSM without `pin`: the file of the certificate, in PEM, that CreateCustomKeyStore has to show. */
  trustAnchorCertificate: text.optional(),
  /** Where new keys live: in the token, or wrapped by it under a domain key, in the metadata. A key stays what it was made as. */
  residency: z.enum(residencies, { error: '`token` or `wrapped`' }).default('token'),
  /** Processes that load the library, and sessions in each; absent: what the profile says. */
  hosts: small(16).optional(),
  lanes: small(64).optional(),
  /** For `C_Initialize`'s reserved argument: NSS softoken takes its database's folder here. */
  libraryParameters: text.optional(),
  /** Variables that the library reads, such as SOFTHSM2_CONF. The host gets nothing else of the daemon's environment. */
  environment: z.record(z.string().regex(/^[A-Za-z_][A-Za-z0-9_]*$/), z.string()).default({}),
  deadlines: z
    .strictObject({
      /** How long one call to the HSM may take before its host is replaced; one that generates a key has 120 s at least. */
      callMs: small(600_000).default(10_000),
      /** How long it may take to load the library, log in and look at the token. */
      openMs: small(600_000).default(60_000),
    })
    .prefault({}),
  /**
   * Of a key store beside the default one: which keys can be made in it. `all`: pairs and HMAC keys too; absent: what AWS has in a
   * custom key store, symmetric encryption keys.
   */
  keySpecs: z.literal('all', { error: '`all`; or leave it out, for symmetric encryption keys alone' }).optional(),
});

/** As it stands in records, log lines and paths of requests, and in `CustomKeyStoreId`, where AWS's own begin with `cks-`. */
const keyStoreName = z.string().regex(/^(?!cks-)[A-Za-z][A-Za-z0-9_-]{0,63}$/, {
  error: 'a name that begins with a letter, not with `cks-`, and has at most 64 letters, digits, `-` and `_`',
});

interface KeyStores {
  readonly keyStores: Readonly<
    Record<string, Pick<z.output<typeof keyStore>, 'pin' | 'trustAnchorCertificate' | 'residency' | 'keySpecs'>>
  >;
  readonly defaultKeyStore?: string | undefined;
}

/** Where there are several, which one is meant is said, and not guessed by their order. */
function refuseUnclearDefault({ keyStores, defaultKeyStore }: KeyStores, context: z.RefinementCtx): void {
  const all = Object.entries(keyStores);
  const names = all.filter(([, { pin: place }]) => place !== undefined).map(([name]) => name);
  const refuse = (path: readonly string[], message: string): void =>
    context.addIssue({ code: 'custom', path: [...path], message });
  const theDefault = defaultKeyStore ?? (names.length === 1 ? names[0] : undefined);
  for (const [name, { pin: place, trustAnchorCertificate, residency, keySpecs }] of all) {
    if (place === undefined && trustAnchorCertificate === undefined)
      refuse(
        ['keyStores', name, 'pin'],
        `${pinExpectation}; of an HSM for a custom key store, \`trustAnchorCertificate\` instead`,
      );
    if (place !== undefined && trustAnchorCertificate !== undefined)
      refuse(
        ['keyStores', name, 'trustAnchorCertificate'],
        'nothing here: an HSM with a `pin` is for no custom key store',
      );
    if (place === undefined && residency !== 'token')
      refuse(['keyStores', name, 'residency'], '`token`: the keys of a custom key store stay in its HSM');
    if (place === undefined && keySpecs !== undefined)
      refuse(['keyStores', name, 'keySpecs'], 'nothing here: a custom key store takes what AWS lets it take');
  }
  if (names.length === 0) {
    refuse(['keyStores'], 'a key store with a `pin` under a name, such as `default`');
  } else if (theDefault === undefined || !names.includes(theDefault)) {
    const one = names.map((name) => `\`${name}\``).join(', ');
    refuse(
      ['defaultKeyStore'],
      `the name of the key store that has the service keys and the keys of whoever names none; one of ${one}`,
    );
  } else if (keyStores[theDefault]?.keySpecs !== undefined) {
    refuse(['keyStores', theDefault, 'keySpecs'], 'nothing here: the default key store takes all keys');
  }
}

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

type AnyHsm = z.output<typeof keyStore>;
/** How a token is found and opened. */
export type TokenConfiguration = Omit<AnyHsm, 'pin' | 'trustAnchorCertificate' | 'keySpecs'>;
/** A key store of the daemon's own. */
export type KeyStoreConfiguration = TokenConfiguration & Pick<AnyHsm, 'keySpecs'> & { readonly pin: PinSource };
/** An HSM for a custom key store. */
export type HsmConfiguration = TokenConfiguration & { readonly trustAnchorCertificate: string };
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
export type PinSource = z.output<typeof pin>;
