/** What calls ask of a key before they ask the token to use it. */

import type { Curve } from './curves.ts';
import type { ParameterSet } from './parameter-sets.ts';

/** What a key is and may be used for, as far as calls depend on it. */
export interface KeyFacts {
  readonly keyType: number;
  readonly usages: ReadonlySet<string>;
  /** `undefined` for a key of another kind, or on a curve that KMS does not have. */
  readonly curve: Curve | undefined;
  /** `undefined` for a key that is not of ML-DSA. */
  readonly parameterSet: ParameterSet | undefined;
}
