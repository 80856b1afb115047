/** How a member is, as operators are shown it: from what its connection says, and what it was found to be. */

import type { KeyStoreStatus, MemberStatus } from '../key-store-status.ts';

export interface MemberFindings extends Pick<MemberStatus, 'name' | 'token' | 'lacks'> {
  /** The name of its key store. */
  readonly keyStore: string;
  /** Of what it is connected by; `undefined` when there is nothing. */
  readonly attached: KeyStoreStatus | undefined;
  readonly standing: 'serving' | 'waiting' | 'notOurs' | 'left';
  readonly problem: string | null;
  readonly calls: number;
}

const none = { hosts: 0, hostsAway: 0, lanes: 0, restarts: 0, inFlight: 0, pids: [], lastFailure: null } as const;

export function statusOf(findings: MemberFindings): Omit<MemberStatus, 'hasLeft'> {
  const { name, keyStore, problem, calls, token, lacks } = findings;
  const status: KeyStoreStatus = findings.attached ?? { name, state: 'closed', ...none };
  const state = stateOf(findings, status);
  const lastFailure = problem ?? status.lastFailure;
  return { ...status, name, state, lastFailure, inFlight: calls, token, lacks, command: commandOf(state) };

  function commandOf(of: MemberStatus['state']): string | null {
    if (of === 'left') return `drawbridge domain leave ${name} --key-store ${keyStore}`;
    const isOut = of === 'pinRefused' || of === 'notOurs' || of === 'closed';
    return isOut ? `drawbridge reconnect ${keyStore} ${name}` : null;
  }
}

function stateOf({ standing }: MemberFindings, { state }: KeyStoreStatus): MemberStatus['state'] {
  if (standing === 'notOurs') return 'notOurs';
  if (standing === 'left' && state !== 'pinRefused') return 'left';
  return state === 'connected' && standing !== 'serving' ? 'connecting' : state;
}
