/**
 * What an operation is: one value that says what comes in, what goes out, who may, and what happens.
 *
 * An operation states; the pipeline does. Its `needs` are the permissions that a request takes, each with the resource it
 * concerns: the pipeline finds the key, asks for the decision, checks state, usage and algorithm, and only then goes on with
 * the `AuthorizedKey`s. No operation parses, authorizes, audits or renders by itself.
 *
 * What `reads` or `uses` has `handle`. What `changes` has `decide`: in its turn, when nobody else's change can come between
 * and every permission was asked for again, it says which changes there are to be. It writes nothing, so it cannot write what
 * was true before it waited. What takes the HSM long is done before the turn (`prepare`) or after it (`conclude`).
 */

import type { Decision } from '../../authorization/decision.ts';
import type { CompiledPolicy } from '../../authorization/language/compiled-policy.ts';
import type { Caller } from '../../identity/caller.ts';
import type { AuthorizedKey } from '../../keys/authorized-key.ts';
import type { KeyView } from '../../keys/key-view.ts';
import type { KmsKey } from '../../keys/kms-key.ts';
import type { KeyLife } from '../../keys/life/key-life.ts';
import type { GrantOperation, GrantTerms } from '../../kms/grant-terms.ts';
import type { KeyUsage } from '../../kms/key-specs.ts';
import type { StateGroup } from '../../kms/key-states.ts';
import type { OperationName } from '../../kms/operation-names.ts';
import type { GrantRecord } from '../../store/records/records.ts';
import type { Decided } from '../../store/turns.ts';
import type { Infer, Members, Shape } from './schema.ts';

/** An operation's permission has its name; ReEncrypt takes two. */
export type KmsAction = `kms:${OperationName}` | 'kms:ReEncryptFrom' | 'kms:ReEncryptTo';

export interface NeedOf<Request> {
  /** The IAM action, `kms:Encrypt`. */
  readonly action: KmsAction;
  /** The name of the operation in grants (`CreateGrant`, `Operations`), for operations that a grant can allow. */
  readonly grant?: GrantOperation;
  /** For CreateGrant: what the new grant would allow. A permission that comes from a grant gives no more than it has. */
  readonly newGrant?: (request: Request) => GrantTerms;
  /** The member that names the key, where a request may leave it to a ciphertext to say which key is meant. */
  readonly orByCiphertext?: keyof Request & string;
  /** For RetireGrant: the one grant that decides; neither the key's policy nor another grant does. */
  readonly retires?: (request: Request, directory: KeyView) => GrantRecord;
  /** The condition keys that a policy may use for this action beside the ones that every request has. */
  readonly conditions?: readonly string[];
  /** For a permission to make a key: the one that it will be like, where no member of the request says what it will be. */
  readonly like?: (request: Request, directory: KeyView) => Pick<KmsKey, 'record'>;
  /** The KeyUsage that the key must have; absent for operations that work on any key. */
  readonly usage?: KeyUsage;
  /** The algorithm that the caller chose, which must be one of the key's. Only with `usage`. */
  readonly algorithm?: (request: Request) => string;
}

/** A permission on a key, and how the request names the key. */
export interface KeyNeed<Request> extends NeedOf<Request> {
  readonly key: (request: Request, directory: KeyView) => KmsKey;
  /** What AWS answers in each state of the key, by the group of operations that it answers alike. */
  readonly states: StateGroup;
}

/** A permission on something that is no key. `undefined`: this request does not need it. */
interface ResourceNeed<Request> extends NeedOf<Request> {
  readonly resource: (request: Request, directory: KeyView) => string | undefined;
  /** The name of the Region that it is a permission in, where that is another one than the request came to. */
  readonly region?: (request: Request) => string;
}

/** What a request must be allowed; the first refusal is the answer. */
interface Needs<Request, Keys extends string> {
  /** Asked for before the permissions on keys, unless `keysFirst`. */
  readonly resources?: readonly ResourceNeed<Request>[];
  /** By a name of the operation's choice, under which its handler gets the `AuthorizedKey`. */
  readonly keys?: { readonly [Name in Keys]: KeyNeed<Request> };
  /** The request is about its keys, and what else it needs is for what is made of them. */
  readonly keysFirst?: true;
}

/** What every part of an operation is given. */
interface AnyPart<Request, Keys extends string> {
  readonly request: Request;
  readonly keys: { readonly [Name in Keys]: AuthorizedKey };
  readonly caller: Caller;
  readonly directory: KeyView;
  /** Puts on record what the request names in a way that the record cannot show, as if the request had said it: members in `record`. */
  readonly note: (members: Readonly<Record<string, string>>) => void;
}

/**
 * What this caller would be told if he put another policy on this key next, with this one as its policy.
 * @param key As it will be then.
 */
export type DecideUnder = (policy: CompiledPolicy, key: Pick<KmsKey, 'arn' | 'record'>) => Decision;

/** What a handler works with. */
export interface Handling<Request, Keys extends string> extends AnyPart<Request, Keys> {
  /** For keys whose numbers are used up. */
  readonly life: Pick<KeyLife, 'rotate'>;
}

/** What every part of an operation that changes something is given. */
interface ChangingPart<Request, Keys extends string> extends AnyPart<Request, Keys> {
  /** Puts on record, beside the request, what it is about and does not say: as CloudTrail calls it in `additionalEventData`. */
  readonly annotate: (members: Readonly<Record<string, string>>) => void;
}

