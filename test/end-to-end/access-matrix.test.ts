/**
 * Who may do what under which key policy, grant and identity policy: principal × operation × key state × mechanism, written
 * to `access-matrix.txt`, which is reviewed like code. A change of any decision is a change of that file.
 *
 * Keys are enabled, disabled or pending deletion; no request leads there yet, so the records are changed while the daemon is
 * stopped. What a caller who may is told then is named here only where it is what the table of key states has for the operation.
 */

import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { GrantOperation, KeySpec, KeyUsageType, KMS } from '@aws-sdk/client-kms';
import * as sdk from '@aws-sdk/client-kms';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { type KeyState, stateRefusal } from '../../src/kms/key-states.ts';
import { findOperation } from '../../src/operations/find-operation.ts';
import { type Instance, missingForInstance, startInstance } from '../support/instance.ts';
import { setKeyState } from '../support/key-states.ts';
import { keyArn, unixUserArn } from './support/arns.ts';
import { kmsOver } from './support/connect.ts';
import { bootTimeoutMs, newKeyOf, present } from './support/daemon.ts';
import { newGrant } from './support/grants.ts';
import { may, writeIdentityPolicy } from './support/identity-policies.ts';
import { allow, deny, policy, rootMayAll } from './support/policies.ts';
import type { Reply } from './support/unix-client.ts';
import { runsAsRoot, sayIfNotRoot, UnixClient, unixUsers } from './support/unix-users.ts';

const nobody = unixUserArn('nobody');
const other = unixUserArn('daemon');
/** Whose identity policy allows everything. */
const delegate = unixUserArn('www-data');

interface Subject {
  readonly keyId: string;
  /** What the key made of `Plaintext`: a ciphertext, a signature or a MAC; of a key agreement key, its own public key. */
  readonly made: Uint8Array;
  /** An alias of the key. */
  readonly alias: string;
  /** A grant on the key; to the user, where the row of the table says so. */
  readonly grantId: string;
}

/** Of a key that makes `made` of `Plaintext`. */
interface Kind {
  readonly spec: readonly [KeySpec, KeyUsageType];
  make(kms: KMS, keyId: string): Promise<Uint8Array | undefined>;
}

