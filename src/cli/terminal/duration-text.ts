/** How long something takes, for people: `6 days 3 h`, `23 h 59 min`, `45 s`. */

const units = [
  [24 * 60 * 60, 'days'],
  [60 * 60, 'h'],
  [60, 'min'],
  [1, 's'],
] as const;

/** The two largest units, rounded up, so that it is never over before it says so. */
export function durationText(ms: number): string {
  let seconds = Math.max(1, Math.ceil(ms / 1000));
  const first = units.findIndex(([unit]) => seconds >= unit);
  const smallest = units[first + 1]?.[0] ?? 1;
  seconds = Math.ceil(seconds / smallest) * smallest;
  const parts: string[] = [];
  for (const [unit, name] of units) {
    const count = Math.floor(seconds / unit);
    seconds -= count * unit;
    if (count > 0) parts.push(`${count} ${name === 'days' && count === 1 ? 'day' : name}`);
  }
  return parts.join(' ');
}
