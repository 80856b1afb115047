/**
 * What root reads of a data folder that the daemon's user may have written as he likes: as that user, who cannot be root again, so that whatever a
 * file makes of the process that parses it has no more than he has. Each opening of a file is noted by a library that comes before the C library.
 */

import { execFileSync, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import {
  chmodSync,
  existsSync,
  mkdtempSync,
  readFileSync,
  renameSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, beforeEach, describe, expect, onTestFinished, test, vi } from 'vitest';
import { compileLibrary } from '../support/compiled-library.ts';
import { missingForShim } from '../support/pkcs11-shim.ts';
import { program } from '../support/program.ts';
import { whyOnlyOwnUser } from '../support/readable-checkout.ts';
import { softHsm2 } from '../support/tokens.ts';

const owner = 12345;

/** Notes of each file of the folder `WATCHED` that is opened: its path, by whom, and whether he can be root again. */
const watcher = `
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>
static void note(const char *path) {
  const char *watched = getenv("WATCHED"), *out = getenv("WATCHED_OUT");
  if (watched == NULL || out == NULL || strncmp(path, watched, strlen(watched)) != 0) return;
  uid_t r, e, s; gid_t gr, ge, gs; char line[600];
  getresuid(&r, &e, &s); getresgid(&gr, &ge, &gs);
  /* Of this thread alone, and back again. */
  int regained = syscall(SYS_setresuid, -1, 0, -1) == 0;
  if (regained) syscall(SYS_setresuid, -1, e, -1);
  int fd = syscall(SYS_openat, AT_FDCWD, out, O_WRONLY | O_APPEND | O_CREAT, 0666);
  int length = snprintf(line, sizeof line, "%s %d,%d,%d %d,%d,%d %s\\n", path, r, e, s, gr, ge, gs, regained ? "root" : "-");
  if (write(fd, line, length) < 0) abort();
  close(fd);
}
#define WATCH(name) int name(const char *path, int flags, ...) { \\
  va_list rest; va_start(rest, flags); int mode = va_arg(rest, int); va_end(rest); note(path); \\
  int (*next)(const char *, int, ...) = dlsym(RTLD_NEXT, #name); return next(path, flags, mode); }
WATCH(open)
WATCH(open64)`;

const why = whyOnlyOwnUser() ?? softHsm2.missing ?? missingForShim();
if (why !== null) process.stdout.write(`skipped: root at metadata of the daemon's user: ${why}\n`);

describe.skipIf(why !== null)("root at metadata of the daemon's user", { timeout: 170_000 }, () => {
  let dir = '';
  const path = (name: string): string => join(dir, name);
  const metadata = (): string => path('state/data/metadata.db');

  beforeAll(async () => {
    dir = mkdtempSync(join(tmpdir(), 'drawbridge-owners-metadata-'));
    chmodSync(dir, 0o755);
    compileLibrary(path('watcher.so'), watcher);
    const places = ['--config', path('drawbridge.yaml'), '--dir', path('state'), '--socket', path('state/kms.sock')];
    execFileSync(process.execPath, [program, 'init', '--token', 'softhsm2', ...places], { stdio: 'pipe' });
    execFileSync('chown', ['-R', `${owner}:${owner}`, path('state')]);
    chmodSync(path('drawbridge.yaml'), 0o644);
    const serve = [program, 'serve', '--config', path('drawbridge.yaml')];
    const daemon = spawn(process.execPath, serve, {
      uid: owner,
      gid: owner,
      cwd: '/',
      stdio: ['ignore', 'ignore', 'pipe'],
    });
    let said = '';
    daemon.stderr.on('data', (text: Buffer) => {
      said += text;
    });
    await vi.waitFor(() => expect(said).toContain('"ready"'), { timeout: 170_000, interval: 30 });
    const backup = run('backup', '--out', path('metadata.backup'), '--socket', path('state/kms.sock'));
    daemon.kill('SIGTERM');
    await once(daemon, 'exit');
    expect(backup).toMatchObject({ code: 0 });
  }, 170_000);
  // Both write to it.
  beforeEach(() => {
    writeFileSync(path('opened'), '');
    chmodSync(path('opened'), 0o666);
  });
  afterAll(() => rmSync(dir, { recursive: true, force: true }));

  function run(...words: string[]): { readonly text: string; readonly code: number | null } {
    const { DRAWBRIDGE_SOCKET: _, ...inherited } = process.env;
    const watched = { LD_PRELOAD: path('watcher.so'), WATCHED: path('state/'), WATCHED_OUT: path('opened') };
    const options = { env: { ...inherited, ...watched }, encoding: 'utf8' } as const;
    const { stdout, stderr, status } = spawnSync(process.execPath, [program, ...words], options);
    return { text: stdout + stderr, code: status };
  }

  /** By whom files were opened, and which: those of SQLite, of the log, and whatever else. */
  function opened(): { readonly paths: readonly string[]; readonly by: readonly string[] } {
    const lines = readFileSync(path('opened'), 'utf8').trimEnd().split('\n');
    const [paths, by] = [new Set<string>(), new Set<string>()];
    for (const line of lines) {
      const [, file = '', who = ''] = /^(\S+) (.*)$/.exec(line) ?? [];
      paths.add(file);
      by.add(who);
    }
    return { paths: [...paths], by: [...by] };
  }

  const hisForGood = [`${owner},${owner},${owner} ${owner},${owner},${owner} -`];
  const log = (): string => path('state/data/audit/audit.jsonl');

  test.each([
    { command: 'doctor', words: [], file: metadata },
    { command: 'metadata accept', words: ['--state', '0123456789abcdef'], file: metadata },
    { command: 'audit accept', words: ['--at', 'audit.jsonl:1:0'], file: log },
  ])('$command opens nothing there as who can be root again', ({ command, words, file }) => {
    run(...command.split(' '), ...words, '--config', path('drawbridge.yaml'));
    const { paths, by } = opened();
    expect(paths).toContain(file());
    expect(by).toEqual(hisForGood);
  });

  test('a folder that root has put a link of its own to is his as well', () => {
    const linked = path('state/linked');
    symlinkSync('data', linked);
    onTestFinished(() => rmSync(linked));
    const config = path('linked.yaml');
    const written = readFileSync(path('drawbridge.yaml'), 'utf8');
    writeFileSync(config, written.replaceAll(path('state/data'), linked));
    run('audit', 'accept', '--at', 'audit.jsonl:1:0', '--folder', join(linked, 'audit'));
    run('audit', 'accept', '--at', 'audit.jsonl:1:0', '--folder', linked);
    const { text } = run('doctor', '--config', config);
    expect(text).toMatch(/^paths +ok/m);
    expect(opened().paths.filter((each) => each.startsWith(linked)).length).toBeGreaterThan(1);
    expect(opened().by).toEqual(hisForGood);
  });

  test('restore gives the metadata back as who cannot be root again', () => {
    const former = `${metadata()}.former`;
    renameSync(metadata(), former);
    const { text, code } = run('restore', path('metadata.backup'), '--config', path('drawbridge.yaml'));
    expect([text, code]).toEqual([expect.stringContaining('restored'), 0]);
    const { paths, by } = opened();
    expect(paths.some((each) => each.includes('metadata.db'))).toBe(true);
    expect(by).toEqual(hisForGood);
    expect(existsSync(metadata())).toBe(true);
  });
});
