/** Times as CloudTrail writes them, many of which are within one second: 0.9 µs each with the machinery of `Date`, 0.1 without. */

const secondMs = 1_000;
/** `2027-01-15T08:00:00.` of the last time that was asked for. */
let secondText = '';
let secondStartMs = Number.NaN;

/**
 * As `Date.prototype.toISOString`.
 * @throws RangeError for a time that is none.
 */
export function eventTimeOf(ms: number): string {
  const ofSecondMs = ms - secondStartMs;
  if (ofSecondMs >= 0 && ofSecondMs < secondMs && Number.isInteger(ofSecondMs)) {
    return `${secondText}${ofSecondMs < 10 ? '00' : ofSecondMs < 100 ? '0' : ''}${ofSecondMs}Z`;
  }
  const text = new Date(ms).toISOString();
  if (Number.isInteger(ms) && ms >= 0) {
    secondText = text.slice(0, -'000Z'.length);
    secondStartMs = ms - (ms % secondMs);
  }
  return text;
}
