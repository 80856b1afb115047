/** A library that needs much of the stack it is called on: a library before SoftHSM2's, compiled here, whose C_Encrypt does. */

import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, test } from 'vitest';
import { compileLibrary } from '../support/compiled-library.ts';
import { missingForShim } from '../support/pkcs11-shim.ts';
import { softHsm2, type TestToken } from '../support/tokens.ts';
import { newKey, openTestStore, roundTrip } from './test-store.ts';

/**
 * CK_FUNCTION_LIST is a version and 68 functions, of which C_Encrypt has the number 30. Source: pkcs11f.h of PKCS#11 2.40.
 * Every page is touched, as deep calls would, from the one that is called last downward.
 */
const deep = `
#include <dlfcn.h>
#include <stdlib.h>
#include <string.h>
typedef unsigned long (*function)();
static struct { unsigned char version[8]; function functions[68]; } list, *behind;
static unsigned long sink;
__attribute__((noinline)) static void down(int pages) {
  volatile char page[4000];
  page[0] = (char)pages;
  if (pages > 0) down(pages - 1);
  sink += page[0];
}
static unsigned long encrypt(unsigned long session, void *data, unsigned long bytes, void *output, void *room) {
  down(750);
  return behind->functions[30](session, data, bytes, output, room);
}
unsigned long C_GetFunctionList(void **found) {
  void *library = dlopen(getenv("DEEP_LIBRARY"), RTLD_NOW);
  ((function)dlsym(library, "C_GetFunctionList"))(&behind);
  memcpy(&list, behind, sizeof list);
  list.functions[30] = (function)encrypt;
  *found = &list;
  return 0;
}`;

const why = softHsm2.missing ?? missingForShim();
if (why !== null) process.stdout.write(`skipped: a library that needs much of the stack: ${why}\n`);

describe.skipIf(why !== null)('A library that needs 3 MiB of the stack', () => {
  let folder: string;
  let token: TestToken;

  beforeAll(() => {
    folder = mkdtempSync(join(tmpdir(), 'drawbridge-deep-'));
    token = softHsm2.create();
    compileLibrary(join(folder, 'deep.so'), deep);
  });
  afterAll(() => {
    token?.remove();
    rmSync(folder, { recursive: true });
  });

  test.each([1, 2])('has it in each of %i lanes', async (lanes) => {
    const deepToken: TestToken = {
      ...token,
      environment: { ...token.environment, DEEP_LIBRARY: token.library },
      settings: (count) => ({ ...token.settings(count), library: join(folder, 'deep.so') }),
    };
    const { keyStore } = await openTestStore(deepToken, { lanes });
    const key = await newKey(keyStore);
    await Promise.all(Array.from({ length: 20 }, () => roundTrip(keyStore, key)));
  });
});
