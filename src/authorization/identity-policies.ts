/**
 * Identity policies: what IAM policies are to AWS. Documents that are attached to principals and groups and say what
 * those may do, where a key policy delegates to the account or where there is no key policy.
 *
 * One file is `{"AttachedTo": ["arn:aws:iam::…:user/app", "group:operators"], "PolicyDocument": {…}}`. A group is one of the
 * operating system's. Who is called by a role has the role's policies and those of his groups. Nothing can be attached to
 * the account's root, whose permissions no identity policy gives or takes. Whoever assumed a role by AssumeRole has the role's alone.
 *
 * INVARIANT: a set of files is taken as a whole or not at all: `parseIdentityPolicies` names every mistake in all of them.
 */

import type { Caller, UnixPeer } from '../identity/caller.ts';
import { KmsError } from '../kms/errors.ts';
import { type Account, type PrincipalArn, parsePrincipalArn } from '../kms/names.ts';
import type { CompiledPolicy } from './language/compiled-policy.ts';
import type { ConditionVocabulary } from './language/condition-vocabulary.ts';
import { compileIdentityPolicy } from './language/policy-document.ts';
import { type JsonValue, parsePolicyJson } from './language/policy-json.ts';
import { malformed, objectAt, quoted, stringsAt } from './language/policy-values.ts';
import { assertAffordable } from './worst-case.ts';

export interface IdentityPolicies {
  /**
   * Those of the caller, of his role and of the groups that he is in.
   * @throws whatever keeps the user database from telling which groups those are: one of them may deny.
   */
  attachedTo(caller: Caller): readonly CompiledPolicy[];
  /** All to whom something is attached. */
  readonly attachments: { readonly principals: readonly PrincipalArn[]; readonly groups: readonly string[] };
  /** By file. */
  readonly files: readonly AttachedFile[];
}

export interface AttachedFile {
  readonly name: string;
  readonly principals: readonly PrincipalArn[];
  readonly groups: readonly string[];
  /** Is there a statement that denies? */
  readonly denies: boolean;
}

/** Of a daemon whose configuration names no folder of them. */
export const noIdentityPolicies: IdentityPolicies = {
  attachedTo: () => [],
  attachments: { principals: [], groups: [] },
  files: [],
};

export interface IdentityPolicyFile {
  /** For refusals and decisions: `backup.json`. */
  readonly name: string;
  readonly text: string;
}

export interface IdentityPolicyOptions {
  /** Whose principals the policies can be attached to. */
  readonly realm: Account;
  readonly vocabulary: ConditionVocabulary;
  /** The gid of a group's name, now; `undefined`: there is no such group. */
  readonly idOfGroup: (name: string) => number | undefined;
}

/** All mistakes, one a line, each with its file and place. */
export class IdentityPolicyError extends Error {
  override readonly name = 'IdentityPolicyError';
}

/** @throws IdentityPolicyError */
export function parseIdentityPolicies(
  files: readonly IdentityPolicyFile[],
  options: IdentityPolicyOptions,
): IdentityPolicies {
  const attached: AttachedPolicy[] = [];
  const mistakes: string[] = [];
  for (const file of files) {
    try {
      attached.push(parseFile(file, options));
    } catch (error) {
      if (!(error instanceof KmsError)) throw error;
      mistakes.push(`${file.name}: ${error.message}`);
    }
  }
  if (mistakes.length > 0) throw new IdentityPolicyError(mistakes.join('\n'));
  return attachments(attached, options.idOfGroup);
}

interface AttachedPolicy {
  readonly name: string;
  readonly principals: readonly PrincipalArn[];
  /** By name. */
  readonly groups: readonly string[];
  readonly policy: CompiledPolicy;
}

function parseFile({ name, text }: IdentityPolicyFile, { realm, vocabulary }: IdentityPolicyOptions): AttachedPolicy {
  const file = objectAt('the file', parsePolicyJson(text));
  for (const member of file.keys()) {
    if (member !== 'AttachedTo' && member !== 'PolicyDocument') {
      throw malformed('the file', `${quoted(member)} is not a member of it; it has AttachedTo and PolicyDocument`);
    }
  }
  const attachedTo = parseAttachedTo(file.get('AttachedTo') ?? null, realm);
  const policy = compileIdentityPolicy(file.get('PolicyDocument') ?? null, name, realm, vocabulary);
  assertAffordable(policy);
  return { name, ...attachedTo, policy };
}

const groupPrefix = 'group:';

function parseAttachedTo(value: JsonValue, realm: Account): Pick<AttachedPolicy, 'principals' | 'groups'> {
  const names = stringsAt('AttachedTo', value);
  const groups = names.filter((name) => name.startsWith(groupPrefix)).map((name) => name.slice(groupPrefix.length));
  if (groups.includes('')) throw malformed('AttachedTo', '"group:" needs the name of a group');
  const principals = names
    .filter((name) => !name.startsWith(groupPrefix))
    .map((name) => {
      const arn = parsePrincipalArn(name);
      if (arn !== undefined && isAttachable(arn, realm)) return arn;
      const forms = `a user or role of this account such as "arn:aws:iam::${realm.account}:user/app", nor "group:NAME"`;
      throw malformed('AttachedTo', `${quoted(name)} is neither ${forms}`);
    });
  return { principals, groups };
}

function isAttachable(arn: PrincipalArn, { account }: Account): boolean {
  return arn.startsWith(`arn:aws:iam::${account}:user/`) || arn.startsWith(`arn:aws:iam::${account}:role/`);
}

function attachments(
  policies: readonly AttachedPolicy[],
  idOfGroup: IdentityPolicyOptions['idOfGroup'],
): IdentityPolicies {
  const byPrincipal = new Map<string, CompiledPolicy[]>();
  for (const { principals, policy } of policies) {
    for (const principal of new Set(principals)) {
      byPrincipal.set(principal, [...(byPrincipal.get(principal) ?? []), policy]);
    }
  }
  const ofGroups = policies.filter(({ groups }) => groups.length > 0);
  /** A caller on a Unix socket lives as long as his connection, and his groups were fixed when it was made. */
  const known = new WeakMap<Caller, readonly CompiledPolicy[]>();
  return {
    attachments: {
      principals: [...new Set(policies.flatMap(({ principals }) => principals))],
      groups: [...new Set(policies.flatMap(({ groups }) => groups))],
    },
    files: policies.map(({ name, principals, groups, policy }) => ({
      name,
      principals,
      groups,
      denies: policy.statements.some(({ effect }) => effect === 'Deny'),
    })),
    attachedTo(caller) {
      const remembered = known.get(caller);
      if (remembered !== undefined) return remembered;
      const peer = peerOf(caller);
      const attached = new Set([
        ...(byPrincipal.get(caller.role ?? caller.arn) ?? []),
        ...(peer === undefined ? [] : ofGroups)
          .filter(({ groups }) => peer !== undefined && groups.some((group) => isMember(peer, idOfGroup(group))))
          .map(({ policy }) => policy),
      ]);
      const result = caller.type === 'Root' ? [] : [...attached];
      known.set(caller, result);
      return result;
    },
  };
}

/**
 * Whose groups count: those of the process that connected, or of the one to which the signing key was given. Whoever assumed a role
 * has left behind what he may do himself, and what he may not.
 */
function peerOf({ proof }: Caller): UnixPeer | undefined {
  if (proof.kind === 'unix') return proof;
  return proof.session === undefined ? proof.issuedTo : undefined;
}

function isMember({ gid, groups }: UnixPeer, id: number | undefined): boolean {
  return id !== undefined && (gid === id || groups.includes(id));
}
