#!/usr/bin/env node
/**
 * The `drawbridge` command.
 *
 * Exit codes: 0 when everything was done, 1 when something failed, 2 when the command line was not understood. What was
 * asked for goes to stdout, everything else to stderr.
 */

import { begin } from './beginning.ts';
import { becomeDaemonProcess } from './daemon-process.ts';

await begin('drawbridge', async () => {
  becomeDaemonProcess(process.argv);
  await (await import('./command-line.ts')).runCommandLine(process.argv);
});
