/**
 * Patterns with `*` and `?`, matched in time that no pattern can blow up.
 *
 * What stands before the first star and behind the last one is compared where it has to be. The texts between stars are looked
 * for from left to right: where the first occurrence does not lead to a match, no later one does. A pattern with a `?`
 * between stars, and one of an ARN's segments, is an automaton (`wildcard-automaton.ts`).
 *
 * What a match costs is spent before it is made, and what it can cost at most, whatever the text, is known from the pattern
 * (`priceOfParts`). INVARIANT: nobody spends more than that; `test/authorization/prices.test.ts` compares the two.
 *
 * Source: IAM user guide, "Resource", "Using wildcards in resource ARNs".
 */

import { type Matcher, type PatternPart, type PricedPart, patternParts, type Segments } from './pattern-parts.ts';
import { compileAutomaton, maxRuns, minCharactersOf, priceOfAutomaton } from './wildcard-automaton.ts';
import { type Price, unbounded } from './work-budget.ts';

/** A compiled pattern: as cheap a test as its form allows. */
export function compileWildcard(pattern: string, segments?: Segments): Matcher {
  return compileParts(patternParts(pattern), segments);
}

export function compileParts(parts: readonly PatternPart[], segments?: Segments): Matcher {
  const form = formOf(parts, segments);
  switch (form.kind) {
    case 'text':
      return (text) => text === form.text;
    case 'prefix':
      return (text) => text.startsWith(form.text);
    case 'pieces':
      return compilePieces(form);
    case 'automaton':
      return compileAutomaton(parts, segments);
    default:
      return form satisfies never;
  }
}

/** What matching values with the pattern costs at most; they are well-formed. */
export function priceOfParts(parts: readonly PricedPart[], segments?: Segments): Price {
  const form = formOf(parts, segments);
  switch (form.kind) {
    case 'text':
    case 'prefix':
      return () => 0;
    case 'pieces':
      return priceOfPieces(form, parts);
    case 'automaton':
      return priceOfAutomaton(parts);
    default:
      return form satisfies never;
  }
}

/** Any of the patterns: the exact ones by look-up, the others one by one. */
export function compileWildcards(patterns: readonly string[], segments?: Segments): Matcher {
  const exact = new Set(patterns.filter((pattern) => !/[*?]/.test(pattern)));
  const matchers = patterns
    .filter((pattern) => !exact.has(pattern))
    .map((pattern) => compileWildcard(pattern, segments));
  return (text, budget) => exact.has(text) || matchers.some((matches) => matches(text, budget));
}

/** Texts and `?`, without stars. */
type Piece = readonly (string | typeof anyCharacter)[];
const anyCharacter = Symbol('?');

interface PiecesForm {
  readonly kind: 'pieces';
  readonly first: Piece;
  /** What stands between stars. */
  readonly between: readonly string[];
  /** `undefined`: there is no star. */
  readonly last: Piece | undefined;
  readonly minCharacters: number;
}

type Form = { readonly kind: 'text' | 'prefix'; readonly text: string } | PiecesForm | { readonly kind: 'automaton' };

function formOf(parts: readonly PatternPart[], segments: Segments): Form {
  const simple = simpleFormOf(parts);
  if (simple !== undefined) return simple;
  const [first, ...others] = piecesOf(parts);
  const text = textOfPiece(first);
  if (text !== undefined && others.length === 0) return { kind: 'text', text };
  if (text !== undefined && others.every((piece) => piece.length === 0)) return { kind: 'prefix', text };
  // Half a character, which a document can spell, would be found within a whole one.
  const isPlain = parts.every((part) => !('text' in part) || part.text.isWellFormed());
  const between = others.slice(0, -1).map(textOfPiece);
  if (segments === 'arn' || !isPlain || between.includes(undefined)) return { kind: 'automaton' };
  return {
    kind: 'pieces',
    first,
    // Safe: none is `undefined`.
    between: between as readonly string[],
    last: others.at(-1),
    minCharacters: minCharactersOf(parts),
  };
}

/** Of one text, a star or a text and a star, which nearly all patterns are: as below, without lists of pieces. */
function simpleFormOf(parts: readonly PatternPart[]): Form | undefined {
  const [start, end] = parts;
  if (start === undefined || parts.length > 2 || (end !== undefined && !isStar(end))) return undefined;
  if ('text' in start) return { kind: end === undefined ? 'text' : 'prefix', text: start.text };
  return end === undefined && isStar(start) ? { kind: 'prefix', text: '' } : undefined;
}

function isStar(part: PatternPart): boolean {
  return 'wildcard' in part && part.wildcard === '*';
}

/** What stands before, between and after the stars. */
function piecesOf(parts: readonly PatternPart[]): readonly [Piece, ...Piece[]] {
  const pieces: [(string | typeof anyCharacter)[], ...(string | typeof anyCharacter)[][]] = [[]];
  for (const part of parts) {
    const piece = pieces.at(-1) ?? [];
    if (!('text' in part)) {
      if (part.wildcard === '?') piece.push(anyCharacter);
      else pieces.push([]);
      continue;
    }
    const before = piece.at(-1);
    if (typeof before === 'string') piece[piece.length - 1] = before + part.text;
    else piece.push(part.text);
  }
  return pieces;
}

