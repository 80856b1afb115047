/** How a key store is, as operators are shown it. */

export interface KeyStoreStatus {
  readonly name: string;
  /**
   * `pinRefused` and `notOurs` (a token without our keys) end only by `reconnect()`, an operator's act. `left`, of a member: it has our keys as
   * they were when it left the domain, and serves nothing.
   */
  readonly state: 'connecting' | 'connected' | 'reconnecting' | 'pinRefused' | 'notOurs' | 'left' | 'closed';
  readonly hosts: number;
  /** Hosts that could not connect when they tried last, while others may serve: `lastFailure` says why. */
  readonly hostsAway: number;
  readonly lanes: number;
  /** Hosts replaced since start, with the reason of the last replacement. */
  readonly restarts: number;
  readonly lastFailure: string | null;
  readonly inFlight: number;
  readonly pids: readonly number[];
  /** Of a key store that has several; absent: it is one token. */
  readonly members?: readonly MemberStatus[];
}

/** One token of a key store that has several. `state` is `connected` when it serves. */
export interface MemberStatus extends Omit<KeyStoreStatus, 'members'> {
  /** As at its last connection; `null` when there never was one. */
  readonly token: { readonly label: string; readonly serial: string } | null;
  /** Domain keys that another member has and this one does not: keys that are wrapped under them it cannot use. */
  readonly lacks: readonly string[];
  /** Has it left, or what was seen last under its name? It is waited for by nobody. */
  readonly hasLeft: boolean;
  /** The command that brings it back, or of one that left empties it, where nothing else does. */
  readonly command: string | null;
}
