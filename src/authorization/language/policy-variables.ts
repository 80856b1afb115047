/**
 * Policy variables: `${aws:username}` in a resource or a condition stands for a value of the request.
 *
 * With a default, `${aws:PrincipalTag/team, 'none'}` stands for it where the request has no value; without one, the text
 * that contains it matches nothing. `${*}`, `${?}` and `${$}` are the characters themselves. INVARIANT: what a variable
 * stands for is compared as it is; a `*` in a user's name is no wildcard. Variables came with version 2012-10-17 of the
 * language; in the first one they are text.
 *
 * Source: IAM user guide, "IAM policy elements: Variables and tags".
 */

import { type ConditionKey, type ConditionValues, roomOf } from './condition-vocabulary.ts';
import { type PatternPart, type PricedPart, patternParts } from './pattern-parts.ts';
import { malformed, type ParseContext, resolveConditionKey } from './policy-values.ts';
import { stepsPerLook, stepsPerPreparation } from './work-budget.ts';

interface Variable {
  /** `undefined`: a key that no request here has. */
  readonly key: ConditionKey | undefined;
  readonly default: string | undefined;
}

type TemplatePart = PatternPart | Variable;

/** A text of a policy in parts. */
export type Template = readonly TemplatePart[];

/**
 * Where variables stand, in either form, or a mistake. No two neighbours in it take the same character, so it has one way
 * to match and a policy of 32 KB cannot make it try others: a space after the name is first taken for a part of it.
 */
const variablePattern = /\$\{(?:([*?$])|([A-Za-z][\w:/+=.@ -]*)(?:, *'([^'}]*)' *)?)\}/y;

const examples = ['{aws:username}', "{aws:username, 'default'}", '{*}'].map((form) => `$${form}`).join(' or ');

/**
 * @param wildcards Are `*` and `?` wildcards in this text?
 * @throws KmsError MalformedPolicyDocumentException.
 */
export function parseTemplate(place: string, text: string, wildcards: boolean, context: ParseContext): Template {
  const literal = (part: string): Template => (wildcards ? patternParts(part) : [{ text: part }]);
  if (context.version === '2008-10-17' || !text.includes('${')) return literal(text);
  const parts: TemplatePart[] = [];
  let at = 0;
  for (let start = text.indexOf('${'); start !== -1; start = text.indexOf('${', at)) {
    variablePattern.lastIndex = start;
    const match = variablePattern.exec(text);
    if (match === null) {
      throw malformed(place, `a policy variable must look like ${examples}`);
    }
    parts.push(...literal(text.slice(at, start)), variableOf(place, match, context));
    at = variablePattern.lastIndex;
  }
  return [...parts, ...literal(text.slice(at))];
}

function variableOf(
  place: string,
  [, character, name, fallback]: RegExpExecArray,
  context: ParseContext,
): TemplatePart {
  if (character !== undefined) return { text: character };
  const key = resolveConditionKey(place, (name ?? '').trimEnd(), context);
  if (key?.isMultivalued === true) {
    throw malformed(place, `${key.name} may have several values and cannot be a policy variable`);
  }
  return { key, default: fallback };
}

/** Does the text stand for something else in each request? */
export function hasVariables(template: Template): boolean {
  return template.some((part) => 'key' in part);
}

/** The text for one request, whose budget pays for its length; `undefined` where a variable has no value. */
export function resolveTemplate(template: Template, values: ConditionValues): readonly PatternPart[] | undefined {
  const resolved: PatternPart[] = [];
  values.spend(stepsPerPreparation);
  for (const part of template) {
    const next = 'key' in part ? variableValue(part, values) : part;
    if (next === undefined) return undefined;
    values.spend(stepsPerLook + ('text' in next ? next.text.length : 0));
    append(resolved, next);
  }
  return resolved;
}

/** What that costs at most. */
export function stepsToResolve(template: Template): number {
  return longestParts(template).reduce(
    (sum, part) => sum + ('text' in part ? part.text.length : 0),
    stepsPerPreparation + template.length * stepsPerLook,
  );
}

/** The parts as long as they can be: every variable has the longest value that there is of it. */
export function longestParts(template: Template): readonly PricedPart[] {
  const parts: PricedPart[] = [];
  for (const part of template) {
    if (!('key' in part)) append(parts, part);
    else parts.push({ text: longestValueOf(part), isLongest: true });
  }
  return parts;
}

function longestValueOf({ key, default: fallback }: Variable): string {
  return 'x'.repeat(Math.max(key === undefined ? 0 : roomOf(key).characters, fallback?.length ?? 0));
}

/** Where nothing depends on the request. */
export function fixedParts(template: Template): readonly PatternPart[] {
  const parts: PatternPart[] = [];
  for (const part of template) {
    if (!('key' in part)) append(parts, part);
  }
  return parts;
}

/** The text of parts without wildcards. */
export function textOf(parts: readonly PatternPart[]): string {
  return parts.map((part) => ('text' in part ? part.text : part.wildcard)).join('');
}

function variableValue({ key, default: fallback }: Variable, values: ConditionValues): PatternPart | undefined {
  const [value = fallback, another] = (key === undefined ? undefined : values.valuesOf(key)) ?? [];
  // Which of several it stands for would be the caller's choice.
  return value === undefined || another !== undefined ? undefined : { text: value };
}

/** INVARIANT: no empty texts, no star after a star; `wildcard.ts` relies on it. */
function append(parts: PricedPart[], next: PatternPart): void {
  if ('text' in next && next.text === '') return;
  const last = parts.at(-1);
  const isSecondStar = last !== undefined && 'wildcard' in last && last.wildcard === '*' && 'wildcard' in next;
  if (isSecondStar && next.wildcard === '*') return;
  parts.push(next);
}
