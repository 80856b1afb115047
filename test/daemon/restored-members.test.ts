/** A backup of a key store of several members, beside other HSMs than those: what `drawbridge restore` says of each. */

import { execFile, execFileSync } from 'node:child_process';
import { existsSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { expect, onTestFinished, test } from 'vitest';
import { program } from '../support/program.ts';
import { softHsm2 } from '../support/tokens.ts';
import { InstanceOfMembers } from './instance-of-members.ts';

if (softHsm2.missing !== null) process.stdout.write(`skipped: a restore beside members: ${softHsm2.missing}\n`);

const drawbridge = (...args: readonly string[]) =>
  new Promise<{ readonly code: number; readonly stderr: string }>((resolve) => {
    execFile(process.execPath, [program, ...args], (error, _, stderr) => {
      resolve({ code: typeof error?.code === 'number' ? error.code : 0, stderr });
    });
  });

test.skipIf(softHsm2.missing !== null)(
  'a restore where one member is another HSM and the other one is away says so of both, and writes nothing',
  async () => {
    const instance = await InstanceOfMembers.create({ names: ['a', 'b'] });
    onTestFinished(() => instance.remove());
    const data = join(instance.folder, 'data');
    const backup = join(instance.folder, 'metadata.backup');
    await instance.start();
    expect(await drawbridge('backup', '--socket', instance.socket, '--out', backup)).toMatchObject({ code: 0 });
    await instance.stop();
    for (const name of ['metadata.db', 'metadata.db-wal', 'metadata.db-shm']) rmSync(join(data, name), { force: true });

    const [a, b] = [instance.member('a'), instance.member('b')];
    a.pull();
    b.pull();
    const { library, label, pin } = instance.token;
    const which = ['--module', library, '--init-token', '--free', '--label', label];
    const environment = { ...process.env, ...a.environment };
    execFileSync('softhsm2-util', [...which, '--so-pin', '12345678', '--pin', pin], {
      env: environment,
      stdio: 'ignore',
    });
    const restoring = ['restore', backup, '--config', instance.configurationFile];
    const { code, stderr } = await drawbridge(...restoring);
    expect(code).toBe(1);
    expect(stderr).toMatch(
      /the token `.*`, serial [0-9a-f]+, does not hold the service key `[0-9a-f]+` with which the backup was made: it is another HSM/,
    );
    expect(stderr).toMatch(/; the member `b`, which may have it, is away: .*no token has the label/);
    expect(stderr).toContain('nothing was written');
    expect(existsSync(join(data, 'metadata.db'))).toBe(false);
    b.plug();
    expect(await drawbridge(...restoring)).toMatchObject({ code: 0 });
  },
);
