/**
 * Exits with 0 when node_modules/ holds exactly what package-lock.json names for this machine, with 1 otherwise.
 *
 * Asked by `scripts/bootstrap` before `npm ci`, which would first delete all of node_modules/, also under a daemon that
 * runs from it. npm keeps its own record of what it installed (node_modules/.package-lock.json), in the same format;
 * packages for other systems and processors are in the lock only.
 */

import { existsSync, readFileSync } from 'node:fs';

interface LockedPackage {
  readonly version?: string;
  readonly integrity?: string;
  readonly optional?: boolean;
  readonly os?: readonly string[];
  readonly cpu?: readonly string[];
  readonly libc?: readonly string[];
}

function readPackages(path: string): Record<string, LockedPackage> {
  const { packages } = JSON.parse(readFileSync(new URL(path, import.meta.url), 'utf8')) as {
    packages: Record<string, LockedPackage>;
  };
  return packages;
}

/** Optional packages that name no processor belong to one that does, or are not needed. */
function isForThisMachine({ os, cpu, libc }: LockedPackage): boolean {
  const hasProcessor = cpu?.includes(process.arch) === true;
  return hasProcessor && os?.includes('linux') === true && (libc === undefined || libc.includes('glibc'));
}

function isInstalledAsLocked(): boolean {
  const locked = readPackages('../package-lock.json');
  const installed = readPackages('../node_modules/.package-lock.json');
  for (const path of Object.keys(installed)) if (!(path in locked)) return false;
  return Object.entries(locked).every(([path, wanted]) => {
    if (path === '') return true;
    const found = installed[path];
    if (found === undefined) return wanted.optional === true && !isForThisMachine(wanted);
    return (
      found.version === wanted.version &&
      found.integrity === wanted.integrity &&
      existsSync(new URL(`../${path}/package.json`, import.meta.url))
    );
  });
}

try {
  process.exitCode = isInstalledAsLocked() ? 0 : 1;
} catch {
  // Nothing was installed yet, or something else made node_modules/.
  process.exitCode = 1;
}
