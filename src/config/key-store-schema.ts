/**
 * Key stores in the configuration: which tokens there are, how each is opened, and what is said of those that are one key store.
 *
 * A key store is one token, or a list of members that hold the same keys of ours. Whoever reads the configuration finds a list either way.
 */

import { z } from 'zod';
import { residencies } from '../kms/residencies.ts';

const text = z.string().min(1, { error: 'a text that is not empty' });

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

/** Which token, and how it is opened. */
const tokenMembers = {
  /** A file of `native-config/vendors/` without `.yaml`, or the path of one of your own. */
  profile: text,
  /** The vendor's PKCS#11 library; absent: the first of the profile's places where there is one. */
  library: text.optional(),
  token,
  /** Processes that load the library, and sessions in each; absent: what the profile says. */
  hosts: small(16).optional(),
  lanes: small(64).optional(),
  /** For `C_Initialize`'s reserved argument: NSS softoken takes its database's folder here. */
  libraryParameters: text.optional(),
  /** Variables that the library reads, such as SOFTHSM2_CONF. The host gets nothing else of the daemon's environment. */
  environment: z.record(z.string().regex(/^[A-Za-z_][A-Za-z0-9_]*$/), z.string()).default({}),
  /** Does what the library prints go into the log? A library that traces its calls prints PINs and plaintexts. */
  logLibraryOutput: z.boolean({ error: '`true` or `false`' }).optional(),
  deadlines: z
    .strictObject({
      /** How long one call to the HSM may take before its host is replaced; one that generates a key has 120 s at least. */
      callMs: small(600_000).default(10_000),
      /** How long it may take to load the library, log in and look at the token. */
      openMs: small(600_000).default(60_000),
    })
    .prefault({}),
};

/** What is said of a key store, however many tokens it has. */
const keyStoreMembers = {
  /** Where new keys live: in the token, or wrapped by it under a domain key, in the metadata. `drawbridge keys move` moves a key. */
  residency: z.enum(residencies, { error: '`token` or `wrapped`' }).default('token'),
  /**
   * Of a key store beside the default one: which keys can be made in it. `all`: pairs and HMAC keys too; absent: what AWS has in a
   * custom key store, symmetric encryption keys.
   */
  keySpecs: z.literal('all', { error: '`all`; or leave it out, for symmetric encryption keys alone' }).optional(),
};

const keyStoreOfOneToken = z.strictObject({
  ...tokenMembers,
  ...keyStoreMembers,
  /** Absent: CreateCustomKeyStore brings it. Then the HSM is for a custom key store, and no part of the daemon before. */
  pin: pin.optional(),
  /** Of an HSM without `pin`: the file of the certificate, in PEM, that CreateCustomKeyStore has to show. */
  trustAnchorCertificate: text.optional(),
});

const memberName = z.string().regex(/^[A-Za-z][A-Za-z0-9_-]{0,63}$/, {
  error: 'a name that begins with a letter and has at most 64 letters, digits, `-` and `_`',
});

const keyStoreOfMembers = z
  .strictObject({
    ...keyStoreMembers,
    /** Tokens that hold the same service keys and domain keys: any of them serves, and one that is away is not missed. */
    members: z
      .array(z.strictObject({ name: memberName, ...tokenMembers, pin }))
      .min(1, { error: 'a list of at least one token' })
      .max(16, { error: 'a list of at most 16 tokens' }),
  })
  .superRefine(refuseMembersOfOneKind);

interface Members {
  readonly members: readonly Pick<
    z.output<typeof keyStoreOfOneToken> & { readonly name: string },
    'name' | 'token' | 'library' | 'profile' | 'libraryParameters' | 'environment'
  >[];
}

/** One token under two names would be logged into twice as often, and missed twice when it is away. */
function refuseMembersOfOneKind({ members }: Members, context: z.RefinementCtx): void {
  const names = new Set<string>();
  const tokens = new Map<string, string>();
  for (const [at, { name, token: place, library, profile, libraryParameters, environment }] of members.entries()) {
    const refuse = (member: string, message: string): void =>
      context.addIssue({ code: 'custom', path: ['members', at, member], message });
    if (names.has(name)) refuse('name', 'each name once');
    names.add(name);
    const variables = Object.entries(environment).sort(([one], [other]) => (one < other ? -1 : 1));
    const where = JSON.stringify([place, library, profile, libraryParameters, variables]);
    const other = tokens.get(where);
    if (other !== undefined) refuse('token', `another token than that of the member \`${other}\``);
    tokens.set(where, name);
  }
}

