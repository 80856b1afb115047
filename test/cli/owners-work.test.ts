/** What root does beside a daemon, in the data folder of the daemon's user and with its HSM's library: as that user, whatever he has put there. */

import { execFileSync, spawnSync } from 'node:child_process';
import { chmodSync, chownSync, existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { withSecurityOfficer } from '../../src/cli/commands/domain/security-officer.ts';
import { loadTrustedConfiguration } from '../../src/config/load.ts';
import { missingForShim } from '../support/pkcs11-shim.ts';
import { program } from '../support/program.ts';
import { whyOnlyOwnUser } from '../support/readable-checkout.ts';
import { softHsm2 } from '../support/tokens.ts';

const [owner, stranger] = [12345, 54321];

const why = whyOnlyOwnUser() ?? softHsm2.missing ?? missingForShim();
if (why !== null) process.stdout.write(`skipped: root in the folder of the daemon's user: ${why}\n`);

describe.skipIf(why !== null)("root in the folder of the daemon's user", { timeout: 170_000 }, () => {
  let dir = '';
  const path = (name: string): string => join(dir, name);
  const [config, library, loaded] = ['drawbridge.yaml', 'state/library.so', 'state/loaded'];

  beforeAll(() => {
    dir = mkdtempSync(join(tmpdir(), 'drawbridge-owners-work-'));
    chmodSync(dir, 0o755);
    const places = ['--config', path('of-the-system.yaml'), '--dir', path('state'), '--socket', path('kms.sock')];
    execFileSync(process.execPath, [program, 'init', '--token', 'softhsm2', ...places], { stdio: 'pipe' });
    const text = readFileSync(path('of-the-system.yaml'), 'utf8');
    const withLibrary = text.replace('profile: softhsm2', `profile: softhsm2\n    library: ${path(library)}`);
    writeFileSync(path(config), withLibrary);
    // Says whose process it is in, and is no library of PKCS#11.
    writeFileSync(
      path('library.c'),
      `#include <stdio.h>
      #include <unistd.h>
      __attribute__((constructor)) static void say(void) {
        FILE *out = fopen("${path(loaded)}", "w");
        if (out != NULL) { fprintf(out, "%d %d", getuid(), geteuid()); fclose(out); }
      }`,
    );
    execFileSync('cc', ['-shared', '-fPIC', '-o', path(library), path('library.c')]);
    execFileSync('chown', ['-R', `${owner}:${owner}`, path('state')]);
  }, 170_000);
  afterEach(() => rmSync(path(loaded), { force: true }));
  afterAll(() => rmSync(dir, { recursive: true, force: true }));

  function run(...words: string[]): { readonly text: string; readonly code: number | null } {
    const { DRAWBRIDGE_SOCKET: _, ...env } = process.env;
    const { stdout, stderr, status } = spawnSync(process.execPath, [program, ...words], { env, encoding: 'utf8' });
    return { text: stdout + stderr, code: status };
  }

  test('doctor finds what the daemon will find, and leaves nothing of root there', () => {
    const { text, code } = run('doctor', '--config', path('of-the-system.yaml'));
    expect(text).toMatch(/^keys \(default\) +ok +those of the data folder/m);
    expect(code).toBe(0);
    expect(execFileSync('find', [path('state'), '-not', '-user', String(owner)], { encoding: 'utf8' })).toBe('');
  });

  test("doctor loads the user's library as the user", () => {
    const { text, code } = run('doctor', '--config', path(config));
    expect(text).toContain('undefined symbol: C_GetFunctionList');
    expect(code).toBe(1);
    expect(readFileSync(path(loaded), 'utf8')).toBe(`${owner} ${owner}`);
  });

  test.each([
    { command: 'doctor', words: ['doctor'] },
    { command: 'metadata accept', words: ['metadata', 'accept', '--state', '0123456789abcdef'] },
  ])('$command loads no library that a third user can change', ({ words }) => {
    chownSync(path(library), stranger, stranger);
    const { text, code } = run(...words, '--config', path(config));
    chownSync(path(library), owner, owner);
    expect(text).toContain(`\`${path(library)}\` is not safe to use: it belongs to uid ${stranger}`);
    expect(code).toBe(1);
    expect(existsSync(path(loaded))).toBe(false);
  });

  test("the security officer's PIN is given to no library that the daemon's user can change", async () => {
    writeFileSync(path('so-pin'), 'the PIN', { mode: 0o600 });
    const token = { configuration: await loadTrustedConfiguration(path(config)), keyStore: 'default' };
    const work = withSecurityOfficer(token, path('so-pin'), () => Promise.resolve('done'));
    await expect(work).rejects.toThrow(
      `\`${path(library)}\` is not safe to use: \`${path('state')}\` belongs to uid ${owner}`,
    );
    expect(existsSync(path(loaded))).toBe(false);
  });
});
