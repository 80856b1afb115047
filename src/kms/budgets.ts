/**
 * Every budget, with its reason: what one payer (`payer.ts`) may have at most, and all together.
 *
 * What an operator could want to set is a member under `budgets:` of `drawbridge.yaml`, called and nested as it is here;
 * `config/budgets-schema.ts` says within which bounds. Budgets take the place of nothing that protects keys: they bound
 * what somebody costs the others.
 */

export interface Budgets {
  readonly connections: ConnectionBudget;
}

/** Of all listeners of a daemon together. */
export interface ConnectionBudget {
  /** Of everybody. Each costs a file descriptor, and what waits on it (see `maxBodyBytes` of `http/wire-limits.ts`). */
  readonly total: number;
  /** Of one payer: so that one cannot keep the others out. */
  readonly perPayer: number;
  /**
   * Beside `total`, for root and the daemon's own user: when others hold all connections, an operator still gets in and can
   * look and act. Nobody is refused for it.
   */
  readonly reserved: number;
  /**
   * After so long a connection ends, between two requests. The kernel says who is at the other end, and in which groups, as it
   * was when he connected: so long somebody who was taken out of a group keeps what it may do.
   */
  readonly maxAgeMs: number;
}

export const defaultBudgets: Budgets = {
  connections: {
    total: 2048,
    perPayer: 1024,
    reserved: 64,
    // The shortest session of a role that AWS grants; a connection for each of them costs nothing that could be measured.
    maxAgeMs: 900_000,
  },
};
