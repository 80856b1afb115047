/** Every bound of one request and its connection, with its reason. How many connections there may be is in `kms/budgets.ts`. */

export interface WireLimits {
  /**
   * The largest request is PutKeyPolicy: 32,768 characters, each up to six bytes as a JSON escape, so 192 KiB; the rest is
   * room for what surrounds it.
   */
  readonly maxBodyBytes: number;
  /** All headers of one request. A signed request of an AWS SDK has about 1.5 KB. */
  readonly maxHeaderBytes: number;
  /** Until all headers of a request are there. */
  readonly headersTimeoutMs: number;
  /** Until the whole request is there. */
  readonly requestTimeoutMs: number;
  /**
   * How long a connection may be idle between requests. Longer than the AWS SDKs keep one, so that it is they who close
   * it and no request meets a connection that is just being closed.
   */
  readonly keepAliveTimeoutMs: number;
  /** A peer that takes nothing of its answer for so long is gone. */
  readonly stalledTimeoutMs: number;
}

export const defaultWireLimits: WireLimits = {
  maxBodyBytes: 256 * 1024,
  maxHeaderBytes: 16 * 1024,
  headersTimeoutMs: 10_000,
  requestTimeoutMs: 30_000,
  keepAliveTimeoutMs: 75_000,
  stalledTimeoutMs: 60_000,
};

/** Of one question what changes would mean: it is answered in one go, during which nobody else is. */
export const maxSimulatedRequests = 500;
