/**
 * The contract of authorization: the question that the pipeline asks, and the answer with its reason.
 *
 * The decision is AWS's. An explicit deny anywhere wins; then the key policy allows, or delegates to the account; nothing
 * is allowed by default. It is pure: no clock, no disk, no token. The account's root is, as in AWS, outside of identity
 * policies: what no key policy governs (CreateKey, ListKeys, …) it may do, and what a key policy governs it may do only
 * where the key policy says so.
 *
 * Source: IAM user guide, "Policy evaluation logic"; KMS developer guide, "Key policies" and "Troubleshooting key access".
 */

import type { PrincipalArn } from '../kms/names.ts';
import type { CompiledPolicy } from './policy-document.ts';

export interface AccessQuestion {
  readonly principal: PrincipalArn;
  readonly accountId: string;
  /** `kms:Encrypt` */
  readonly action: string;
  /** The key's ARN, an alias's ARN, or `*` for operations on no resource. */
  readonly resource: string;
  /** The policy of the key; `undefined` where the resource has no resource-based policy (aliases, `*`). */
  readonly keyPolicy: CompiledPolicy | undefined;
}

/** Which statement of the key policy decided. */
export interface StatementReference {
  /** From 0, in the order of the document. */
  readonly index: number;
  readonly sid?: string;
}

export type Decision =
  | {
      readonly allowed: true;
      /** For the audit event: `key policy statement "Sid"`, `account root`. */
      readonly because: string;
      /** Absent where no single statement decided. */
      readonly statement?: StatementReference;
    }
  | {
      readonly allowed: false;
      readonly because: string;
      /** The statement that denies, or the one that delegates to an account which does not allow. */
      readonly statement?: StatementReference;
      /** AWS's text, for the caller: `User: … is not authorized to perform: …`. */
      readonly message: string;
    };
