/** Why a file that somebody named cannot be read or written, in words for him; the system's name stands behind them. */

/** What the system says most often of paths that people type. */
const inWords: ReadonlyMap<string, { readonly read: string; readonly write: string }> = new Map([
  ['ENOENT', { read: 'there is no such file', write: 'its folder does not exist' }],
  ['EACCES', { read: 'you may not read it', write: 'you may not write there' }],
  ['EISDIR', { read: 'it is a folder', write: 'it is a folder' }],
  ['ENOSPC', { read: 'the disk is full', write: 'the disk is full' }],
]);

/** @param path `undefined`: stdin. */
export function unreadable(path: string | undefined, error: unknown): Error {
  return new Error(`cannot read \`${path ?? '-'}\`: ${reasonOf(error, 'read')}`, { cause: error });
}

/** @param path `undefined`: stdout. */
export function unwritable(path: string | undefined, error: unknown): Error {
  return new Error(`cannot write \`${path ?? '-'}\`: ${reasonOf(error, 'write')}`, { cause: error });
}

function reasonOf(error: unknown, doing: 'read' | 'write'): string {
  const { code, message } = error as NodeJS.ErrnoException;
  const words = inWords.get(code ?? '');
  return words === undefined ? (code ?? message) : `${words[doing]} (${code})`;
}
