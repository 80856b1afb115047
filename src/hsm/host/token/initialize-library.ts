/**
 * For programs of one act. They have one thread, and have the library lock by what the system has all the same: some always lock, and by
 * nothing else (p11-kit's client, whatever token is behind it).
 */

import pkcs11js from 'pkcs11js';

/** Loads the library, and initialises it. Throws whatever it throws. */
export function initializedLibrary(path: string, libraryParameters: string | null): pkcs11js.PKCS11 {
  const module = new pkcs11js.PKCS11();
  module.load(path);
  const flags = pkcs11js.CKF_OS_LOCKING_OK;
  // pkcs11js 2.1.7 loses the last character of the parameters; the blank is there to be lost.
  module.C_Initialize(libraryParameters === null ? { flags } : { flags, libraryParameters: `${libraryParameters} ` });
  return module;
}
