/** Makes a new token, in a child process that loads the vendor's library: see `host/token/initialize-token.ts`. */

import { execFile } from 'node:child_process';
import { fileURLToPath } from 'node:url';

export interface NewToken {
  readonly library: string;
  readonly libraryParameters: string | null;
  readonly label: string;
  readonly soPin: string;
  readonly pin: string;
  /** Variables that the library reads. */
  readonly environment: Readonly<Record<string, string>>;
}

const initializerTimeoutMs = 60_000;
const extension = import.meta.url.endsWith('.ts') ? 'ts' : 'js';
const program = fileURLToPath(new URL(`./host/token/initialize-token.${extension}`, import.meta.url));

/** The serial number of the new token. Rejects, with a message for operators, when there is no free slot or the library refuses. */
export async function initializeToken(token: NewToken): Promise<string> {
  const { environment, ...task } = token;
  const output = await run(JSON.stringify(task), environment);
  const result = JSON.parse(output) as { serial: string } | { error: string };
  if ('serial' in result) return result.serial;
  throw new Error(`cannot initialise the token \`${token.label}\` with \`${token.library}\`: ${result.error}`);
}

function run(input: string, environment: Readonly<Record<string, string>>): Promise<string> {
  const { PATH, NODE_COMPILE_CACHE } = process.env;
  const inherited = { PATH, ...(NODE_COMPILE_CACHE === undefined ? {} : { NODE_COMPILE_CACHE }) };
  return new Promise((resolve, reject) => {
    const child = execFile(
      process.execPath,
      [program],
      { env: { ...inherited, ...environment }, timeout: initializerTimeoutMs, killSignal: 'SIGKILL' },
      (error, stdout) => {
        // The error would quote the command; what the library printed is not trusted to be free of secrets.
        if (error === null) resolve(stdout);
        else
          reject(new Error(`the process that initialises a token ended with ${error.signal ?? `code ${error.code}`}`));
      },
    );
    child.stdin?.on('error', () => undefined); // The child ended before it read: its exit says why.
    child.stdin?.end(input);
  });
}
