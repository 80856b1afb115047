/** The rules of `single-writer.ts` find what they are there to find, and nothing where it belongs. */

import { expect, test } from 'vitest';
import { findViolations } from './source-rules.ts';

function messagesFor(path: string, code: string): string[] {
  return findViolations([{ path, text: `/** What it is for. */\n${code}\n` }]).map(({ message }) => message);
}

const write = 'await store.write(changes);';
const take = 'await turns.take(() => ({ changes, response }));';
const apply = 'directory.apply(changes);';

test.each([
  ['a handler that writes', 'src/operations/keys/a.ts', write, 'writes to the metadata store'],
  ['the pipeline that writes', 'src/pipeline/change.ts', write, 'writes to the metadata store'],
  ['the start that writes', 'src/keys/life/open-keys.ts', 'await options.store.write([]);', 'writes to the metadata'],
  ['a private store that is written', 'src/keys/a.ts', 'await this.#store.write([]);', 'writes to the metadata store'],
  ['a writing that is kept for later', 'src/http/a.ts', 'const { write } = opened.store;', 'writes to the metadata'],
  ['a handler that takes a turn', 'src/operations/keys/a.ts', take, 'takes a turn'],
  ['the pipeline that takes a turn elsewhere', 'src/pipeline/pipeline.ts', take, 'takes a turn'],
  ['a turn that is bound', 'src/keys/grants/a.ts', 'const take = this.#turns.take.bind(this.#turns);', 'takes a turn'],
  ['a turn that is kept for later', 'src/daemon/daemon.ts', 'const { take } = turns;', 'takes a turn'],
  ['a handler that changes memory', 'src/operations/keys/a.ts', apply, 'applies changes'],
  ['the directory that changes itself', 'src/keys/key-directory.ts', 'this.apply([change]);', 'applies changes'],
  ['the pipeline that changes memory', 'src/pipeline/change.ts', apply, 'applies changes'],
])('%s is found', (_what, path, code, message) => {
  expect(messagesFor(path, code)).toEqual([expect.stringContaining(message)]);
});

test.each([
  ['the turn that writes and applies', 'src/store/turns.ts', `${write}\nfold.apply(changes);`],
  ['the pipeline that takes a turn', 'src/pipeline/change.ts', take],
  ['an intent that takes a turn', 'src/keys/life/key-life.ts', 'await this.#turns.take(() => decided);'],
  ['a directory that takes what was loaded', 'src/keys/life/open-keys.ts', 'directory.take(loaded);'],
  ['output that is written', 'src/cli/a.ts', 'process.stdout.write(text);'],
])('%s is no violation', (_what, path, code) => {
  expect(messagesFor(path, code)).toEqual([]);
});
