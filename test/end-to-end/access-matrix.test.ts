/**
 * Who may do what under which key policy and grant: principal × operation × mechanism, written to `access-matrix.txt`,
 * which is reviewed like code. A change of any decision is a change of that file.
 *
 * Keys can be enabled only, so far; key states become a further dimension when keys can have others.
 */

import type { GrantOperation } from '@aws-sdk/client-kms';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { unixUserArn } from './support/arns.ts';
import { bootTimeoutMs, type Daemon, describeDaemon, newKey, present } from './support/daemon.ts';
import { newGrant } from './support/grants.ts';
import { allow, deny, policy, rootMayAll } from './support/policies.ts';
import type { Reply } from './support/unix-client.ts';
import { runsAsRoot, sayIfNotRoot, UnixClient, unixUsers } from './support/unix-users.ts';

const nobody = unixUserArn('nobody');
const other = unixUserArn('daemon');

interface Subject {
  readonly keyId: string;
  readonly blob: Uint8Array;
  /** An alias of the key. */
  readonly alias: string;
  /** A grant on the key; to the user, where the row of the table says so. */
  readonly grantId: string;
}

interface Row {
  readonly operation: string;
  /** What the policies below allow and deny; `null` for what no key policy can give. */
  readonly action: string | null;
  /** What a grant allows that gives this; absent for what no grant can give. */
  readonly grant?: readonly GrantOperation[];
  input(subject: Subject): object;
}

