/** The binary search of lists that are in order. */

/**
 * The index of the first of which something is so; the length of the list where it is so of none.
 * @param is So of none before the first one, and of all after it.
 */
export function firstIndex<Of>(inOrder: readonly Of[], is: (one: Of) => boolean): number {
  let [low, high] = [0, inOrder.length];
  while (low < high) {
    const middle = (low + high) >>> 1;
    // In between two indexes of the list there is one.
    if (is(inOrder[middle] as Of)) high = middle;
    else low = middle + 1;
  }
  return low;
}
