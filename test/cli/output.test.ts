import { spawnSync } from 'node:child_process';
import { expect, test } from 'vitest';

const output = new URL('../../src/cli/terminal/output.ts', import.meta.url).href;

test('a note that repeats what somebody else wrote cannot steer the terminal', () => {
  const program = `
    import { note } from ${JSON.stringify(output)};
    note('not judged: arn:\\u001b]0;title\\u0007\\u009b2J is not a valid ARN\\nsecond line');
  `;
  const { stdout, stderr } = spawnSync(process.execPath, ['--input-type=module', '-e', program], { encoding: 'utf8' });
  expect({ stdout, stderr }).toEqual({
    stdout: '',
    stderr: 'not judged: arn:\ufffd]0;title\ufffd\ufffd2J is not a valid ARN\nsecond line\n',
  });
});

test('a document that somebody else wrote cannot steer the terminal either', () => {
  const document = '{"Sid":"\u009b2J \u061c",\r\n\t"Id":1}';
  const program = `
    import { inertJson, print } from ${JSON.stringify(output)};
    print(inertJson(process.argv[1]));
  `;
  const { stdout } = spawnSync(process.execPath, ['--input-type=module', '-e', program, '--', document], {
    encoding: 'utf8',
  });
  expect(stdout).toBe('{"Sid":"\\u009b2J \\u061c", \n\t"Id":1}\n');
});

test('what others chose is in JSON as escapes that a terminal does not follow, and as it was for whoever parses it', () => {
  const value = { tag: '\u009b2J \u202egpj.exe \u200f \u0085 ä \ud83d\ude00' };
  const program = `
    import { printJson } from ${JSON.stringify(output)};
    printJson(JSON.parse(process.argv[1]));
  `;
  const { stdout } = spawnSync(process.execPath, ['--input-type=module', '-e', program, '--', JSON.stringify(value)], {
    encoding: 'utf8',
  });
  expect(stdout).not.toMatch(/[\u0080-\u009f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]/);
  expect(stdout).toContain('\\u009b2J \\u202egpj.exe \\u200f \\u0085 ä \ud83d\ude00');
  expect(JSON.parse(stdout)).toEqual(value);
});

test('a line that a daemon which was taken over had a part in cannot steer the terminal', () => {
  const program = `
    import { print } from ${JSON.stringify(output)};
    print('the domain key \\u001b]0;title\\u0007\\u009b2J\\rok is gone\\n\\tsecond line');
  `;
  const { stdout } = spawnSync(process.execPath, ['--input-type=module', '-e', program], { encoding: 'utf8' });
  expect(stdout).toBe('the domain key \ufffd]0;title\ufffd\ufffd2J\ufffdok is gone\n\tsecond line\n');
});
