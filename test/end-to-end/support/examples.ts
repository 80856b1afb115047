/**
 * A request of each operation that is built, and what it is about: for tests that say something of all of them.
 *
 * Drawn from the table of operations, so that a new one is in those tests by itself: a required member that names a key
 * names the subject's, and any other has the first value that its schema takes. What that cannot know stands in `special`,
 * by operation: optional members without which the request says nothing, and what must be there before it.
 */

import type * as Sdk from '@aws-sdk/client-kms';
import type { GrantOperation, KeySpec, KeyUsageType, KMS } from '@aws-sdk/client-kms';
import { isOperationOf } from '../../../src/kms/grant-terms.ts';
import type { KeyUsage } from '../../../src/kms/key-specs.ts';
import type { AnyOperation } from '../../../src/operations/declaration/operation.ts';
import type { DecodeContext, Members, Shape } from '../../../src/operations/declaration/schema.ts';
import { type BuiltOperationName, operations } from '../../../src/operations/find-operation.ts';
import { Plaintext as SecretBytes } from '../../../src/secrets/secret-bytes.ts';
import { unixUserArn } from './arns.ts';
import { present } from './daemon.ts';
import { newGrant } from './grants.ts';
import { allow, policy } from './policies.ts';

/** What a request is about. */
export interface Subject {
  readonly keyId: string;
  /** What the key made of `Plaintext`: a ciphertext, a signature or a MAC; of a key agreement key, its own public key. */
  readonly made: Uint8Array;
  /** An alias of the key, where the example takes one. */
  readonly alias: string;
  /** A grant on the key, where the example takes one or one was asked for. */
  readonly grantId: string;
}

/** Of a key that makes `made` of `Plaintext`. */
interface Kind {
  readonly spec: readonly [KeySpec, KeyUsageType];
  /** Whose material is imported: it has none. */
  readonly origin?: 'EXTERNAL';
  make(kms: KMS, keyId: string): Promise<Uint8Array | undefined>;
}

export interface Example {
  readonly operation: string;
  /** Its permissions on keys, which key policies give; none, if it is not about a key. */
  readonly actions: readonly string[];
  /** What a grant allows that gives these; empty for what no grant can give. */
  readonly grants: readonly GrantOperation[];
  readonly kind: Kind;
  /** What of its subject it takes beside the key. */
  readonly takes: 'made' | 'alias' | 'grant' | undefined;
  /** Its subject is not what it was when the operation is done. */
  readonly spends: boolean;
  /** No tested token has keys for it: whoever may is told that the subject's key is not one. */
  readonly isForOtherKeys: boolean;
  /** A grant decides, and no key policy. */
  readonly isOnGrant: boolean;
  readonly hasDryRun: boolean;
  /** As the SDK takes it. */
  input(subject: Subject): Readonly<Record<string, unknown>>;
}

type InputOf<Name extends BuiltOperationName> = InstanceType<(typeof Sdk)[`${Name}Command`]>['input'];
interface Special<Input> {
  readonly input?: (subject: Subject) => Partial<Input>;
  readonly takes?: Example['takes'];
  readonly kind?: Kind;
  /** It changes something, and its subject is as good as before. */
  readonly spends?: false;
}

const Plaintext = Buffer.from('x');
const signing = { Message: Plaintext, SigningAlgorithm: 'ECDSA_SHA_256' } as const;
const authentication = { Message: Plaintext, MacAlgorithm: 'HMAC_SHA_256' } as const;

const symmetric: Kind = {
  spec: ['SYMMETRIC_DEFAULT', 'ENCRYPT_DECRYPT'],
  make: async (kms, KeyId) => (await kms.encrypt({ KeyId, Plaintext })).CiphertextBlob,
};
const signer: Kind = {
  spec: ['ECC_NIST_P256', 'SIGN_VERIFY'],
  make: async (kms, KeyId) => (await kms.sign({ KeyId, ...signing })).Signature,
};
const authenticator: Kind = {
  spec: ['HMAC_256', 'GENERATE_VERIFY_MAC'],
  make: async (kms, KeyId) => (await kms.generateMac({ KeyId, ...authentication })).Mac,
};
const external: Kind = {
  spec: ['SYMMETRIC_DEFAULT', 'ENCRYPT_DECRYPT'],
  origin: 'EXTERNAL',
  make: async () => Plaintext,
};
const agreement: Kind = {
  spec: ['ECC_NIST_P256', 'KEY_AGREEMENT'],
  make: async (kms, KeyId) => (await kms.getPublicKey({ KeyId })).PublicKey,
};
/** `undefined`: no tested token has such keys. */
const kinds: Readonly<Record<KeyUsage, Kind | undefined>> = {
  ENCRYPT_DECRYPT: symmetric,
  SIGN_VERIFY: signer,
  GENERATE_VERIFY_MAC: authenticator,
  KEY_AGREEMENT: agreement,
  ENCAPSULATE_DECAPSULATE: undefined,
};

