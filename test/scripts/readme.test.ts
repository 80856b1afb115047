/** What README.md tells people to type works, and what it says about tokens is what `doctor` says. */

import {
  accessSync,
  constants,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { askDoctor, renderTokenTable, tokens, tokenTable } from '../../scripts/token-table.ts';
import { type Instance, startInstance } from '../support/instance.ts';
import { tokenKinds } from '../support/tokens.ts';
import { root, run } from './run-script.ts';

const readme = readFileSync(join(root, 'README.md'), 'utf8');

interface Block {
  readonly language: string;
  readonly code: string;
}

const blocks: readonly Block[] = [...readme.matchAll(/^```(\w+)\n([\s\S]*?)^```$/gm)].map(
  ([, language = '', code = '']) => ({ language, code }),
);
const withLanguage = (wanted: string): Block[] => blocks.filter(({ language }) => language === wanted);

const missing = tokenKinds.map((kind) => kind.missing).find((reason) => reason !== null) ?? null;
if (missing !== null) process.stdout.write(`skipped: README.md: ${missing}\n`);

test('every script that README.md tells to run is there and can be run', () => {
  const commands = withLanguage('console').flatMap(({ code }) => code.trim().split('\n'));
  expect(commands).not.toEqual([]);
  for (const command of commands) accessSync(join(root, command), constants.X_OK);
});

test('every test that README.md names as the one that shows something is there', () => {
  const named = [...readme.matchAll(/`(test\/[\w./-]+\.ts)`/g)].map(([, path = '']) => path);
  expect(named.length).toBeGreaterThan(10);
  for (const path of named) accessSync(join(root, path), constants.R_OK);
});

describe.skipIf(missing !== null)('README.md', () => {
  let instance: Instance;
  let folder: string;
  let env: NodeJS.ProcessEnv;

  beforeAll(async () => {
    instance = await startInstance();
    folder = mkdtempSync(join(tmpdir(), 'readme-'));
    const bin = join(folder, 'bin');
    mkdirSync(bin);
    symlinkSync(join(root, 'scripts', 'drawbridge'), join(bin, 'drawbridge'));
    symlinkSync(join(root, 'node_modules'), join(folder, 'node_modules'));
    env = { ...process.env, PATH: `${bin}:${process.env['PATH']}`, DRAWBRIDGE_SOCKET: instance.socket };
  });

  afterAll(async () => {
    await instance.stop();
    rmSync(folder, { recursive: true, force: true });
  });

  test('its shell commands work, in the order in which they stand', async () => {
    expect(withLanguage('sh').length).toBeGreaterThanOrEqual(3);
    for (const { code } of withLanguage('sh')) {
      const ended = await run('bash', ['--norc', '-euo', 'pipefail', '-c', code], { cwd: folder, env });
      expect(ended, code).toMatchObject({ code: 0 });
    }
  });

  test('its program works as it stands, as JavaScript and as TypeScript', async () => {
    const [program] = withLanguage('js');
    writeFileSync(join(folder, 'package.json'), '{ "type": "module" }');
    for (const name of ['program.mjs', 'program.ts']) {
      writeFileSync(join(folder, name), program?.code ?? '');
      expect(await run(process.execPath, [name], { cwd: folder, env }), name).toMatchObject({
        code: 0,
        stdout: 'secret\n',
      });
    }
    const strictly = ['--noEmit', '--strict', '--target', 'esnext', '--module', 'nodenext', '--types', 'node'];
    const compiler = join(root, 'node_modules/typescript/bin/tsc');
    const checked = await run(process.execPath, [compiler, ...strictly, 'program.ts'], { cwd: folder, env });
    expect(checked).toMatchObject({ code: 0, stdout: '' });
  });

  test('its program says which socket is missing where none is named', async () => {
    const { DRAWBRIDGE_SOCKET: _, ...unnamed } = env;
    const ended = await run(process.execPath, ['program.mjs'], { cwd: folder, env: unnamed });
    expect(ended.code).toBe(1);
    expect(ended.stderr).toContain('/run/drawbridge/kms.sock');
  });

  test('its table of tokens is what doctor says', async ({ skip }) => {
    const reports = await Promise.all(tokens.map(({ kind }) => askDoctor(kind)));
    const table = renderTokenTable(reports);
    const written = tokenTable.find(readme);
    if (table.split('\n')[0] !== written.split('\n')[0]) {
      process.stdout.write('skipped: the table of tokens in README.md: it is about other versions of the libraries\n');
      skip();
    }
    expect(written).toBe(table);
  });
});
