/**
 * Which records are in force while the daemon runs: the MACs of all rows that the start found, whose sum the root says
 * (`signed-root.ts`), and of what was put and removed since.
 *
 * A MAC says that we wrote a row once, and not that it is still in force: a policy that was replaced by one with a Deny verifies as
 * ever when somebody puts its row back. Its MAC is not in here any more. A MAC binds all of its record, and nobody without the key in
 * the HSM makes one, so its first 96 bits stand for it (`hash-set.ts`).
 */

import { HashSet } from './hash-set.ts';
import type { Replaced } from './transactions.ts';

const macBytes = 32;

export class MacsInForce {
  readonly #macs: HashSet;
  /** What stood in place of a MAC when the start found it: such a record is not used, and can be put anew. */
  readonly #damaged = new Set<unknown>();

  /** @param expected How many there will be, roughly. */
  constructor(expected: number) {
    this.#macs = new HashSet(expected);
  }

  /** @param mac As it stands in a row, whatever somebody has put there. */
  has(mac: unknown): boolean {
    return isMac(mac) ? this.#macs.has(wordAt(mac, 0), wordAt(mac, 1), wordAt(mac, 2)) : this.#damaged.has(mac);
  }

  /** Was everything in force that a transaction replaces? A record may be changed twice by one. */
  haveAll({ replaced, put }: Pick<Replaced, 'replaced' | 'put'>): boolean {
    return replaced.every((mac) => this.has(mac) || put.some((each) => each === mac));
  }

  add(mac: unknown): void {
    if (isMac(mac)) this.#macs.add(wordAt(mac, 0), wordAt(mac, 1), wordAt(mac, 2));
    else this.#damaged.add(mac);
  }

  /** @param macs Of 32 bytes each, one behind the other. */
  addAll(macs: Buffer): void {
    this.#macs.addAll(macs, macBytes);
  }

  /** What a transaction has put into the place of what, once it is on disk. */
  follow({ replaced, put }: Pick<Replaced, 'replaced' | 'put'>): void {
    for (const mac of replaced) if (isMac(mac)) this.#macs.delete(wordAt(mac, 0), wordAt(mac, 1), wordAt(mac, 2));
    for (const mac of put) this.add(mac);
  }
}

/** As `storedMac` says: it is asked of each row several times, for which a pattern takes longer than all else here. */
function isMac(mac: unknown): mac is string {
  if (typeof mac !== 'string' || mac.length !== 2 * macBytes) return false;
  for (let at = 0; at < mac.length; at++) {
    const code = mac.charCodeAt(at);
    if (code < 0x30 || code > 0x66 || (code > 0x39 && code < 0x61)) return false;
  }
  return true;
}

/** Of its bytes, as `HashSet` takes them. A buffer for each look would be most of what the look costs. */
function wordAt(mac: string, index: number): number {
  let word = 0;
  for (let at = 8 * index + 6; at >= 8 * index; at -= 2)
    word = (word << 8) | (digit(mac.charCodeAt(at)) << 4) | digit(mac.charCodeAt(at + 1));
  return word >>> 0;
}

/** Of `0` to `9` and `a` to `f`. */
function digit(code: number): number {
  return code < 0x3a ? code - 0x30 : code - 0x57;
}
