/**
 * What an operation is: one value that says what comes in, what goes out, who may, and what happens.
 *
 * An operation states; the pipeline does. Its `needs` are the permissions that a request takes, each with the resource it
 * concerns: the pipeline finds the key, asks for the decision, checks state, usage and algorithm, and only then calls
 * `handle` with the `AuthorizedKey`s. No operation parses, authorizes, audits or renders by itself.
 */

import type { Decision } from '../../authorization/decision.ts';
import type { CompiledPolicy } from '../../authorization/language/compiled-policy.ts';
import type { Caller } from '../../identity/caller.ts';
import type { AuthorizedKey } from '../../keys/authorized-key.ts';
import type { KeyDirectory } from '../../keys/key-directory.ts';
import type { KmsKey } from '../../keys/kms-key.ts';
import type { GrantOperation, GrantTerms } from '../../kms/grant-terms.ts';
import type { KeyUsage } from '../../kms/key-specs.ts';
import type { StateGroup } from '../../kms/key-states.ts';
import type { OperationName } from '../../kms/operation-names.ts';
import type { GrantRecord } from '../../store/metadata-store.ts';
import type { Infer, Members, Shape } from './schema.ts';

export interface NeedOf<Request> {
  /** The IAM action, `kms:Encrypt`. */
  readonly action: string;
  /** The name of the operation in grants (`CreateGrant`, `Operations`), for operations that a grant can allow. */
  readonly grant?: GrantOperation;
  /** For CreateGrant: what the new grant would allow. A permission that comes from a grant gives no more than it has. */
  readonly newGrant?: (request: Request) => GrantTerms;
  /** The member that names the key, where a request may leave it to a ciphertext to say which key is meant. */
  readonly orByCiphertext?: keyof Request & string;
  /** For RetireGrant: the one grant that decides; neither the key's policy nor another grant does. */
  readonly retires?: (request: Request, directory: KeyDirectory) => GrantRecord;
  /** The condition keys that a policy may use for this action beside the ones that every request has. */
  readonly conditions?: readonly string[];
  /** The KeyUsage that the key must have; absent for operations that work on any key. */
  readonly usage?: KeyUsage;
  /** The algorithm that the caller chose, which must be one of the key's. Only with `usage`. */
  readonly algorithm?: (request: Request) => string;
}

/** A permission on a key, and how the request names the key. */
export interface KeyNeed<Request> extends NeedOf<Request> {
  readonly key: (request: Request, directory: KeyDirectory) => KmsKey;
  /** What AWS answers in each state of the key, by the group of operations that it answers alike. */
  readonly states: StateGroup;
}

/** A permission on something that is no key. `undefined`: this request does not need it. */
interface ResourceNeed<Request> extends NeedOf<Request> {
  readonly resource: (request: Request, directory: KeyDirectory) => string | undefined;
}

/** What a request must be allowed, in the order in which it is asked; the first refusal is the answer. */
interface Needs<Request, Keys extends string> {
  readonly resources?: readonly ResourceNeed<Request>[];
  /** By a name of the operation's choice, under which its handler gets the `AuthorizedKey`. */
  readonly keys?: { readonly [Name in Keys]: KeyNeed<Request> };
}

/** What a handler works with. */
export interface Handling<Request, Keys extends string> {
  readonly request: Request;
  readonly keys: { readonly [Name in Keys]: AuthorizedKey };
  readonly caller: Caller;
  readonly directory: KeyDirectory;
  /**
   * For a change that waited for its turn: throws unless the key policies, identity policies and grants that are in force
   * now still give every permission that was asked for at first, and the access key that signed the request is still one.
   * Whoever was revoked in the meantime must not take the permission back.
   */
  readonly assertStillAllowed: () => void;
  /** Puts on record what the request names in a way that the record cannot show, as if the request had said it. */
  readonly note: (members: Readonly<Record<string, string>>) => void;
  /** What this caller would be told of an action on a key if its policy were this one. */
  readonly decideUnder: (policy: CompiledPolicy, action: string, keyArn: string) => Decision;
}

/** Members that may go on record: those whose values are no blobs. */
type Recordable<T> = {
  [Name in keyof T]-?: NonNullable<T[Name]> extends { readonly buffer: unknown } | { wipe(): void } ? never : Name;
}[keyof T] &
  string;

export interface OperationDefinition<Request, Response, Keys extends string> {
  readonly name: OperationName;
  readonly request: Shape<Request> & { readonly members?: Members };
  readonly response: Shape<Response> & { readonly members?: Members };
  readonly needs: Needs<Request, Keys>;
  /** `changes` is on disk before the answer goes out; `reads` and `uses` are on record. For CloudTrail, only `changes` is not read-only. */
  readonly effect: 'reads' | 'uses' | 'changes';
  /** Has the HSM generate a key, which may take it seconds: such requests have fair shares of their own. */
  readonly generates?: true;
  /** The request members that the audit event shows. */
  readonly record: readonly Recordable<Request>[];
  /** The response members that the audit event shows. */
  readonly recordResponse?: readonly Recordable<Response>[];
  /** ARNs of the resources that the operation made, for the audit event: no need could name them before. */
  readonly made?: (response: Response) => readonly string[];
  /** What a dry run checks beyond permission, state and usage; it has no effect. */
  readonly rehearse?: (handling: Handling<Request, Keys>) => Promise<void>;
  readonly handle: (handling: Handling<Request, Keys>) => Promise<Response>;
}

/** An operation whose types are forgotten, as the table and the pipeline hold it. */
export type AnyOperation = OperationDefinition<Record<string, unknown>, Record<string, unknown>, string>;

/** Declares an operation; its only purpose is to let the handler's types be derived from the schemas and needs. */
export function operation<
  const Name extends OperationName,
  const RequestShape extends Shape<unknown>,
  const ResponseShape extends Shape<unknown>,
  const Keys extends string = never,
>(
  definition: OperationDefinition<Infer<RequestShape>, Infer<ResponseShape>, Keys> & {
    readonly name: Name;
    readonly request: RequestShape;
    readonly response: ResponseShape;
  },
): OperationDefinition<Infer<RequestShape>, Infer<ResponseShape>, Keys> & { readonly name: Name } {
  return definition;
}