/** The grantee of grants that nobody else is asked for. */
const other = unixUserArn('daemon');
let aliases = 0;
function nextAlias(): string {
  aliases += 1;
  return `alias/subject/${aliases}`;
}

const special: { readonly [Name in BuiltOperationName]?: Special<InputOf<Name>> } = {
  CreateAlias: { input: () => ({ AliasName: nextAlias() }), spends: false },
  // Of an HSM that is none: whoever may ask is told so.
  CreateCustomKeyStore: {
    input: () => ({
      CloudHsmClusterId: 'cluster-1a23b4cdefg',
      TrustAnchorCertificate: 'none',
      KeyStorePassword: 'a password',
    }),
    spends: false,
  },
  CreateGrant: { input: () => ({ GranteePrincipal: other, Operations: ['Encrypt'] }), spends: false },
  Decrypt: { input: ({ keyId, made }) => ({ KeyId: keyId, CiphertextBlob: made }), takes: 'made' },
  DeleteAlias: { input: ({ alias }) => ({ AliasName: alias }), takes: 'alias' },
  DeleteImportedKeyMaterial: { kind: external, spends: false },
  DeriveSharedSecret: { input: ({ made }) => ({ PublicKey: made }), takes: 'made' },
  GenerateDataKey: { input: () => ({ KeySpec: 'AES_256' }) },
  GenerateDataKeyPair: { input: () => ({ KeyPairSpec: 'ECC_NIST_P256' }) },
  GenerateDataKeyPairWithoutPlaintext: { input: () => ({ KeyPairSpec: 'ECC_NIST_P256' }) },
  GenerateDataKeyWithoutPlaintext: { input: () => ({ KeySpec: 'AES_256' }) },
  GenerateMac: { input: () => authentication },
  GenerateRandom: { input: () => ({ NumberOfBytes: 1 }) },
  // With an algorithm that is not taken any more: whoever may ask is told so, and no pair is generated for him.
  GetParametersForImport: {
    input: () => ({ WrappingAlgorithm: 'RSAES_PKCS1_V1_5', WrappingKeySpec: 'RSA_2048' }),
    kind: external,
    spends: false,
  },
  GetPublicKey: { kind: signer },
  // With a token that is none: whoever may import is told so.
  ImportKeyMaterial: {
    input: () => ({ ExpirationModel: 'KEY_MATERIAL_DOES_NOT_EXPIRE' }),
    kind: external,
    spends: false,
  },
  ListAliases: { input: ({ keyId }) => ({ KeyId: keyId }) },
  ListRetirableGrants: { input: () => ({ RetiringPrincipal: unixUserArn('nobody') }) },
  PutKeyPolicy: { input: () => ({ Policy: policy(allow('*', 'kms:*')) }) },
  ReEncrypt: { input: ({ keyId, made }) => ({ SourceKeyId: keyId, CiphertextBlob: made }), takes: 'made' },
  // Of a key of a single Region: whoever may is told so.
  ReplicateKey: { input: () => ({ ReplicaRegion: 'us-east-1' }), spends: false },
  RetireGrant: { input: ({ keyId, grantId }) => ({ KeyId: keyId, GrantId: grantId }), takes: 'grant' },
  RevokeGrant: { input: ({ grantId }) => ({ GrantId: grantId }), takes: 'grant' },
  Sign: { input: () => signing },
  UpdateAlias: { input: ({ alias }) => ({ AliasName: alias }), takes: 'alias', spends: false },
  UpdatePrimaryRegion: { input: () => ({ PrimaryRegion: 'us-east-1' }), spends: false },
  Verify: { input: ({ made }) => ({ ...signing, Signature: made }), takes: 'made' },
  VerifyMac: { input: ({ made }) => ({ ...authentication, Mac: made }), takes: 'made' },
};

export const examples: readonly Example[] = operations.map(exampleOf);

