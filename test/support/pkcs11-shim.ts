/**
 * Tokens whose library can be made to crash, hang, dawdle or fail: `pkcs11-shim.c`, compiled here, between host and library.
 *
 * A fault is a file that every process with the shim looks for at each call, so that a test can switch it on and off while
 * hosts run, and hosts that are started later have it too.
 */

import { execFileSync } from 'node:child_process';
import {
  existsSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, afterEach, beforeAll, describe } from 'vitest';
import { type TestToken, type TokenKind, tokenKinds } from './tokens.ts';

const source = fileURLToPath(new URL('./pkcs11-shim.c', import.meta.url));

/**
 * What a function does instead of, or before, its work. With `once`, at one call of one process only; with `at`, at the one of this
 * number, from 1, since calls of this function are counted. One that has `hold` goes on when it is healed.
 */
export type Fault =
  `${'' | 'once ' | `at ${number} `}${'crash' | 'hang' | 'hold' | `return ${number}` | `unavailable ${number}` | `delay ${number}` | 'flip' | `flip ${number}` | `leave ${number}`}`;

/** The shim before a library, and what a test has it do. */
export interface Shim {
  readonly library: string;
  /** What the processes that load it need in their environment. */
  readonly environment: Readonly<Record<string, string>>;
  /** From now on, in every host. */
  fault(pkcs11Function: string, fault: Fault): void;
  heal(pkcs11Function: string): void;
  healAll(): void;
  /** Counts the calls of a function from now on; the result says how many there were. */
  counting(pkcs11Function: string): () => number;
  /**
   * Puts every call of every process on a trace from now on; the result is the names so far.
   * @param stopAt The number of the call, from 1, that is never made: its process hangs there.
   */
  tracing(stopAt?: number): () => readonly string[];
  /** Does a process hang at the call at which it was to stop? */
  isStopped(): boolean;
  /** Calls are not put on a trace any more, and none stops. */
  endTrace(): void;
}

export interface ShimmedToken extends TestToken, Shim {}

/** As `describeEachToken`, with the shim in front of each token's library. A fault ends with the test that made it. */
export function describeEachShimmedToken(
  name: string,
  define: (token: () => ShimmedToken, kind: TokenKind) => void,
): void {
  for (const kind of tokenKinds) {
    const missing = kind.missing ?? missingForShim();
    if (missing !== null) process.stdout.write(`skipped: ${name} (${kind.name}): ${missing}\n`);
    describe.skipIf(missing !== null)(`${name} (${kind.name})`, () => {
      let token: ShimmedToken | undefined;
      beforeAll(() => {
        token = shimmed(kind.create());
      });
      afterEach(() => token?.healAll());
      afterAll(() => token?.remove());
      define(() => {
        if (token === undefined) throw new Error('the token exists inside of tests and hooks only');
        return token;
      }, kind);
    });
  }
}

/** The same token behind a shim. Removing it removes the token as well. */
function shimmed(token: TestToken): ShimmedToken {
  const shim = createShim(token.library);
  return {
    ...token,
    ...shim,
    name: `${token.name} behind a shim`,
    environment: { ...token.environment, ...shim.environment },
    settings: (lanes) => ({ ...token.settings(lanes), library: shim.library }),
    remove() {
      token.remove();
      shim.remove();
    },
  };
}

/** What this machine lacks for a shim (`no cc`), or `null`. */
export function missingForShim(): string | null {
  return hasCompiler() ? null : 'no cc';
}

/** A shim before a library; whoever makes it removes it. */
export function createShim(behind: string): Shim & { remove(): void } {
  const folder = mkdtempSync(join(tmpdir(), 'drawbridge-shim-'));
  const library = join(folder, 'pkcs11-shim.so');
  const [trace, stop, stopped] = ['trace', 'stop', 'stopped'].map((name) => join(folder, name)) as [
    string,
    string,
    string,
  ];
  const endTrace = (): void => {
    for (const file of [trace, stop, stopped]) rmSync(file, { force: true });
  };
  execFileSync('cc', ['-shared', '-fPIC', '-O1', '-o', library, source, '-ldl'], {
    stdio: ['ignore', 'ignore', 'pipe'],
  });
  return {
    library,
    environment: { DRAWBRIDGE_SHIM_LIBRARY: behind, DRAWBRIDGE_SHIM_FOLDER: folder },
    fault(pkcs11Function, fault) {
      // Renamed into its place, so that no call reads half a fault.
      const written = join(folder, `${pkcs11Function}.new`);
      writeFileSync(written, fault);
      renameSync(written, join(folder, pkcs11Function));
    },
    heal(pkcs11Function) {
      rmSync(join(folder, pkcs11Function), { force: true });
    },
    healAll() {
      for (const name of readdirSync(folder))
        if (/^C_[A-Za-z]+$/.test(name)) rmSync(join(folder, name), { force: true });
    },
    counting(pkcs11Function) {
      const file = join(folder, `${pkcs11Function}.count`);
      writeFileSync(file, '');
      return () => statSync(file).size;
    },
    tracing(stopAt) {
      endTrace();
      if (stopAt !== undefined) writeFileSync(stop, String(stopAt));
      writeFileSync(trace, '');
      return () =>
        readFileSync(trace, 'latin1')
          .split('\n')
          .map((line) => line.trim())
          .filter(Boolean);
    },
    isStopped: () => existsSync(stopped),
    endTrace,
    remove() {
      rmSync(folder, { recursive: true, force: true });
    },
  };
}

function hasCompiler(): boolean {
  try {
    execFileSync('cc', ['--version'], { stdio: 'ignore' });
    return true;
  } catch {
    return false; // Not there, or not working: the tests that need it say that they are skipped.
  }
}
