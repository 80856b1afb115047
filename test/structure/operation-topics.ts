/**
 * The folders of `src/operations/`: one for each topic, which holds its operations and what only they need, and
 * `declaration/`, which holds what every topic is declared with.
 */

import { type Import, type Report, resolveFrom } from './source-file.ts';

const operations = 'src/operations/';
const declaration = 'declaration';

export function checkTopics(path: string, code: string, imports: readonly Import[], report: Report): void {
  const topic = topicOf(path);
  if (topic === undefined && /=\s*operation\(\{/.test(code)) {
    report(`declares an operation: it goes into a file of its own in the folder of its topic, \`${operations}TOPIC/\``);
  }
  if (topic === undefined) return;
  for (const { specifier } of imports) {
    if (!specifier.startsWith('.')) continue;
    const target = resolveFrom(path, specifier);
    const isOwn = target.startsWith(`${operations}${topic}/`) || target.startsWith(`${operations}${declaration}/`);
    if (!target.startsWith(operations) || isOwn) continue;
    report(
      `imports \`${target}\`: operations on \`${topic}\` take nothing from other topics or from the table; what several topics need goes into \`${operations}${declaration}/\`, or below the operations`,
    );
  }
}

/** The topic whose folder the file is directly in. */
function topicOf(path: string): string | undefined {
  const topic = /^src\/operations\/([^/]+)\/[^/]+$/.exec(path)?.[1];
  return topic === declaration ? undefined : topic;
}
