/** A token holds our keys as they were when it left the domain: it is known, and serves nothing. */
export class LeftError extends Error {
  override readonly name = 'LeftError';
}
