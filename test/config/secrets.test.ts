import { chmodSync, mkdtempSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, test } from 'vitest';
import {
  assertPinIsPrivate,
  assertPrivate,
  assertSecurityOfficerPinIsPrivate,
  pinReader,
} from '../../src/config/secrets.ts';

const folder = mkdtempSync(join(tmpdir(), 'drawbridge-secrets-'));
afterAll(() => rmSync(folder, { recursive: true }));

function file(name: string, text: string, mode: number): string {
  const path = join(folder, name);
  rmSync(path, { force: true }); // One that its owner may not write to.
  writeFileSync(path, text);
  chmodSync(path, mode);
  return path;
}

const read = async (source: Parameters<typeof pinReader>[0], environment = {}) =>
  (await pinReader(source, environment)()).reveal().toString();

describe('a PIN', () => {
  test.each([
    ['without a line end', '1234'],
    ['with a line end', '1234\n'],
    ['with a line end of Windows', '1234\r\n'],
  ])('is read from a file %s', async (_name, text) => {
    expect(await read({ file: file('pin', text, 0o600) })).toBe('1234');
  });

  test('keeps its blanks', async () => {
    expect(await read({ file: file('blanks', ' 1 2 \n', 0o400) })).toBe(' 1 2 ');
  });

  test('is read from a systemd credential', async () => {
    file('hsm-pin', 'from-systemd\n', 0o400);
    expect(await read({ credential: 'hsm-pin' }, { CREDENTIALS_DIRECTORY: folder })).toBe('from-systemd');
  });

  test.each([
    ['as an older systemd makes it', 0o400, true],
    ["as systemd makes it for another user, whose ACL shows as the group's rights", 0o440, process.getuid?.() === 0],
    ['not if others can read it', 0o444, false],
    ['not if the group can write to it', 0o460, false],
  ])('is read from a credential %s', async (_name, mode, isRead) => {
    file('credential', 'from-systemd', mode);
    const environment = { CREDENTIALS_DIRECTORY: folder };
    const found = () => read({ credential: 'credential' }, environment);
    const looked = () => assertPinIsPrivate({ credential: 'credential' }, environment);
    if (isRead) {
      expect(await found()).toBe('from-systemd');
      await looked();
    } else {
      const told = `\`${join(folder, 'credential')}\` has mode 0${mode.toString(8)}, so others can get at what is secret in it; run: chmod 0${mode & 0o200 ? 600 : 400} ${join(folder, 'credential')}`;
      await expect(found()).rejects.toThrow(told);
      await expect(looked()).rejects.toThrow(told);
    }
  });

  test('is not read from a file that its group can read', async () => {
    await expect(read({ file: file('grouped', '1234', 0o440) })).rejects.toThrow('has mode 0440, so others can get at');
  });

  test('is read from an environment variable, which is gone then, as often as it is needed', async () => {
    const environment = { HSM_PIN: 'abc' };
    const reader = pinReader({ env: 'HSM_PIN' }, environment);
    expect(environment).toEqual({});
    const first = await reader();
    first.wipe();
    expect((await reader()).reveal().toString()).toBe('abc');
  });

  const refusals: [string, Parameters<typeof pinReader>[0], string][] = [
    [
      'in an empty file',
      { file: file('empty', '\n', 0o600) },
      `\`${join(folder, 'empty')}\` holds no PIN: it is empty`,
    ],
    [
      'in a file that is no PIN',
      { file: file('large', 'x'.repeat(5000), 0o600) },
      `\`${join(folder, 'large')}\` holds no PIN: it is longer than 256 bytes`,
    ],
    [
      'in no file',
      { file: join(folder, 'none') },
      `cannot read the PIN from \`${join(folder, 'none')}\`: there is no such file, which \`pin:\` names (ENOENT)`,
    ],
    [
      'in a folder',
      { file: '/proc' },
      '`/proc` has mode 0555, so others can get at what is secret in it; run: chmod 0700 /proc',
    ],
    [
      'in no variable',
      { env: 'NO_SUCH_VARIABLE' },
      'the environment variable `NO_SUCH_VARIABLE`, which holds the PIN, is not set',
    ],
    [
      'in a credential without systemd',
      { credential: 'x' },
      'the PIN is the systemd credential `x`, but CREDENTIALS_DIRECTORY is not set; start with systemd and LoadCredential=x:PATH',
    ],
  ];
  test.each(refusals)('%s is refused in words for the operator', async (_name, source, message) => {
    await expect(read(source)).rejects.toThrow(message);
  });

  test.each([0o640, 0o604, 0o620, 0o644, 0o666])(
    'in a file with mode %o is refused before it is read',
    async (mode) => {
      const path = file('open', '1234\n', mode);
      const found = `0${mode.toString(8)}`;
      const message = `\`${path}\` has mode ${found}, so others can get at what is secret in it; run: chmod 0600 ${path}`;
      await expect(assertPinIsPrivate({ file: path }, {})).rejects.toThrow(message);
      await expect(read({ file: path })).rejects.toThrow(message);
    },
  );
});

test('a folder that others may enter is refused with the command to run', () => {
  chmodSync(folder, 0o750);
  expect(() => assertPrivate(folder, statSync(folder))).toThrow(
    `\`${folder}\` has mode 0750, so others can get at what is secret in it; run: chmod 0700 ${folder}`,
  );
  chmodSync(folder, 0o700);
  expect(() => assertPrivate(folder, statSync(folder))).not.toThrow();
});

test("a security officer's PIN beside the library's configuration is refused when others may read it", async () => {
  const pin = file('so-pin', '1234\n', 0o644);
  const environment = { OTHER: 'text', SOFTHSM2_CONF: join(folder, 'softhsm2.conf') };
  await expect(assertSecurityOfficerPinIsPrivate(environment)).rejects.toThrow(
    `\`${pin}\` has mode 0644, so others can get at what is secret in it; run: chmod 0600 ${pin}`,
  );
  chmodSync(pin, 0o600);
  await expect(assertSecurityOfficerPinIsPrivate(environment)).resolves.toBeUndefined();
});
