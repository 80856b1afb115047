/**
 * Holds every operation's request and response to the AWS SDK's types: a drift from the real API does not compile, and the
 * compiler names the operation and the member: `Type '"Encrypt.DryRun"' does not satisfy the constraint 'never'`.
 *
 * All of it is drawn from the table of operations and from the SDK's commands. Differences of notation are levelled out
 * first: the SDK writes required members as `T | undefined`, its blobs are `Uint8Array` where ours are `Buffer` or
 * `Plaintext`, and its lists are mutable.
 */

import type * as Sdk from '@aws-sdk/client-kms';
import type { OperationName } from '../../src/kms/operation-names.ts';
import type { Infer } from '../../src/operations/declaration/schema.ts';
import type { BuiltOperationName, Operations } from '../../src/operations/find-operation.ts';
import type { Plaintext } from '../../src/secrets/secret-bytes.ts';

type Equal<A, B> = (<T>() => T extends A ? 1 : 2) extends <T>() => T extends B ? 1 : 2 ? true : false;
type Assert<T extends true> = T;
/** What is in `T` stands in the compiler's message. */
type Nothing<T extends never> = T;

/** One notation for both: blobs are `Blob`, no `readonly`, no `undefined` beside the question mark. */
type Level<T> = T extends Plaintext | Uint8Array
  ? 'Blob'
  : T extends Date
    ? Date
    : T extends string | number | boolean
      ? T
      : T extends readonly (infer Item)[]
        ? Level<Item>[]
        : T extends object
          ? string extends keyof T
            ? { -readonly [Name in keyof T]: Level<T[Name]> }
            : { -readonly [Name in keyof T]: Name extends SecretText ? string : Level<Exclude<T[Name], undefined>> }
          : T;

/** Members whose text is a secret, which is bytes here. */
type SecretText = 'KeyStorePassword' | 'RawSecretAccessKey';

type Commands = typeof Sdk;
/** The SDK's operations, from the names of its commands. */
type SdkOperation = keyof Commands extends infer Name
  ? Name extends `${infer Operation}Command`
    ? Operation extends '$'
      ? never
      : Operation
    : never
  : never;

export type Misnamed = Nothing<Exclude<OperationName, SdkOperation>>;
export type Unnamed = Nothing<Exclude<SdkOperation, OperationName>>;

/** Input and output of a command, as its class has them. */
type CommandOf<Name extends SdkOperation> = Commands[`${Name}Command`] extends new (
  ...args: never[]
) => {
  readonly input: infer Input;
  resolveMiddleware(...args: never[]): (...args: never[]) => Promise<{ output: infer Output }>;
}
  ? { readonly input: Level<Input>; readonly output: Level<Omit<Output, '$metadata'>> }
  : never;

type OwnRequests = { [Name in BuiltOperationName]: Level<Infer<Operations[Name]['request']>> };
type OwnResponses = { [Name in BuiltOperationName]: Level<Infer<Operations[Name]['response']>> };
type SdkInputs = { [Name in BuiltOperationName]: CommandOf<Name>['input'] };
type SdkOutputs = { [Name in BuiltOperationName]: CommandOf<Name>['output'] };

/** `Operation.Member` for each member that is not the same on both sides, `Operation` where that alone does not tell. */
type Differences<Ours, Theirs extends Record<keyof Ours, unknown>> = {
  [Name in keyof Ours & string]: Equal<Ours[Name], Theirs[Name]> extends true
    ? never
    : OrElse<Name, `${Name}.${DifferentMembers<Ours[Name], Theirs[Name]>}`>;
}[keyof Ours & string];
type OrElse<Whole, Parts> = [Parts] extends [never] ? Whole : Parts;
type DifferentMembers<Ours, Theirs> = {
  [Member in (keyof Ours | keyof Theirs) & string]: Equal<
    Pick<Ours, Member & keyof Ours>,
    Pick<Theirs, Member & keyof Theirs>
  > extends true
    ? never
    : Member;
}[(keyof Ours | keyof Theirs) & string];

type DifferentRequests = Differences<OwnRequests, SdkInputs>;
type DifferentResponses = Differences<OwnResponses, SdkOutputs>;
export type Requests = Nothing<DifferentRequests>;
export type Responses = Nothing<DifferentResponses>;

// The comparison compares: the SDK's types were found, and are not what is equal to everything.
export type Found = Nothing<
  { [Name in BuiltOperationName]: IsAnyOrNever<SdkInputs[Name] | SdkOutputs[Name]> }[BuiltOperationName]
>;
type IsAnyOrNever<T> = [T] extends [never] ? 'never' : 0 extends 1 & T ? 'any' : never;

// And it can fail: for each kind of mistake, made in every operation whose request has the member, it names just those beside
// the ones that are there; these have been named above, and would otherwise be a failure of each line below.
type RequestsWith<Member extends string> = {
  [Name in BuiltOperationName]: Member extends keyof OwnRequests[Name] ? Name : never;
}[BuiltOperationName];
type Named<Member extends string> = `${RequestsWith<Member>}.${Member}`;

type Missing = { [Name in BuiltOperationName]: Omit<OwnRequests[Name], 'DryRun'> };
export type NamesMissing = Assert<Equal<Differences<Missing, SdkInputs>, Named<'DryRun'> | DifferentRequests>>;
// @ts-expect-error A member is missing.
export type CanFailByMissing = Nothing<Differences<Missing, SdkInputs>>;

type Retyped = {
  [Name in BuiltOperationName]: {
    [Member in keyof OwnRequests[Name]]: Member extends 'GrantTokens' ? string : OwnRequests[Name][Member];
  };
};
export type NamesRetyped = Assert<Equal<Differences<Retyped, SdkInputs>, Named<'GrantTokens'> | DifferentRequests>>;
// @ts-expect-error A member has another type.
export type CanFailByType = Nothing<Differences<Retyped, SdkInputs>>;

type Loosened = {
  [Name in BuiltOperationName]: Omit<OwnRequests[Name], 'TargetKeyId'> &
    Partial<Pick<OwnRequests[Name], 'TargetKeyId' & keyof OwnRequests[Name]>>;
};
export type NamesLoosened = Assert<
  Equal<Differences<Flat<Loosened>, SdkInputs>, Named<'TargetKeyId'> | DifferentRequests>
>;
// @ts-expect-error A required member became optional.
export type CanFailByOptional = Nothing<Differences<Flat<Loosened>, SdkInputs>>;
type Flat<Requests> = { [Name in keyof Requests]: { [Member in keyof Requests[Name]]: Requests[Name][Member] } };

type Widened = { [Name in BuiltOperationName]: OwnResponses[Name] & { Invented?: string } };
export type NamesWidened = Assert<
  Equal<Differences<Flat<Widened>, SdkOutputs>, `${BuiltOperationName}.Invented` | DifferentResponses>
>;
// @ts-expect-error A member is not the SDK's.
export type CanFailByInvention = Nothing<Differences<Flat<Widened>, SdkOutputs>>;