/** What a preparation works with. */
export interface Preparing<Request, Keys extends string> extends ChangingPart<Request, Keys> {
  readonly life: Pick<KeyLife, 'generate' | 'residencyIn' | 'imports' | 'prepareRotation'>;
  readonly decideUnder: DecideUnder;
}

/** What was made before the turn, and how it is unmade when the turn refuses. */
export interface Prepared {
  /** Never rejects: what it cannot undo now is left to the next start, by an intent that is on record. */
  undo(): Promise<void>;
}

/** What a decision works with: all of it as it is in this turn, when every permission was just asked for again. */
export interface Deciding<Request, Keys extends string, Made> extends ChangingPart<Request, Keys> {
  readonly decideUnder: DecideUnder;
  readonly prepared: Made;
  /** The moment of the turn. */
  readonly nowMs: number;
}

/** What a conclusion works with. */
export interface Concluding<Request, Response, Made> {
  readonly request: Request;
  readonly response: Response;
  readonly prepared: Made;
}

/** Members that may go on record: those whose values are no blobs. */
type Recordable<T> = {
  [Name in keyof T]-?: NonNullable<T[Name]> extends { readonly buffer: unknown } | { wipe(): void } ? never : Name;
}[keyof T] &
  string;

interface AnyDefinition<Request, Response, Keys extends string> {
  readonly name: OperationName;
  readonly request: Shape<Request> & {
    readonly members?: Members;
    readonly secretNames?: readonly string[];
    readonly secretTexts?: ReadonlySet<string>;
  };
  readonly response: Shape<Response> & { readonly members?: Members };
  readonly needs: Needs<Request, Keys>;
  /** Has the HSM generate a key, which may take it seconds: such requests have fair shares of their own. */
  readonly generates?: true;
  /** The request members that the audit event shows. */
  readonly record: readonly Recordable<Request>[];
  /** The response members that the audit event shows. */
  readonly recordResponse?: readonly Recordable<Response>[];
  /** ARNs of the resources that the operation made, for the audit event: no need could name them before. */
  readonly made?: (response: Response) => readonly string[];
}

/** An operation that changes no metadata. For CloudTrail it is read-only. */
export interface UseDefinition<Request, Response, Keys extends string> extends AnyDefinition<Request, Response, Keys> {
  readonly effect: 'reads' | 'uses';
  /** What a dry run checks beyond permission, state and usage; it has no effect. */
  readonly rehearse?: (handling: Handling<Request, Keys>) => Promise<void>;
  readonly handle: (handling: Handling<Request, Keys>) => Promise<Response>;
}

/** What an operation also did in another Region, which has an event of it as if it had been asked there. */
export interface DoneElsewhere {
  readonly region: string;
  readonly operationName: OperationName;
  /** As those of the operation of that name. */
  readonly request: Readonly<Record<string, unknown>>;
  readonly response: Readonly<Record<string, unknown>>;
  /** ARNs. */
  readonly resources: readonly string[];
}

/** An operation that changes metadata: what it changes is on disk before the answer goes out. */
export interface ChangeDefinition<Request, Response, Keys extends string, Made extends Prepared | undefined>
  extends AnyDefinition<Request, Response, Keys> {
  readonly effect: 'changes';
  /** Takes permissions, or the use of a key, away: it still goes on record where the audit log's disk is full for others. */
  readonly revokes?: true;
  /**
   * What takes long, before the turn, with the permissions of the moment when the request came: generates in the HSM under an
   * intent, destroys nothing.
   */
  readonly prepare?: (preparing: Preparing<Request, Keys>) => Promise<Made>;
  /**
   * In the turn: which changes there are to be, and what is answered once they are on disk. Synchronous; it reads what it is
   * given and changes nothing by itself, because it may be asked again. A dry run is a decision that is dropped.
   */
  readonly decide: (deciding: Deciding<Request, Keys, Made>) => Decided<Response>;
  /**
   * What takes long, after the changes are on disk and visible, outside of the turn: destroys, closes. It is idempotent, and
   * the changes have put on record that it is to be done. The answer waits for it.
   */
  readonly conclude?: (concluding: Concluding<Request, Response, Made>) => Promise<void>;
  /** Of what was answered. */
  readonly elsewhere?: (done: {
    readonly request: Request;
    readonly response: Response;
    readonly keys: { readonly [Name in Keys]: AuthorizedKey };
  }) => DoneElsewhere | undefined;
}

export type OperationDefinition<Request, Response, Keys extends string, Made extends Prepared | undefined = undefined> =
  | UseDefinition<Request, Response, Keys>
  | ChangeDefinition<Request, Response, Keys, Made>;

type AnyMembers = Record<string, unknown>;
export type AnyUse = UseDefinition<AnyMembers, AnyMembers, string>;
export type AnyChange = ChangeDefinition<AnyMembers, AnyMembers, string, Prepared | undefined>;
/** An operation whose types are forgotten, as the table and the pipeline hold it. */
export type AnyOperation = AnyUse | AnyChange;

/** Declares an operation; its only purpose is to let the types of its parts be derived from the schemas and needs. */
export function operation<
  const Name extends OperationName,
  const RequestShape extends Shape<unknown>,
  const ResponseShape extends Shape<unknown>,
  const Keys extends string = never,
  Made extends Prepared | undefined = undefined,
>(
  definition: OperationDefinition<Infer<RequestShape>, Infer<ResponseShape>, Keys, Made> & {
    readonly name: Name;
    readonly request: RequestShape;
    readonly response: ResponseShape;
  },
): OperationDefinition<Infer<RequestShape>, Infer<ResponseShape>, Keys, Made> & { readonly name: Name } {
  return definition;
}
