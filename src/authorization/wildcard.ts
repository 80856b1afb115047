/**
 * Patterns with `*` and `?`, matched in time that no pattern can blow up.
 *
 * A pattern is a sequence of elements (a character or `?`) with stars between them, which is a small automaton: state
 * `n` means that the first `n` elements are matched, and a star after `n` elements lets state `n` stay where it is. All
 * states advance together, as bits: one step per character of the text, each costing one operation per 32 elements. A
 * pattern with more elements than the text has characters cannot match and is not tried, so the work is bounded by
 * `text²/32` whatever the pattern. Nothing is ever tried twice; there is no backtracking.
 *
 * The bit tables are built per match and thrown away. Kept, they would take forty times the memory of the policy's own
 * text, and a decision is remembered per action anyway (`applicable-statements.ts`).
 *
 * Source: IAM user guide, "Resource", "Using wildcards in resource ARNs"; G. Navarro and M. Raffinot, "Flexible Pattern
 * Matching in Strings", on the extended Shift-And automaton.
 */

export type Matcher = (text: string) => boolean;

/** Where wildcards may not cross a `:`, or `undefined` where they match everything. */
export type Segments = 'arn' | undefined;

/** A compiled pattern: as cheap a test as its form allows. */
export function compileWildcard(pattern: string, segments?: Segments): Matcher {
  const firstWildcardIndex = pattern.search(/[*?]/);
  if (firstWildcardIndex === -1) return (text) => text === pattern;
  if (/^\*+$/.test(pattern)) return () => true;
  const prefix = pattern.slice(0, firstWildcardIndex);
  if (/^\*+$/.test(pattern.slice(firstWildcardIndex))) return (text) => text.startsWith(prefix);
  const elements = toElements(pattern, segments);
  return (text) => text.startsWith(prefix) && runAutomaton(elements, text);
}

/** Any of the patterns: the exact ones by look-up, the others one by one. */
export function compileWildcards(patterns: readonly string[], segments?: Segments): Matcher {
  const exact = new Set(patterns.filter((pattern) => !/[*?]/.test(pattern)));
  const matchers = patterns
    .filter((pattern) => !exact.has(pattern))
    .map((pattern) => compileWildcard(pattern, segments));
  return (text) => exact.has(text) || matchers.some((matches) => matches(text));
}

/** How far a wildcard reaches: not past the end of an ARN's segment, or anywhere. */
type Reach = 'segment' | 'anywhere';

interface Elements {
  /** Code points, or the reach of a `?`. */
  readonly elements: readonly (number | Reach)[];
  /** At `n`: a star after the first `n` elements. */
  readonly stars: ReadonlyMap<number, Reach>;
}

const colon = 0x3a;
/** `arn:partition:service:region:account:`; behind them is the resource, in which a colon is a character like others. */
const arnSeparatorCount = 5;

function toElements(pattern: string, segments: Segments): Elements {
  const elements: (number | Reach)[] = [];
  const stars = new Map<number, Reach>();
  const characters = [...pattern.replaceAll(/\*+/g, '*')];
  let colonCount = 0;
  characters.forEach((character, index) => {
    const isBounded = segments === 'arn' && colonCount < arnSeparatorCount;
    const next = characters[index + 1];
    if (character === '*') {
      // AWS: a star that ends its segment may reach beyond it, so that `arn:aws:kms:*` and `arn:*:key/x` mean something.
      stars.set(elements.length, isBounded && next !== undefined && next !== ':' ? 'segment' : 'anywhere');
    } else if (character === '?') {
      elements.push(isBounded ? 'segment' : 'anywhere');
    } else {
      if (character === ':') colonCount++;
      elements.push(character.codePointAt(0) ?? 0);
    }
  });
  return { elements, stars };
}

/** Sets of states, one bit each. */
type Bits = Uint32Array;

function runAutomaton(pattern: Elements, text: string): boolean {
  const elementCount = pattern.elements.length;
  if (elementCount > text.length) return false;
  const tables = buildTables(pattern);
  const states: Bits = new Uint32Array(tables.wordCount);
  setBit(states, 0);
  for (const character of text) {
    const codePoint = character.codePointAt(0) ?? 0;
    const isColon = codePoint === colon;
    const accepts = tables.accepts.get(codePoint) ?? (isColon ? tables.acceptsColon : tables.acceptsOther);
    if (!advance(states, accepts, isColon ? tables.staysOnColon : tables.stays)) return false;
  }
  return hasBit(states, elementCount);
}

interface Tables {
  readonly wordCount: number;
  /** For each character that the pattern names: the elements that take it. */
  readonly accepts: ReadonlyMap<number, Bits>;
  readonly acceptsColon: Bits;
  readonly acceptsOther: Bits;
  readonly stays: Bits;
  readonly staysOnColon: Bits;
}

function buildTables({ elements, stars }: Elements): Tables {
  const wordCount = Math.floor(elements.length / 32) + 1;
  const acceptsColon: Bits = new Uint32Array(wordCount);
  const acceptsOther: Bits = new Uint32Array(wordCount);
  elements.forEach((element, index) => {
    if (typeof element === 'number') return;
    setBit(acceptsOther, index);
    if (element === 'anywhere') setBit(acceptsColon, index);
  });
  const accepts = new Map<number, Bits>();
  elements.forEach((element, index) => {
    if (typeof element !== 'number') return;
    let bits = accepts.get(element);
    if (bits === undefined) {
      bits = new Uint32Array(element === colon ? acceptsColon : acceptsOther);
      accepts.set(element, bits);
    }
    setBit(bits, index);
  });
  const stays: Bits = new Uint32Array(wordCount);
  const staysOnColon: Bits = new Uint32Array(wordCount);
  for (const [state, reach] of stars) {
    setBit(stays, state);
    if (reach === 'anywhere') setBit(staysOnColon, state);
  }
  return { wordCount, accepts, acceptsColon, acceptsOther, stays, staysOnColon };
}

/** One character: every state moves on where its element takes it and stays where a star lets it. False: none is left. */
function advance(states: Bits, accepts: Bits, stays: Bits): boolean {
  let carry = 0;
  let any = 0;
  for (let word = 0; word < states.length; word++) {
    const state = states[word] ?? 0;
    const taken = state & (accepts[word] ?? 0);
    const next = (taken << 1) | carry | (state & (stays[word] ?? 0));
    carry = taken >>> 31;
    states[word] = next;
    any |= next;
  }
  return any !== 0;
}

function setBit(bits: Bits, index: number): void {
  bits[index >>> 5] = (bits[index >>> 5] ?? 0) | (1 << (index & 31));
}

function hasBit(bits: Bits, index: number): boolean {
  return (((bits[index >>> 5] ?? 0) >>> (index & 31)) & 1) === 1;
}
