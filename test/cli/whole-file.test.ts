import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import {
  chownSync,
  closeSync,
  constants,
  mkdirSync,
  mkdtempSync,
  openSync,
  readdirSync,
  readFileSync,
  readSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { writeWhole } from '../../src/cli/terminal/binary-output.ts';

const source = fileURLToPath(new URL('../../src/cli/terminal/whole-file.ts', import.meta.url));
const writers: ChildProcess[] = [];
let folder: string;
let path: string;

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'drawbridge-whole-'));
  path = join(folder, 'out');
});
afterEach(() => {
  for (const writer of writers.splice(0)) writer.kill('SIGKILL');
  rmSync(folder, { recursive: true });
});

test.skipIf(process.getuid?.() !== 0)('nothing is written into a pipe of somebody else', async () => {
  execFileSync('mkfifo', [path]);
  chownSync(path, 12_345, 0);
  const reader = openSync(path, constants.O_RDONLY | constants.O_NONBLOCK);
  try {
    await expect(writeWhole(path, Buffer.from('secret'))).rejects.toThrow('it belongs to uid 12345, who might read it');
    expect(readSync(reader, Buffer.alloc(16))).toBe(0);
    chownSync(path, 0, 0);
    await writeWhole(path, Buffer.from('known'));
    expect(readSync(reader, Buffer.alloc(16))).toBe(5);
  } finally {
    closeSync(reader);
  }
});

const partials = (): string[] => readdirSync(folder).filter((name) => name.endsWith('.partial'));

/** A program that has written a part of its output and waits for more; the name of its file. */
async function writer(): Promise<{ child: ChildProcess; partial: string }> {
  const before = partials();
  const script = `
    const { openOutput } = await import(${JSON.stringify(source)});
    const { stream } = await openOutput(${JSON.stringify(path)}, 0o600);
    stream.write('half a plaintext', () => process.stdout.write('written'));
    setInterval(() => undefined, 1000);`;
  const child = spawn(process.execPath, ['--input-type=module', '-e', script], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  writers.push(child);
  await once(child.stdout, 'data');
  const [partial = ''] = partials().filter((name) => !before.includes(name));
  return { child, partial };
}

describe('a file that is written as a whole', () => {
  test('takes along what a killed program left of it, and nothing of one that still writes', async () => {
    const killed = await writer();
    const living = await writer();
    killed.child.kill('SIGKILL');
    await once(killed.child, 'exit');
    expect(readFileSync(join(folder, killed.partial), 'utf8')).toBe('half a plaintext');
    await writeWhole(path, Buffer.from('all'));
    expect(readFileSync(path, 'utf8')).toBe('all');
    expect(partials()).toEqual([living.partial]);
    living.child.kill('SIGTERM');
    await once(living.child, 'exit');
    expect(readdirSync(folder)).toEqual(['out']);
  });

  test('leaves alone what only looks like a leftover', async () => {
    const others = ['out.partial', 'out.0badcafe.partial.gz', 'out.0BADCAFE.partial', 'other.0badcafe.partial'];
    for (const name of others) writeFileSync(join(folder, name), 'precious');
    mkdirSync(join(folder, 'out.00000001.partial'));
    symlinkSync(join(folder, 'out.partial'), join(folder, 'out.00000002.partial'));
    const all = [...others, 'out.00000001.partial', 'out.00000002.partial'];
    await writeWhole(path, Buffer.from('all'));
    expect(readdirSync(folder).sort()).toEqual([...all, 'out'].sort());
  });
});
