/** The version of this package, from its `package.json`, which is as far from here in `dist/` as in `src/`. */

import { readFileSync } from 'node:fs';

// Safe: the file is part of the package.
export const { version } = JSON.parse(readFileSync(new URL('../../package.json', import.meta.url), 'utf8')) as {
  readonly version: string;
};
