#!/usr/bin/env node
/** The program that `age`, and what is built on it, starts for recipients and identities of Drawbridge. */

import { begin } from './beginning.ts';

await begin('age-plugin-drawbridge', async () =>
  (await import('./age/age-plugin.ts')).runAgePlugin(process.argv.slice(2)),
);
