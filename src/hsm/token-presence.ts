/** Is a token there? Asked in a process that loads the vendor's library and logs in to nothing: see `host/token/look-for-token.ts`. */

import type { HostSettings } from './calls.ts';
import { runLibraryProcess } from './library-process.ts';

export interface TokenPresence {
  /** Why nobody can log in, for operators: there is no such token, there are several, or it has no user PIN. `null`: somebody could. */
  readonly problem: string | null;
}

/** Rejects when the library does not let itself be asked. */
export async function lookForToken(
  { library, libraryParameters, token }: Pick<HostSettings, 'library' | 'libraryParameters' | 'token'>,
  environment: Readonly<Record<string, string>>,
): Promise<TokenPresence> {
  const task = JSON.stringify({ library, libraryParameters, token });
  return (await runLibraryProcess('look-for-token', task, environment)) as TokenPresence; // As that program writes it.
}
