/** A need of a key that does not say what happens in which state of the key, or names no action of AWS KMS, does not compile. */

import type { KeyView } from '../../src/keys/key-view.ts';
import type { KmsKey } from '../../src/keys/kms-key.ts';
import type { KeyNeed } from '../../src/operations/declaration/operation.ts';

declare const key: (request: object, directory: KeyView) => KmsKey;

export const complete: KeyNeed<object> = { action: 'kms:Encrypt', key, states: 'use' };

// @ts-expect-error: `states` is missing.
export const silent: KeyNeed<object> = { action: 'kms:Encrypt', key };

// @ts-expect-error: no such group.
export const unknown: KeyNeed<object> = { action: 'kms:Encrypt', key, states: 'any' };

// @ts-expect-error: no such action.
export const misspelt: KeyNeed<object> = { action: 'kms:Encrpt', key, states: 'use' };
