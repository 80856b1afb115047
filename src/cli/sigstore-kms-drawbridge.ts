#!/usr/bin/env node
/** The program that cosign and others of sigstore's start for keys that are called `drawbridge://…`. */

import { begin } from './beginning.ts';

await begin('sigstore-kms-drawbridge', async () =>
  (await import('./sigstore/sigstore-plugin.ts')).runSigstorePlugin(process.argv.slice(2)),
);
