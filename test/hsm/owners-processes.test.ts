/**
 * What root has a vendor's library do in somebody else's folder (`drawbridge restore`, `domain join` and the like): the library is in processes that are
 * the owner's, and not root's who only looks like him.
 */

import { spawnSync } from 'node:child_process';
import { chmodSync, chownSync, existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { compileLibrary } from '../support/compiled-library.ts';
import { missingForShim } from '../support/pkcs11-shim.ts';
import { whyOnlyOwnUser } from '../support/readable-checkout.ts';

const source = (path: string): string => new URL(`../../src/${path}`, import.meta.url).href;
const owner = 12345;

/** A library that tries to be root, says what it is then, and is no library of PKCS#11. */
const curious = `
#define _GNU_SOURCE
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <unistd.h>
__attribute__((constructor)) static void look(void) {
  uid_t real, effective, saved; gid_t group, effective_group, saved_group; struct rlimit core;
  int regained = seteuid(0) == 0 || setuid(0) == 0;
  getresuid(&real, &effective, &saved); getresgid(&group, &effective_group, &saved_group); getrlimit(RLIMIT_CORE, &core);
  FILE *out = fopen(getenv("CURIOUS_OUT"), "w");
  fprintf(out, "{\\"regained\\":%d,\\"uids\\":[%d,%d,%d],\\"gids\\":[%d,%d,%d],\\"core\\":%d,\\"dumpable\\":%d}", regained,
    real, effective, saved, group, effective_group, saved_group, (int)core.rlim_max, prctl(PR_GET_DUMPABLE));
  fclose(out);
}`;

const why = whyOnlyOwnUser() ?? missingForShim();
if (why !== null) process.stdout.write(`skipped: processes of somebody else's library: ${why}\n`);

const token = { label: 'none' };
const pin = 'no PIN';
const login = { libraryParameters: null, token, rewrittenAtLogin: null, pin };
/** What each program that loads the library is told. */
const programs = {
  'look-for-token': login,
  'read-joining-pair': { ...login, id: '00', isGuarded: true, notReadBack: [] },
  'trust-joining-keys': { ...login, keys: [] },
  'initialize-token': { libraryParameters: null, label: 'none', soPin: pin, pin },
} as const;

describe.skipIf(why !== null)("in somebody else's folder", () => {
  let folder = '';
  let library = '';

  beforeAll(() => {
    folder = mkdtempSync(join(tmpdir(), 'drawbridge-curious-'));
    chmodSync(folder, 0o755);
    library = compileLibrary(join(folder, 'curious.so'), curious);
  });
  afterAll(() => rmSync(folder, { recursive: true, force: true }));

  /** @param script Runs as root that acts as the owner of a folder. @returns What the library saw. */
  function seenBy(name: string, script: (environment: string) => string): unknown {
    const his = join(folder, name);
    mkdirSync(his);
    chownSync(his, owner, owner);
    const out = join(his, 'seen');
    const code = `
      const { actAsOwner } = await import(${JSON.stringify(source('secrets/act-as-owner.ts'))});
      actAsOwner(${JSON.stringify(his)});
      ${script(JSON.stringify({ CURIOUS_OUT: out }))}`;
    const { stderr } = spawnSync(process.execPath, ['--input-type=module', '--eval', code], { encoding: 'utf8' });
    if (!existsSync(out)) throw new Error(`the library was not loaded: ${stderr}`);
    return JSON.parse(readFileSync(out, 'utf8'));
  }

  const his = { regained: 0, uids: [owner, owner, owner], gids: [owner, owner, owner] };
  const undumped = { core: 0, dumpable: 0 };

  test.each(Object.entries(programs))('the library in %s cannot be root', (name, task) => {
    const seen = seenBy(
      name,
      (environment) => `
        const { runLibraryProcess } = await import(${JSON.stringify(source('hsm/library-process.ts'))});
        await runLibraryProcess(${JSON.stringify(name)}, ${JSON.stringify(JSON.stringify({ library, ...task }))}, ${environment});`,
    );
    // The one that logs in to nothing has no PIN.
    expect(seen).toMatchObject({ ...his, ...(name === 'look-for-token' ? {} : undumped) });
  });

  test('the library in an HSM host cannot be root', () => {
    const settings = { library, libraryParameters: null, token, profile: 'softhsm2', lanes: 1 };
    const seen = seenBy(
      'host',
      (environment) => `
        const { openKeyStore } = await import(${JSON.stringify(source('hsm/open-key-store.ts'))});
        const { Pin } = await import(${JSON.stringify(source('secrets/secret-bytes.ts'))});
        const { createLog } = await import(${JSON.stringify(source('daemon/log.ts'))});
        await openKeyStore({
          name: 'curious', settings: ${JSON.stringify(settings)}, hosts: 1, sessionsAreParallel: true, environment: ${environment},
          limits: { callDeadlineMs: 10_000, openDeadlineMs: 30_000 }, log: createLog('error'), pin: async () => new Pin(Buffer.from('no PIN')),
        });`,
    );
    expect(seen).toMatchObject({ ...his, ...undumped });
  });
});
