/**
 * Where root and the daemon's own user always get in: a second socket beside the first, `kms.root.sock` beside `kms.sock`, with
 * mode 0600. The kernel lets nobody else connect to it, so nobody else can fill its queue.
 *
 * In a folder where others can make names, somebody may have this one before the daemon. The daemon takes it from him where the system lets it, and else
 * goes on without; commands ask the kernel who listens there, and where it is nobody whom they believe, they take the first socket.
 */
export function rootSocketPath(path: string): string {
  return `${path.replace(/\.sock$/, '')}.root.sock`;
}
