/**
 * Where root and the daemon's own user always get in: a second socket beside the first, `kms.root.sock` beside `kms.sock`, with
 * mode 0600. The kernel lets nobody else connect to it, so nobody else can fill its queue.
 */
export function rootSocketPath(path: string): string {
  return `${path.replace(/\.sock$/, '')}.root.sock`;
}
