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
