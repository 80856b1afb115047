/**
 * Roles that can be assumed: what the configuration says of each, with its trust policy in the form that decides.
 *
 * What a role may do is said by key policies that name it, by grants, and by identity policies that are attached to it.
 *
 * INVARIANT: a set of roles is taken as a whole or not at all: `parseRoles` names every mistake in all of them.
 */

import { createHash } from 'node:crypto';
import { KmsError } from '../kms/errors.ts';
import { type Account, type PrincipalArn, parsePrincipalArn } from '../kms/names.ts';
import type { CompiledPolicy } from './language/compiled-policy.ts';
import type { ConditionVocabulary } from './language/condition-vocabulary.ts';
import { compileTrustPolicy } from './language/policy-document.ts';
import { type JsonValue, parsePolicyJson } from './language/policy-json.ts';
import { assertAffordable } from './worst-case.ts';

export interface AssumableRole {
  readonly arn: PrincipalArn;
  readonly maxSessionSeconds: number;
  readonly trustPolicy: CompiledPolicy;
  /** Stands for the ARN and what the trust policy says, white space apart: sessions end where it is another one. */
  readonly binding: string;
}

/** All that there are. */
export interface AssumableRoles {
  find(arn: string): AssumableRole | undefined;
  isInForce(binding: string): boolean;
  readonly all: readonly AssumableRole[];
}

export interface DeclaredRole {
  readonly name: string;
  /** Between `role` and the name in its ARN: `/` or `/ci/`. */
  readonly path: string;
  readonly maxSessionSeconds: number;
  /** JSON. */
  readonly trustPolicy: string;
}

/** All mistakes, one a line, each with its role and place. */
export class RoleError extends Error {
  override readonly name = 'RoleError';
}

export const noRoles: AssumableRoles = { find: () => undefined, isInForce: () => false, all: [] };

/** @throws RoleError */
export function parseRoles(
  declared: readonly DeclaredRole[],
  { realm, vocabulary }: { readonly realm: Account; readonly vocabulary: ConditionVocabulary },
): AssumableRoles {
  const all: AssumableRole[] = [];
  const mistakes: string[] = [];
  for (const { name, path, maxSessionSeconds, trustPolicy: text } of declared) {
    const arn = parsePrincipalArn(`arn:aws:iam::${realm.account}:role${path}${name}`);
    try {
      if (arn === undefined) throw new KmsError('ValidationException', 'its name or path is too long for an ARN.');
      const document = parsePolicyJson(text);
      const trustPolicy = compileTrustPolicy(document, realm, vocabulary);
      assertAffordable(trustPolicy);
      all.push({ arn, maxSessionSeconds, trustPolicy, binding: bindingOf(arn, document) });
    } catch (error) {
      if (!(error instanceof KmsError)) throw error;
      mistakes.push(`role \`${name}\`: ${error.message}`);
    }
  }
  if (mistakes.length > 0) throw new RoleError(mistakes.join('\n'));
  const byArn = new Map<string, AssumableRole>(all.map((role) => [role.arn, role]));
  const bindings = new Set(all.map(({ binding }) => binding));
  return { find: (arn) => byArn.get(arn), isInForce: (binding) => bindings.has(binding), all };
}

function bindingOf(arn: PrincipalArn, document: JsonValue): string {
  const text = `drawbridge/role/1\0${arn}\0${JSON.stringify(document, plain)}`;
  return createHash('sha256').update(text).digest().subarray(0, 16).toString('base64url');
}

/** Members keep their order: another one is another text, and ends sessions too. */
function plain(_name: string, value: unknown): unknown {
  return value instanceof Map ? [...value] : value;
}
