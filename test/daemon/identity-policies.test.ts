/** The folder of identity policies, as the daemon reads it at its start. */

import { execFileSync } from 'node:child_process';
import { chmodSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { IdentityPolicyFolder } from '../../src/daemon/identity-policy-folder.ts';
import type { Caller } from '../../src/identity/caller.ts';
import { defaultUnixMapping } from '../../src/identity/unix-caller.ts';
import { alice, principal, realm } from '../authorization/policies.ts';

const document = { Version: '2012-10-17', Statement: [{ Effect: 'Allow', Action: 'kms:ListKeys', Resource: '*' }] };
const valid = JSON.stringify({ AttachedTo: [alice], PolicyDocument: document });
const caller: Caller = {
  type: 'IAMUser',
  arn: alice,
  accountId: realm.account,
  userName: 'alice',
  proof: { kind: 'unix', uid: 1, gid: 1, pid: 1, groups: [] },
};

const app = principal('arn:aws:iam::000000000000:user/team/app');
const mapping = { ...defaultUnixMapping(realm), users: { bin: app } };

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'drawbridge-policies-'));
});
afterEach(() => {
  rmSync(folder, { recursive: true, force: true });
  warnings.length = 0;
});

const warnings: [fields: object, message: string][] = [];
const unexpected = (_fields: object, message: string): void => {
  throw new Error(message);
};
const log = {
  debug: unexpected,
  info: unexpected,
  warn: (fields: object, message: string) => warnings.push([fields, message]),
  error: unexpected,
};
const opened = (): Promise<IdentityPolicyFolder> => IdentityPolicyFolder.open(folder, mapping);

test('every *.json in it is read, and nothing else', async () => {
  writeFileSync(join(folder, 'a.json'), valid);
  writeFileSync(join(folder, 'b.json'), valid);
  writeFileSync(join(folder, '.hidden.json'), 'half a file of an editor');
  writeFileSync(join(folder, 'c.json~'), 'a backup');
  expect((await opened()).current().attachedTo(caller)).toHaveLength(2);
});

test('without a folder, and in an empty one, there are no identity policies', async () => {
  expect((await opened()).current().attachedTo(caller)).toEqual([]);
  expect((await IdentityPolicyFolder.open(undefined, mapping)).current().attachedTo(caller)).toEqual([]);
});

test('who is nobody here is named in a warning at the start and at each reload, and the policies are in force all the same', async () => {
  const AttachedTo = ['group:daemon', 'group:no-such-group', alice];
  const denying = { ...document, Statement: { ...document.Statement[0], Effect: 'Deny' } };
  writeFileSync(join(folder, 'a.json'), JSON.stringify({ AttachedTo, PolicyDocument: document }));
  writeFileSync(join(folder, 'b.json'), JSON.stringify({ AttachedTo: app.slice(0, -1), PolicyDocument: denying }));
  writeFileSync(join(folder, 'c.json'), JSON.stringify({ AttachedTo: app, PolicyDocument: denying }));
  const policies = await opened();
  policies.warnOfUnreachable(log);
  const allowing = [
    `\`${alice}\` is nobody: no Unix user is called so, or he is root or mapped to another principal`,
    '`no-such-group` is no group of this machine',
  ];
  const expected = [
    [{ file: join(folder, 'a.json'), nobody: allowing }, 'an identity policy is attached to who is nobody here'],
    [
      {
        file: join(folder, 'b.json'),
        nobody: [
          `\`${app.slice(0, -1)}\` is nobody: nothing maps to it, and it has no access key; did you mean \`${app}\`?`,
        ],
      },
      'an identity policy that denies is attached to who is nobody here: there it denies nothing',
    ],
  ];
  expect(warnings).toEqual(expected);
  await policies.reload({ ...log, info: () => undefined });
  expect(warnings).toEqual([...expected, ...expected]);
  expect(policies.current().attachedTo(caller)).toHaveLength(1);
});

const mistakes: readonly (readonly [name: string, make: () => void, message: () => string])[] = [
  [
    'a policy that is malformed',
    () => writeFileSync(join(folder, 'a.json'), valid.replace('Allow', 'allow')),
    () => 'a.json: Statement[0].Effect: it must be "Allow" or "Deny".',
  ],
  [
    'a file that is too large',
    () => writeFileSync(join(folder, 'a.json'), valid.padEnd(256 * 1024 + 1)),
    () => `\`${join(folder, 'a.json')}\` is larger than 262144 bytes: not a policy`,
  ],
  [
    'a link to nowhere',
    () => symlinkSync('/nowhere', join(folder, 'a.json')),
    () => `cannot read policies at \`${join(folder, 'a.json')}\`: there is no such file (ENOENT)`,
  ],
  [
    'a named pipe that nobody writes to',
    () => execFileSync('mkfifo', [join(folder, 'a.json')]),
    () => `\`${join(folder, 'a.json')}\` is not a file`,
  ],
  [
    'a folder that everybody may write to',
    () => chmodSync(folder, 0o777),
    () => `\`${folder}\` can be written by others, who could give themselves access; chmod go-w it`,
  ],
  [
    'no folder',
    () => rmSync(folder, { recursive: true }),
    () => `cannot read policies at \`${folder}\`: there is no such file (ENOENT)`,
  ],
];

test.each(mistakes)('%s ends the start', async (_, make, message) => {
  make();
  await expect(opened()).rejects.toThrow(message());
});
