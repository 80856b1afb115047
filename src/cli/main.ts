#!/usr/bin/env node
/**
 * The `drawbridge` command: what must happen before anything else of it is loaded.
 *
 * Exit codes: 0 when everything was done, 1 when something failed, 2 when the command line was not understood. What was
 * asked for goes to stdout, everything else to stderr.
 */

import { keepCompiledCode } from './compiled-code.ts';

/** As package.json says, of which an installation by an older npm or Node.js is told in a warning at most. */
const oldestNode = 24;

if (Number.parseInt(process.versions.node, 10) < oldestNode) {
  process.stderr.write(
    `drawbridge: this needs Node.js ${oldestNode} or newer, and \`node\` on PATH is ${process.version}\n`,
  );
  process.exitCode = 1;
} else {
  keepCompiledCode();
  const { runCommandLine } = await import('./command-line.ts');
  await runCommandLine(process.argv);
}
