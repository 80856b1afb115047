/** What a daemon's status says of a key store whose domain key was rotated. */

import type { Members } from './kms-client.ts';

/** How far it is that what was wrapped under former domain keys is wrapped under the one of now; `null`: there is none to be. */
export function rewrappingText({ name, domainKeys, rewrapping }: Members): string | null {
  const progress = rewrapping as Members | null | undefined;
  const active = ((domainKeys ?? []) as Members[]).filter(({ state }) => state === 'Active');
  const left = active.slice(0, -1).reduce((sum, { backingKeys }) => sum + Number(backingKeys), 0);
  if (progress == null || (left === 0 && Number(progress['rewrapped']) === 0)) return null;
  const head = `the key store \`${name}\`: ${left} backing keys are wrapped under former domain keys`;
  if (left > 0 && progress['because'] !== null) return `${head}, and stay there: ${progress['because']}`;
  return `${head}; ${progress['rewrapped']} were wrapped anew since the daemon started`;
}
