/**
 * Whether the daemon can do what it is there for: use keys, and change what is on record. What keeps changes from being made is
 * said here before the first one fails, also where everything else still works.
 */

import { statfsSync } from 'node:fs';
import type { AuditLog } from '../audit/audit-log.ts';
import type { KeyStore } from '../hsm/key-store.ts';
import { metadataRoomBytes } from '../kms/budgets.ts';
import type { Intents } from '../pipeline/intents.ts';

export interface HealthParts {
  readonly keyStores: ReadonlyMap<string, Pick<KeyStore, 'status'>>;
  /** The names of those without which the daemon is not what it is there for. */
  readonly required: ReadonlySet<string>;
  readonly audit: Pick<AuditLog, 'failure'>;
  readonly intents: Pick<Intents, 'failure'>;
  /** Where the metadata is. */
  readonly dataDir: string;
}

/** @returns In words for operators; `null` when all is well. */
export function ailment({ audit, intents, dataDir, ...parts }: HealthParts): string | null {
  return disconnected(parts) ?? audit.failure() ?? intents.failure() ?? lackOfRoom(dataDir);
}

type Stores = Pick<HealthParts, 'keyStores' | 'required'>;

/** Of the first required key store that is not connected. */
export function disconnected(stores: Stores): string | null {
  return firstAway(stores, (name) => stores.required.has(name));
}

/** Of the first of the others: its keys are unavailable, and everything else is served. Then of the first member that is missing. */
export function partlyAway(stores: Stores): string | null {
  return firstAway(stores, (name) => !stores.required.has(name)) ?? firstMissing(stores);
}

/** The others of its key store serve; with one less there is one less to lose. */
function firstMissing({ keyStores }: Pick<Stores, 'keyStores'>): string | null {
  for (const [name, keyStore] of keyStores) {
    const { members, ...only } = keyStore.status();
    if (members === undefined && only.state === 'connected' && only.hostsAway > 0)
      return `key store ${name} is degraded: ${hostsAwayText(only.hostsAway)}`;
    for (const { name: member, state, hasLeft, command, hostsAway } of members ?? []) {
      if (state === 'connected' && hostsAway === 0) continue;
      if (state === 'connected') return `key store ${name} is degraded: member ${member}: ${hostsAwayText(hostsAway)}`;
      const empties = command === null ? '' : `, or empty it first (${command})`;
      if (hasLeft)
        return `key store ${name}: member ${member} has left the domain and serves nothing; take it out of the configuration${state === 'left' ? empties : ''}`;
      return `key store ${name} is degraded: member ${member} is ${state}`;
    }
  }
  return null;
}

/** Those that serve go on with the token that they opened; a host that begins anew may have found another one. */
function hostsAwayText(hosts: number): string {
  return hosts === 1 ? 'one of its hosts cannot connect' : `${hosts} of its hosts cannot connect`;
}

function firstAway({ keyStores }: Stores, isMeant: (name: string) => boolean): string | null {
  for (const [name, keyStore] of keyStores) {
    const { state } = keyStore.status();
    if (isMeant(name) && state !== 'connected') return `key store ${name} is ${state}`;
  }
  return null;
}

/** The disk of the metadata is asked each time: what changes write there owns no room beforehand. */
function lackOfRoom(dataDir: string): string | null {
  const { bavail, bfree, bsize } = statfsSync(dataDir);
  const free = (process.geteuid?.() === 0 ? bfree : bavail) * bsize;
  return free >= metadataRoomBytes ? null : 'the disk of the metadata is full';
}
