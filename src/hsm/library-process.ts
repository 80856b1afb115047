/** Runs a program of one act that loads the vendor's library, in a process of its own: text in, an object out. */

import { execFile } from 'node:child_process';
import { fileURLToPath } from 'node:url';

const timeoutMs = 60_000;
const extension = import.meta.url.endsWith('.ts') ? 'ts' : 'js';

/**
 * @param name Of the program: a file of `host/token/`.
 * @param input For its stdin: arguments and environments can be seen by others.
 * @param environment Variables that the library reads.
 * @returns What the program says, in a line of its own; a library may print as well, and of that nothing is quoted: it may be the PIN.
 */
export function runLibraryProcess(
  name: 'initialize-token' | 'look-for-token' | 'read-joining-pair' | 'trust-joining-keys',
  input: string,
  environment: Readonly<Record<string, string>>,
): Promise<object> {
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
        const answer = error === null ? answerIn(stdout) : undefined;
        if (answer !== undefined) resolve(answer);
        else if (error === null) reject(new Error(`the process \`${name}\` gave no answer`));
        else reject(new Error(`the process \`${name}\` ended with ${error.signal ?? `code ${error.code}`}`));
      },
    );
    child.stdin?.on('error', () => undefined); // The child ended before it read: its exit says why.
    child.stdin?.end(input);
  });
}

/** The last one that is an object. */
function answerIn(output: string): object | undefined {
  for (const line of output.split('\n').reverse()) {
    if (!line.startsWith('{')) continue;
    try {
      return JSON.parse(line) as object; // It begins as one.
    } catch {
      // The library's words.
    }
  }
  return undefined;
}
