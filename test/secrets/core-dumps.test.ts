import { execFileSync } from 'node:child_process';
import { expect, test } from 'vitest';

const coreDumps = new URL('../../src/secrets/core-dumps.ts', import.meta.url).href;

test('after disableCoreDumps a process may write no core file and is not dumpable', () => {
  const program = `
    import { readFileSync } from 'node:fs';
    import koffi from 'koffi';
    import { disableCoreDumps } from ${JSON.stringify(coreDumps)};
    const dumpable = () => koffi.load(null).func('int prctl(int, unsigned long, unsigned long, unsigned long, unsigned long)')(3, 0, 0, 0, 0);
    const before = dumpable();
    disableCoreDumps();
    const limit = /Max core file size +(\\d+) +(\\d+)/.exec(readFileSync('/proc/self/limits', 'latin1'));
    process.stdout.write(JSON.stringify({ before, after: dumpable(), soft: limit[1], hard: limit[2] }));
  `;
  const output = execFileSync(process.execPath, ['--input-type=module', '-e', program], {
    cwd: new URL('../..', import.meta.url),
    encoding: 'utf8',
  });
  expect(JSON.parse(output)).toEqual({ before: 1, after: 0, soft: '0', hard: '0' });
});

const cli = (file: string): string => new URL(`../../src/cli/terminal/${file}`, import.meta.url).href;
const pins = new URL('../../src/config/secrets.ts', import.meta.url).href;

test.each([
  ['reads a file with a secret in it', `(await import('${cli('secret-file.ts')}')).readSecretFile('/dev/null', 1)`],
  [
    'asks for a secret',
    `(process.stdin.setRawMode = () => process.stdin, (await import('${cli('questions.ts')}')).askSecret('PIN: '))`,
  ],
  [
    'reads a PIN from a file',
    `(await import('${pins}')).pinReader({ file: '/dev/null' }, {})().catch(() => undefined)`,
  ],
  ['reads a PIN from a variable', `(await import('${pins}')).pinReader({ env: 'PIN' }, { PIN: '1234' })()`],
])('a command that %s is not dumpable from then on', (_, secret) => {
  const program = `
    import koffi from 'koffi';
    await ${secret};
    const prctl = koffi.load(null).func('int prctl(int, unsigned long, unsigned long, unsigned long, unsigned long)');
    process.stdout.write(String(prctl(3, 0, 0, 0, 0)));
  `;
  const cwd = new URL('../..', import.meta.url);
  const output = execFileSync(process.execPath, ['--input-type=module', '-e', program], {
    ...{ cwd, encoding: 'utf8', input: 'typed\n', stdio: ['pipe', 'pipe', 'ignore'] },
  });
  expect(output).toBe('0');
});
