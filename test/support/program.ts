/**
 * The `drawbridge` program that tests start: that of `built-program.ts`, or where no such is there, that of the sources.
 */

import { dirname, extname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

/** Names it to the processes of a test run. */
export const programVariable = 'DRAWBRIDGE_TEST_PROGRAM';

/** For tests of what the modules are by themselves. */
export const sourceProgram = fileURLToPath(new URL('../../src/cli/main.ts', import.meta.url));

export const program = process.env[programVariable] ?? sourceProgram;

/** That of an HSM host, beside it. */
export const hostProgram = join(dirname(program), '../hsm/host/process', `host-main${extname(program)}`);
