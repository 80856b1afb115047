/** What `drawbridge domain rotate --retire` says of the former domain keys: which are gone, and of the others what holds them back. */

import type { Members } from '../../requests/kms-client.ts';
import { counted } from '../../terminal/counted.ts';
import { note, print, table } from '../../terminal/output.ts';

export function showRetired({ retired, needed }: Members): void {
  for (const id of retired as string[]) print(`the domain key ${id} is gone`);
  for (const { domainKeyId, backingKeys, keys } of needed as Members[]) {
    if (Number(backingKeys) === 0) {
      note(`the domain key ${domainKeyId} stays: another key store of the domain wraps what is new under it`);
      continue;
    }
    note(`the domain key ${domainKeyId} stays: ${countText(Number(backingKeys))} wrapped under it`);
    for (const line of heldLines(Number(backingKeys), keys as readonly HeldKey[])) note(line);
  }
  if ((retired as string[]).length === 0) print('nothing was retired');
}

/** A KMS key with material under a former domain key. */
export interface HeldKey {
  readonly region: string;
  readonly keyId: string;
  readonly backingKeys: number;
  readonly imported: boolean;
  readonly keyUsage: string;
  /** Is it wrapped anew in the background, was that tried in vain, or does its HSM not do it? */
  readonly rewrapping: 'coming' | 'failed' | 'never';
}

/** Those that somebody has to do something about each by itself, and how many the others are. */
export function heldLines(backingKeys: number, named: readonly HeldKey[]): readonly string[] {
  const sum = (keys: readonly HeldKey[]) => keys.reduce((total, key) => total + key.backingKeys, 0);
  const coming = named.filter(({ rewrapping }) => rewrapping === 'coming');
  const held = named.filter(({ rewrapping }) => rewrapping !== 'coming');
  const others = backingKeys - sum(named);
  const lines: string[] = [];
  if (held.length > 0) lines.push(table(['REGION', 'KEY', 'BACKING KEYS', 'WHAT FREES IT'], rowsOf(held)));
  if (coming.length > 0)
    lines.push(
      `${held.length > 0 ? 'for others there is ' : ''}nothing to do: ${countText(sum(coming))} wrapped anew in the background`,
    );
  if (others > 0) lines.push(`and ${others} more`);
  return lines;
}

function countText(backingKeys: number): string {
  return `${counted(backingKeys, 'backing key')} ${backingKeys === 1 ? 'is' : 'are'}`;
}

function rowsOf(keys: readonly HeldKey[]): string[][] {
  return keys.map((key) => [key.region, key.keyId, String(key.backingKeys), whatFrees(key)]);
}

/** Of one that is not wrapped anew by itself. */
export function whatFrees(key: Omit<HeldKey, 'region' | 'backingKeys'>): string {
  if (key.rewrapping === 'never') return byHand(key);
  return `mend what keeps it from being wrapped anew (the log says what): it is tried again by itself; or ${byHand(key)}`;
}

function byHand({ keyId, imported, keyUsage }: Pick<HeldKey, 'keyId' | 'imported' | 'keyUsage'>): string {
  // The material of a multi-Region key stays wrapped: it is for the HSMs of all its Regions.
  const moved = keyId.startsWith('mrk-') ? '' : 'keys move --residency token; or ';
  if (imported) return `${moved}keys delete-material and keys import`;
  const encrypts = keyUsage === 'ENCRYPT_DECRYPT';
  return `${moved}${encrypts ? 'ReEncrypt under another key what it has encrypted, and delete it' : 'delete it'}`;
}