const Plaintext = Buffer.from('x');
const rows: readonly Row[] = [
  {
    operation: 'CreateAlias',
    action: 'kms:CreateAlias',
    input: ({ keyId, alias }) => ({ AliasName: `${alias}-2`, TargetKeyId: keyId }),
  },
  {
    operation: 'CreateGrant',
    action: 'kms:CreateGrant',
    grant: ['CreateGrant', 'Encrypt'],
    input: ({ keyId }) => ({ KeyId: keyId, GranteePrincipal: other, Operations: ['Encrypt'] }),
  },
  { operation: 'CreateKey', action: null, input: () => ({}) },
  { operation: 'Decrypt', action: 'kms:Decrypt', grant: ['Decrypt'], input: ({ blob }) => ({ CiphertextBlob: blob }) },
  { operation: 'DeleteAlias', action: 'kms:DeleteAlias', input: ({ alias }) => ({ AliasName: alias }) },
  {
    operation: 'DescribeKey',
    action: 'kms:DescribeKey',
    grant: ['DescribeKey'],
    input: ({ keyId }) => ({ KeyId: keyId }),
  },
  {
    operation: 'Encrypt',
    action: 'kms:Encrypt',
    grant: ['Encrypt'],
    input: ({ keyId }) => ({ KeyId: keyId, Plaintext }),
  },
  {
    operation: 'GenerateDataKey',
    action: 'kms:GenerateDataKey',
    grant: ['GenerateDataKey'],
    input: ({ keyId }) => ({ KeyId: keyId, KeySpec: 'AES_256' }),
  },
  {
    operation: 'GenerateDataKeyWithoutPlaintext',
    action: 'kms:GenerateDataKeyWithoutPlaintext',
    grant: ['GenerateDataKeyWithoutPlaintext'],
    input: ({ keyId }) => ({ KeyId: keyId, KeySpec: 'AES_256' }),
  },
  { operation: 'GenerateRandom', action: null, input: () => ({ NumberOfBytes: 1 }) },
  { operation: 'GetKeyPolicy', action: 'kms:GetKeyPolicy', input: ({ keyId }) => ({ KeyId: keyId }) },
  { operation: 'ListAliases', action: null, input: () => ({}) },
  { operation: 'ListGrants', action: 'kms:ListGrants', input: ({ keyId }) => ({ KeyId: keyId }) },
  { operation: 'ListKeyPolicies', action: 'kms:ListKeyPolicies', input: ({ keyId }) => ({ KeyId: keyId }) },
  { operation: 'ListKeys', action: null, input: () => ({}) },
  { operation: 'ListRetirableGrants', action: null, input: () => ({ RetiringPrincipal: nobody }) },
  {
    operation: 'PutKeyPolicy',
    action: 'kms:PutKeyPolicy',
    input: ({ keyId }) => ({ KeyId: keyId, Policy: policy(allow('*', 'kms:*')) }),
  },
  {
    operation: 'ReEncrypt',
    action: 'kms:ReEncrypt*',
    grant: ['ReEncryptFrom', 'ReEncryptTo'],
    input: ({ keyId, blob }) => ({ CiphertextBlob: blob, DestinationKeyId: keyId }),
  },
  {
    operation: 'RetireGrant',
    action: 'kms:RetireGrant',
    grant: ['RetireGrant'],
    input: ({ keyId, grantId }) => ({ KeyId: keyId, GrantId: grantId }),
  },
  {
    operation: 'RevokeGrant',
    action: 'kms:RevokeGrant',
    input: ({ keyId, grantId }) => ({ KeyId: keyId, GrantId: grantId }),
  },
  {
    operation: 'UpdateAlias',
    action: 'kms:UpdateAlias',
    input: ({ keyId, alias }) => ({ AliasName: alias, TargetKeyId: keyId }),
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

const principals = ['root', 'user'] as const;

sayIfNotRoot('The access matrix');
describe.skipIf(!runsAsRoot)('The access matrix', () => {
  describeDaemon('of keys', (daemon) => {
    let user: UnixClient;
    let root: UnixClient;
    beforeAll(async () => {
      user = await UnixClient.start(daemon().socket, unixUsers.nobody);
      root = await UnixClient.start(daemon().socket, { uid: 0, gid: 0 });
    }, bootTimeoutMs);
    afterAll(async () => {
      await user.stop();
      await root.stop();
    });

    test('is the reviewed one', async () => {
      const lines = [`${'operation'.padEnd(33)}${'key policy'.padEnd(33)}${'root'.padEnd(24)}user`];
      for (const row of rows) {
        for (const [name, document, grant] of mechanismsOf(row)) {
          const verdicts: string[] = [];
          for (const principal of principals) {
            const subject = await newSubject(daemon(), document(row.action ?? ''), grant);
            verdicts.push(
              verdictOf(await (principal === 'root' ? root : user).send(row.operation, row.input(subject))),
            );
          }
          lines.push(`${row.operation.padEnd(33)}${name.padEnd(33)}${(verdicts[0] ?? '').padEnd(24)}${verdicts[1]}`);
        }
      }
      await expect(`${lines.join('\n')}\n`).toMatchFileSnapshot('./access-matrix.txt');
    }, 120_000);

    test('has a row for every operation that is there', async () => {
      for (const { operation, input } of rows) {
        const told = await root.send(
          operation,
          input({ keyId: 'nothing', blob: Plaintext, alias: 'alias/nothing', grantId: '0' }),
        );
        expect(told.ok ? '' : told.name).not.toMatch(/^(Unsupported|Unknown)OperationException$/);
      }
    });
  });
});

type Mechanism = readonly [...(typeof policies)[number], grant: readonly GrantOperation[] | undefined];

function mechanismsOf({ action, grant }: Row): readonly Mechanism[] {
  if (action === null) return [['', () => policy(rootMayAll), undefined]];
  return [
    ...policies.map((row) => [...row, undefined] as const),
    ...(grant === undefined ? [] : withGrant.map((row) => [...row, grant] as const)),
  ];
}

let subjects = 0;

/** A key under a policy, with a ciphertext, an alias and a grant that were made before the policy came. */
async function newSubject(
  { kms }: Daemon,
  document: string,
  grant: readonly GrantOperation[] | undefined,
): Promise<Subject> {
  const { id } = await newKey(kms);
  subjects += 1;
  const alias = `alias/subject/${subjects}`;
  const { CiphertextBlob } = await kms.encrypt({ KeyId: id, Plaintext });
  await kms.createAlias({ AliasName: alias, TargetKeyId: id });
  const { id: grantId } = await newGrant(kms, id, {
    GranteePrincipal: grant === undefined ? other : nobody,
    Operations: [...(grant ?? ['Encrypt' as const])],
  });
  await kms.putKeyPolicy({ KeyId: id, Policy: document, BypassPolicyLockoutSafetyCheck: true });
  return { keyId: id, blob: present(CiphertextBlob), alias, grantId };
}

const texts = [
  ['with an explicit deny in a resource-based policy', 'denied by key policy'],
  ['because no resource-based policy allows', 'not in key policy'],
  ['because no identity-based policy allows', 'not in identity policy'],
] as const;

function verdictOf(reply: Reply): string {
  if (reply.ok) return 'allowed';
  const text = texts.find(([told]) => reply.message.includes(told));
  return reply.name === 'AccessDeniedException' && text !== undefined ? text[1] : `${reply.name}: ${reply.message}`;
}
