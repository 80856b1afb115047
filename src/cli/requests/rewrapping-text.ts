/** What a daemon's status says of the domain keys of a key store, and of one whose domain key was rotated. */

import { counted } from '../terminal/counted.ts';
import type { Members } from './kms-client.ts';

/** How far it is that what was wrapped under former domain keys is wrapped under the one of now; `null`: there is none to be. */
export function rewrappingText({ name, domainKeys, rewrapping }: Members): string | null {
  const progress = rewrapping as Members | null | undefined;
  const former = domainKeysOf(domainKeys).filter(({ standing }) => standing === 'former');
  const left = former.reduce((sum, { backingKeys }) => sum + Number(backingKeys), 0);
  if (progress == null || (left === 0 && Number(progress['rewrapped']) === 0)) return null;
  const [are, stay] = left === 1 ? ['is', 'stays'] : ['are', 'stay'];
  const head = `the key store \`${name}\`: ${counted(left, 'backing key')} ${are} wrapped under former domain keys`;
  if (left > 0 && progress['because'] !== null) return `${head}, and ${stay} there: ${progress['because']}`;
  const waiting = progress['waiting'] as Members | null;
  const waits =
    waiting === null
      ? ''
      : Number(waiting['backingKeys']) === 1
        ? `; 1 waits, and is tried again by itself: ${waiting['because']}`
        : `; ${waiting['backingKeys']} wait, and are tried again by themselves: ${waiting['because']}`;
  const were = Number(progress['rewrapped']) === 1 ? 'was' : 'were';
  return `${head}; ${progress['rewrapped']} ${were} wrapped anew since the daemon started${waits}`;
}

/** In the order in which they were made, each with how it stands: what is new is wrapped under the current one, and under a former one what is not wrapped anew. */
export function domainKeysOf(domainKeys: unknown): readonly (Members & { readonly standing: string })[] {
  const all = (domainKeys ?? []) as readonly Members[];
  const current = all.findLast(({ state }) => state === 'Active');
  const standingOf = (key: Members): string =>
    key === current ? 'current' : key['state'] === 'Active' ? 'former' : String(key['state']);
  return all.map((key) => ({ ...key, standing: standingOf(key) }));
}
