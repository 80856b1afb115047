/**
 * The `Condition` element: all its operators must hold, for each all its keys, for each one of the values.
 *
 * What follows when a key is not in the request: an operator does not hold, an operator that begins with "not" does,
 * `…IfExists` does, `ForAllValues:` does, `ForAnyValue:` does not. A key that can have several values is to be compared
 * with `ForAllValues:` or `ForAnyValue:`. AWS requires one of them and does not say what follows without; here several values
 * must satisfy an `Allow` with all of them and a `Deny` with one, so that nobody is let in by what he adds to a list. The
 * same goes, whatever the set operator, for a key that should have one value and has several (pairs of an encryption
 * context whose names differ in case alone).
 * A policy variable without a value matches nothing; an operator that begins with "not" holds then only in
 * a `Deny`, so that what the request leaves out never lets more through.
 *
 * Source: IAM user guide, "Condition", "Conditions with multiple context keys or values", "Multivalued context keys"; KMS
 * developer guide, "Condition keys for AWS KMS" (`OverlyPermissiveCondition`).
 */

import { stepsToFold } from '../../kms/case-folding.ts';
import type { RequiredTexts } from './compiled-statement.ts';
import { type ConditionOperator, conditionOperators, priceOfForms, type TextForm } from './condition-operators.ts';
import { type ConditionKey, type ConditionValues, roomOf } from './condition-vocabulary.ts';
import type { Matcher, PatternPart } from './pattern-parts.ts';
import type { JsonObject, JsonValue } from './policy-json.ts';
import { malformed, objectAt, quoted, resolveConditionKey, type StatementContext } from './policy-values.ts';
import {
  fixedParts,
  hasVariables,
  longestParts,
  parseTemplate,
  resolveTemplate,
  stepsToResolve,
  type Template,
  textOf,
} from './policy-variables.ts';
import { type Price, stepsPerLook, stepsPerPattern, stepsPerPreparation } from './work-budget.ts';

type CompiledCondition = (values: ConditionValues) => boolean;

/** One operator with one of its keys. */
export interface ConditionTest {
  readonly operator: string;
  readonly keyName: string;
  /** `undefined`: no request here has such a key. */
  readonly key: ConditionKey | undefined;
  readonly expected: readonly string[];
  readonly holds: CompiledCondition;
  /** What that takes at most. */
  readonly steps: number;
  readonly requires?: RequiredTexts | undefined;
}

/**
 * All tests of the element; it holds where all of them do.
 * @throws KmsError MalformedPolicyDocumentException.
 */
export function parseConditionElement(
  place: string,
  value: JsonValue,
  context: StatementContext,
): readonly ConditionTest[] {
  const tests: ConditionTest[] = [];
  for (const [name, keys] of objectAt(place, value)) {
    const operatorPlace = `${place}.${name}`;
    const operator = parseOperator(place, name);
    for (const [key, expected] of keysAt(operatorPlace, keys)) {
      const source = { place: `${operatorPlace}[${quoted(key)}]`, operator, keyName: key, expected };
      tests.push({ operator: name, ...compileTest(source, context) });
    }
  }
  return tests;
}

function keysAt(place: string, value: JsonValue): JsonObject {
  const keys = objectAt(place, value);
  if (keys.size === 0) throw malformed(place, 'it must name at least one condition key');
  return keys;
}

type SetOperator = 'ForAllValues' | 'ForAnyValue';

interface UsedOperator {
  readonly operator: ConditionOperator;
  readonly set: SetOperator | undefined;
  readonly ifExists: boolean;
}

const operatorPattern = /^(?:(ForAllValues|ForAnyValue):)?(\w+?)(IfExists)?$/;

function parseOperator(place: string, name: string): UsedOperator {
  const [, set, operatorName = '', ifExists] = operatorPattern.exec(name) ?? [];
  const operator = conditionOperators.get(operatorName);
  if (operator === undefined) throw malformed(place, `${quoted(name)} is not a condition operator`);
  if (operator.kind === 'null' && (set !== undefined || ifExists !== undefined)) {
    throw malformed(place, `${quoted(name)} is not a condition operator: Null stands alone`);
  }
  // Safe: the pattern lets nothing else through.
  return { operator, set: set as SetOperator | undefined, ifExists: ifExists !== undefined };
}

interface TestSource {
  readonly place: string;
  readonly operator: UsedOperator;
  readonly keyName: string;
  readonly expected: JsonValue;
}

