/**
 * Transcripts of the command line: a text file with commands, and what each is to print and to return.
 *
 *     # A comment.
 *     $ drawbridge keys list            run by bash, in a folder of the transcript's own
 *     > --json                          a further line of the command, directly after it
 *     KEY ID  <...>                     stdout, line by line
 *     ! drawbridge: <...>               stderr
 *     = 1                               the exit code; 0 if not given
 *
 * `<uuid>`, `<hex>`, `<number>`, `<time>` stand for such a text, `<...>` for any text within a line, and a line `...`
 * alone for any number of lines. `drawbridge` is this checkout's; DRAWBRIDGE_SOCKET is as the caller set it.
 */

import { spawnSync } from 'node:child_process';
import { chmodSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { delimiter, join } from 'node:path';
import { expect } from 'vitest';

interface Step {
  readonly line: number;
  readonly command: string;
  readonly stdout: readonly string[];
  readonly stderr: readonly string[];
  readonly exitCode: number;
}

/** `timeout` ends what a command left in the background, too. */
const commandTimeoutSeconds = 120;
/** Node.js gives it a socket as stdin, at which Debian's bash reads ~/.bashrc before the command, unless told not to. */
const shell = [`${commandTimeoutSeconds}`, 'bash', '--norc', '-c'];

const patterns: Readonly<Record<string, string>> = {
  '<uuid>': '[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}',
  '<hex>': '[0-9a-f]+',
  '<number>': '[0-9.]+',
  '<time>': '\\d{4}-\\d\\d-\\d\\dT\\d\\d:\\d\\d:\\d\\d(\\.\\d+)?Z',
  '<...>': '.*',
};

/** Runs a transcript. `drawbridge` in it is `program`. The first difference fails the test and names the line. */
export function runTranscript(path: string, program: string, environment: Readonly<Record<string, string>>): void {
  const folder = mkdtempSync(join(tmpdir(), 'drawbridge-transcript-'));
  try {
    const bin = join(folder, '.bin');
    mkdirSync(bin);
    writeFileSync(join(bin, 'drawbridge'), `#!/bin/sh\nexec '${process.execPath}' '${program}' "$@"\n`);
    chmodSync(join(bin, 'drawbridge'), 0o755);
    const { PATH = '', HOME = folder } = process.env;
    const env = {
      PATH: `${bin}${delimiter}${PATH}`,
      HOME,
      TMPDIR: folder,
      LC_ALL: 'C.UTF-8',
      NODE_COMPILE_CACHE: process.env['NODE_COMPILE_CACHE'] ?? join(folder, '.cache'),
      ...environment,
    };
    for (const step of parseTranscript(readFileSync(path, 'utf8'))) {
      const { stdout, stderr, status } = spawnSync('timeout', [...shell, step.command], {
        cwd: folder,
        env,
        encoding: 'utf8',
      });
      const where = `line ${step.line}: ${step.command}`;
      const actual = `${stdout}\n--- stderr\n${stderr}\n--- exit ${status}`;
      const matches =
        pattern(step.stdout).test(stdout) && pattern(step.stderr).test(stderr) && status === step.exitCode;
      const wanted = `${step.stdout.join('\n')}\n--- stderr\n${step.stderr.join('\n')}\n--- exit ${step.exitCode}`;
      // The comparison by pattern decides; the texts are compared so that a failure shows the difference.
      if (!matches) expect(`${where}\n${actual}`).toBe(`${where}\n${wanted}`);
    }
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

function parseTranscript(text: string): Step[] {
  const steps: {
    line: number;
    command: string;
    stdout: string[];
    stderr: string[];
    exitCode: number;
  }[] = [];
  for (const [index, line] of text.split('\n').entries()) {
    const step = steps.at(-1);
    const isCommand = index === (step?.line ?? 0) + (step?.command.split('\n').length ?? 0) - 1;
    if (line.startsWith('$ ')) {
      steps.push({
        line: index + 1,
        command: line.slice(2),
        stdout: [],
        stderr: [],
        exitCode: 0,
      });
    } else if (step !== undefined && line.startsWith('> ') && isCommand) {
      step.command += `\n${line.slice(2)}`;
    } else if (step === undefined || line.startsWith('# ')) {
      if (line !== '' && !line.startsWith('#')) throw new Error(`line ${index + 1} comes before any command`);
    } else if (line.startsWith('! ') || line === '!') step.stderr.push(line.slice(2));
    else if (line.startsWith('= ')) step.exitCode = Number(line.slice(2));
    else step.stdout.push(line);
  }
  // A blank line before the next command is for the reader.
  for (const { stdout } of steps) while (stdout.at(-1) === '') stdout.pop();
  return steps;
}

function pattern(lines: readonly string[]): RegExp {
  const source = lines.map((line) => (line === '...' ? '(.*\\n)*?' : `${linePattern(line)}\\n`)).join('');
  return new RegExp(`^${source}$`);
}

function linePattern(line: string): string {
  return line
    .split(/(<(?:uuid|hex|number|time|\.\.\.)>)/)
    .map((part) => patterns[part] ?? part.replace(/[\\^$.*+?()[\]{}|]/g, '\\$&'))
    .join('');
}
