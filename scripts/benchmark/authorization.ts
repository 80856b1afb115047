/**
 * Encrypt where authorization or authentication has more to do than usual, beside the plain one: a policy of 32 KB, 1,000
 * grants, eight pairs of encryption context, a refusal, a signature (`signed-requests.ts`).
 *
 * Each of the former is the worst that can be said in its size of a request that is decided like any other: the policy has statements
 * with conditions for everybody, all of which are asked; the grants are all to the caller, and one of them fits.
 */

import type { PrincipalArn } from '../../src/kms/names.ts';
import { signedBurdens } from './signed-requests.ts';

export const burdens = [
  '32 KB policy',
  '32 KB of users',
  '1,000 grants',
  '8 pairs',
  'refused',
  ...signedBurdens,
] as const;
export type Burden = (typeof burdens)[number];

/** Who loads the daemon: the operating system's root. */
export const callerArn = 'arn:aws:iam::000000000000:root' as PrincipalArn;

const policyBytes = 32_768;
const grantCount = 1000;

type Post = <T>(operation: string, members: object) => Promise<T>;

const allow = (Action: string | readonly string[]): object => ({
  Effect: 'Allow',
  Principal: { AWS: callerArn },
  Action,
  Resource: '*',
});

/** The key policy; `undefined`: the one that a key has without one. */
export function policyOf(burden: Burden | undefined): string | undefined {
  switch (burden) {
    case '32 KB policy':
      return filled((index) => ({
        Effect: 'Deny',
        Principal: '*',
        Action: 'kms:Encrypt',
        Resource: '*',
        Condition: { StringEquals: { 'kms:EncryptionContext:purpose': `forbidden-${index}` } },
      }));
    case '32 KB of users':
      return filled((index) => ({
        Effect: 'Allow',
        Principal: { AWS: `arn:aws:iam::000000000000:user/unix/user-${index}` },
        Action: ['kms:Encrypt', 'kms:Decrypt'],
        Resource: '*',
      }));
    case '1,000 grants':
      return documentOf([allow(['kms:CreateGrant', 'kms:DescribeKey'])]);
    case 'refused':
      return documentOf([allow('kms:DescribeKey')]);
    case '8 pairs':
    case 'signed':
    case 'short-lived':
    case undefined:
      return undefined;
    default:
      return burden satisfies never;
  }
}

/** As many statements as fit, and one that allows the caller. */
function filled(statement: (index: number) => object): string {
  const last = allow('kms:*');
  let statements: object[] = [];
  for (;;) {
    const more = [...statements, statement(statements.length)];
    if (Buffer.byteLength(documentOf([...more, last])) > policyBytes) return documentOf([...statements, last]);
    statements = more;
  }
}

function documentOf(Statement: readonly object[]): string {
  return JSON.stringify({ Version: '2012-10-17', Statement });
}

/** The pairs of the request. */
export function contextOf(burden: Burden | undefined): Readonly<Record<string, string>> {
  if (burden !== '8 pairs') return { purpose: 'bench' };
  return Object.fromEntries(Array.from({ length: 8 }, (_, index) => [`purpose-${index}`, `bench-${index}`]));
}

/** What else there is to be before the measurement. */
export async function prepare(burden: Burden | undefined, keyId: string, post: Post): Promise<void> {
  if (burden !== '1,000 grants') return;
  for (let index = 0; index < grantCount; index++) {
    await post('CreateGrant', {
      KeyId: keyId,
      GranteePrincipal: callerArn,
      Operations: ['Encrypt'],
      Constraints: { EncryptionContextSubset: { purpose: index < grantCount - 1 ? `other-${index}` : 'bench' } },
    });
  }
}
