/**
 * OpenSSH of the distribution as its users run it: ssh, ssh-add, ssh-keygen, and a server for one connection at a time.
 *
 * The server is what an ssh client starts as its `ProxyCommand` (`sshd -i`), so that no port is opened. As root it runs as
 * `nobody`, because root's would want a user of its own on this machine; a login is an SFTP session, which needs no shell.
 */

import { spawn, spawnSync } from 'node:child_process';
import { chmodSync, copyFileSync, existsSync, mkdirSync, readdirSync, writeFileSync } from 'node:fs';
import { userInfo } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { runsAsRoot, unixUsers } from './unix-users.ts';

/** Where the set-up of the tests unpacks Debian's server, so that none is installed and started. */
const unpacked = fileURLToPath(new URL('../../../.toolchain/debian', import.meta.url));
/** From OpenSSH 9.8 on it starts other programs, which it looks for where they would be installed. */
const runsUnpacked = !existsSync(join(unpacked, 'usr/lib/openssh/sshd-session'));
const sshd = ['/usr/sbin/sshd', ...(runsUnpacked ? [join(unpacked, 'usr/sbin/sshd')] : [])].find((path) =>
  existsSync(path),
);

/** What this machine lacks, or `null`. */
export function missingProgram(program: string, debianPackage: string): string | null {
  const isThere = spawnSync('sh', ['-c', `command -v ${program}`]).status === 0;
  return isThere ? null : `no ${program} (apt-get install ${debianPackage})`;
}
export const missingOpenSsh = {
  client: missingProgram('ssh', 'openssh-client'),
  server: sshd === undefined ? 'no sshd (apt-get install openssh-server)' : null,
} as const;

/** As whom one logs in. */
export const loginUser = runsAsRoot ? 'nobody' : userInfo().username;

export interface Ended {
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

/** Runs one program of OpenSSH's, or git, with nothing of this user's own configuration. */
export function runWith(
  environment: Readonly<Record<string, string>>,
  folder: string,
  [program = '', ...args]: readonly string[],
  input = '',
): Promise<Ended> {
  const { PATH = '' } = process.env;
  const env = { PATH, HOME: folder, LC_ALL: 'C.UTF-8', GIT_CONFIG_NOSYSTEM: '1', ...environment };
  const child = spawn(program, args, { cwd: folder, env });
  const texts = { stdout: '', stderr: '' };
  for (const name of ['stdout', 'stderr'] as const)
    child[name].setEncoding('utf8').on('data', (text) => (texts[name] += text));
  child.stdin.on('error', () => undefined); // It needs no input, and has ended.
  child.stdin.end(input);
  return new Promise((resolve, reject) => {
    child.once('error', reject);
    child.once('close', (code) => resolve({ code, ...texts }));
  });
}

/**
 * A server's configuration.
 * @param folder The test's own, which everybody may look into.
 * @param lines More of sshd_config(5).
 * @returns What an ssh client needs to reach it as `ProxyCommand`.
 */
export function sshServer(folder: string, name: string, lines: readonly string[]): string {
  const config = join(folder, `${name}.config`);
  writeFileSync(
    config,
    [
      ...lines, // sshd_config(5): what is said first counts.
      'PidFile none',
      // Without PAM nobody's account counts as locked.
      `UsePAM ${runsAsRoot ? 'yes' : 'no'}`,
      // The folder of a test is in one that all can write to.
      'StrictModes no',
      'Subsystem sftp internal-sftp',
      'ForceCommand internal-sftp',
      'AuthorizedKeysFile none',
      '',
    ].join('\n'),
  );
  const command = join(folder, `${name}.sh`);
  const { uid, gid } = unixUsers.nobody;
  const asNobody = runsAsRoot ? `setpriv --reuid ${uid} --regid ${gid} --clear-groups ` : '';
  const { program, libraries } = serverProgram(folder);
  writeFileSync(
    command,
    `#!/bin/sh\nexec ${asNobody}env LD_LIBRARY_PATH='${libraries}' '${program}' -i -f '${config}' 2>>'${folder}/${name}.log'\n`,
  );
  chmodSync(command, 0o755);
  writeFileSync(join(folder, `${name}.log`), '');
  return command;
}

/** Where its user can reach it, which a checkout need not be. */
function serverProgram(folder: string): { readonly program: string; readonly libraries: string } {
  if (sshd === undefined || sshd.startsWith('/usr/')) return { program: sshd ?? '', libraries: '' };
  const bin = join(folder, 'sshd');
  const program = join(bin, 'sshd');
  if (!existsSync(program)) {
    mkdirSync(bin);
    copyFileSync(sshd, program);
    chmodSync(program, 0o755);
    for (const path of readdirSync(unpacked, { recursive: true, encoding: 'utf8' })) {
      if (/\.so\.\d+$/.test(path)) copyFileSync(join(unpacked, path), join(bin, path.slice(path.lastIndexOf('/') + 1)));
    }
  }
  return { program, libraries: bin };
}
