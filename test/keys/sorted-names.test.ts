import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { SortedNames } from '../../src/keys/lists/sorted-names.ts';

function namesOf(...names: string[]): SortedNames<string> {
  const sorted = new SortedNames<string>();
  for (const name of names) sorted.add(name);
  return sorted;
}

/** Reads all pages; `between` happens after each. */
function readAll(sorted: SortedNames<string>, limit: number, between: () => void = () => undefined): string[] {
  const read: string[] = [];
  for (let after: string | undefined; ; ) {
    const page = sorted.page(after, limit);
    read.push(...page.names);
    between();
    if (!page.truncated) return read;
    after = page.names.at(-1);
  }
}

describe('sorted names', () => {
  it('are read in order and each once, whatever the page size', () => {
    fc.assert(
      fc.property(fc.uniqueArray(fc.string()), fc.integer({ min: 1, max: 7 }), (names, limit) => {
        expect(readAll(namesOf(...names), limit)).toEqual([...names].sort((a, b) => (a < b ? -1 : 1)));
      }),
    );
  });

  it('keep one copy of a name that is added twice', () => {
    expect(namesOf('b', 'a', 'b').page(undefined, 10).names).toEqual(['a', 'b']);
  });

  it('are neither shifted nor repeated when names come and go between two pages', () => {
    const sorted = namesOf('a', 'c', 'e', 'g');
    let step = 0;
    const read = readAll(sorted, 2, () => {
      if (step++ > 0) return;
      sorted.remove('c');
      sorted.add('b');
      sorted.add('f');
    });
    expect(read).toEqual(['a', 'c', 'e', 'f', 'g']);
  });

  it('say that there is no more when the last page is exactly full', () => {
    expect(namesOf('a', 'b').page(undefined, 2)).toEqual({ names: ['a', 'b'], truncated: false });
  });
});
