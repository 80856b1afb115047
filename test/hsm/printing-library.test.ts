/** A library that prints each call with what it is given, as pkcs11-spy does: compiled here, before SoftHSM2's, or OpenSC's own where it is installed. */

import { existsSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { tokenOptions } from '../../src/daemon/configured-key-stores.ts';
import { readJoiningPair } from '../../src/hsm/joining-key-trust.ts';
import { openKeyStore } from '../../src/hsm/open-key-store.ts';
import { newBackingKeyId } from '../../src/kms/names.ts';
import { Pin } from '../../src/secrets/secret-bytes.ts';
import { compileLibrary } from '../support/compiled-library.ts';
import { missingForShim } from '../support/pkcs11-shim.ts';
import { softHsm2, type TestToken } from '../support/tokens.ts';

/**
 * CK_FUNCTION_LIST is a version and 68 functions in the order of the standard: C_Login is the one of number 18.
 * Source: pkcs11f.h of PKCS#11 2.40.
 */
const spy = `
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
typedef unsigned long (*function)();
static struct { unsigned char version[8]; function functions[68]; } list, *behind;
static unsigned long login(unsigned long session, unsigned long user, unsigned char *pin, unsigned long length) {
  fprintf(stderr, "18: C_Login\\n[in] pPin[ulPinLen] / %lu\\n    00000000  ", length);
  for (unsigned long at = 0; at < length; at++) fprintf(stderr, "%02X ", pin[at]);
  fprintf(stderr, " %.*s\\n", (int)length, pin);
  printf("%.*s\\n", (int)length, pin);
  fflush(stdout);
  return behind->functions[18](session, user, pin, length);
}
unsigned long C_GetFunctionList(void **found) {
  void *library = dlopen(getenv("SPIED_LIBRARY"), RTLD_NOW);
  ((function)dlsym(library, "C_GetFunctionList"))(&behind);
  memcpy(&list, behind, sizeof list);
  list.functions[18] = (function)login;
  *found = &list;
  return 0;
}`;

const openSc = ['/usr/lib/x86_64-linux-gnu/pkcs11-spy.so', '/usr/lib64/pkcs11-spy.so', '/usr/lib/pkcs11-spy.so'].find(
  (path) => existsSync(path),
);
if (openSc === undefined) process.stdout.write('skipped: what pkcs11-spy prints: OpenSC is not installed\n');

const why = softHsm2.missing ?? missingForShim();
if (why !== null) process.stdout.write(`skipped: a library that prints what it is given: ${why}\n`);

describe.skipIf(why !== null)('A library that prints each call', () => {
  let folder: string;
  let token: TestToken;

  beforeAll(() => {
    folder = mkdtempSync(join(tmpdir(), 'drawbridge-spy-'));
    token = softHsm2.create();
    compileLibrary(join(folder, 'spy.so'), spy);
  });
  afterAll(() => {
    token?.remove();
    rmSync(folder, { recursive: true });
  });

  /** All that is logged of one host. */
  async function logged(library: string, logLibraryOutput: boolean | undefined): Promise<string> {
    const lines: string[] = [];
    const note = (fields: object, message?: string) => void lines.push(`${JSON.stringify(fields)} ${message}`);
    const log = { debug: note, info: note, warn: note, error: note };
    const { profile, token: wanted } = token.settings(1);
    const configuration = {
      ...{ profile, library, token: wanted, hosts: 1, lanes: 1, deadlines: { callMs: 10_000, openMs: 60_000 } },
      environment: { ...token.environment, SPIED_LIBRARY: token.library, PKCS11SPY: token.library },
      ...(logLibraryOutput === undefined ? {} : { logLibraryOutput }),
    };
    const pin = async () => new Pin(Buffer.from(token.pin));
    const keyStore = await openKeyStore({ ...tokenOptions('spied', configuration, log), pin });
    await keyStore.close();
    return lines.join('\n');
  }

  /** In the clear, and as a dump of bytes. */
  const forms = () => [token.pin, Buffer.from(token.pin).toString('hex').replaceAll(/(..)/g, '$1 ').trim()];
  const saidIn = (log: string) => forms().filter((form) => log.toLowerCase().includes(form));

  const libraries = [
    { name: 'of ours', path: () => join(folder, 'spy.so') },
    ...(openSc === undefined ? [] : [{ name: "of OpenSC's", path: () => openSc }]),
  ];

  test.each(libraries)('$name has nothing of it in the log, which says that there is something', async ({ path }) => {
    const log = await logged(path(), undefined);
    expect(log).toContain('logLibraryOutput has it logged');
    expect(log).not.toContain('C_Login');
    expect(saidIn(log)).toEqual([]);
  });

  test('is not taken for the program that loads it, nor quoted', async () => {
    const { token: wanted, profile } = token.settings(1);
    const settings = { library: join(folder, 'spy.so'), libraryParameters: null, token: wanted, profile };
    const asked = { backingKeyId: newBackingKeyId(), pin: new Pin(Buffer.from(token.pin)) };
    const environment = { ...token.environment, SPIED_LIBRARY: token.library };
    expect(await readJoiningPair(settings, asked, environment)).toEqual({ problem: 'it has no such pair' });
  });

  test('has all of it there where somebody wants it', async () => {
    const log = await logged(join(folder, 'spy.so'), true);
    expect(saidIn(log)).toEqual(forms());
  });
});
