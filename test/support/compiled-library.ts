/** Libraries that a test writes in C: what stands between a process and the vendor's library, and tells what it sees. */

import { execFileSync } from 'node:child_process';
import { writeFileSync } from 'node:fs';

/**
 * Compiles what a test has written. Whoever removes its folder removes it. There has to be a compiler (`missingForShim`).
 * @param library The path of the library, which ends in `.so`; the source is put beside it.
 */
export function compileLibrary(library: string, source: string): string {
  const written = library.replace(/\.so$/, '.c');
  writeFileSync(written, source);
  execFileSync('cc', ['-shared', '-fPIC', '-w', '-o', library, written, '-ldl']);
  return library;
}
