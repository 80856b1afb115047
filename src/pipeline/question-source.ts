/** What a question is made from, and what the values of its condition keys are drawn from: one request and one permission. */

import type { CompiledPolicy } from '../authorization/language/compiled-policy.ts';
import type { WorkBudget } from '../authorization/language/work-budget.ts';
import type { Caller, PeerFacts, UnixPeer } from '../identity/caller.ts';
import type { KeyView } from '../keys/key-view.ts';
import type { KmsKey } from '../keys/kms-key.ts';
import type { PrincipalArn } from '../kms/names.ts';
import type { AnyOperation, NeedOf } from '../operations/declaration/operation.ts';
import type { RequestOrigin } from './service.ts';

/** What of a key decides; its policy may be another one. */
export type QuestionKey = Pick<KmsKey, 'arn' | 'record'> & Partial<Pick<KmsKey, 'policy'>>;

/** What all questions about one request share. */
export interface QuestionSource {
  /** Of KMS, or `AssumeRole`. */
  readonly operation: Pick<AnyOperation, 'needs'> & { readonly name: string };
  readonly request: Record<string, unknown>;
  readonly origin: Omit<RequestOrigin, 'payer'>;
  readonly caller: Caller;
  /** Of the Region that the permission is one in. */
  readonly directory: KeyView;
  /** Of the Region that the request came to, where that is another one. */
  readonly askedOf?: KeyView;
  readonly identityPolicies: readonly CompiledPolicy[];
  /** Of a session that was given one. */
  readonly sessionPolicy: CompiledPolicy | undefined;
  /** What else can be found out about a Unix peer. */
  readonly peerFacts: (peer: UnixPeer) => PeerFacts;
}

type KmsNeed = NeedOf<Record<string, unknown>>;

/** A permission that an operation needs. */
export type Need = Omit<KmsNeed, 'action'> & { readonly action: KmsNeed['action'] | `sts:${string}` };

/** One permission of one request, whose budget pays for what is looked for in it. */
export interface ConditionSource extends WorkBudget {
  readonly source: QuestionSource;
  readonly need: Need;
  /** The key that the resource is. */
  readonly key: QuestionKey | undefined;
  readonly principal: PrincipalArn;
  readonly role: PrincipalArn | undefined;
  readonly accountId: string;
}

/**
 * The same for a permission in this Region, whose name, aliases and uses policies then are about: of what a request does elsewhere,
 * that is not where it came to. A Region that is not served here is no other one.
 * Source: AWS KMS developer guide, "Controlling access to multi-Region keys".
 */
export function inRegion(source: QuestionSource, region: string): QuestionSource {
  const { directory } = source;
  if (region === directory.realm.region) return source;
  const there = directory.regions.get(region);
  return there === undefined ? source : { ...source, directory: there, askedOf: directory };
}
