import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { auditLogPath } from '../../src/audit/open-audit-log.ts';
import { verifyAuditLog } from '../../src/audit/read-audit-log.ts';

const readme = readFileSync(new URL('../../src/audit/README.md', import.meta.url), 'utf8');
const blocks = [...readme.matchAll(/^```(\w*)\n(.*?)^```$/gms)].map(([, language, text = '']) => ({ language, text }));
const commands = blocks.flatMap((block, index) => {
  const output = blocks[index + 1];
  return block.language === 'sh' ? [{ command: block.text, output: output?.language === '' ? output.text : null }] : [];
});
const example = blocks.find((block) => block.language === 'json')?.text ?? '';
const hasJq = isThere('jq');
if (!hasJq) process.stderr.write("skipped: the README's jq command: no jq\n");

function isThere(command: string): boolean {
  try {
    execFileSync(command, ['--version'], { stdio: 'pipe' });
    return true;
  } catch {
    return false;
  }
}

describe("the audit log's README", () => {
  let folder: string;
  beforeAll(() => {
    folder = mkdtempSync(join(tmpdir(), 'drawbridge-audit-'));
    writeFileSync(auditLogPath(folder), example);
  });
  afterAll(() => rmSync(folder, { recursive: true }));

  const run = (command: string): string =>
    execFileSync('bash', ['--norc', '-euo', 'pipefail', '-c', command], { cwd: folder, encoding: 'utf8' });

  test('has an example that verifies', async () => {
    expect(await verifyAuditLog(folder)).toMatchObject({ ok: true, events: 2 });
  });

  test('has commands with their output', () => {
    expect(commands.map(({ command, output }) => [command.split(' ')[0], output !== null])).toEqual([
      ['sed', true],
      ['previous=$(printf', true],
      ['jq', false],
    ]);
  });

  test.each(commands.filter(({ output }) => output !== null))(
    'says what its command %# prints',
    ({ command, output }) => {
      expect(run(command)).toBe(output);
    },
  );

  test.skipIf(!hasJq)('has a jq command that lists the events', () => {
    expect(run(commands.at(-1)?.command ?? '')).toBe(
      '2026-01-05T08:00:00.250Z\tarn:aws:iam::000000000000:root\tListKeys\tok\n2026-01-05T08:00:01.500Z\tarn:aws:iam::000000000000:root\tGenerateRandom\tok\n',
    );
  });

  test('has a loop that finds a changed line', () => {
    const path = auditLogPath(folder);
    writeFileSync(path, example.replace('"numberOfBytes":32', '"numberOfBytes":64'));
    expect(run(commands[1]?.command ?? '')).toMatch(/^does not fit: \{"eventVersion"/);
    writeFileSync(path, example);
  });
});
