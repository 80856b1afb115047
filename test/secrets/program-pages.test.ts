import { execFileSync } from 'node:child_process';
import { expect, test } from 'vitest';
import { untouchedMappings } from '../../src/secrets/program-pages.ts';

const programPages = new URL('../../src/secrets/program-pages.ts', import.meta.url).href;

const mapping = (line: string, { anonymous = 0, swap = 0 } = {}): string =>
  `${line}\nSize:  4 kB\nRss:  4 kB\nAnonymous:  ${anonymous} kB\nSwap:  ${swap} kB\nVmFlags: rd mr mw me\n`;

test.each<[what: string, smaps: string, addresses: string[]]>([
  ['its code', mapping('400000-500000 r-xp 00001000 08:01 77   /usr/bin/node'), ['400000-500000']],
  ['its tables', mapping('7fab00-7fac00 r--p 00000000 08:01 77   /usr/bin/node'), ['7fab00-7fac00']],
  ['not what the dynamic linker filled in', mapping('10-20 r--p 0 08:01 77   /usr/bin/node', { anonymous: 4 }), []],
  ['nor if that is swapped out', mapping('10-20 r--p 0 08:01 77   /usr/bin/node', { swap: 4 }), []],
  ['not what can be written', mapping('10-20 rw-p 0 08:01 77   /usr/bin/node'), []],
  ['not a library', mapping('10-20 r-xp 0 08:01 78   /usr/lib/libc.so.6'), []],
  ['not memory without a file', mapping('10-20 r--p 0 00:00 0 '), []],
  [
    'nothing of a kernel that does not say what is swapped',
    '10-20 r-xp 0 08:01 77 /usr/bin/node\nAnonymous: 0 kB\n',
    [],
  ],
])('of the pages of a program those are dropped that are copies of its file: %s', (_what, smaps, addresses) => {
  const around = mapping('1-2 rw-p 00000000 00:00 0   [heap]', { anonymous: 8 });
  const found = untouchedMappings(around + smaps + around, '/usr/bin/node');
  expect(found.map(({ start, end }) => `${start.toString(16)}-${end.toString(16)}`)).toEqual(addresses);
});

test('dropProgramPages makes a process smaller, which goes on, also where its memory is closed to others', () => {
  const program = `
    import { readFileSync } from 'node:fs';
    import { generateKeyPairSync, sign, verify } from 'node:crypto';
    import { disableCoreDumps } from ${JSON.stringify(new URL('../../src/secrets/core-dumps.ts', import.meta.url).href)};
    import { dropProgramPages } from ${JSON.stringify(programPages)};
    const ofFiles = () => Number(/^RssFile:\\s*(\\d+)/m.exec(readFileSync('/proc/self/status', 'utf8'))[1]);
    const works = () => {
      const { privateKey, publicKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
      return verify('sha256', Buffer.from('x'), publicKey, sign('sha256', Buffer.from('x'), privateKey)) &&
        new Intl.NumberFormat('en').format(1234.5) === '1,234.5' && JSON.stringify(structuredClone({ a: [1n].length })) === '{"a":1}';
    };
    disableCoreDumps();
    works();
    const before = ofFiles();
    dropProgramPages();
    const after = ofFiles();
    process.stdout.write(JSON.stringify({ share: after / before, works: works() }));
  `;
  const output = execFileSync(process.execPath, ['--input-type=module', '-e', program], {
    cwd: new URL('../..', import.meta.url),
    encoding: 'utf8',
  });
  const { share, works } = JSON.parse(output) as { share: number; works: boolean };
  expect(works).toBe(true);
  expect(share).toBeLessThan(0.6);
});
