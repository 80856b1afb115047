/**
 * Comparison without regard to case, as `StringEqualsIgnoreCase` and the names of encryption context pairs are compared.
 *
 * Two texts differ in case alone when they have the same folded form: character for character, where lower case is not
 * enough. It depends on what stands around a character (`Σ` is `σ`, and `ς` at the end of a word) and leaves some
 * alone that have the same capital (`ſ` and `s`), so a text that a Deny names could be spelled past it. A character whose
 * capital is several (`ß`) is itself: folding never makes two texts of different length equal, which an Allow would
 * feel. Nor is a folded form ever shorter than its text.
 *
 * Source: Unicode, CaseFolding.txt, the mappings C and S.
 */

// biome-ignore lint/suspicious/noControlCharactersInRegex: all of ASCII is meant.
const notAscii = /[^\u0000-\u007f]/gu;

/** For what is more than letters of ASCII, a character costs as much as this many steps. */
const stepsPerCharacter = 16;

export function foldCase(text: string): string {
  const lower = text.toLowerCase();
  return isAscii(lower) ? lower : lower.replace(notAscii, foldCharacter);
}

/** What `foldCase` costs, for a budget. */
export function stepsToFold(text: string): number {
  return isAscii(text) ? text.length : text.length * stepsPerCharacter;
}

/** And of any text of so many characters. */
export function maxStepsToFold(characters: number): number {
  return characters * stepsPerCharacter;
}

function foldCharacter(character: string): string {
  const upper = character.toUpperCase();
  return upper.length === character.length ? upper.toLowerCase() : character;
}

function isAscii(text: string): boolean {
  return text.search(notAscii) === -1;
}
