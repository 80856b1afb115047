/** The naive evaluator's conditions, variables and patterns; see `naive-evaluator.ts`. */

/** Condition keys, in small letters, to the values that the request has; a key that is missing is not there. */
export type NaiveContext = Readonly<Record<string, readonly string[]>>;

/** A pattern in which characters that stand for themselves are marked, so that a resolved `*` is no wildcard. */
export interface NaiveCharacter {
  readonly character: string;
  readonly wild: boolean;
}

/** `undefined`: a variable in the text has no value. */
export function resolveText(
  text: string,
  context: NaiveContext,
  hasVariables: boolean,
  hasWildcards: boolean,
): readonly NaiveCharacter[] | undefined {
  const literal = (part: string) => [...part].map((character) => ({ character, wild: false }));
  const resolved: NaiveCharacter[] = [];
  for (const part of hasVariables ? text.split(/(\$\{[^}]*\})/) : [text]) {
    const variable = hasVariables ? /^\$\{(.*)\}$/.exec(part)?.[1] : undefined;
    if (variable === undefined) {
      resolved.push(...[...part].map((character) => ({ character, wild: hasWildcards && '*?'.includes(character) })));
    } else if (['*', '?', '$'].includes(variable)) {
      resolved.push(...literal(variable));
    } else {
      const [name = '', fallback] = variable.split(/\s*,\s*/);
      const value = context[name.toLowerCase()]?.[0] ?? fallback?.slice(1, -1);
      if (value === undefined) return undefined;
      resolved.push(...literal(value));
    }
  }
  return resolved;
}

/** `*` is any sequence of characters, `?` any one character; tries everything. */
export function naiveMatches(pattern: string, text: string): boolean {
  const characters = [...pattern].map((character) => ({ character, wild: '*?'.includes(character) }));
  return matchesAt(characters, [...text]);
}

function matchesAt(pattern: readonly NaiveCharacter[], text: readonly string[]): boolean {
  const [first, ...rest] = pattern;
  if (first === undefined) return text.length === 0;
  if (first.wild && first.character === '*') {
    return matchesAt(rest, text) || (text.length > 0 && matchesAt(pattern, text.slice(1)));
  }
  const [character, ...others] = text;
  return character !== undefined && (first.wild || first.character === character) && matchesAt(rest, others);
}

/** A pattern for ARNs: in the five leading segments a wildcard stays in its segment, but for a star that ends it. */
export function naiveArnMatches(pattern: readonly NaiveCharacter[], text: string): boolean {
  const bounded = pattern.map(({ character, wild }, index) => {
    const colons = pattern.slice(0, index).filter((before) => !before.wild && before.character === ':').length;
    const next = pattern[index + 1];
    const endsSegment = next === undefined || (!next.wild && next.character === ':');
    return { character, wild, bounded: wild && colons < 5 && !(character === '*' && endsSegment) };
  });
  const at = (from: number, rest: readonly string[]): boolean => {
    const element = bounded[from];
    if (element === undefined) return rest.length === 0;
    const [character, ...others] = rest;
    const passes = character !== undefined && !(element.bounded && character === ':');
    if (element.wild && element.character === '*') return at(from + 1, rest) || (passes && at(from, others));
    return passes && (element.wild || element.character === character) && at(from + 1, others);
  };
  return at(0, [...text]);
}

type Effect = 'Allow' | 'Deny';

export function conditionHolds(
  condition: Readonly<Record<string, Readonly<Record<string, unknown>>>>,
  context: NaiveContext,
  hasVariables: boolean,
  effect: Effect,
): boolean {
  return Object.entries(condition).every(([name, keys]) =>
    Object.entries(keys).every(([key, expected]) => {
      const values = context[key.toLowerCase()];
      const policyValues = (Array.isArray(expected) ? expected : [expected]).map(String);
      return testHolds(name, policyValues, values, context, hasVariables, effect);
    }),
  );
}

