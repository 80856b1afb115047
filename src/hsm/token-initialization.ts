/** Makes a new token, in a child process that loads the vendor's library: see `host/token/initialize-token.ts`. */

import { runLibraryProcess } from './library-process.ts';

export interface NewToken {
  readonly library: string;
  readonly libraryParameters: string | null;
  readonly label: string;
  readonly soPin: string;
  readonly pin: string;
  /** Variables that the library reads. */
  readonly environment: Readonly<Record<string, string>>;
}

/** The serial number of the new token. Rejects, with a message for operators, when there is no free slot or the library refuses. */
export async function initializeToken(token: NewToken): Promise<string> {
  const { environment, ...task } = token;
  const answer = await runLibraryProcess('initialize-token', JSON.stringify(task), environment);
  const result = answer as { serial: string } | { error: string }; // As that program writes it.
  if ('serial' in result) return result.serial;
  throw new Error(`cannot initialise the token \`${token.label}\` with \`${token.library}\`: ${result.error}`);
}
