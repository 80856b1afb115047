/** Times in ISO 8601's basic format, to the second, as SigV4 has them: `20150830T123600Z`. */

/** What was read last: requests come at one time mostly. */
let last = { text: '', ms: 0 };

/** Milliseconds since the epoch; `undefined` for what is no such time. */
export function parseBasicTime(text: string): number | undefined {
  if (text === last.text) return last.ms;
  const ms = Date.parse(text.replace(/^(\d{4})(\d\d)(\d\d)T(\d\d)(\d\d)(\d\d)Z$/, '$1-$2-$3T$4:$5:$6Z'));
  if (Number.isNaN(ms) || basicTime(ms) !== text) return undefined;
  last = { text, ms };
  return ms;
}

/** @param ms Milliseconds since the epoch. */
export function basicTime(ms: number): string {
  return new Date(ms).toISOString().replaceAll(/[-:]|\.\d{3}/g, '');
}
