/**
 * The contract of authorization: the question that the pipeline asks, and the answer with its reason.
 *
 * The decision is AWS's. An explicit deny anywhere wins; then the key policy allows, or a grant, or, where the key policy
 * delegates to the account, an identity policy of the caller; nothing is allowed by default. It is pure: whatever depends
 * on the request, the clock or other records is a value or a function of the question. The account's root is, as in AWS,
 * outside of identity policies: what no key policy governs (CreateKey, ListKeys, …) it may do, and what a key policy
 * governs it may do only where the key policy says so. A session of a role may have a policy of its own, which takes away and never
 * gives. Whether somebody may assume a role is the same question, with the role's trust policy in the key policy's place.
 *
 * Source: IAM user guide, "Policy evaluation logic"; KMS developer guide, "Key policies" and "Troubleshooting key access".
 */

import type { CompiledPolicy } from './language/compiled-policy.ts';
import type { StatementQuestion, StatementReference } from './language/compiled-statement.ts';

/** Who asks, about which resource and in which circumstances, is what statements look at; the rest is the decision's. */
export interface AccessQuestion extends StatementQuestion {
  /** `kms:Encrypt` */
  readonly action: string;
  /** Was the resource found by a ciphertext alone? A caller who is refused is then not told which one it is. */
  readonly isFoundByCiphertext?: boolean;
  /** The policy of the key or, of a role, its trust policy; `undefined` where the resource has none (aliases, `*`). */
  readonly keyPolicy: CompiledPolicy | undefined;
  /** Is the resource a role, and `keyPolicy` its trust policy? */
  readonly isAboutRole?: boolean;
  /** The identity policies that are attached to the caller, his role or his groups. */
  readonly identityPolicies: readonly CompiledPolicy[];
  /** Of a session that was given one: what is not allowed here too, the session may do only where it is named itself. */
  readonly sessionPolicy?: CompiledPolicy | undefined;
  /** Looks for a grant. Called only when no policy denies and the key policy does not allow. Absent: no grant can allow this. */
  findGrant?(): GrantReference | undefined;
}

export interface GrantReference {
  readonly grantId: string;
  /** The grantee is the account, so that for others than its root an identity policy must allow too. */
  readonly isDelegating?: true;
  /** The grantee is this session itself, and not its role. */
  readonly isToSession?: true;
}

export type RefusalReason =
  | 'denied by key policy'
  | 'denied by identity policy'
  | 'denied by session policy'
  | 'not in key policy'
  | 'not in identity policies'
  | 'not in session policy';

export type Decision =
  | {
      readonly allowed: true;
      readonly by: 'key policy' | 'grant' | 'identity policy' | 'account root';
      /** For the audit event: `key policy statement "Sid"`, `account root`. */
      readonly because: string;
      /** Absent where no single statement decided. */
      readonly statement?: StatementReference;
      readonly grant?: GrantReference;
    }
  | {
      readonly allowed: false;
      readonly by: RefusalReason;
      readonly because: string;
      /** The statement that denies, or the one that delegates to an account which does not allow. */
      readonly statement?: StatementReference;
      /** AWS's text, for the caller: `User: … is not authorized to perform: …`. */
      readonly message: string;
    };
