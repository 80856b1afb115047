/**
 * What the file says of itself: which service keys it is kept with, and which node writes it.
 *
 * The rows that name the service keys carry no MAC: one of them names the key for the MACs. Whoever opens the store checks
 * that the HSM calls each of these objects `drawbridge:service:PURPOSE` (`keys/life/service-keys.ts`), which no caller can name
 * a key.
 */

import { type BackingKeyId, parseBackingKeyId } from '../kms/names.ts';
import { StoreError } from './store-error.ts';

export function readServiceKeys(rows: readonly Record<string, unknown>[], path: string): Map<string, BackingKeyId> {
  const serviceKeys = new Map<string, BackingKeyId>();
  for (const { purpose, backingKeyId } of rows) {
    const id = typeof backingKeyId === 'string' ? parseBackingKeyId(backingKeyId) : undefined;
    if (id === undefined) {
      throw new StoreError('damaged', `\`${path}\` names a service key by what is no id; restore it from a backup`);
    }
    serviceKeys.set(String(purpose), id);
  }
  return serviceKeys;
}

/** Without one, what it began would seem to be nobody's, and whoever starts undoes that. */
export function readNodeId(row: Record<string, unknown> | undefined, path: string): string {
  const nodeId = row?.['nodeId'];
  if (typeof nodeId === 'string' && /^[0-9a-f]{32}$/.test(nodeId)) return nodeId;
  throw new StoreError('damaged', `\`${path}\` does not say which node it is of; restore it from a backup`);
}
