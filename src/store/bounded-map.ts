/** Work on many items at once, of which each waits for the HSM: bounded, and in the order of the items. */

/** Results in the order of the items, which are taken as they can be dealt with, at most so many at once; the first failure ends it. */
export async function mapBounded<Item, Result>(
  items: Iterable<Item>,
  maxAtOnce: number,
  map: (item: Item) => Promise<Result>,
): Promise<readonly Result[]> {
  const results: Result[] = [];
  const iterator = items[Symbol.iterator]();
  let taken = 0;
  let isOver = false;
  const worker = async (): Promise<void> => {
    while (!isOver) {
      const { done, value } = iterator.next();
      if (done) {
        isOver = true;
        return;
      }
      const index = taken++;
      results[index] = await map(value);
    }
  };
  const workers: Promise<void>[] = [];
  while (!isOver && workers.length < maxAtOnce) workers.push(worker());
  try {
    await Promise.all(workers);
  } finally {
    isOver = true;
    iterator.return?.();
  }
  return results;
}

/** The items in lists of so many, the last one shorter; each list is made when it is asked for. */
export function* inLists<Item>(items: Iterable<Item>, size: number): Generator<readonly Item[]> {
  let list: Item[] = [];
  for (const item of items) {
    if (list.push(item) < size) continue;
    yield list;
    list = [];
  }
  if (list.length > 0) yield list;
}