function compileTest(
  { place, operator, keyName, expected }: TestSource,
  context: StatementContext,
): Omit<ConditionTest, 'operator'> {
  const key = resolveConditionKey(place, keyName, context);
  assertNotOverlyPermissive(operator, key, context);
  const texts = valuesAt(place, expected);
  const used = operator.operator;
  const test = { keyName, key, expected: texts };
  if (used.kind === 'null') return { ...test, holds: compileNull(place, key, texts), steps: stepsPerLook };
  const room = roomOf(key);
  const ofValues = room.values * stepsPerPattern + stepsPerLook + stepsToFold(key?.parameter ?? '');
  const quantified = { ...operator, isNegated: used.isNegated, effect: context.effect };
  if (used.kind === 'value') {
    const holds = compileQuantified(quantified, key, compileValues(place, used, texts));
    return { ...test, holds, steps: ofValues + priceOfValues(used, texts)(room) };
  }
  const templates = parseTexts(place, used, texts, context);
  const requires = requiredTexts(operator, used, key, templates);
  const steps = ofValues + priceOfTexts(used, templates)(room);
  return {
    ...test,
    holds: compileQuantified(quantified, key, compileTexts(used, templates)),
    // What is looked up in a file is looked at once more there.
    steps: requires === undefined ? steps : 2 * steps,
    requires,
  };
}

/** AWS KMS refuses these, in these words, because they hold where the request says nothing at all. */
function assertNotOverlyPermissive(
  { set }: UsedOperator,
  key: ConditionKey | undefined,
  { kind }: StatementContext,
): void {
  if (kind !== 'key policy' || set !== 'ForAllValues') return;
  const about = { 'kms:EncryptionContext': 'encryption context', 'aws:RequestTag': 'tag' }[key?.name ?? ''];
  if (about === undefined) return;
  throw malformed(
    'OverlyPermissiveCondition',
    `Using the ForAllValues set operator with a single-valued condition key matches requests without the specified ${about} or with an unspecified ${about}. To fix, remove ForAllValues`,
  );
}

/** Texts, numbers and booleans; a list of at least one. */
function valuesAt(place: string, value: JsonValue): readonly string[] {
  const values: readonly JsonValue[] = Array.isArray(value) ? value : [value];
  if (values.length === 0) throw malformed(place, 'it must have at least one value');
  return values.map((item) => {
    if (typeof item === 'string') return item;
    if (typeof item === 'number' || typeof item === 'boolean') return String(item);
    throw malformed(place, 'its values must be texts, numbers or booleans');
  });
}

/** What the policy's values are in one request, where variables have theirs. */
interface Expected {
  /** Does a value of the request match one of them? */
  readonly matches: Matcher;
  /** Is there one that has no value in this request? */
  readonly isIncomplete: boolean;
}

type Comparison = (values: ConditionValues) => Expected;

const complete = (matches: Matcher): Expected => ({ matches, isIncomplete: false });

type UsedTextOperator = Extract<ConditionOperator, { kind: 'text' }>;
type UsedValueOperator = Extract<ConditionOperator, { kind: 'value' }>;

function parseTexts(
  place: string,
  operator: UsedTextOperator,
  texts: readonly string[],
  context: StatementContext,
): readonly Template[] {
  return texts.map((text) => {
    const mistake = operator.mistakeOf?.(text);
    if (mistake !== undefined) throw malformed(place, `${quoted(text)} ${mistake}`);
    return parseTemplate(place, text, operator.hasWildcards, context);
  });
}

function compileTexts(operator: UsedTextOperator, templates: readonly Template[]): Comparison {
  const fixed = templates.filter((template) => !hasVariables(template)).map(fixedParts);
  const variable = templates.filter(hasVariables);
  const matchesFixed = compileFixed(operator, fixed);
  if (variable.length === 0) {
    const expected = complete(matchesFixed);
    return () => expected;
  }
  return (values) => {
    const matchers = variable.flatMap((template) => {
      const parts = resolveTemplate(template, values);
      if (parts === undefined) return [];
      if (operator.form !== undefined && parts.every(isText)) values.spend(operator.form.stepsToForm(textOf(parts)));
      return [operator.compile(parts)];
    });
    return { matches: anyOf([matchesFixed, ...matchers]), isIncomplete: matchers.length < variable.length };
  };
}

/** Texts that are compared as a whole are looked up, the others one by one. */
function compileFixed({ compile, form }: UsedTextOperator, fixed: readonly (readonly PatternPart[])[]): Matcher {
  const whole = form === undefined ? [] : fixed.filter(isExact);
  const patterns = (form === undefined ? fixed : fixed.filter((parts) => !isExact(parts))).map(compile);
  if (form === undefined || whole.length === 0) return anyOf(patterns);
  const exact = formsOf(form, whole);
  const longest = longestOf(exact);
  const matchesExact: Matcher = (value, budget) => {
    if (value.length > longest) return false;
    budget?.spend(form.stepsToForm(value));
    return exact.has(form.formOf(value));
  };
  return anyOf([matchesExact, ...patterns]);
}

