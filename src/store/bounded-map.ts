/** Work on many items at once, of which each waits for the HSM: bounded, and in the order of the items. */

/**
 * So many MACs are asked for at once: four calls' worth (`inBatches`), so that the HSM has the next ones while these are dealt
 * with; and few enough to leave room in the queue of a key store that takes them one by one.
 */
const maxMacsInFlight = 512;

/** Results in the order of the items, which are taken as they can be dealt with; the first failure ends it. */
export async function mapBounded<Item, Result>(
  items: Iterable<Item>,
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
  while (!isOver && workers.length < maxMacsInFlight) workers.push(worker());
  try {
    await Promise.all(workers);
  } finally {
    isOver = true;
    iterator.return?.();
  }
  return results;
}
