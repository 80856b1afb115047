/** A machine without a software token: whoever begins there is told what to install, and what else there is. */

import { expect, test } from 'vitest';
import { notInstalled } from '../../src/daemon/new-instance.ts';

test.each([
  ['softhsm2', 'apt-get install softhsm2', '--token nss'],
  ['nss', 'apt-get install libnss3 libnss3-tools', '--token softhsm2'],
] as const)('a library of %s that is not there is told with what has it', (kind, install, other) => {
  const { message } = notInstalled(kind, { name: 'A Token', libraries: ['/usr/lib/one.so', '/usr/lib/other.so'] });
  expect(message).toContain('A Token is not installed: looked for `/usr/lib/one.so`, `/usr/lib/other.so`.');
  expect(message).toContain(`\`${install}\``);
  expect(message).toContain(`\`${other}\``);
});
