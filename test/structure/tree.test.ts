/** The tree as it is keeps the rules of `source-rules.ts`. */

import { readdirSync, readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { expect, test } from 'vitest';
import type { SourceFile } from './source-file.ts';
import { findViolations, longFileExemptions, topLevelEntries } from './source-rules.ts';

const root = fileURLToPath(new URL('../../', import.meta.url));

function readSources(): SourceFile[] {
  return ['src', 'test', 'scripts'].flatMap((folder) =>
    readdirSync(`${root}${folder}`, { recursive: true, encoding: 'utf8' })
      .filter((name) => /\.(?:ts|c)$/.test(name))
      .map((name) => ({ path: `${folder}/${name}`, text: readFileSync(`${root}${folder}/${name}`, 'utf8') })),
  );
}

test('every source file keeps the rules of the layout', () => {
  const found = findViolations(readSources()).map(({ path, message }) => `${path}: ${message}`);
  expect(found).toEqual([]);
});

test('every exemption from the length limit is of a file that needs it', () => {
  const paths = new Set(readSources().map(({ path }) => path));
  expect(Object.keys(longFileExemptions).filter((path) => !paths.has(path))).toEqual([]);
});

test('the top level holds what it is meant to hold, and nothing else', () => {
  const made = /^(?:node_modules|dist|coverage|.*\.tgz|\..*)$/;
  const found = readdirSync(root).filter((name) => !made.test(name));
  expect(found.sort()).toEqual([...topLevelEntries].sort());
});
