/** Why a file cannot be read or written, in words for whoever named it; the system's name of that stands behind them. */

/** What the system says most often of paths that people type. `WHO`: as whom the process runs. */
const inWords: ReadonlyMap<string, { readonly read: string; readonly write: string }> = new Map([
  ['ENOENT', { read: 'there is no such file', write: 'its folder does not exist' }],
  ['EACCES', { read: 'WHO may not read it', write: 'WHO may not write there' }],
  ['EPERM', { read: 'WHO may not read it', write: 'WHO may not write there' }],
  ['ENXIO', { read: 'it is no file', write: 'it is no file' }],
  ['EISDIR', { read: 'it is a folder', write: 'it is a folder' }],
  ['ENOTDIR', { read: 'a part of its path is no folder', write: 'a part of its path is no folder' }],
  ['ENOSPC', { read: 'the disk is full', write: 'the disk is full' }],
  ['EDQUOT', { read: 'the disk quota is used up', write: 'the disk quota is used up' }],
  ['EROFS', { read: 'the file system is read-only', write: 'the file system is read-only' }],
  ['EIO', { read: 'the disk does not answer as it should', write: 'the disk does not answer as it should' }],
]);

/** @param who `you`: the person at the terminal; of a daemon, `this user`. */
export function fileProblem(error: unknown, doing: 'read' | 'write', who: 'you' | 'this user'): string {
  if (!(error instanceof Error)) return String(error);
  const { code, message } = error as NodeJS.ErrnoException;
  const words = inWords.get(code ?? '');
  return words === undefined ? message : `${words[doing].replace('WHO', who)} (${code})`;
}
