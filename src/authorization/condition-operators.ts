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
import { textOf } from './policy-variables.ts';
import { compileParts, type Matcher, type PatternPart } from './wildcard.ts';

/** Compared as texts, of which parts may come from the request. */
interface TextOperator {
  readonly kind: 'text';
  readonly isNegated: boolean;
  /** Are `*` and `?` wildcards? */
  readonly hasWildcards: boolean;
  readonly compile: (parts: readonly PatternPart[]) => Matcher;
  /** What a text without wildcards is compared as, where equal forms are all there is to it: many are one look-up. */
  readonly formOf?: (text: string) => string;
  /** What is wrong with a value, as far as one can tell before the variables have values. */
  readonly mistakeOf?: (text: string) => string | undefined;
}

/** Compared as something that the text stands for. */
interface ValueOperator {
  readonly kind: 'value';
  readonly isNegated: boolean;
  /** For refusals: `a number`. */
  readonly expected: string;
  /** `undefined`: the value is not what it must be. */
  readonly compile: (text: string) => Matcher | undefined;
}

/** About the key's being there, not about its value. */
interface NullOperator {
  readonly kind: 'null';
}

export type ConditionOperator = TextOperator | ValueOperator | NullOperator;

type Comparison = (actual: number, limit: number) => boolean;
const equal: Comparison = (actual, limit) => actual === limit;
const less: Comparison = (actual, limit) => actual < limit;
const lessOrEqual: Comparison = (actual, limit) => actual <= limit;
const greater: Comparison = (actual, limit) => actual > limit;
const greaterOrEqual: Comparison = (actual, limit) => actual >= limit;

const asItIs = (value: string): string => value;
const inSmallLetters = (value: string): string => value.toLowerCase();

const text = (isNegated: boolean, formOf: (text: string) => string): TextOperator => ({
  kind: 'text',
  isNegated,
  hasWildcards: false,
  compile(parts) {
    const expected = formOf(textOf(parts));
    return (actual) => formOf(actual) === expected;
  },
  formOf,
});
const pattern = (isNegated: boolean): TextOperator => ({
  kind: 'text',
  isNegated,
  hasWildcards: true,
  compile: (parts) => compileParts(parts),
  formOf: asItIs,
});
const arn = (isNegated: boolean): TextOperator => ({
  kind: 'text',
  isNegated,
  hasWildcards: true,
  compile: compileArn,
  mistakeOf: (value) =>
    value === '*' || value.includes('${') || value.split(':').length >= arnPartCount
      ? undefined
      : 'is not an ARN of six parts, which may have wildcards in them, or "*"',
});
const numeric = (compare: Comparison, isNegated = false): ValueOperator => ({
  kind: 'value',
  isNegated,
  expected: 'a number',
  compile: comparing(parseNumber, compare),
});
const date = (compare: Comparison, isNegated = false): ValueOperator => ({
  kind: 'value',
  isNegated,
  expected: 'a date such as "2030-01-31T12:00:00Z" or a number of seconds since 1970',
  compile: comparing(parseDate, compare),
});
const address = (isNegated: boolean): ValueOperator => ({
  kind: 'value',
  isNegated,
  expected: 'an IP address or a range such as "10.0.0.0/8"',
  compile: compileAddressRange,
});

const rows = {
  StringEquals: text(false, asItIs),
  StringNotEquals: text(true, asItIs),
  StringEqualsIgnoreCase: text(false, inSmallLetters),
  StringNotEqualsIgnoreCase: text(true, inSmallLetters),
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
  Bool: { kind: 'value', isNegated: false, expected: '"true" or "false"', compile: compileBool },
  BinaryEquals: { kind: 'value', isNegated: false, expected: 'bytes in base64', compile: compileBinary },
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

function comparing(parse: (text: string) => number | undefined, compare: Comparison): ValueOperator['compile'] {
  return (limitText) => {
    const limit = parse(limitText);
    if (limit === undefined) return undefined;
    return (actualText) => {
      const actual = parse(actualText);
      return actual !== undefined && compare(actual, limit);
    };
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

function compileBool(value: string): Matcher | undefined {
  const expected = value.toLowerCase();
  if (expected !== 'true' && expected !== 'false') return undefined;
  return (actual) => actual.toLowerCase() === expected;
}

const base64Pattern = /^(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?$/;

function compileBinary(value: string): Matcher | undefined {
  if (!base64Pattern.test(value)) return undefined;
  const expected = Buffer.from(value, 'base64');
  return (actual) => base64Pattern.test(actual) && expected.equals(Buffer.from(actual, 'base64'));
}

function compileAddressRange(value: string): Matcher | undefined {
  const [, start, lengthText] = /^([^/]{2,45})(?:\/(\d{1,3}))?$/.exec(value) ?? [];
  const family = start === undefined ? 0 : isIP(start);
  if (start === undefined || family === 0) return undefined;
  const bits = family === 4 ? 32 : 128;
  const prefixBits = lengthText === undefined ? bits : Number(lengthText);
  if (prefixBits > bits) return undefined;
  const range = new BlockList();
  range.addSubnet(start, prefixBits, family === 4 ? 'ipv4' : 'ipv6');
  return (actual) => {
    const actualFamily = isIP(actual);
    return actualFamily !== 0 && range.check(actual, actualFamily === 4 ? 'ipv4' : 'ipv6');
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
  return (actual) => {
    const values = splitArn(actual);
    return values !== undefined && matchers.every((matches, index) => matches(values[index] ?? ''));
  };
}

function splitArn(value: string): readonly string[] | undefined {
  const fields = value.split(':');
  if (fields.length < arnPartCount) return undefined;
  return [...fields.slice(0, arnPartCount - 1), fields.slice(arnPartCount - 1).join(':')];
}

function splitAtColons(parts: readonly PatternPart[]): readonly (readonly PatternPart[])[] {
  const fields: PatternPart[][] = [[]];
  for (const part of parts) {
    if ('wildcard' in part) {
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
