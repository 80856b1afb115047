/** The libraries that this thread has loaded, each once. */

import { type Cryptoki, constant, returnValueOf } from './cryptoki.ts';
import { DirectCryptoki } from './direct-cryptoki.ts';
import { HostFailure } from './failures.ts';

/**
 * What this thread has loaded, by path. One object for each: a library may give every caller of `C_GetFunctionList` a list of his
 * own, initialised by itself (p11-kit's modules do). And pkcs11js unloads a library whose object is collected, even one that
 * others in this process have initialised.
 */
const loaded = new Map<string, Cryptoki>();

/**
 * Loads the library into this process, once in each thread; worker threads share it with the others of their process. Calls nothing
 * in it but `C_GetFunctionList`. Throws `HostFailure` (`misconfigured`).
 */
export function loadCryptoki(path: string): Cryptoki {
  const known = loaded.get(path);
  if (known !== undefined) return known;
  const cryptoki = new DirectCryptoki();
  try {
    cryptoki.load(path);
    loaded.set(path, cryptoki);
  } catch (cause) {
    const why = cause instanceof Error ? cause.message : String(cause);
    throw new HostFailure('misconfigured', `cannot load the PKCS#11 library \`${path}\`: ${why}`, { cause });
  }
  return cryptoki;
}

/** Where the library is that somebody has loaded here. */
export function libraryPathOf(cryptoki: Cryptoki): string | undefined {
  for (const [path, library] of loaded) if (library === cryptoki) return path;
  return undefined;
}

/**
 * The library as a thread of this process has initialised it. Throws `HostFailure` (`misconfigured`) for one whose function lists are
 * one for each caller, where this is another thread: pkcs11js has no way to take a list along.
 */
export function initializedCryptoki(path: string): Cryptoki {
  const cryptoki = loadCryptoki(path);
  try {
    cryptoki.C_GetInfo();
  } catch (error) {
    if (returnValueOf(error) !== constant('CKR_CRYPTOKI_NOT_INITIALIZED')) throw error;
    throw new HostFailure(
      'misconfigured',
      `the PKCS#11 library \`${path}\` gives each thread a function list of its own, as p11-kit's modules do, so a host can have one session; set \`lanes: 1\`, and \`hosts\` to as many as there should be`,
      { cause: error },
    );
  }
  return cryptoki;
}
