import { spawnSync } from 'node:child_process';
import {
  chownSync,
  lchownSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, onTestFinished, test } from 'vitest';

const module = new URL('../../src/secrets/act-as-owner.ts', import.meta.url).href;
const isRoot = process.getuid?.() === 0;
if (!isRoot) process.stdout.write("skipped: root at somebody else's files: not root\n");
const owner = 12345;

/** What root does in a folder of somebody else's. */
function inTheirFolder(
  code: (folder: string) => string,
  [uid, gid]: readonly [number, number] = [owner, owner],
): { readonly folder: string; readonly said: string } {
  const folder = mkdtempSync(join(tmpdir(), 'drawbridge-owner-'));
  onTestFinished(() => rmSync(folder, { recursive: true }));
  chownSync(folder, uid, gid);
  const script = `import * as fs from 'node:fs'; const { actAsOwner } = await import(${JSON.stringify(module)});
    actAsOwner(${JSON.stringify(folder)}); ${code(folder)}`;
  const { stdout, stderr } = spawnSync(process.execPath, ['--input-type=module', '--eval', script], {
    encoding: 'utf8',
  });
  return { folder, said: stdout + stderr };
}

test.skipIf(!isRoot)("what root makes in somebody's folder is his", () => {
  const { folder } = inTheirFolder((at) => `fs.writeFileSync('${at}/made', 'x');`);
  const { uid, gid } = statSync(join(folder, 'made'));
  expect([uid, gid]).toEqual([owner, owner]);
});

test.skipIf(!isRoot)('a link that he put there leads root to nothing of its own', () => {
  const own = mkdtempSync(join(tmpdir(), 'drawbridge-owner-'));
  onTestFinished(() => rmSync(own, { recursive: true }));
  const precious = join(own, 'precious');
  writeFileSync(precious, 'precious', { mode: 0o600 });
  const { said } = inTheirFolder((at) => {
    symlinkSync(precious, join(at, 'audit.jsonl'));
    return `fs.writeFileSync('${at}/audit.jsonl', 'x');`;
  });
  expect(said).toContain('EACCES');
  expect(readFileSync(precious, 'utf8')).toBe('precious');
});

test.skipIf(!isRoot)(
  "a link that root has put there leads to whose it is, and somebody's own is his wherever it leads",
  () => {
    const folder = mkdtempSync(join(tmpdir(), 'drawbridge-owner-'));
    onTestFinished(() => rmSync(folder, { recursive: true }));
    mkdirSync(join(folder, 'theirs'));
    chownSync(join(folder, 'theirs'), owner, owner);
    for (const [name, target] of [
      ['link', 'theirs'],
      ['further', join(folder, 'link')],
      ['loop', 'loop'],
      ['own', '/'],
    ] as const)
      symlinkSync(target, join(folder, name));
    lchownSync(join(folder, 'own'), owner + 1, owner + 1);
    const uidAt = (name: string): string => {
      const script = `const { becomeOwnerOf } = await import(${JSON.stringify(module)});
      becomeOwnerOf(${JSON.stringify(join(folder, name))}); process.stdout.write(String(process.getuid()));`;
      return spawnSync(process.execPath, ['--input-type=module', '--eval', script], { encoding: 'utf8' }).stdout;
    };
    expect(['theirs', 'link', 'further', 'own', 'loop'].map(uidAt)).toEqual(
      [owner, owner, owner, owner + 1, 0].map(String),
    );
  },
);

test.skipIf(!isRoot)(
  'root is in the groups of the owner, through which he may reach his HSM, and in none of its own',
  () => {
    const users = readFileSync('/etc/passwd', 'utf8')
      .split('\n')
      .map((line) => line.split(':'))
      .filter(([, , uid]) => Number(uid) > 0);
    const groupsOf = (name: string): readonly number[] =>
      spawnSync('id', ['-G', name], { encoding: 'utf8' }).stdout.trim().split(' ').map(Number);
    // Whoever is in most groups.
    const [name = '', , uid, gid] =
      users.sort(([one = ''], [other = '']) => groupsOf(other).length - groupsOf(one).length)[0] ?? [];
    const code = () => 'process.stdout.write(JSON.stringify(process.getgroups()));';
    const { said } = inTheirFolder(code, [Number(uid), Number(gid)]);
    expect(new Set(JSON.parse(said))).toEqual(new Set(groupsOf(name)));
    expect(JSON.parse(inTheirFolder(code).said)).toEqual([owner]);
  },
);
