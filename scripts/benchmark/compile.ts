/** Compiles the C programs of the bench into a folder. */

import { execFileSync } from 'node:child_process';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

const here = fileURLToPath(new URL('.', import.meta.url));
/** pkcs11js carries the OASIS headers. */
const pkcs11Headers = fileURLToPath(new URL('../../node_modules/pkcs11js/includes/pkcs11', import.meta.url));

export function compile(name: 'direct' | 'load', folder: string): string {
  const program = join(folder, name);
  const source = join(here, `${name}.c`);
  execFileSync(
    'gcc',
    ['-std=gnu11', '-O2', '-Wall', '-Wextra', '-isystem', pkcs11Headers, '-o', program, source, '-ldl'],
    {
      stdio: 'inherit',
    },
  );
  return program;
}
