/** What has a date each, soonest first: the few whose time comes are found without a look at the others, however many there are. */

import { firstIndex } from './first-index.ts';

/** After a time and by another one. */
export interface DateRange {
  readonly afterMs: number;
  readonly untilMs: number;
}

/** How the dates and the names of those in a list are told. */
interface Told<Of> {
  readonly dateMsOf: (one: Of) => number;
  readonly nameOf: (one: Of) => string;
}

export class DatesInOrder<Of> {
  readonly #told: Told<Of>;
  #all: Of[] = [];

  constructor(told: Told<Of>) {
    this.#told = told;
  }

  get size(): number {
    return this.#all.length;
  }

  /** In the place of all that there are: one sort, and no search for each. */
  take(all: Iterable<Of>): void {
    this.#all = [...all].sort((one, other) => this.#compare(one, other));
  }

  add(one: Of): void {
    this.#all.splice(this.#firstNotBefore(one), 0, one);
  }

  /** One that is in the list, with the date that it has there. */
  remove(one: Of): void {
    this.#all.splice(this.#firstNotBefore(one), 1);
  }

  between({ afterMs, untilMs }: DateRange, limit: number): readonly Of[] {
    const { dateMsOf } = this.#told;
    const found: Of[] = [];
    for (let at = firstIndex(this.#all, (one) => dateMsOf(one) > afterMs); found.length < limit; at++) {
      const one = this.#all[at];
      if (one === undefined || dateMsOf(one) > untilMs) break;
      found.push(one);
    }
    return found;
  }

  #firstNotBefore(one: Of): number {
    return firstIndex(this.#all, (other) => this.#compare(other, one) >= 0);
  }

  /** Two may have one date. */
  #compare(one: Of, other: Of): number {
    const { dateMsOf, nameOf } = this.#told;
    const passedMs = dateMsOf(one) - dateMsOf(other);
    if (passedMs !== 0) return passedMs;
    const [name, another] = [nameOf(one), nameOf(other)];
    return name < another ? -1 : Number(name > another);
  }
}