function testHolds(
  name: string,
  expected: readonly string[],
  values: readonly string[] | undefined,
  context: NaiveContext,
  hasVariables: boolean,
  effect: Effect,
): boolean {
  const set = /^ForA(?:ll|ny)Values?:/.exec(name)?.[0];
  const ifExists = name.endsWith('IfExists');
  const operator = name.replace(/^.*:/, '').replace(/IfExists$/, '');
  if (operator === 'Null') return expected.includes(String(values === undefined || values.length === 0));

  const isNot = operator.includes('Not');
  const positive = operator.replace('Not', '');
  const absent = values === undefined || values.length === 0;
  if (absent && set === 'ForAllValues:') return true;
  if (absent && ifExists && !(set === 'ForAnyValue:' && values !== undefined)) return true;
  if (absent) return set === undefined && isNot;

  const isText = /^(?:String|Arn)/.test(positive);
  const wildcards = positive === 'StringLike' || positive.startsWith('Arn');
  const patterns = expected.map((text) =>
    isText ? resolveText(text, context, hasVariables, wildcards) : resolveText(text, {}, false, false),
  );
  if (isNot && patterns.includes(undefined)) return effect === 'Deny';
  const matches = (value: string): boolean =>
    patterns.some((pattern) => pattern !== undefined && compare(positive, value, pattern));
  if (set === 'ForAllValues:') return values.every((value) => matches(value) !== isNot);
  if (set === 'ForAnyValue:') return values.some((value) => matches(value) !== isNot);
  // Without a set operator no value may be let in by another: an Allow wants all of them, a Deny one.
  return effect === 'Allow'
    ? values.every((value) => matches(value) !== isNot)
    : values.some((value) => matches(value) !== isNot);
}

function compare(operator: string, value: string, pattern: readonly NaiveCharacter[]): boolean {
  const text = pattern.map(({ character }) => character).join('');
  switch (operator) {
    case 'StringEquals':
    case 'BinaryEquals':
      return value === text;
    case 'StringEqualsIgnoreCase':
    case 'Bool':
      return value.toLowerCase() === text.toLowerCase();
    case 'StringLike':
      return matchesAt(pattern, [...value]);
    case 'ArnEquals':
    case 'ArnLike':
      return arnEquals(pattern, value);
    case 'IpAddress':
      return inRange(value, text);
    default:
      return compareOrder(operator, value, text);
  }
}

/** A date is one of ISO 8601 (four digits are a year), or seconds since 1970. */
function compareOrder(operator: string, value: string, limit: string): boolean {
  const isDate = operator.startsWith('Date');
  const numberOf = (text: string): number => {
    if (isDate && (/^\d{4}$/.test(text) || text.includes('-'))) return Date.parse(text) / 1000;
    return /^[\d.]+$/.test(text) ? Number(text) : Number.NaN;
  };
  const [a, b] = [numberOf(value), numberOf(limit)];
  switch (operator.replace(/^(?:Numeric|Date)/, '')) {
    case 'Equals':
      return a === b;
    case 'LessThan':
      return a < b;
    case 'LessThanEquals':
      return a <= b;
    case 'GreaterThan':
      return a > b;
    case 'GreaterThanEquals':
      return a >= b;
    default:
      throw new Error(`${operator} is not known to the naive evaluator`);
  }
}

/** Each of the six parts on its own; the sixth may have colons. */
function arnEquals(pattern: readonly NaiveCharacter[], value: string): boolean {
  if (pattern.length === 1 && pattern[0]?.wild === true && pattern[0].character === '*') return true;
  const parts: NaiveCharacter[][] = [[]];
  for (const item of pattern) {
    if (!item.wild && item.character === ':' && parts.length < 6) parts.push([]);
    else parts.at(-1)?.push(item);
  }
  const values = value.split(':');
  if (parts.length < 6 || values.length < 6) return false;
  const sixth = values.slice(5).join(':');
  return parts.every((part, index) => matchesAt(part, [...(index === 5 ? sixth : (values[index] ?? ''))]));
}

/** IPv4 only. */
function inRange(address: string, range: string): boolean {
  const [start = '', bits = '32'] = range.split('/');
  const numberOf = (text: string): number => text.split('.').reduce((sum, byte) => sum * 256 + Number(byte), 0);
  if (!/^\d+\.\d+\.\d+\.\d+$/.test(address)) return false;
  const size = 2 ** (32 - Number(bits));
  return Math.floor(numberOf(address) / size) === Math.floor(numberOf(start) / size);
}
