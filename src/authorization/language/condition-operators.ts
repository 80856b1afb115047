/**
 * The condition operators of the policy language: one row each.
 *
 * A row says how one value of the policy is compared with one value of the request. What all operators share (several
 * values, `…IfExists`, `ForAllValues:`, keys that are not there) is in `policy-condition.ts`. An operator that begins with
 * "not" is the opposite of its row: it holds where none of the policy's values matches.
 *
 * Policy variables and `${*}` are for texts and ARNs; numbers, dates, addresses and the rest are checked when the policy
 * is put, so that a statement never turns out later to be meaningless.
 *
 * Source: IAM user guide, "IAM JSON policy elements: Condition operators".
 */

import { BlockList, isIP } from 'node:net';
import { foldCase, maxStepsToFold, stepsToFold } from '../../kms/case-folding.ts';
import type { Matcher, PatternPart, PricedPart } from './pattern-parts.ts';
import { textOf } from './policy-variables.ts';
import { compileParts, priceOfParts } from './wildcard.ts';
import { type Price, type Room, stepsPerPreparation } from './work-budget.ts';

/** How a text is compared as a whole: texts are equal where their forms are. */
export interface TextForm {
  /** Never shorter than the text itself: a text that is longer than a form is none of those that have it. */
  readonly formOf: (text: string) => string;
  /** What it costs to get that form of a text. */
  readonly stepsToForm: (text: string) => number;
  /** And of any text of so many characters. */
  readonly maxStepsToForm: (characters: number) => number;
}

/** What it costs at most to get the forms of those values that are no longer than `longest`. */
export function priceOfForms({ maxStepsToForm }: TextForm, longest: number): Price {
  return ({ values, characters }) => maxStepsToForm(Math.min(characters, values * longest));
}

/** Compared as texts, of which parts may come from the request. */
interface TextOperator {
  readonly kind: 'text';
  readonly isNegated: boolean;
  /** Are `*` and `?` wildcards? */
  readonly hasWildcards: boolean;
  readonly compile: (parts: readonly PatternPart[]) => Matcher;
  /** What the matcher costs at most. */
  readonly priceOf: (parts: readonly PricedPart[]) => Price;
  /** What a text without wildcards is compared as, where equal forms are all there is to it: many are one look-up. */
  readonly form?: TextForm;
  /** What is wrong with a value, as far as one can tell before the variables have values. */
  readonly mistakeOf?: (text: string) => string | undefined;
}

/** Compared as something that the text stands for. */
interface ValueOperator {
  readonly kind: 'value';
  readonly isNegated: boolean;
  /** For refusals: `a number`. */
  readonly expected: string;
  readonly isValid: (text: string) => boolean;
  /**
   * Does a value of the request match one of these, all of them valid? It is parsed once, whatever their number.
   */
  readonly compile: (texts: readonly string[]) => Matcher;
  /** What the matcher spends for each value; absent: nothing. */
  readonly stepsPerValue?: (texts: readonly string[]) => number;
}

/** About the key's being there, not about its value. */
interface NullOperator {
  readonly kind: 'null';
}

export type ConditionOperator = TextOperator | ValueOperator | NullOperator;

/** One of several limits is met where the easiest of them is. */
type Comparison = (limits: readonly number[]) => (actual: number) => boolean;
const equal: Comparison = (limits) => {
  const wanted = new Set(limits);
  return (actual) => wanted.has(actual);
};
const comparingWith =
  (easiest: (a: number, b: number) => number, compare: (actual: number, limit: number) => boolean): Comparison =>
  (limits) => {
    const limit = limits.reduce(easiest);
    return (actual) => compare(actual, limit);
  };
const largest = (a: number, b: number): number => Math.max(a, b);
const smallest = (a: number, b: number): number => Math.min(a, b);
const less = comparingWith(largest, (actual, limit) => actual < limit);
const lessOrEqual = comparingWith(largest, (actual, limit) => actual <= limit);
const greater = comparingWith(smallest, (actual, limit) => actual > limit);
const greaterOrEqual = comparingWith(smallest, (actual, limit) => actual >= limit);

const asItIs: TextForm = { formOf: (value) => value, stepsToForm: () => 0, maxStepsToForm: () => 0 };
const withoutCase: TextForm = { formOf: foldCase, stepsToForm: stepsToFold, maxStepsToForm: maxStepsToFold };