interface Row {
  readonly operation: string;
  /** What the policies below allow and deny; `null` for what no key policy can give. */
  readonly action: string | null;
  /** What a grant allows that gives this; absent for what no grant can give. */
  readonly grant?: readonly GrantOperation[];
  /** Symmetric, if nothing else is said. */
  readonly kind?: Kind;
  /** What of its subject it takes beside the key. */
  readonly takes?: 'made' | 'alias' | 'grant';
  /** Its subject is not what it was when the operation is done. */
  readonly spends?: true;
  input(subject: Subject): object;
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
const agreement: Kind = {
  spec: ['ECC_NIST_P256', 'KEY_AGREEMENT'],
  make: async (kms, KeyId) => (await kms.getPublicKey({ KeyId })).PublicKey,
};

type Input = Row['input'];

/** An operation on a key that key policies and grants can allow, each by its own name. */
const use = (operation: GrantOperation, input: Input, kind: Kind = symmetric): Row => ({
  operation,
  action: `kms:${operation}`,
  grant: [operation],
  kind,
  input,
});
/** The same for what no grant can allow. */
const manage = (operation: string, input: Input, more: Partial<Row> = {}): Row => ({
  operation,
  action: `kms:${operation}`,
  input,
  ...more,
});
/** Not about a key. */
const elsewhere = (operation: string, input: object): Row => ({ operation, action: null, input: () => input });

let aliases = 0;
const nextAlias = (): string => {
  aliases += 1;
  return `alias/subject/${aliases}`;
};

const rows: readonly Row[] = [
  manage('CreateAlias', ({ keyId }) => ({ AliasName: nextAlias(), TargetKeyId: keyId })),
  {
    ...use('CreateGrant', ({ keyId }) => ({ KeyId: keyId, GranteePrincipal: other, Operations: ['Encrypt'] })),
    grant: ['CreateGrant', 'Encrypt'],
  },
  elsewhere('CreateKey', {}),
  // Of a key of another kind, because no tested token has such keys: who may is told that it is not one.
  manage('Decapsulate', ({ keyId }) => ({
    KeyId: keyId,
    SharedSecretCiphertextBlob: Plaintext,
    EncapsulationAlgorithm: 'ML_KEM',
  })),
  { ...use('Decrypt', ({ keyId, made }) => ({ KeyId: keyId, CiphertextBlob: made })), takes: 'made' },
  manage('DeleteAlias', ({ alias }) => ({ AliasName: alias }), { takes: 'alias', spends: true }),
  {
    ...use(
      'DeriveSharedSecret',
      ({ keyId, made }) => ({ KeyId: keyId, PublicKey: made, KeyAgreementAlgorithm: 'ECDH' }),
      agreement,
    ),
    takes: 'made',
  },
  use('DescribeKey', ({ keyId }) => ({ KeyId: keyId })),
  manage('Encapsulate', ({ keyId }) => ({ KeyId: keyId, EncapsulationAlgorithm: 'ML_KEM' })),
  use('Encrypt', ({ keyId }) => ({ KeyId: keyId, Plaintext })),
  use('GenerateDataKey', ({ keyId }) => ({ KeyId: keyId, KeySpec: 'AES_256' })),
  use('GenerateDataKeyPair', ({ keyId }) => ({ KeyId: keyId, KeyPairSpec: 'ECC_NIST_P256' })),
  use('GenerateDataKeyPairWithoutPlaintext', ({ keyId }) => ({ KeyId: keyId, KeyPairSpec: 'ECC_NIST_P256' })),
  use('GenerateDataKeyWithoutPlaintext', ({ keyId }) => ({ KeyId: keyId, KeySpec: 'AES_256' })),
  use('GenerateMac', ({ keyId }) => ({ KeyId: keyId, ...authentication }), authenticator),
  elsewhere('GenerateRandom', { NumberOfBytes: 1 }),
  manage('GetKeyPolicy', ({ keyId }) => ({ KeyId: keyId })),
  use('GetPublicKey', ({ keyId }) => ({ KeyId: keyId }), signer),
  elsewhere('ListAliases', {}),
  manage('ListGrants', ({ keyId }) => ({ KeyId: keyId })),
  manage('ListKeyPolicies', ({ keyId }) => ({ KeyId: keyId })),
  elsewhere('ListKeys', {}),
  elsewhere('ListRetirableGrants', { RetiringPrincipal: nobody }),
  manage('PutKeyPolicy', ({ keyId }) => ({ KeyId: keyId, Policy: policy(allow('*', 'kms:*')) }), { spends: true }),
  {
    operation: 'ReEncrypt',
    action: 'kms:ReEncrypt*',
    grant: ['ReEncryptFrom', 'ReEncryptTo'],
    takes: 'made',
    input: ({ keyId, made }) => ({ SourceKeyId: keyId, CiphertextBlob: made, DestinationKeyId: keyId }),
  },
  {
    ...use('RetireGrant', ({ keyId, grantId }) => ({ KeyId: keyId, GrantId: grantId })),
    takes: 'grant',
    spends: true,
  },
  manage('RevokeGrant', ({ keyId, grantId }) => ({ KeyId: keyId, GrantId: grantId }), { takes: 'grant', spends: true }),
  use('Sign', ({ keyId }) => ({ KeyId: keyId, ...signing }), signer),
  manage('UpdateAlias', ({ keyId, alias }) => ({ AliasName: alias, TargetKeyId: keyId }), { takes: 'alias' }),
  { ...use('Verify', ({ keyId, made }) => ({ KeyId: keyId, ...signing, Signature: made }), signer), takes: 'made' },
  {
    ...use('VerifyMac', ({ keyId, made }) => ({ KeyId: keyId, ...authentication, Mac: made }), authenticator),
    takes: 'made',
  },
];

/** Every action that a key policy can give, but one. */
const allBut = (action: string): string[] =>
  rows.flatMap((row) => (row.action === null || row.action === action ? [] : [row.action]));

const policies: readonly (readonly [name: string, document: (action: string) => string])[] = [
  ['the account may all', () => policy(rootMayAll)],
  ['the user may this', (action) => policy(rootMayAll, allow(nobody, action))],
  ['the user may all but this', (action) => policy(rootMayAll, allow(nobody, allBut(action)))],
  ['the user alone may all', () => policy(allow(nobody, 'kms:*'))],
  ['everybody may all', () => policy(allow('*', 'kms:*'))],
  ['everybody may all, nobody this', (action) => policy(allow('*', 'kms:*'), deny('*', action))],
];

/** As above, and the user has a grant of it. */
const withGrant: typeof policies = [
  ['a grant allows the user this', () => policy(rootMayAll)],
  ['a grant, and nobody may this', (action) => policy(rootMayAll, deny('*', action))],
];

const principals = ['root', 'user', 'delegate'] as const;
const widths = [37, 17, 33, 27, 27, 0];
const lineOf = (cells: readonly string[]): string =>
  cells
    .map((cell, at) => cell.padEnd(widths[at] ?? 0))
    .join('')
    .trimEnd();

const missing = missingForInstance();
sayIfNotRoot('The access matrix');
describe.skipIf(!runsAsRoot || missing !== null)('The access matrix', () => {
  const folder = mkdtempSync(join(tmpdir(), 'drawbridge-matrix-'));
  let instance: Instance;
  let kms: KMS;
  const clients = new Map<(typeof principals)[number], UnixClient>();
  const as = (name: (typeof principals)[number]): UnixClient => present(clients.get(name));

  const connect = async (): Promise<void> => {
    kms = kmsOver(instance.socket);
    clients.set('root', await UnixClient.start(instance.socket, { uid: 0, gid: 0 }));
    clients.set('user', await UnixClient.start(instance.socket, unixUsers.nobody));
    clients.set('delegate', await UnixClient.start(instance.socket, unixUsers['www-data']));
  };
  const disconnect = async (): Promise<void> => {
    for (const client of clients.values()) await client.stop();
    kms.destroy();
  };

  beforeAll(async () => {
    writeIdentityPolicy(folder, 'all.json', [delegate], may('kms:*'));
    instance = await startInstance({ policies: folder });
    await connect();
  }, bootTimeoutMs);
  afterAll(async () => {
    await disconnect();
    await instance.stop();
    rmSync(folder, { recursive: true, force: true });
  }, bootTimeoutMs);

  test('is the reviewed one', async () => {
    const shared: SharedSubjects = new Map();
    const enabled = await prepare(kms, shared);
    const linesOf = (state: KeyState, cases: readonly PreparedCase[]): Promise<readonly string[]> =>
      Promise.all(
        cases.map(async ({ row, mechanism, subjects }) => {
          const verdicts = principals.map(async (principal, at) => {
            const subject = present(subjects[at]);
            const reply = await as(principal).send(row.operation, row.input(subject));
            return verdictOf(reply, row.action === null ? [] : stateRefusals(row.operation, state, subject.keyId));
          });
          return lineOf([row.operation, row.action === null ? '' : state, mechanism, ...(await Promise.all(verdicts))]);
        }),
      );
    const unusable = [];
    for (const state of ['Disabled', 'PendingDeletion'] as const) {
      unusable.push({ state, cases: (await prepare(kms, shared)).filter(({ row }) => row.action !== null) });
    }
    const lines = [...(await linesOf('Enabled', enabled))];
    for (const { state, cases } of unusable) {
      await disconnect();
      await instance.kill9();
      const keyIds = cases.flatMap(({ subjects }) => subjects.map(({ keyId }) => keyId));
      await setKeyState(instance.dir, new Set(keyIds), state);
      instance = await instance.restart();
      await connect();
      lines.push(...(await linesOf(state, cases)));
    }
    const header = lineOf(['operation', 'key', 'key policy', 'root', 'user', 'user with identity policy']);
    await expect(`${[header, ...lines].join('\n')}\n`).toMatchFileSnapshot('./access-matrix.txt');
  }, 240_000);

  test('has a row for every operation of the SDK that is there', async () => {
    const named = new Set(rows.map(({ operation }) => operation));
    const told = await Promise.all(
      Object.keys(sdk)
        .flatMap((name) => /^([A-Z]\w+)Command$/.exec(name)?.[1] ?? [])
        .map(async (operation) => {
          const answer = await as('root').send(operation, {});
          const isThere = answer.ok || !/^(Unsupported|Unknown)OperationException$/.test(answer.name);
          return isThere === named.has(operation) ? [] : [operation];
        }),
    );
    expect(told.flat()).toEqual([]);
  });
});

/** One line of the matrix before anybody asks: a subject for each of the principals, which may be the same. */
interface PreparedCase {
  readonly row: Row;
  readonly mechanism: string;
  readonly subjects: readonly Subject[];
}

/** By everything that is asked of them. */
type SharedSubjects = Map<string, Promise<Subject>>;

async function prepare(kms: KMS, shared: SharedSubjects): Promise<readonly PreparedCase[]> {
  const subjectFor = (row: Row, document: string, grant: readonly GrantOperation[] | undefined): Promise<Subject> => {
    if (row.spends === true) return newSubject(kms, row, document, grant);
    const name = [...(row.kind ?? symmetric).spec, row.takes, ...(grant ?? []), document].join();
    const subject = shared.get(name) ?? newSubject(kms, row, document, grant);
    shared.set(name, subject);
    return subject;
  };
  return Promise.all(
    rows.flatMap((row) =>
      mechanismsOf(row).map(async ([mechanism, document, grant]) => {
        const subjects = principals.map(() => subjectFor(row, document(row.action ?? ''), grant));
        return { row, mechanism, subjects: await Promise.all(subjects) };
      }),
    ),
  );
}

type Mechanism = readonly [...(typeof policies)[number], grant: readonly GrantOperation[] | undefined];

function mechanismsOf({ action, grant }: Row): readonly Mechanism[] {
  if (action === null) return [['', () => policy(rootMayAll), undefined]];
  return [
    ...policies.map((row) => [...row, undefined] as const),
    ...(grant === undefined ? [] : withGrant.map((row) => [...row, grant] as const)),
  ];
}

/** A key under a policy, with what the row takes from before the policy came. */
async function newSubject(
  kms: KMS,
  { kind = symmetric, takes }: Row,
  document: string,
  grant: readonly GrantOperation[] | undefined,
): Promise<Subject> {
  const subject = { made: Plaintext, alias: nextAlias(), grantId: '' };
  if (takes === undefined && grant === undefined)
    return { ...subject, keyId: (await newKeyOf(kms, ...kind.spec, document)).id };
  const { id: keyId } = await newKeyOf(kms, ...kind.spec);
  const terms = {
    GranteePrincipal: grant === undefined ? other : nobody,
    Operations: [...(grant ?? ['DescribeKey' as const])],
  };
  if (takes === 'made') subject.made = Buffer.from(present(await kind.make(kms, keyId)));
  if (takes === 'alias') await kms.createAlias({ AliasName: subject.alias, TargetKeyId: keyId });
  if (takes === 'grant' || grant !== undefined) subject.grantId = (await newGrant(kms, keyId, terms)).id;
  await kms.putKeyPolicy({ KeyId: keyId, Policy: document, BypassPolicyLockoutSafetyCheck: true });
  return { ...subject, keyId };
}

const texts = [
  ['with an explicit deny in a resource-based policy', 'denied by key policy'],
  ['because no resource-based policy allows', 'not in key policy'],
  ['because no identity-based policy allows', 'not in identity policy'],
] as const;

interface StateRefusal {
  readonly name: string;
  readonly message: string;
  /** What the matrix calls it. */
  readonly words: string;
}

/** What the table has for an operation on a key in this state, for each need of the key. */
function stateRefusals(operation: string, state: KeyState, keyId: string): readonly StateRefusal[] {
  const arn = keyArn(keyId);
  return Object.values(findOperation(operation)?.needs.keys ?? {}).flatMap(({ states }) => {
    const refusal = stateRefusal(states, { arn, state, origin: 'AWS_KMS' });
    if (refusal === undefined) return [];
    const { name, message } = refusal;
    return [{ name, message, words: message.slice(`${arn} is `.length, -1) }];
  });
}

function verdictOf(reply: Reply, refusals: readonly StateRefusal[]): string {
  const inSpite = refusals.length === 0 ? '' : `, though ${refusals.map(({ words }) => words).join()}`;
  if (reply.ok) return `allowed${inSpite}`;
  if (reply.name === 'InvalidKeyUsageException') return `allowed, wrong key${inSpite}`;
  const refusal = refusals.find(({ name, message }) => reply.name === name && reply.message === message);
  if (refusal !== undefined) return `allowed, ${refusal.words}`;
  const text = texts.find(([told]) => reply.message.includes(told));
  return reply.name === 'AccessDeniedException' && text !== undefined ? text[1] : `${reply.name}: ${reply.message}`;
}