type WrittenKeyStoreOfOneToken = z.output<typeof keyStoreOfOneToken> & { readonly members?: undefined };
type WrittenKeyStoreOfMembers = z.output<typeof keyStoreOfMembers> & {
  readonly pin?: undefined;
  readonly trustAnchorCertificate?: undefined;
};

const ofOneToken = Object.keys(keyStoreOfOneToken.shape).filter((name) => !(name in keyStoreMembers));

/** What is said of a token stands beside no list of them. */
function ofEachMember(issue: z.core.$ZodIssue): readonly z.core.$ZodIssue[] {
  if (issue.code !== 'unrecognized_keys' || issue.path.length > 0) return [issue];
  const isKnown = (key: string): boolean => ofOneToken.includes(key);
  const misplaced = issue.keys.filter(isKnown).map((key): z.core.$ZodIssue => {
    const message =
      key === 'trustAnchorCertificate'
        ? 'nothing here: a custom key store is one HSM, without `members`'
        : 'nothing here: with `members`, say it of each member';
    return { code: 'custom', path: [key], message };
  });
  const unknown = issue.keys.filter((key) => !isKnown(key));
  return unknown.length === 0 ? misplaced : [...misplaced, { ...issue, keys: unknown }];
}

/** One token, or a list of them: what is wrong with either is said in its own words. */
export const keyStore = z
  .unknown()
  .transform((value, context): WrittenKeyStoreOfOneToken | WrittenKeyStoreOfMembers => {
    const isOfMembers = typeof value === 'object' && value !== null && 'members' in value;
    const parsed = (isOfMembers ? keyStoreOfMembers : keyStoreOfOneToken).safeParse(value);
    if (parsed.success) return parsed.data;
    for (const issue of parsed.error.issues.flatMap((each) => (isOfMembers ? ofEachMember(each) : each)))
      context.issues.push({ ...issue, input: value } as z.core.$ZodRawIssue);
    return z.NEVER;
  });

/** As it stands in records, log lines and paths of requests, and in `CustomKeyStoreId`, where AWS's own begin with `cks-`. */
export const keyStoreName = z.string().regex(/^(?!cks-)[A-Za-z][A-Za-z0-9_-]{0,63}$/, {
  error: 'a name that begins with a letter, not with `cks-`, and has at most 64 letters, digits, `-` and `_`',
});

interface KeyStores {
  readonly keyStores: Readonly<
    Record<
      string,
      Pick<z.output<typeof keyStore>, 'pin' | 'trustAnchorCertificate' | 'residency' | 'keySpecs' | 'members'>
    >
  >;
  readonly defaultKeyStore?: string | undefined;
}

/** Where there are several, which one is meant is said, and not guessed by their order. */
export function refuseUnclearDefault({ keyStores, defaultKeyStore }: KeyStores, context: z.RefinementCtx): void {
  const all = Object.entries(keyStores);
  const isOurs = ({ pin: place, members }: (typeof keyStores)[string]): boolean =>
    place !== undefined || members !== undefined;
  const names = all.filter(([, each]) => isOurs(each)).map(([name]) => name);
  const refuse = (path: readonly (string | number)[], message: string): void =>
    context.addIssue({ code: 'custom', path: [...path], message });
  const theDefault = defaultKeyStore ?? (names.length === 1 ? names[0] : undefined);
  for (const [name, { pin: place, trustAnchorCertificate, residency, keySpecs, members }] of all) {
    for (const [at, { name: member }] of (members ?? []).entries())
      if (member === name)
        refuse(['keyStores', name, 'members', at, 'name'], 'another name than that of the key store');
    if (members !== undefined) continue;
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

type Token = z.output<typeof keyStoreOfOneToken>;
/** How a token is found and opened. */
export type TokenConfiguration = Pick<Token, keyof typeof tokenMembers>;
/** A token of a key store: of several, or its only one, which has its name. */
export type MemberConfiguration = TokenConfiguration & { readonly name: string; readonly pin: PinSource };
/** A key store of the daemon's own. */
export type KeyStoreConfiguration = Pick<Token, keyof typeof keyStoreMembers> & {
  readonly members: readonly [MemberConfiguration, ...MemberConfiguration[]];
};
/** An HSM for a custom key store. */
export type HsmConfiguration = TokenConfiguration & { readonly trustAnchorCertificate: string };
export type PinSource = z.output<typeof pin>;
