/** A token that says that one more wrong PIN locks it: a library before SoftHSM2's, compiled here, which says so, and notes each login. */

import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { trustJoiningKeys } from '../../src/hsm/joining-key-trust.ts';
import { openFailureOf } from '../../src/hsm/open-failure.ts';
import { openKeyStore } from '../../src/hsm/open-key-store.ts';
import { Pin } from '../../src/secrets/secret-bytes.ts';
import { compileLibrary } from '../support/compiled-library.ts';
import { missingForShim } from '../support/pkcs11-shim.ts';
import { softHsm2, type TestToken } from '../support/tokens.ts';

/**
 * CK_FUNCTION_LIST is a version and 68 functions, of which C_GetTokenInfo has the number 6 and C_Login 18; the flags of CK_TOKEN_INFO stand behind 96
 * bytes of text. Source: pkcs11f.h and pkcs11t.h of PKCS#11 2.40.
 */
const counting = `
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
typedef unsigned long (*function)();
static struct { unsigned char version[8]; function functions[68]; } list, *behind;
static unsigned long info(unsigned long slot, char *told) {
  unsigned long result = behind->functions[6](slot, told), flags, more = strtoul(getenv("TOKEN_FLAGS"), NULL, 16);
  memcpy(&flags, told + 96, sizeof flags);
  flags |= more;
  memcpy(told + 96, &flags, sizeof flags);
  return result;
}
static unsigned long login(unsigned long session, unsigned long user, unsigned char *pin, unsigned long length) {
  FILE *logins = fopen(getenv("TOKEN_LOGINS"), "a");
  fputc('x', logins);
  fclose(logins);
  return behind->functions[18](session, user, pin, length);
}
unsigned long C_GetFunctionList(void **found) {
  void *library = dlopen(getenv("TOKEN_LIBRARY"), RTLD_NOW);
  ((function)dlsym(library, "C_GetFunctionList"))(&behind);
  memcpy(&list, behind, sizeof list);
  list.functions[6] = (function)info;
  list.functions[18] = (function)login;
  *found = &list;
  return 0;
}`;

const [countLow, finalTry] = [0x1_0000, 0x2_0000];
const [soCountLow, soFinalTry] = [0x10_0000, 0x20_0000];
const log = { debug() {}, info() {}, warn() {}, error() {} };

const why = softHsm2.missing ?? missingForShim();
if (why !== null) process.stdout.write(`skipped: the last try of a token: ${why}\n`);

describe.skipIf(why !== null)('A token', () => {
  let folder: string;
  let token: TestToken;
  const logins = () => readFileSync(join(folder, 'logins'), 'utf8').length;

  beforeAll(() => {
    folder = mkdtempSync(join(tmpdir(), 'drawbridge-last-try-'));
    token = softHsm2.create();
    compileLibrary(join(folder, 'counting.so'), counting);
  });
  afterAll(() => {
    token?.remove();
    rmSync(folder, { recursive: true });
  });

  function environmentOf(flags: number): Readonly<Record<string, string>> {
    const told = {
      TOKEN_LIBRARY: token.library,
      TOKEN_FLAGS: flags.toString(16),
      TOKEN_LOGINS: join(folder, 'logins'),
    };
    return { ...token.environment, ...told };
  }

  function open(flags: number) {
    writeFileSync(join(folder, 'logins'), '');
    return openKeyStore({
      ...{ name: 'counted', hosts: 1, environment: environmentOf(flags), log },
      settings: { ...token.settings(1), library: join(folder, 'counting.so') },
      pin: async () => new Pin(Buffer.from(token.pin)),
    });
  }

  test('that locks itself at the next wrong PIN is given none', async () => {
    const refused = await open(countLow | finalTry).catch((error: unknown) => error);
    expect(refused).toMatchObject({ failure: 'unavailable' });
    expect(String(refused)).toMatch(/not presented, because .*CKF_USER_PIN_FINAL_TRY.*until an operator reconnects/);
    expect(openFailureOf(refused)).toBe('pinLocked');
    expect(logins()).toBe(0);
  });

  test('that locks its security officer out at the next wrong PIN is given none of his', async () => {
    writeFileSync(join(folder, 'logins'), '');
    const { token: wanted, profile } = token.settings(1);
    const settings = { library: join(folder, 'counting.so'), libraryParameters: null, token: wanted, profile };
    const trust = (flags: number) => {
      const soPin = new Pin(Buffer.from(token.soPin ?? ''));
      return trustJoiningKeys(settings, { keys: [], soPin }, environmentOf(flags));
    };
    expect(await trust(soCountLow | soFinalTry)).toMatch(/^the PIN is not presented, because/);
    expect(logins()).toBe(0);
    expect(await trust(countLow | finalTry)).toBe(null);
    expect(logins()).toBe(1);
  });

  test.each([
    ['was given a wrong one, and has tries left', countLow],
    ['has a single try, and was given no wrong one', finalTry],
  ])('that %s is given its PIN', async (_what, flags) => {
    await (await open(flags)).close();
    expect(logins()).toBe(1);
  });
});
