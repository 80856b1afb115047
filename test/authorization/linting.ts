/** Policies that are linted here, and what is found in them. */

import { knownActions } from '../../src/access/known-actions.ts';
import { lintPolicy } from '../../src/authorization/advice/lint.ts';
import type { Finding, LintOptions } from '../../src/authorization/advice/linted-statement.ts';
import { conditionVocabulary } from '../../src/pipeline/condition-key-table.ts';
import { allow, realm, root } from './policies.ts';

export const actions = knownActions();
export const lint = (document: string, more: Partial<LintOptions> = {}): readonly Finding[] =>
  lintPolicy(document, {
    kind: 'key policy',
    realm,
    vocabulary: conditionVocabulary,
    actions,
    nowMs: Date.parse('2030-01-01T00:00:00Z'),
    ...more,
  });

export const rootMayAll = allow(root, 'kms:*');
export const when = (statement: object, Condition: object): object => ({ ...statement, Condition });
export const warn = (place: string, problem: string): Finding => ({ severity: 'warning', place, problem });
export const fail = (place: string, problem: string): Finding => ({ severity: 'error', place, problem });
export const conditionAt = (operator: string, key: string): string => `Statement[1].Condition.${operator}["${key}"]`;
