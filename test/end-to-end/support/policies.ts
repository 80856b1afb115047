/** Key policies, as short as the tests read them. */

import { rootArn } from './arns.ts';

export interface Statement {
  readonly Effect: 'Allow' | 'Deny';
  readonly Principal: '*' | { readonly AWS: string | readonly string[] };
  readonly Action: string | readonly string[];
  readonly Resource: string | readonly string[];
}

const statement =
  (Effect: Statement['Effect']) =>
  (principal: string | readonly string[], action: string | readonly string[], resource: string = '*'): Statement => ({
    Effect,
    Principal: principal === '*' ? '*' : { AWS: principal },
    Action: action,
    Resource: resource,
  });

export const allow = statement('Allow');
export const deny = statement('Deny');
export const rootMayAll = allow(rootArn, 'kms:*');

export function policy(...statements: readonly object[]): string {
  return JSON.stringify({ Version: '2012-10-17', Statement: statements });
}