/** What `compileTexts` makes costs at most. */
function priceOfTexts(operator: UsedTextOperator, templates: readonly Template[]): Price {
  const { form, priceOf } = operator;
  const prices: Price[] = [];
  const whole: (readonly PatternPart[])[] = [];
  let ofTemplates = 0;
  for (const template of templates) {
    const parts = longestParts(template);
    const isVariable = hasVariables(template);
    if (isVariable) ofTemplates += stepsToResolve(template);
    if (isVariable && form !== undefined) ofTemplates += form.maxStepsToForm(textOf(parts).length);
    if (!isVariable && form !== undefined && isExact(parts)) whole.push(parts);
    else prices.push(priceOf(parts));
  }
  if (form !== undefined && whole.length > 0) prices.push(priceOfForms(form, longestOf(formsOf(form, whole))));
  return (room) =>
    ofTemplates +
    // The fixed ones may be counted for themselves, beside those with variables.
    (prices.length + 1) * stepsPerPattern * room.values * (ofTemplates === 0 ? 1 : 2) +
    prices.reduce((sum, price) => sum + price(room), 0);
}

const isText = (part: PatternPart): boolean => 'text' in part;
const isExact = (parts: readonly PatternPart[]): boolean => parts.every(isText);

function longestOf(texts: Iterable<string>): number {
  let longest = 0;
  for (const text of texts) longest = Math.max(longest, text.length);
  return longest;
}

function formsOf({ formOf }: TextForm, exact: readonly (readonly PatternPart[])[]): ReadonlySet<string> {
  return new Set(exact.map((parts) => formOf(textOf(parts))));
}

/**
 * The texts of which a request must have one for the test to hold, where that can be said: the test does not hold without
 * the key, nor for values that match none of its texts, and its texts are fixed and compared as a whole.
 */
function requiredTexts(
  { set, ifExists }: UsedOperator,
  { isNegated, form }: UsedTextOperator,
  key: ConditionKey | undefined,
  templates: readonly Template[],
): RequiredTexts | undefined {
  const holdsWithout = isNegated || ifExists || set === 'ForAllValues';
  if (key === undefined || form === undefined || holdsWithout || templates.some(hasVariables)) return undefined;
  const fixed = templates.map(fixedParts);
  if (!fixed.every(isExact)) return undefined;
  const forms = formsOf(form, fixed);
  return { key, form, forms, longest: longestOf(forms) };
}

function compileValues(place: string, operator: UsedValueOperator, texts: readonly string[]): Comparison {
  const mistake = texts.find((text) => !operator.isValid(text));
  if (mistake !== undefined) throw malformed(place, `${quoted(mistake)} is not ${operator.expected}`);
  const matches = operator.compile(texts);
  const expected = complete((value, budget) => {
    budget?.spend(stepsPerPreparation + value.length);
    return matches(value, budget);
  });
  return () => expected;
}

function priceOfValues({ stepsPerValue }: UsedValueOperator, texts: readonly string[]): Price {
  const perValue = stepsPerPreparation + (stepsPerValue?.(texts) ?? 0);
  return ({ values, characters }) => values * perValue + characters;
}

function anyOf(matchers: readonly Matcher[]): Matcher {
  const [only] = matchers;
  if (matchers.length === 1 && only !== undefined) return only;
  return (value, budget) => {
    budget?.spend(matchers.length * stepsPerPattern);
    return matchers.some((matches) => matches(value, budget));
  };
}

function compileNull(place: string, key: ConditionKey | undefined, texts: readonly string[]): CompiledCondition {
  const expected = new Set(texts.map((text) => text.toLowerCase()));
  for (const text of expected) {
    if (text !== 'true' && text !== 'false') throw malformed(place, `${quoted(text)} is not "true" or "false"`);
  }
  return (values) => {
    const isNull = (valuesOf(key, values)?.length ?? 0) === 0;
    return expected.has(String(isNull));
  };
}

interface Quantified extends Omit<UsedOperator, 'operator'> {
  readonly isNegated: boolean;
  readonly effect: 'Allow' | 'Deny';
}

function compileQuantified(
  { set, ifExists, isNegated, effect }: Quantified,
  key: ConditionKey | undefined,
  comparison: Comparison,
): CompiledCondition {
  const whenAbsent = ifExists || set === 'ForAllValues' || (set === undefined && isNegated);
  return (context) => {
    const values = valuesOf(key, context);
    if (values === undefined) return whenAbsent;
    if (values.length === 0) return set !== 'ForAnyValue' && whenAbsent;
    const { matches, isIncomplete } = comparison(context);
    if (isNegated && isIncomplete) return effect === 'Deny';
    context.spend(values.length * stepsPerPattern);
    const [only] = values;
    // Nearly all keys have one value, for which all of the rest comes to this.
    if (values.length === 1 && only !== undefined) return matches(only, context) !== isNegated;
    const satisfies = (value: string): boolean => matches(value, context) !== isNegated;
    switch (key?.isMultivalued === true ? set : undefined) {
      case 'ForAllValues':
        return values.every(satisfies);
      case 'ForAnyValue':
        return values.some(satisfies);
      default:
        return effect === 'Allow' ? values.every(satisfies) : values.some(satisfies);
    }
  };
}

function valuesOf(key: ConditionKey | undefined, values: ConditionValues): readonly string[] | undefined {
  return key === undefined ? undefined : values.valuesOf(key);
}