/** `undefined` for one that has a `?` in it. */
function textOfPiece(piece: Piece): string | undefined {
  const [text = '', another] = piece;
  return typeof text === 'string' && another === undefined ? text : undefined;
}

/** V8 searches for texts up to this length in linear time (Boyer-Moore over the last 250 characters); longer ones it may not. */
const maxSearchedCharacters = 250;
/** Of those: the table, and two comparisons for a character. */
const stepsPerCharacterOfLong = 2;
const stepsPerCharacterWithLong = 3;

/** Of a beginning or an end with a `?` in it, which is gone through. */
const stepsPerPartOfEnd = 2;

interface PieceCosts {
  readonly ofEnds: number;
  readonly ofBetween: number;
  /** Of the tables of long ones. */
  readonly ofTables: number;
  readonly perCharacter: number;
}

function costsOf({ first, between, last }: PiecesForm): PieceCosts {
  const ends = first.length + (last?.length ?? 0);
  const longCharacters = between.reduce((sum, { length }) => sum + (length > maxSearchedCharacters ? length : 0), 0);
  return {
    // One text at each end is no work.
    ofEnds: [...first, ...(last ?? [])].includes(anyCharacter) ? ends * stepsPerPartOfEnd : 0,
    ofBetween: between.length,
    ofTables: longCharacters * stepsPerCharacterOfLong,
    perCharacter: between.length === 0 ? 0 : longCharacters === 0 ? 1 : stepsPerCharacterWithLong,
  };
}

function compilePieces(form: PiecesForm): Matcher {
  const { first, between, last, minCharacters } = form;
  const { ofEnds, ofBetween, ofTables, perCharacter } = costsOf(form);
  return (text, budget = unbounded) => {
    if (text.length < minCharacters) return false;
    if (ofEnds > 0) budget.spend(ofEnds);
    let at = endOfStart(first, text);
    if (at === undefined || last === undefined) return at === text.length;
    const end = startOfEnd(last, text);
    if (end === undefined || at > end) return false;
    if (between.length === 0) return true;
    budget.spend(ofBetween + ofTables + (end - at) * perCharacter);
    for (const piece of between) {
      const found = indexOf(text, piece, at);
      if (found === -1) return false;
      at = found + piece.length;
    }
    return at <= end;
  };
}

function priceOfPieces(form: PiecesForm, parts: readonly PricedPart[]): Price {
  const { ofEnds, ofBetween, ofTables, perCharacter } = costsOf(form);
  return (room) => {
    const runs = maxRuns(parts, room);
    // A text for which a table is made is as long as what the table is about.
    const tables = Math.min(runs * ofTables, room.characters * stepsPerCharacterOfLong);
    return runs === 0 ? 0 : runs * (ofEnds + ofBetween) + tables + room.characters * perCharacter;
  };
}

/** Where the text goes on behind the piece that it starts with. */
function endOfStart(piece: Piece, text: string): number | undefined {
  let at = 0;
  for (const part of piece) {
    if (typeof part === 'string') {
      if (!text.startsWith(part, at)) return undefined;
      at += part.length;
    } else {
      if (at >= text.length) return undefined;
      at += isPair(text, at) ? 2 : 1;
    }
  }
  return at;
}

/** Where the piece begins that the text ends with. */
function startOfEnd(piece: Piece, text: string): number | undefined {
  let end = text.length;
  for (let index = piece.length - 1; index >= 0; index--) {
    const part = piece[index];
    if (typeof part === 'string') {
      if (!text.endsWith(part, end)) return undefined;
      end -= part.length;
    } else {
      if (end === 0) return undefined;
      end -= end > 1 && isPair(text, end - 2) ? 2 : 1;
    }
  }
  return end;
}

/** Is there one character of two units? */
function isPair(text: string, at: number): boolean {
  return (text.codePointAt(at) ?? 0) > 0xffff;
}

function indexOf(text: string, piece: string, from: number): number {
  return piece.length <= maxSearchedCharacters ? text.indexOf(piece, from) : indexOfLong(text, piece, from);
}

/** As `indexOf`, in linear time: Knuth, Morris and Pratt, "Fast pattern matching in strings", 1977. */
function indexOfLong(text: string, piece: string, from: number): number {
  /** At `n`: how much of the piece its first `n + 1` characters also end with. */
  const borders = new Uint32Array(piece.length);
  for (let at = 1, matched = 0; at < piece.length; at++) {
    while (matched > 0 && piece.charCodeAt(at) !== piece.charCodeAt(matched)) matched = borders[matched - 1] ?? 0;
    if (piece.charCodeAt(at) === piece.charCodeAt(matched)) matched++;
    borders[at] = matched;
  }
  for (let at = from, matched = 0; at < text.length; at++) {
    while (matched > 0 && text.charCodeAt(at) !== piece.charCodeAt(matched)) matched = borders[matched - 1] ?? 0;
    if (text.charCodeAt(at) === piece.charCodeAt(matched)) matched++;
    if (matched === piece.length) return at - piece.length + 1;
  }
  return -1;
}
