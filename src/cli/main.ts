#!/usr/bin/env node
/**
 * The `drawbridge` command.
 *
 * Exit codes: 0 when everything was done, 1 when something failed, 2 when the command line was not understood. What was
 * asked for goes to stdout, everything else to stderr.
 */

import { begin } from './beginning.ts';
import { becomeDaemonProcess, leaveCompilerBehind } from './daemon-process.ts';

await begin('drawbridge', async () => {
  becomeDaemonProcess(process.argv);
  const { runCommandLine } = await import('./command-line.ts');
  await leaveCompilerBehind(process.argv, async () => {
    const { buildProgram } = await import('./program.ts');
    await Promise.all([buildProgram(process.argv.slice(2)), import('../daemon/index.ts')]);
  });
  await runCommandLine(process.argv);
});