const text = (isNegated: boolean, form: TextForm): TextOperator => ({
  kind: 'text',
  isNegated,
  hasWildcards: false,
  compile(parts) {
    const expected = form.formOf(textOf(parts));
    return (actual, budget) => {
      if (actual.length > expected.length) return false;
      budget?.spend(actual.length + form.stepsToForm(actual));
      return form.formOf(actual) === expected;
    };
  },
  priceOf(parts) {
    const longest = form.formOf(textOf(parts)).length;
    const ofForms = priceOfForms(form, longest);
    return (room) => Math.min(room.characters, room.values * longest) + ofForms(room);
  },
  form,
});
const pattern = (isNegated: boolean): TextOperator => ({
  kind: 'text',
  isNegated,
  hasWildcards: true,
  compile: (parts) => compileParts(parts),
  priceOf: (parts) => priceOfParts(parts),
  form: asItIs,
});
const arn = (isNegated: boolean): TextOperator => ({
  kind: 'text',
  isNegated,
  hasWildcards: true,
  compile: compileArn,
  priceOf: priceOfArn,
  mistakeOf: (value) =>
    value === '*' || value.includes('${') || value.split(':').length >= arnPartCount
      ? undefined
      : 'is not an ARN of six parts, which may have wildcards in them, or "*"',
});
const numeric = (compare: Comparison, isNegated = false): ValueOperator => ({
  kind: 'value',
  isNegated,
  expected: 'a number',
  ...comparing(parseNumber, compare),
});
const date = (compare: Comparison, isNegated = false): ValueOperator => ({
  kind: 'value',
  isNegated,
  expected: 'a date such as "2030-01-31T12:00:00Z" or a number of seconds since 1970',
  ...comparing(parseDate, compare),
});
const address = (isNegated: boolean): ValueOperator => ({
  kind: 'value',
  isNegated,
  expected: 'an IP address or a range such as "10.0.0.0/8"',
  isValid: (value) => parseAddressRange(value) !== undefined,
  compile: compileAddressRanges,
  // The lists are gone through.
  stepsPerValue: (texts) => new Set(texts).size,
});

const rows = {
  StringEquals: text(false, asItIs),
  StringNotEquals: text(true, asItIs),
  StringEqualsIgnoreCase: text(false, withoutCase),
  StringNotEqualsIgnoreCase: text(true, withoutCase),
  StringLike: pattern(false),
  StringNotLike: pattern(true),
  NumericEquals: numeric(equal),
  NumericNotEquals: numeric(equal, true),
  NumericLessThan: numeric(less),
  NumericLessThanEquals: numeric(lessOrEqual),
  NumericGreaterThan: numeric(greater),
  NumericGreaterThanEquals: numeric(greaterOrEqual),
  DateEquals: date(equal),
  DateNotEquals: date(equal, true),
  DateLessThan: date(less),
  DateLessThanEquals: date(lessOrEqual),
  DateGreaterThan: date(greater),
  DateGreaterThanEquals: date(greaterOrEqual),
  Bool: { kind: 'value', isNegated: false, expected: '"true" or "false"', ...lookedUp(parseBool) },
  BinaryEquals: { kind: 'value', isNegated: false, expected: 'bytes in base64', ...lookedUp(parseBinary) },
  IpAddress: address(false),
  NotIpAddress: address(true),
  ArnEquals: arn(false),
  ArnLike: arn(false),
  ArnNotEquals: arn(true),
  ArnNotLike: arn(true),
  Null: { kind: 'null' },
} satisfies Record<string, ConditionOperator>;

export type OperatorName = keyof typeof rows;
export const operatorNames = Object.keys(rows) as readonly OperatorName[];

/** By name, with regard to case, as IAM has them. */
export const conditionOperators: ReadonlyMap<string, ConditionOperator> = new Map(Object.entries(rows));

type Parsing = Pick<ValueOperator, 'isValid' | 'compile'>;

function comparing(parse: (text: string) => number | undefined, compare: Comparison): Parsing {
  return {
    isValid: (text) => parse(text) !== undefined,
    compile(texts) {
      const matches = compare(texts.map(parse).filter((limit) => limit !== undefined));
      return (text) => {
        const actual = parse(text);
        return actual !== undefined && matches(actual);
      };
    },
  };
}

/** @param parse Gives equal texts for what is equal. */
function lookedUp(parse: (text: string) => string | undefined): Parsing {
  return {
    isValid: (text) => parse(text) !== undefined,
    compile(texts) {
      const expected = new Set(texts.map(parse));
      return (text) => {
        const actual = parse(text);
        return actual !== undefined && expected.has(actual);
      };
    },
  };
}

const numberPattern = /^[+-]?\d+(?:\.\d+)?(?:[eE][+-]?\d{1,3})?$/;

function parseNumber(value: string): number | undefined {
  return value.length <= 100 && numberPattern.test(value) ? Number(value) : undefined;
}

/** ISO 8601 as W3C's note on dates has it; seconds may have a fraction. */
const datePattern = /^(\d{4})(?:-(\d\d)(?:-(\d\d)(?:T(\d\d):(\d\d)(?::(\d\d)(?:\.\d{1,9})?)?(Z|[+-]\d\d:\d\d)?)?)?)?$/;

