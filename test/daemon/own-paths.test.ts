/** What a start relies on by its name and another user can change: it is refused before anything of it is used. */

import { chownSync, cpSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { stringify } from 'yaml';
import { loadConfiguration } from '../../src/config/load.ts';
import { assertPathsAreOurs } from '../../src/daemon/own-paths.ts';

const stranger = 12_345;
const isRoot = process.getuid?.() === 0;
if (!isRoot) process.stdout.write("skipped: paths in another user's hands: not root\n");

describe.skipIf(!isRoot)('What a token is opened with', () => {
  let folder: string;
  const path = (name: string): string => join(folder, name);

  beforeEach(() => {
    folder = mkdtempSync(join(tmpdir(), 'drawbridge-own-paths-'));
    mkdirSync(path('theirs'));
    for (const name of ['softhsm2.conf', 'library.so']) writeFileSync(path(`theirs/${name}`), '');
    writeFileSync(path('pin'), 'x', { mode: 0o600 });
  });
  afterEach(() => rmSync(folder, { recursive: true }));

  async function look(token: object): Promise<void> {
    const keyStores = { default: { profile: 'softhsm2', token: { label: 'x' }, pin: { file: path('pin') }, ...token } };
    const socket = { path: path('kms.sock') };
    const text = stringify({ account: '000000000000', region: 'us-east-1', dataDir: path('data'), socket, keyStores });
    writeFileSync(path('drawbridge.yaml'), text);
    await assertPathsAreOurs(await loadConfiguration(path('drawbridge.yaml')));
  }

  test.each([
    {
      what: 'the configuration of its library',
      name: 'theirs/softhsm2.conf',
      token: (at: string) => ({ environment: { SOFTHSM2_CONF: at } }),
    },
    {
      what: 'the place of a file of its library that is not there yet',
      name: 'theirs/none/yet',
      token: (at: string) => ({ environment: { CHRYSTOKI_CONF_PATH: at } }),
    },
    {
      what: 'the library that is found where its profile says',
      name: 'theirs/library.so',
      token: (at: string) => ({ profile: profileWith(at) }),
    },
  ])('is refused where another user has $what', async ({ name, token }) => {
    await look(token(path(name)));
    chownSync(path('theirs'), stranger, stranger);
    await expect(look(token(path(name)))).rejects.toThrow(
      `\`${path(name)}\` is not safe to use: \`${path('theirs')}\` belongs to uid ${stranger}`,
    );
  });

  test('is used where a variable names a device, such as the one behind which an HSM is, or nothing is', async () => {
    await look({ environment: { PKCS11SPY_OUTPUT: '/dev/null' } });
  });

  /** As that of SoftHSM2, with its library elsewhere. */
  function profileWith(library: string): string {
    const shipped = new URL('../../native-config/vendors/softhsm2.yaml', import.meta.url);
    cpSync(shipped, path('own.yaml'));
    const text = readFileSync(path('own.yaml'), 'utf8').replace(
      /^libraries:\n(?: +- .*\n)+/m,
      `libraries:\n  - ${library}\n`,
    );
    writeFileSync(path('own.yaml'), text);
    return path('own.yaml');
  }
});
