/**
 * The parameters of AssumeRole, from texts by their names: what the query protocol has, and what the command line sends.
 *
 * What AWS's operation knows and this one does not have is refused by name, and so is what nobody knows: a parameter that was to take
 * something away must not be lost.
 *
 * Source: AWS STS API reference, "AssumeRole", "Request Parameters"; the texts of refusals are those of the service.
 */

import { KmsError } from '../kms/errors.ts';

export interface AssumeRoleRequest {
  readonly roleArn: string;
  readonly roleSessionName: string;
  readonly durationSeconds?: number | undefined;
  readonly externalId?: string | undefined;
  /** JSON; not parsed yet. */
  readonly policy?: string | undefined;
  readonly sourceIdentity?: string | undefined;
}

interface TextBounds {
  readonly min: number;
  readonly max: number;
  readonly pattern: RegExp;
  /** As AWS writes it. */
  readonly shown: string;
}

/** Of plain text, as in AWS. */
export const maxSessionPolicyCharacters = 2048;

const names = { pattern: /^[\w+=,.@-]*$/, shown: '[\\w+=,.@-]*' };
const texts = {
  RoleArn: {
    min: 20,
    max: 2048,
    pattern: /^[\t\n\r\u0020-\u007e\u0085\u00a0-\ud7ff\ue000-\ufffd\u{10000}-\u{10ffff}]+$/u,
    shown: '[\\u0009\\u000A\\u000D\\u0020-\\u007E\\u0085\\u00A0-\\uD7FF\\uE000-\\uFFFD\\u10000-\\u10FFFF]+',
  },
  RoleSessionName: { min: 2, max: 64, ...names },
  ExternalId: { min: 2, max: 1224, pattern: /^[\w+=,.@:/-]*$/, shown: '[\\w+=,.@:\\/-]*' },
  Policy: {
    min: 1,
    max: maxSessionPolicyCharacters,
    pattern: /^[\t\n\r\u0020-\u00ff]+$/,
    shown: '[\\u0009\\u000A\\u000D\\u0020-\\u00FF]+',
  },
  SourceIdentity: { min: 2, max: 64, ...names },
} as const satisfies Record<string, TextBounds>;

/** Members of AWS's operation about what does not exist here; those of lists begin so. */
const unsupported: Readonly<Record<string, string>> = {
  PolicyArns: 'there are no managed policies here',
  ProvidedContexts: 'no identity provider vouches for anybody here',
  SerialNumber: 'there are no devices for a second factor here',
  Tags: 'sessions have no tags in this version of Drawbridge',
  TokenCode: 'there are no devices for a second factor here',
  TransitiveTagKeys: 'sessions have no tags in this version of Drawbridge',
};

/**
 * @param parameters Each with all its values, in the order in which they came.
 * @throws KmsError `ValidationException`.
 */
export function parseAssumeRole(parameters: ReadonlyMap<string, readonly string[]>): AssumeRoleRequest {
  for (const [name, values] of parameters) assertKnown(name, values);
  const problems: string[] = [];
  const text = (name: keyof typeof texts): string | undefined => {
    const value = parameters.get(name)?.[0];
    if (value !== undefined) problems.push(...problemsOf(name, value));
    return value;
  };
  const required = (name: 'RoleArn' | 'RoleSessionName'): string => {
    const value = text(name);
    if (value === undefined)
      problems.push(`Value null at '${wireName(name)}' failed to satisfy constraint: Member must not be null`);
    return value ?? '';
  };
  const request = {
    roleArn: required('RoleArn'),
    roleSessionName: required('RoleSessionName'),
    durationSeconds: secondsOf(parameters.get('DurationSeconds')?.[0], problems),
    externalId: text('ExternalId'),
    policy: text('Policy'),
    sourceIdentity: text('SourceIdentity'),
  };
  if (problems.length > 0) {
    const [plural] = problems.length === 1 ? [''] : ['s'];
    throw new KmsError(
      'ValidationException',
      `${problems.length} validation error${plural} detected: ${problems.join('; ')}`,
    );
  }
  return request;
}

/** What of them is on record, as CloudTrail names it. Nothing of it is secret; what is too long is cut there. */
export function recordOf(parameters: ReadonlyMap<string, readonly string[]>): Readonly<Record<string, unknown>> {
  const recorded = [...Object.keys(texts), 'DurationSeconds'].flatMap((name) => {
    const value = parameters.get(name)?.[0];
    return value === undefined ? [] : [[wireName(name), value] as const];
  });
  return Object.fromEntries(recorded);
}

function assertKnown(name: string, { length }: readonly string[]): void {
  const [member = ''] = name.split('.');
  const why = Object.hasOwn(unsupported, member) ? unsupported[member] : undefined;
  if (why !== undefined) throw new KmsError('ValidationException', `${member} is not supported: ${why}.`);
  if (!Object.hasOwn(texts, name) && name !== 'DurationSeconds') {
    throw new KmsError('ValidationException', `\`${name.slice(0, 64)}\` is no parameter of AssumeRole.`);
  }
  if (length > 1) throw new KmsError('ValidationException', `${name} is there twice.`);
}

function problemsOf(name: keyof typeof texts, value: string): readonly string[] {
  const { min, max, pattern, shown }: TextBounds = texts[name];
  // Of a policy nothing is repeated: it can be long.
  const of =
    name === 'Policy' ? `Value at '${wireName(name)}'` : `Value '${value.slice(0, 256)}' at '${wireName(name)}'`;
  const problem = (rule: string): string => `${of} failed to satisfy constraint: Member must ${rule}`;
  return [
    ...(value.length < min ? [problem(`have length greater than or equal to ${min}`)] : []),
    ...(value.length > max ? [problem(`have length less than or equal to ${max}`)] : []),
    ...(pattern.test(value) ? [] : [problem(`satisfy regular expression pattern: ${shown}`)]),
  ];
}

const secondsBounds = { min: 900, max: 43_200 } as const;

function secondsOf(value: string | undefined, problems: string[]): number | undefined {
  if (value === undefined) return undefined;
  if (!/^\d{1,9}$/.test(value)) {
    throw new KmsError('ValidationException', 'DurationSeconds must be a whole number.');
  }
  const seconds = Number(value);
  const { min, max } = secondsBounds;
  const problem = (rule: string): void => {
    const where = `Value '${seconds}' at 'durationSeconds' failed to satisfy constraint`;
    problems.push(`${where}: Member must have value ${rule}`);
  };
  if (seconds < min) problem(`greater than or equal to ${min}`);
  if (seconds > max) problem(`less than or equal to ${max}`);
  return seconds;
}

function wireName(name: string): string {
  return name.charAt(0).toLowerCase() + name.slice(1);
}
