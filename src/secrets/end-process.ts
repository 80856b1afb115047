/**
 * The end of a process that waits for nobody.
 *
 * `process.exit` joins the threads of libuv's pool first, and a question to a directory server that is silent can hold one of
 * them for minutes (measured with Node.js 24). `_exit` ends all threads at once. It comes as the last of the `exit` listeners,
 * so that the others have done their work.
 *
 * Source: _exit(2).
 */

import koffi from 'koffi';

const exitAtOnce = koffi.load(null).func('void _exit(int status)');

export function endProcess(code = process.exitCode): never {
  process.on('exit', (status) => exitAtOnce(status));
  process.exit(code);
}