/** In milliseconds. A date without a time zone is in UTC; four digits are a year. */
function parseDate(value: string): number | undefined {
  const parts = datePattern.exec(value);
  if (parts === null) {
    const seconds = parseNumber(value);
    return seconds === undefined ? undefined : seconds * 1000;
  }
  const [, , month, day, hour, , , zone] = parts;
  const milliseconds = Date.parse(hour !== undefined && zone === undefined ? `${value}Z` : value);
  if (Number.isNaN(milliseconds)) return undefined;
  // `Date.parse` takes the 31st of February for a day in March.
  const monthLengthDays = new Date(Date.UTC(Number(parts[1]), Number(month ?? 1), 0)).getUTCDate();
  return Number(day ?? 1) > monthLengthDays ? undefined : milliseconds;
}

function parseBool(value: string): string | undefined {
  const text = value.toLowerCase();
  return text === 'true' || text === 'false' ? text : undefined;
}

const base64Pattern = /^(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?$/;

/** The one spelling of its bytes. */
function parseBinary(value: string): string | undefined {
  return base64Pattern.test(value) ? Buffer.from(value, 'base64').toString('base64') : undefined;
}

interface AddressRange {
  readonly start: string;
  readonly prefixBits: number;
  readonly family: 'ipv4' | 'ipv6';
}

function parseAddressRange(value: string): AddressRange | undefined {
  const [, start, lengthText] = /^([^/]{2,45})(?:\/(\d{1,3}))?$/.exec(value) ?? [];
  const family = start === undefined ? 0 : isIP(start);
  if (start === undefined || family === 0) return undefined;
  const bits = family === 4 ? 32 : 128;
  const prefixBits = lengthText === undefined ? bits : Number(lengthText);
  return prefixBits > bits ? undefined : { start, prefixBits, family: family === 4 ? 'ipv4' : 'ipv6' };
}

/**
 * An IPv4 address is in no range of IPv6, not even in `::/0`, though `BlockList` finds it there as `::ffff:a.b.c.d`. An
 * IPv6 address of that form is in the ranges of the IPv4 address that it stands for.
 */
function compileAddressRanges(texts: readonly string[]): Matcher {
  const ranges = [...new Set(texts)].map(parseAddressRange).filter((range) => range !== undefined);
  const lists = { ipv4: new BlockList(), ipv6: new BlockList() };
  for (const { start, prefixBits, family } of ranges) lists[family].addSubnet(start, prefixBits, family);
  return (actual, budget) => {
    const family = isIP(actual);
    if (family === 0) return false;
    budget?.spend(ranges.length);
    if (family === 4) return lists.ipv4.check(actual, 'ipv4');
    return lists.ipv6.check(actual, 'ipv6') || lists.ipv4.check(actual, 'ipv6');
  };
}

/** `arn:partition:service:region:account:resource`; colons in the resource are characters like others. */
const arnPartCount = 6;

/** Each part is compared with its own pattern. */
function compileArn(parts: readonly PatternPart[]): Matcher {
  const fields = splitAtColons(parts);
  if (fields.length === 1 && textOf(parts) === '*') return () => true;
  if (fields.length < arnPartCount) return () => false;
  const matchers = fields.map((field) => compileParts(field));
  return (actual, budget) => {
    budget?.spend(stepsPerPreparation + actual.length);
    const values = splitArn(actual);
    return values !== undefined && matchers.every((matches, index) => matches(values[index] ?? '', budget));
  };
}

/** The characters of a value are those of its parts, so the dearest pattern might get all of them. */
function priceOfArn(parts: readonly PricedPart[]): Price {
  const prices = splitAtColons(parts).map((field) => priceOfParts(field));
  // What a variable stands for may have colons in it, and make parts of its own.
  const times = parts.some((part) => 'isLongest' in part) ? arnPartCount : 1;
  return (room: Room) => {
    const ofFields = prices.reduce((sum, price) => sum + price(room), 0);
    return room.values * stepsPerPreparation + room.characters + ofFields * times;
  };
}

function splitArn(value: string): readonly string[] | undefined {
  const fields: string[] = [];
  let at = 0;
  while (fields.length < arnPartCount - 1) {
    const colon = value.indexOf(':', at);
    if (colon === -1) return undefined;
    fields.push(value.slice(at, colon));
    at = colon + 1;
  }
  fields.push(value.slice(at));
  return fields;
}

function splitAtColons(parts: readonly PricedPart[]): readonly (readonly PricedPart[])[] {
  const fields: PricedPart[][] = [[]];
  for (const part of parts) {
    if ('wildcard' in part || 'isLongest' in part) {
      fields.at(-1)?.push(part);
      continue;
    }
    let rest = part.text;
    while (fields.length < arnPartCount && rest.includes(':')) {
      const colon = rest.indexOf(':');
      if (colon > 0) fields.at(-1)?.push({ text: rest.slice(0, colon) });
      fields.push([]);
      rest = rest.slice(colon + 1);
    }
    if (rest !== '') fields.at(-1)?.push({ text: rest });
  }
  return fields;
}
