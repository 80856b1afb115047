/** What was typed, done: the command is built, run, and what it fails with is shown and made an exit code. */

import { CommanderError } from 'commander';
import { buildProgram } from './program.ts';
import { describeError, UsageError } from './terminal/cli-error.ts';
import { note } from './terminal/output.ts';

const usageExitCode = 2;

/** @param argv As `process.argv`. Sets the exit code: 0 done, 1 failed, 2 the command line was not understood. */
export async function runCommandLine(argv: readonly string[]): Promise<void> {
  try {
    const program = await buildProgram(argv.slice(2));
    await program.parseAsync(argv);
  } catch (error) {
    if (error instanceof CommanderError) {
      // Commander has printed its message; help and version end here too, with code 0.
      process.exitCode = error.exitCode === 0 ? 0 : usageExitCode;
    } else {
      note(`drawbridge: ${describeError(error)}`);
      process.exitCode = error instanceof UsageError ? usageExitCode : 1;
    }
  }
}
