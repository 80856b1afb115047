#!/usr/bin/env node
/**
 * The `drawbridge` command.
 *
 * Exit codes: 0 when everything was done, 1 when something failed, 2 when the command line was not understood. What was
 * asked for goes to stdout, everything else to stderr.
 */

import { CommanderError } from 'commander';
import { buildProgram } from './program.ts';
import { describeError, UsageError } from './terminal/cli-error.ts';
import { note } from './terminal/output.ts';

const usageExitCode = 2;
/** As package.json says, of which an installation by an older npm or Node.js is told in a warning at most. */
const oldestNode = 24;

try {
  if (Number.parseInt(process.versions.node, 10) < oldestNode) {
    throw new Error(`this needs Node.js ${oldestNode} or newer, and \`node\` on PATH is ${process.version}`);
  }
  await buildProgram().parseAsync(process.argv);
} catch (error) {
  if (error instanceof CommanderError) {
    // Commander has printed its message; help and version end here too, with code 0.
    process.exitCode = error.exitCode === 0 ? 0 : usageExitCode;
  } else {
    note(`drawbridge: ${describeError(error)}`);
    process.exitCode = error instanceof UsageError ? usageExitCode : 1;
  }
}
