/**
 * Texts that stand in many rows, each by a number: what says a state or a spec is one of few, and most keys have the policy that
 * CreateKey gives them. A number stays what it is for as long as the process runs, so there is a bound to how many there are.
 */

/** What says one of few: a state, a spec, a Region, a domain key. */
const maxTexts = 4096;
/** Of what anybody may write in one place, a policy or tags: the first ones, among which the usual ones are. */
const maxWritten = 256;
const maxWrittenCharacters = 4096;

export class CommonTexts {
  readonly #numbers = new Map<string, number>();
  readonly #texts: string[] = [];
  readonly #written = new Map<string, number>();

  /** @returns Its number; `undefined` where it has none, and there is no room for one more. */
  numberOf(text: string): number | undefined {
    return this.#numbers.get(text) ?? (this.#texts.length < maxTexts ? this.#add(text) : undefined);
  }

  /** The same of a text that somebody wrote. @param where Each place has its own room. */
  numberOfWritten(where: string, text: string): number | undefined {
    const known = this.#numbers.get(text);
    const written = this.#written.get(where) ?? 0;
    if (known !== undefined || written === maxWritten || text.length > maxWrittenCharacters) return known;
    this.#written.set(where, written + 1);
    return this.numberOf(text);
  }

  /** @param number As it was given. */
  textOf(number: number): string {
    const text = this.#texts[number];
    if (text === undefined) throw new TypeError(`there is no text of the number ${number}`);
    return text;
  }

  #add(text: string): number {
    const number = this.#texts.push(text) - 1;
    this.#numbers.set(text, number);
    return number;
  }
}
