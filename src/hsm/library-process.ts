/** Runs a program of one act that loads the vendor's library, in a process of its own: text in, text out. */

import { execFile } from 'node:child_process';
import { fileURLToPath } from 'node:url';

const timeoutMs = 60_000;
const extension = import.meta.url.endsWith('.ts') ? 'ts' : 'js';

/**
 * @param name Of the program: a file of `host/token/`.
 * @param input For its stdin: arguments and environments can be seen by others.
 * @param environment Variables that the library reads.
 */
export function runLibraryProcess(
  name: 'initialize-token' | 'look-for-token' | 'read-joining-pair' | 'trust-joining-keys',
  input: string,
  environment: Readonly<Record<string, string>>,
): Promise<string> {
  const program = fileURLToPath(new URL(`./host/token/${name}.${extension}`, import.meta.url));
  const { PATH, NODE_COMPILE_CACHE } = process.env;
  const inherited = { PATH, ...(NODE_COMPILE_CACHE === undefined ? {} : { NODE_COMPILE_CACHE }) };
  return new Promise((resolve, reject) => {
    const child = execFile(
      process.execPath,
      [program],
      { env: { ...inherited, ...environment }, timeout: timeoutMs, killSignal: 'SIGKILL' },
      (error, stdout) => {
        // The error would quote the command; what the library printed is not trusted to be free of secrets.
        if (error === null) resolve(stdout);
        else reject(new Error(`the process \`${name}\` ended with ${error.signal ?? `code ${error.code}`}`));
      },
    );
    child.stdin?.on('error', () => undefined); // The child ended before it read: its exit says why.
    child.stdin?.end(input);
  });
}
