import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { expect, test } from 'vitest';
import { logLines } from '../../src/hsm/line-log.ts';

const marker = { pid: 7 };

/** What is logged of a process that runs `script`. */
async function logged(
  script: string,
  isLibraryLogged = true,
): Promise<{ message: string; text: unknown; leftOut: unknown }[]> {
  const child = spawn(process.execPath, ['-e', script], { stdio: ['ignore', 'pipe', 'inherit'] });
  const lines: { message: string; text: unknown; leftOut: unknown }[] = [];
  const none = () => undefined;
  const warn = (fields: object, message: string) => {
    expect(fields).toMatchObject(marker);
    const { text, leftOut } = fields as { text?: unknown; leftOut?: unknown };
    lines.push({ message, text, leftOut });
  };
  logLines(child.stdout, { debug: none, info: none, warn, error: none }, { fields: marker, isLibraryLogged });
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
