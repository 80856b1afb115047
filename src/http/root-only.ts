/** What the account's root alone may ask the daemon, beside the operations of KMS; others are refused as by a decision. */

import type { Caller } from '../identity/caller.ts';
import { KmsError } from '../kms/errors.ts';

/** @returns The `AccessDeniedException` for a caller who is not the account's root, `undefined` for the root. */
export function rootOnlyRefusal({ type, arn }: Caller, operationName: string): KmsError | undefined {
  if (type === 'Root') return undefined;
  return new KmsError(
    'AccessDeniedException',
    `User: ${arn} is not authorized to perform: drawbridge:${operationName} because only the account's root is`,
  );
}
