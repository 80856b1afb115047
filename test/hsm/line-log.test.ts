import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import type { Readable } from 'node:stream';
import { fileURLToPath } from 'node:url';
import { expect, test } from 'vitest';
import { logLines } from '../../src/hsm/line-log.ts';

const marker = { pid: 7 };

const hostMain = fileURLToPath(new URL('../../src/hsm/host/process/host-main.ts', import.meta.url));

/** What is logged of a process that runs `script`. */
function logged(script: string, isLibraryLogged = true) {
  const child = spawn(process.execPath, ['-e', script], { stdio: ['ignore', 'pipe', 'inherit'] });
  return loggedOf(child, child.stdout, isLibraryLogged);
}

async function loggedOf(
  child: ChildProcess,
  stream: Readable,
  isLibraryLogged: boolean,
): Promise<{ message: string; text: unknown; leftOut: unknown }[]> {
  const lines: { message: string; text: unknown; leftOut: unknown }[] = [];
  const none = () => undefined;
  const warn = (fields: object, message: string) => {
    expect(fields).toMatchObject(marker);
    const { text, leftOut } = fields as { text?: unknown; leftOut?: unknown };
    lines.push({ message, text, leftOut });
  };
  logLines(stream, { debug: none, info: none, warn, error: none }, { fields: marker, isLibraryLogged });
  await once(child, 'close');
  return lines;
}

const says = (text: string) => ({ message: 'the HSM host says', text, leftOut: undefined });

test('What a host prints is logged line by line, the last one also without its end', async () => {
  expect(await logged(`process.stdout.write('one\\n\\ntwo € \\nthr'); process.stdout.write('ee')`)).toEqual([
    says('one'),
    says('two € '),
    says('three'),
  ]);
});

test('A line is cut, and so is one that never ends', async () => {
  const cut = `${'x'.repeat(1000)}…`;
  expect(await logged(`process.stdout.write('x'.repeat(3_000_000) + '\\nshort\\n' + 'x'.repeat(1001))`)).toEqual([
    says(cut),
    says('short'),
    says(cut),
  ]);
});

test('A flood of lines is counted and not logged', async () => {
  const lines = await logged(`process.stdout.write('again\\n'.repeat(50_000))`);
  expect(lines).toHaveLength(21);
  expect(lines.slice(0, 20)).toEqual(Array.from({ length: 20 }, () => says('again')));
  expect(lines[20]).toEqual({ message: 'the HSM host says more than is logged', text: undefined, leftOut: 49_980 });
});

test("What a library prints stays out of the log unless somebody wants it there, and the host's own words do not", async () => {
  const withheld =
    'the library prints what is not logged, as it may hold the PIN and plaintexts; logLibraryOutput has it logged';
  expect(await logged(`process.stdout.write('one\\n\\nHSM host: why it ends\\ntwo\\nthree')`, false)).toEqual([
    { message: withheld, text: undefined, leftOut: undefined },
    says('HSM host: why it ends'),
  ]);
});

test('Why a host ends is logged, though the library has not ended its own line before', async () => {
  const library = 'data:text/javascript,process.stderr.write("connecting ... ")';
  const child = spawn(process.execPath, ['--import', library, hostMain], { stdio: ['ignore', 'ignore', 'pipe'] });
  const lines = await loggedOf(child, child.stderr, false);
  expect(lines.map(({ text }) => text)).toEqual([undefined, expect.stringMatching(/^HSM host: Error: usage: /)]);
});
