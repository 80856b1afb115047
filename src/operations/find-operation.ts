/**
 * From a name to its operation, and what is built of AWS KMS and what is not.
 *
 * A caller of an operation that is not built hears `UnsupportedOperationException`, and one of an invented operation
 * `UnknownOperationException`.
 */

import { type OperationName, operationNames } from '../kms/operation-names.ts';
import type { AnyOperation } from './declaration/operation.ts';
import * as table from './table.ts';

type Rows = typeof table;
/** By name, each with its own types: the type tests need them, the pipeline does not. */
export type Operations = { readonly [Row in keyof Rows as Rows[Row]['name']]: Rows[Row] };
export type BuiltOperationName = keyof Operations;

/** All that are built, in the order of their names. */
export const operations: readonly AnyOperation[] = Object.values(
  // Safe: the pipeline gives each operation only what the operation's own schemas and needs made.
  table as unknown as Readonly<Record<string, AnyOperation>>,
).toSorted((one, other) => (one.name < other.name ? -1 : 1));

const byName: ReadonlyMap<string, AnyOperation> = new Map(operations.map((operation) => [operation.name, operation]));

/** What AWS KMS has and this version has not. */
export const unbuiltOperations: readonly OperationName[] = operationNames.filter((name) => !byName.has(name));
const unbuilt: ReadonlySet<string> = new Set(unbuiltOperations);

export function findOperation(name: string): AnyOperation | undefined {
  return byName.get(name);
}

/** Is this an operation of AWS KMS that is not built yet? */
export function isUnbuilt(name: string): boolean {
  return unbuilt.has(name);
}
