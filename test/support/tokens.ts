/**
 * Throw-away PKCS#11 tokens for tests: one of SoftHSM2, one of NSS softoken, each in a temporary folder of its own.
 *
 * `describeEachToken` runs the same tests over both; `createToken` is for a test that needs a token at a moment of its
 * choice (or a second one). Whoever creates a token removes it. A kind of token that this machine cannot make is skipped
 * with a line that says what is missing.
 *
 * Where `DRAWBRIDGE_TEST_SOFTHSM2_MODULE` is set, every token of SoftHSM2 that is made here is one of the library that it
 * names, and the tests of what the system's build lacks run as well.
 */

import { execFileSync } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { accessSync, constants, existsSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { delimiter, join } from 'node:path';
import { afterAll, beforeAll, describe } from 'vitest';
import type { HostSettings } from '../../src/hsm/calls.ts';

export interface TestToken {
  /** For test names: `SoftHSM2`, `NSS softoken`. */
  readonly name: string;
  /** The vendor profile: `softhsm2`, `nss`. */
  readonly profile: string;
  readonly library: string;
  readonly label: string;
  readonly pin: string;
  /** The security officer's; `null` for a token that has none. */
  readonly soPin: string | null;
  /** For `C_Initialize`'s reserved argument, or `null`. */
  readonly libraryParameters: string | null;
  /** What the process that loads the library needs in its environment, beside its own. */
  readonly environment: Readonly<Record<string, string>>;
  /** Where the token lives. */
  readonly folder: string;
  /** What a host is opened with; `lanes` is 1 unless given. */
  settings(lanes?: number): HostSettings;
  remove(): void;
}

export interface TokenKind {
  readonly name: string;
  /** What this machine lacks for it (`no softhsm2-util`), or `null`. */
  readonly missing: string | null;
  create(): TestToken;
}

const otherSoftHsm2 = process.env['DRAWBRIDGE_TEST_SOFTHSM2_MODULE'];
const softHsm2Library = firstExisting(
  otherSoftHsm2 === undefined
    ? ['/usr/lib/softhsm/libsofthsm2.so', '/usr/lib64/pkcs11/libsofthsm2.so']
    : [otherSoftHsm2],
);
const nssLibrary = firstExisting([
  '/usr/lib/x86_64-linux-gnu/libsoftokn3.so',
  '/usr/lib/aarch64-linux-gnu/libsoftokn3.so',
  '/usr/lib64/libsoftokn3.so',
]);

export const softHsm2: TokenKind = {
  name: 'SoftHSM2',
  missing: missing({
    command: 'softhsm2-util',
    library: softHsm2Library,
    libraryName: otherSoftHsm2 ?? 'libsofthsm2.so',
  }),
  create() {
    const folder = mkdtempSync(join(tmpdir(), 'drawbridge-softhsm2-'));
    const label = `test-${randomBytes(4).toString('hex')}`;
    const [pin, soPin] = [randomBytes(6).toString('hex'), randomBytes(6).toString('hex')];
    const configuration = join(folder, 'softhsm2.conf');
    mkdirSync(join(folder, 'tokens'));
    writeFileSync(
      configuration,
      `directories.tokendir = ${join(folder, 'tokens')}\nobjectstore.backend = file\nlog.level = ERROR\n`,
    );
    const environment = { SOFTHSM2_CONF: configuration };
    const module = ['--module', softHsm2Library ?? ''];
    const command = ['--init-token', '--free', '--label', label, '--so-pin', soPin];
    run('softhsm2-util', [...module, ...command, '--pin', pin], environment);
    return testToken({
      name: 'SoftHSM2',
      profile: 'softhsm2',
      library: softHsm2Library ?? '',
      label,
      pin,
      soPin,
      libraryParameters: null,
      environment,
      folder,
    });
  },
};

/** One that signs by ML-DSA, which neither SoftHSM2 2.6 nor NSS softoken 3.87 has. */
export const mlDsaToken: TokenKind = {
  ...softHsm2,
  name: 'SoftHSM2 with ML-DSA',
  missing:
    otherSoftHsm2 === undefined
      ? 'no token with CKM_ML_DSA; DRAWBRIDGE_TEST_SOFTHSM2_MODULE is not set to the libsofthsm2.so of a build that has it'
      : softHsm2.missing,
};

export const nssSoftoken: TokenKind = {
  name: 'NSS softoken',
  missing: missing({ command: 'certutil', library: nssLibrary, libraryName: 'libsoftokn3.so' }),
  create() {
    const folder = mkdtempSync(join(tmpdir(), 'drawbridge-nss-'));
    const pin = randomBytes(6).toString('hex');
    const pinFile = join(folder, 'pin');
    writeFileSync(pinFile, `${pin}\n`, { mode: 0o600 });
    run('certutil', ['-N', '-d', `sql:${folder}`, '-f', pinFile], {});
    rmSync(pinFile);
    return testToken({
      name: 'NSS softoken',
      profile: 'nss',
      library: nssLibrary ?? '',
      label: 'NSS Certificate DB',
      pin,
      soPin: null,
      libraryParameters: `configdir='sql:${folder}' certPrefix='' keyPrefix='' secmod='secmod.db' flags=`,
      environment: {},
      folder,
    });
  },
};

export const tokenKinds: readonly TokenKind[] = [softHsm2, nssSoftoken];

/**
 * The tests of `define`, once for each kind of token, in a `describe` named `NAME (KIND)`. The token is created before
 * the first of them and removed after the last; inside of tests and hooks `token()` is it.
 */
export function describeEachToken(name: string, define: (token: () => TestToken, kind: TokenKind) => void): void {
  for (const kind of tokenKinds) describeToken(kind, name, (token) => define(token, kind));
}

/** The same for one kind. */
export function describeToken(kind: TokenKind, name: string, define: (token: () => TestToken) => void): void {
  if (kind.missing !== null) process.stdout.write(`skipped: ${name} (${kind.name}): ${kind.missing}\n`);
  describe.skipIf(kind.missing !== null)(`${name} (${kind.name})`, () => {
    let token: TestToken | undefined;
    beforeAll(() => {
      token = kind.create();
    });
    afterAll(() => token?.remove());
    define(() => {
      if (token === undefined) throw new Error('the token exists inside of tests and hooks only');
      return token;
    });
  });
}

function testToken(facts: Omit<TestToken, 'settings' | 'remove'>): TestToken {
  return {
    ...facts,
    settings: (lanes = 1) => ({
      library: facts.library,
      token: { label: facts.label },
      profile: facts.profile,
      libraryParameters: facts.libraryParameters,
      lanes,
    }),
    remove: () => rmSync(facts.folder, { recursive: true, force: true }),
  };
}

function missing(needs: { command: string; library: string | undefined; libraryName: string }): string | null {
  if (!isOnPath(needs.command)) return `no ${needs.command}`;
  return needs.library === undefined ? `no ${needs.libraryName}` : null;
}

function isOnPath(command: string): boolean {
  return (process.env['PATH'] ?? '').split(delimiter).some((folder) => {
    try {
      accessSync(join(folder, command), constants.X_OK);
      return true;
    } catch {
      return false; // Not in this folder: the next one may have it.
    }
  });
}

function firstExisting(paths: readonly string[]): string | undefined {
  return paths.find((path) => existsSync(path));
}

function run(command: string, args: readonly string[], environment: Readonly<Record<string, string>>): void {
  execFileSync(command, args, { env: { ...process.env, ...environment }, stdio: ['ignore', 'ignore', 'pipe'] });
}
