/** `npm pack` makes a package whose `drawbridge` runs without the checkout. */

import { mkdtempSync, readdirSync, readFileSync, rmSync, symlinkSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { LineProcess } from '../../scripts/line-process.ts';
import { softHsm2 } from '../support/tokens.ts';
import { root, run } from './run-script.ts';

let folder: string;
beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'package-'));
  const packed = await run('npm', ['pack', '--pack-destination', folder, '--loglevel=error'], { cwd: root });
  expect(packed).toMatchObject({ code: 0 });
  const [tarball = ''] = readdirSync(folder);
  await run('tar', ['--extract', '--file', join(folder, tarball), '--directory', folder]);
  // What `npm install` would put there.
  symlinkSync(join(root, 'node_modules'), join(folder, 'node_modules'));
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

const cli = (): string => join(folder, 'package', 'dist', 'cli', 'main.js');

test('the package holds the program, what is native, and no sources or tests', () => {
  expect(readdirSync(join(folder, 'package')).sort()).toEqual([
    'LICENSE',
    'README.md',
    'dist',
    'native-config',
    'package.json',
  ]);
  const files = readdirSync(join(folder, 'package', 'dist'), { recursive: true, encoding: 'utf8' });
  expect(files.filter((name) => name.endsWith('.ts') || name.endsWith('.map'))).toEqual([]);
});

test('each command that it installs is in it', () => {
  const { bin } = JSON.parse(readFileSync(join(folder, 'package', 'package.json'), 'utf8')) as {
    bin: Record<string, string>;
  };
  expect(Object.keys(bin)).toEqual(['drawbridge', 'age-plugin-drawbridge', 'sigstore-kms-drawbridge']);
  for (const path of Object.values(bin)) {
    expect(readFileSync(join(folder, 'package', path), 'utf8')).toMatch(/^#!\/usr\/bin\/env node\n/);
  }
});

test('its command knows its version', async () => {
  const { version } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')) as { version: string };
  const ended = await run(process.execPath, [cli(), '--version'], { cwd: folder });
  expect(ended).toMatchObject({ code: 0, stdout: `${version}\n` });
});

test.skipIf(softHsm2.missing !== null)('its command runs an instance and encrypts with it', async () => {
  const daemon = new LineProcess('drawbridge dev', [process.execPath, cli(), 'dev', '--dir', join(folder, 'kms')]);
  try {
    const { socket } = await daemon.nextJson<{ socket: string }>();
    const env = { ...process.env, DRAWBRIDGE_SOCKET: socket };
    const created = await run(process.execPath, [cli(), 'keys', 'create', '--alias', 'alias/packed'], { env });
    expect(created).toMatchObject({ code: 0 });
    const command = `printf secret | "$0" "$1" encrypt --key alias/packed | "$0" "$1" decrypt`;
    const ended = await run('bash', ['--norc', '-euo', 'pipefail', '-c', command, process.execPath, cli()], { env });
    expect(ended).toMatchObject({ code: 0, stdout: 'secret' });
  } finally {
    await daemon.close('SIGTERM');
  }
});
