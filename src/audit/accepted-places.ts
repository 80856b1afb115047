/** What operators have accepted of what is wrong with a log: the places that its `AuditAccepted` lines name. */

import { readStatement } from './log-statement.ts';
import { isSameLink } from './place.ts';
import type { AcceptedPlace, NotedLink, WrongBytes } from './statements.ts';

export class AcceptedPlaces {
  readonly #places: AcceptedPlace[] = [];

  get count(): number {
    return this.#places.length;
  }

  /** @param line An intact record. */
  take(line: Buffer): void {
    const statement = readStatement(line);
    if (statement !== undefined && 'accepted' in statement) this.#places.push(statement.accepted);
  }

  /** Whether just these bytes at just this place were accepted. */
  holds({ offset, bytes, sha256 }: WrongBytes): boolean {
    return this.#places.some((place) => place.offset === offset && place.bytes === bytes && place.sha256 === sha256);
  }

  /** Whether it was accepted that the log does not hold this head. */
  holdsMissing(head: NotedLink): boolean {
    return this.#places.some(({ missing }) => missing !== undefined && isSameLink(missing, head));
  }
}
