/**
 * Patterns with a `?` between stars, and those of ARNs, in time that no pattern can blow up.
 *
 * A pattern is a sequence of elements (a character or `?`) with stars between them, which is a small automaton: state
 * `n` means that the first `n` elements are matched, and a star after `n` elements lets state `n` stay where it is. All
 * states advance together, as bits: one step per character of the text, each costing one operation per 32 elements. A
 * pattern with more elements than the text has characters cannot match and is not tried, so the work is bounded by
 * `text²/32` whatever the pattern. Nothing is ever tried twice; there is no backtracking.
 *
 * The bit tables are built per match and thrown away. Kept, they would take forty times the memory of the policy's own
 * text, and what a policy says of an action is remembered anyway (`applicable-statements.ts`).
 *
 * Source: G. Navarro and M. Raffinot, "Flexible Pattern Matching in Strings", on the extended Shift-And automaton.
 */

import type { Matcher, PatternPart, PricedPart, Segments } from './pattern-parts.ts';
import { type Price, type Room, stepsPerPreparation, unbounded } from './work-budget.ts';

/** One bit per element, and one for the end, in a number. */
const maxSmallElements = 30;
/** What the tables take for each element: the entry of a map, and as many words as the pattern has. */
const stepsPerElement = 12;

interface AutomatonCosts {
  /** What a text must have at least; a shorter one is not worth an automaton. */
  readonly minCharacters: number;
  readonly perElement: number;
  readonly perCharacter: number;
}

function costsOf(parts: readonly PatternPart[]): AutomatonCosts {
  const minCharacters = minCharactersOf(parts);
  const wordCount = Math.floor(minCharacters / 32) + 1;
  return {
    minCharacters,
    perElement: stepsPerElement + wordCount,
    // Beyond one number, the elements that take a character are looked up in a map.
    perCharacter: minCharacters <= maxSmallElements ? 1 : 2 + wordCount,
  };
}

/** How many characters a text has at least that the pattern matches; a `?` may take two units of one. */
export function minCharactersOf(parts: readonly PatternPart[]): number {
  return parts.reduce((sum, part) => sum + ('text' in part ? part.text.length : Number(part.wildcard === '?')), 0);
}

export function compileAutomaton(parts: readonly PatternPart[], segments: Segments): Matcher {
  const [first] = parts;
  const prefix = first !== undefined && 'text' in first ? first.text : '';
  const { minCharacters, perElement, perCharacter } = costsOf(parts);
  let elements: Elements | undefined;
  return (text, budget = unbounded) => {
    if (text.length < minCharacters || !text.startsWith(prefix)) return false;
    budget.spend(stepsPerPreparation + minCharacters * perElement + text.length * perCharacter);
    elements ??= toElements(parts, segments);
    return elements.elements.length <= maxSmallElements ? runSmall(elements, text) : runAutomaton(elements, text);
  };
}

/** @returns What such a matcher spends at most. */
export function priceOfAutomaton(parts: readonly PricedPart[]): Price {
  const { minCharacters, perElement, perCharacter } = costsOf(parts);
  return (room) => {
    const runs = maxRuns(parts, room);
    // A text that is tried has as many characters as the pattern has elements.
    const elements = Math.min(runs * minCharacters, room.characters);
    return runs === 0 ? 0 : runs * stepsPerPreparation + elements * perElement + room.characters * perCharacter;
  };
}

/** How many of the values may be long enough to be tried. */
export function maxRuns(parts: readonly PricedPart[], { values, characters }: Room): number {
  const minCharacters = minCharactersOf(parts.filter((part) => !('isLongest' in part)));
  return minCharacters === 0 ? values : Math.min(values, Math.floor(characters / minCharacters));
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

function toElements(parts: readonly PatternPart[], segments: Segments): Elements {
  const elements: (number | Reach)[] = [];
  const stars = new Map<number, Reach>();
  let colonCount = 0;
  parts.forEach((part, index) => {
    if ('text' in part) {
      for (const character of part.text) {
        if (character === ':') colonCount++;
        elements.push(character.codePointAt(0) ?? 0);
      }
      return;
    }
    const isBounded = segments === 'arn' && colonCount < arnSeparatorCount;
    if (part.wildcard === '?') {
      elements.push(isBounded ? 'segment' : 'anywhere');
      return;
    }
    // AWS: a star that ends its segment may reach beyond it, so that `arn:aws:kms:*` and `arn:*:key/x` mean something.
    const reach = isBounded && !endsSegment(parts, index + 1) ? 'segment' : 'anywhere';
    if (stars.get(elements.length) !== 'anywhere') stars.set(elements.length, reach);
  });
  return { elements, stars };
}

/** Is the next thing a colon or the end? Two stars never follow each other. */
function endsSegment(parts: readonly PatternPart[], nextIndex: number): boolean {
  const next = parts[nextIndex];
  return next === undefined || ('text' in next && next.text.startsWith(':'));
}

const asciiCount = 128;

/** The automaton of a short pattern, whose states fit into one number. */
function runSmall({ elements, stars }: Elements, text: string): boolean {
  let anywhere = 0;
  let inSegment = 0;
  elements.forEach((element, index) => {
    if (element === 'anywhere') anywhere |= 1 << index;
    if (element === 'segment') inSegment |= 1 << index;
  });
  const ascii = new Uint32Array(asciiCount).fill(anywhere | inSegment);
  ascii[colon] = anywhere;
  const others = new Map<number, number>();
  elements.forEach((element, index) => {
    if (typeof element !== 'number') return;
    if (element < asciiCount) ascii[element] = (ascii[element] ?? 0) | (1 << index);
    else others.set(element, (others.get(element) ?? anywhere | inSegment) | (1 << index));
  });
  let stays = 0;
  let staysOnColon = 0;
  for (const [state, reach] of stars) {
    stays |= 1 << state;
    if (reach === 'anywhere') staysOnColon |= 1 << state;
  }
  let states = 1;
  for (let at = 0; at < text.length && states !== 0; at++) {
    const character = text.codePointAt(at) ?? 0;
    if (character > 0xffff) at++;
    const accepts = (character < asciiCount ? ascii[character] : others.get(character)) ?? anywhere | inSegment;
    states = ((states & accepts) << 1) | (states & (character === colon ? staysOnColon : stays));
  }
  return ((states >>> elements.length) & 1) === 1;
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
