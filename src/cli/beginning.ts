/** How each of the package's programs begins: what must happen before anything else of it is loaded. */

import { keepCompiledCode } from './compiled-code.ts';

/** As package.json says, of which an installation by an older npm or Node.js is told in a warning at most. */
const oldestNode = 24;

/** @param run Loads the program and runs it. */
export async function begin(name: string, run: () => Promise<void>): Promise<void> {
  if (Number.parseInt(process.versions.node, 10) < oldestNode) {
    process.stderr.write(
      `${name}: this needs Node.js ${oldestNode} or newer, and \`node\` on PATH is ${process.version}\n`,
    );
    process.exitCode = 1;
    return;
  }
  keepCompiledCode();
  await run();
}
