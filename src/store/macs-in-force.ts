/**
 * Which records are in force while the daemon runs: the MACs of all rows that the start found, whose sum the root says
 * (`signed-root.ts`), and of what was put and removed since.
 *
 * A MAC says that we wrote a row once, and not that it is still in force: a policy that was replaced by one with a Deny verifies as
 * ever when somebody puts its row back. Its MAC is not in here any more. A MAC binds all of its record, and nobody without the key in
 * the HSM makes one, so its first 96 bits stand for it (`hash-set.ts`).
 */

import { HashSet } from './hash-set.ts';
import { storedMac } from './record-sum.ts';

const macBytes = 32;

export class MacsInForce {
  readonly #macs: HashSet;

  /** @param expected How many there will be, roughly. */
  constructor(expected: number) {
    this.#macs = new HashSet(expected);
  }

  /** @param mac As it stands in a row, whatever somebody has put there. */
  has(mac: unknown): boolean {
    return isMac(mac) && this.#macs.has(Buffer.from(mac, 'hex'));
  }

  add(mac: unknown): void {
    if (isMac(mac)) this.#macs.add(Buffer.from(mac, 'hex'));
  }

  /** @param digits Of MACs, one behind the other. */
  addDigits(digits: string): void {
    this.#macs.addAll(Buffer.from(digits, 'hex'), macBytes);
  }

  delete(mac: unknown): void {
    if (isMac(mac)) this.#macs.delete(Buffer.from(mac, 'hex'));
  }
}

function isMac(mac: unknown): mac is string {
  return typeof mac === 'string' && storedMac.test(mac);
}
