/** Circles of files and cycles of folders are found, whatever is imported and however long the way round is; others are not. */

import { describe, expect, test } from 'vitest';
import { findViolations } from './source-rules.ts';

/** What is said of files that import these, by their paths; each is in a layer that may. */
function messagesAbout(imports: Readonly<Record<string, readonly string[]>>): readonly string[] {
  const files = Object.entries(imports).map(([path, statements]) => ({
    path,
    text: `/** What it is for. */\n${statements.join('\n')}\n`,
  }));
  return findViolations(files).map(({ path, message }) => `${path} ${message}`);
}

const remedy =
  'move what both need to the lower one, or have the lower one declare the interface that it asks and the other implement it';

describe('a circle of files', () => {
  test('is found, with the way round', () => {
    expect(
      messagesAbout({
        'src/hsm/a.ts': ["import { b } from './b.ts';"],
        'src/hsm/b.ts': ["import { c } from './c.ts';"],
        'src/hsm/c.ts': ["import { a } from './a.ts';"],
      }),
    ).toEqual([
      `src/hsm/a.ts is in a circle of files, \`src/hsm/a.ts\` → \`src/hsm/b.ts\` → \`src/hsm/c.ts\` → \`src/hsm/a.ts\`: ${remedy}`,
    ]);
  });

  test.each([
    ['a type', "import type { A } from './a.ts';"],
    ['a type beside values', "import { type A, a } from './a.ts';"],
    ['an import on demand', "const { a } = await import('./a.ts');"],
    ['the type of a module', "let a: import('./a.ts').A;"],
    ['a re-export', "export type { A } from './a.ts';"],
  ])('counts %s', (_what, statement) => {
    expect(messagesAbout({ 'src/hsm/a.ts': ["import { b } from './b.ts';"], 'src/hsm/b.ts': [statement] })).toEqual([
      expect.stringContaining('is in a circle of files, `src/hsm/a.ts` → `src/hsm/b.ts` → `src/hsm/a.ts`'),
    ]);
  });

  test('is found where a file imports itself', () => {
    expect(messagesAbout({ 'src/hsm/a.ts': ["import { b } from './a.ts';"] })).toEqual([
      expect.stringContaining('is in a circle of files, `src/hsm/a.ts` → `src/hsm/a.ts`'),
    ]);
  });

  test('is told as short as it is, and each of several is told', () => {
    const found = messagesAbout({
      'src/hsm/a.ts': ["import { b } from './b.ts';"],
      'src/hsm/b.ts': ["import { c } from './c.ts';", "import { a } from './a.ts';"],
      'src/hsm/c.ts': ["import { a } from './a.ts';"],
      'src/store/x.ts': ["import { y } from './y.ts';"],
      'src/store/y.ts': ["import { x } from './x.ts';"],
    });
    expect(found).toEqual([
      expect.stringContaining('`src/hsm/a.ts` → `src/hsm/b.ts` → `src/hsm/a.ts`'),
      expect.stringContaining('`src/hsm/c.ts` → `src/hsm/a.ts` → `src/hsm/b.ts` → `src/hsm/c.ts`'),
      expect.stringContaining('`src/store/x.ts` → `src/store/y.ts` → `src/store/x.ts`'),
    ]);
  });

  test('is none where two ways lead to one file', () => {
    expect(
      messagesAbout({
        'src/hsm/a.ts': ["import { b } from './b.ts';", "import { c } from './c.ts';"],
        'src/hsm/b.ts': ["import { d } from './d.ts';"],
        'src/hsm/c.ts': ["import { d } from './d.ts';"],
        'src/hsm/d.ts': ["import { join } from 'node:path';"],
      }),
    ).toEqual([]);
  });
});

describe('a cycle of folders', () => {
  test('is found where no files are in a circle, with the imports that close it', () => {
    expect(
      messagesAbout({
        'src/cli/terminal/a.ts': ["import { b } from '../files/b.ts';"],
        'src/cli/files/b.ts': [],
        'src/cli/files/c.ts': ["import type { D } from '../terminal/d.ts';"],
        'src/cli/terminal/d.ts': [],
      }),
    ).toEqual([
      'src/cli/files/c.ts is in a cycle of folders, `src/cli/files` → `src/cli/terminal` → `src/cli/files` ' +
        `(\`src/cli/files/c.ts\` imports \`src/cli/terminal/d.ts\`, \`src/cli/terminal/a.ts\` imports \`src/cli/files/b.ts\`): ${remedy}`,
    ]);
  });

  test('is found between a folder and one of its subfolders', () => {
    expect(
      messagesAbout({
        'src/cli/a.ts': ["import { b } from './files/b.ts';"],
        'src/cli/files/b.ts': [],
        'src/cli/files/c.ts': ["import { d } from '../d.ts';"],
        'src/cli/d.ts': [],
      }),
    ).toEqual([expect.stringContaining('is in a cycle of folders, `src/cli` → `src/cli/files` → `src/cli`')]);
  });

  test('is found over three folders', () => {
    expect(
      messagesAbout({
        'src/cli/a/one.ts': ["import { x } from '../b/two.ts';"],
        'src/cli/b/two.ts': [],
        'src/cli/b/three.ts': ["import { x } from '../c/four.ts';"],
        'src/cli/c/four.ts': [],
        'src/cli/c/five.ts': ["import { x } from '../a/six.ts';"],
        'src/cli/a/six.ts': [],
      }),
    ).toEqual([expect.stringContaining('`src/cli/a` → `src/cli/b` → `src/cli/c` → `src/cli/a`')]);
  });

  test('is none where imports lead from subfolders up and not back', () => {
    expect(
      messagesAbout({
        'src/cli/files/b.ts': ["import { d } from '../d.ts';", "import { e } from '../terminal/e.ts';"],
        'src/cli/terminal/e.ts': ["import { d } from '../d.ts';"],
        'src/cli/d.ts': [],
      }),
    ).toEqual([]);
  });
});