function exampleOf(operation: AnyOperation): Example {
  // Safe: the row of an operation's own name, or none.
  const row = (special as Readonly<Record<string, Special<object>>>)[operation.name] ?? {};
  const needs = Object.values(operation.needs.keys ?? {});
  const usage = needs.find((need) => need.usage !== undefined)?.usage;
  const kind = row.kind ?? (usage === undefined ? symmetric : (kinds[usage] ?? symmetric));
  const [keySpec, keyUsage] = kind.spec;
  const input = (subject: Subject): Record<string, unknown> => {
    const given: Record<string, unknown> = { ...row.input?.(subject) };
    for (const [name, shape] of Object.entries(operation.request.members ?? {})) {
      if ('optional' in shape || name in given) continue;
      given[name] = /KeyId$/.test(name) ? subject.keyId : someValue(shape, `${operation.name}.${name}`);
    }
    return given;
  };
  const about = { keyId: 'k', made: Plaintext, alias: 'alias/a', grantId: 'g' };
  return {
    operation: operation.name,
    actions: [...new Set(needs.map(({ action }) => action))],
    grants: needs
      .flatMap(({ grant, newGrant }) => [
        ...(grant === undefined ? [] : [grant]),
        ...operationsOf(newGrant?.(input(about))),
      ])
      .filter((grant) => isOperationOf(grant, { keySpec, keyUsage })),
    kind,
    takes: row.takes,
    spends: operation.effect === 'changes' && row.spends !== false,
    isForOtherKeys: usage !== undefined && kinds[usage] === undefined,
    isOnGrant: needs.some(({ retires }) => retires !== undefined),
    hasDryRun: operation.request.members?.['DryRun'] !== undefined,
    input,
  };
}

function operationsOf(
  terms: { readonly operations: readonly GrantOperation[] } | undefined,
): readonly GrantOperation[] {
  return terms?.operations ?? [];
}

/** Tried in turn, as on the wire: a text, a blob, a number or time, a boolean, a list, a map. */
const candidates: readonly unknown[] = ['x', Plaintext.toString('base64'), 1, true, [], {}];

/** Some value that the schema of a required member takes. */
function someValue(shape: Shape<unknown> & { readonly members?: Members }, path: string): unknown {
  if (shape.members !== undefined) {
    const required = Object.entries(shape.members).filter(([, member]) => !('optional' in member));
    return Object.fromEntries(required.map(([name, member]) => [name, someValue(member, `${path}.${name}`)]));
  }
  for (const candidate of candidates) {
    const { value, problem } = decoded(shape, candidate);
    if (problem === undefined) return value instanceof SecretBytes ? Plaintext : value;
    // An enumeration says what it takes.
    const [, first] = /enum value set: \[(\w+)/.exec(problem) ?? [];
    if (first !== undefined) return first;
  }
  throw new Error(`say what an example has for ${path}, in special of test/end-to-end/support/examples.ts`);
}

function decoded(shape: Shape<unknown>, candidate: unknown): { readonly value?: unknown; readonly problem?: string } {
  const context: DecodeContext = { unknownMembers: 'refuse', problems: [], secrets: [] };
  try {
    const value = shape.decode(candidate, '', context);
    const [problem] = context.problems;
    return problem === undefined ? { value } : { problem };
  } catch (error) {
    return { problem: String(error) };
  }
}

/** The same input as JSON has it: blobs are base64. */
export function onWire(input: Readonly<Record<string, unknown>>): Readonly<Record<string, unknown>> {
  return Object.fromEntries(
    Object.entries(input).map(([name, value]) => [
      name,
      value instanceof Uint8Array ? Buffer.from(value).toString('base64') : value,
    ]),
  );
}

/**
 * A key under a policy, with what the example takes from before the policy came.
 * @param grants A grant of these to the Unix user `nobody`.
 */
export async function newSubject(
  kms: KMS,
  { kind, takes }: Example,
  document: string,
  grants?: readonly GrantOperation[],
): Promise<Subject> {
  const subject = { made: Plaintext as Uint8Array, alias: nextAlias(), grantId: '' };
  if (takes === undefined && grants === undefined)
    return { ...subject, keyId: await newKeyOfKind(kms, kind, document) };
  const keyId = await newKeyOfKind(kms, kind);
  const terms = {
    GranteePrincipal: grants === undefined ? other : unixUserArn('nobody'),
    Operations: [...(grants ?? ['DescribeKey' as const])],
  };
  if (takes === 'made') subject.made = Buffer.from(present(await kind.make(kms, keyId)));
  if (takes === 'alias') await kms.createAlias({ AliasName: subject.alias, TargetKeyId: keyId });
  if (takes === 'grant' || grants !== undefined) subject.grantId = (await newGrant(kms, keyId, terms)).id;
  await kms.putKeyPolicy({ KeyId: keyId, Policy: document, BypassPolicyLockoutSafetyCheck: true });
  return { ...subject, keyId };
}

async function newKeyOfKind(kms: KMS, { spec, origin }: Kind, document?: string): Promise<string> {
  const [KeySpec, KeyUsage] = spec;
  const own = document === undefined ? {} : { Policy: document, BypassPolicyLockoutSafetyCheck: true };
  const { KeyMetadata } = await kms.createKey({ KeySpec, KeyUsage, ...own, Origin: origin ?? 'AWS_KMS' });
  return present(KeyMetadata?.KeyId);
}
