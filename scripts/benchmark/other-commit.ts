/**
 * Another commit of this repository, ready to run, in a folder of its own.
 *
 * Its files come out of `git archive`: a work tree would have to be taken from the repository's list again, also when the
 * bench is killed. A clone of any depth does, if the commit is in it.
 */

import { execFileSync, spawn } from 'node:child_process';
import { existsSync, mkdirSync, readFileSync, realpathSync, symlinkSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { mainOf } from './targets.ts';

export interface Commit {
  /** As it was asked for: `main`, `HEAD~3`, `aeecfbf`. */
  readonly ref: string;
  readonly hash: string;
}

/**
 * @param root The folder of this checkout.
 * @param ref Whatever git takes for a commit.
 */
export function resolveCommit(root: string, ref: string): Commit {
  assertIsCheckout(root);
  try {
    const hash = git(root, 'rev-parse', '--verify', '--quiet', '--end-of-options', `${ref}^{commit}`);
    return { ref, hash };
  } catch {
    const hint =
      git(root, 'rev-parse', '--is-shallow-repository') === 'true'
        ? 'this clone is shallow: get the commit with `git fetch --unshallow`, or `git fetch origin` and its full hash'
        : 'give a branch, a tag or a hash that `git log --all` shows, or `git fetch` it first';
    throw new Error(`there is no commit \`${ref}\` in this clone; ${hint}`);
  }
}

/** What is measured as this side, with `-dirty` where files differ from the commit. */
export function describeCheckout(root: string): string {
  return git(root, 'describe', '--always', '--dirty', '--exclude', '*');
}

function assertIsCheckout(root: string): void {
  let top: string;
  try {
    top = git(root, 'rev-parse', '--show-toplevel');
  } catch (error) {
    throw new Error(
      `--against needs git and a clone of Drawbridge's repository, and \`${root}\` is none: ${reasonOf(error)}`,
    );
  }
  // A copy without history that lies in somebody else's repository.
  if (realpathSync(top) !== realpathSync(root)) {
    throw new Error(`--against needs a clone of Drawbridge's repository; \`${root}\` is part of the one in \`${top}\``);
  }
}

/** What git printed, or why it could not be started. */
function reasonOf(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  const printed = 'stderr' in error ? String(error.stderr ?? '').trim() : '';
  return printed === '' ? error.message : printed;
}

function git(root: string, ...args: readonly string[]): string {
  return execFileSync('git', ['-C', root, ...args], { encoding: 'utf8', stdio: ['ignore', 'pipe', 'pipe'] }).trim();
}

/**
 * Makes `folder` the commit's files with what they depend on.
 *
 * @param say Is told where the dependencies come from.
 */
export async function checkOut(
  root: string,
  { ref, hash }: Commit,
  folder: string,
  say: (line: string) => void,
): Promise<void> {
  mkdirSync(folder);
  const archive = `${folder}.tar`;
  git(root, 'archive', '--format=tar', `--output=${archive}`, hash);
  execFileSync('tar', ['--extract', '--file', archive, '--directory', folder]);
  if (!existsSync(mainOf({ folder }))) {
    throw new Error(`\`${ref}\` has no src/cli/main.ts, so there is nothing to start; give a newer commit`);
  }
  if (lockOf(root) === lockOf(folder)) {
    say(`${ref} has the same package-lock.json, and uses node_modules/ of this checkout`);
    symlinkSync(realpathSync(join(root, 'node_modules')), join(folder, 'node_modules'));
  } else {
    say(`${ref} has another package-lock.json: npm installs what it names`);
    await installDependencies(root, folder);
  }
}

function lockOf(folder: string): string {
  return readFileSync(join(folder, 'package-lock.json'), 'utf8');
}

/** As `scripts/bootstrap` does it for this checkout, less what only development needs. */
async function installDependencies(root: string, folder: string): Promise<void> {
  const steps = '. "$1"; bootstrap_npm_ci "$2" --omit=dev --prefer-offline; bootstrap_compile_binding "$2"';
  const args = ['-euo', 'pipefail', '-c', steps, 'bench', join(root, 'scripts', 'bootstrap'), folder];
  // A group of its own, because npm starts processes that would go on writing into the folder when it is ended.
  const env = { ...process.env, TMPDIR: dirname(folder) }; // npm leaves a cache of compiled code there.
  const child = spawn('bash', args, { detached: true, env, stdio: ['ignore', 'inherit', 'inherit'] });
  const killAtExit = (): void => {
    try {
      if (child.pid !== undefined) process.kill(-child.pid, 'SIGKILL');
    } catch {
      // The group has ended, and that was not heard of yet.
    }
  };
  process.once('exit', killAtExit);
  try {
    const code = await new Promise<number | null>((resolve, reject) => {
      child.once('error', reject);
      child.once('close', resolve);
    });
    if (code !== 0)
      throw new Error(
        'the dependencies of the other commit could not be installed, see above; npm needs its registry, or all of them in its cache',
      );
  } finally {
    process.off('exit', killAtExit);
  }
}
