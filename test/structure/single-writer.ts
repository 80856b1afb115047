/**
 * The rules that leave metadata one way to change: a turn decides, the store writes, the folds apply.
 *
 * Types give operations no way around it (`test/operations/changing.test-d.ts`); these rules hold those who have the parts
 * in their hands. They look for the calls and for the functions themselves, so that one which is kept for later is found too.
 */

import type { Report } from './source-file.ts';

interface WriterRule {
  readonly pattern: RegExp;
  readonly what: string;
  /** Files, or folders. */
  readonly allowed: readonly string[];
  readonly instead: string;
}

const rules: readonly WriterRule[] = [
  {
    pattern: /\bstore\s*\??\.\s*(?:write|reread)\b|\{[^{}]*\b(?:write|reread)\b[^{}]*\}\s*=\s*(?:[\w.]+\.)?#?store\b/i,
    what: 'writes to the metadata store',
    allowed: ['src/store/turns.ts'],
    instead: 'state the changes in the `decide` of an operation; src/store/turns.ts writes them',
  },
  {
    pattern: /\bturns\s*\??\.\s*take\b|\{[^{}]*\btake\b[^{}]*\}\s*=\s*(?:[\w.]+\.)?#?turns\b/i,
    what: 'takes a turn',
    allowed: [
      'src/pipeline/change.ts',
      'src/keys/number-reservations.ts',
      'src/keys/last-uses.ts',
      'src/keys/life/',
      'src/keys/moves/',
      'src/daemon/credential-source.ts',
      'src/daemon/marked-members.ts',
      'src/daemon/milestones.ts',
      'src/daemon/upkeep/waits.ts',
    ],
    instead: 'give an operation a `decide`: src/pipeline/change.ts takes the turn and asks for its permissions again',
  },
  {
    pattern: /\.\s*apply\s*\(/,
    what: 'applies changes',
    allowed: ['src/store/turns.ts'],
    instead: 'let `Turns.follow` tell a fold what is on disk; nothing else makes memory different',
  },
];

/** @param code The text of a file of `src/`, without comments. */
export function checkWriters(path: string, code: string, report: Report): void {
  for (const { pattern, what, allowed, instead } of rules) {
    if (pattern.test(code) && !allowed.some((place) => path.startsWith(place))) report(`${what}: ${instead}`);
  }
}
