/**
 * What Drawbridge's layers ask of a logger; pino satisfies it. Fields never hold a secret: see `secrets/secret-bytes.ts`
 * for what keeps them from doing so by accident.
 */

type Log = (fields: object, message: string) => void;

export interface Logger {
  readonly debug: Log;
  readonly info: Log;
  readonly warn: Log;
  readonly error: Log;
}
