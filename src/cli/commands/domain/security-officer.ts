/** What a token's security officer does for a domain: he trusts public keys, with a PIN that no daemon sees. */

import { existsSync } from 'node:fs';
import { dirname } from 'node:path';
import type { Configuration } from '../../../config/configuration-schema.ts';
import type { BackingKeyId } from '../../../kms/names.ts';
import { readSecretFile } from '../../terminal/secret-file.ts';

/** PKCS#11 leaves the length to the token; no token takes more. */
const maxPinBytes = 256;

export interface OfficersToken {
  readonly configuration: Configuration;
  readonly keyStore: string;
  readonly member?: string | undefined;
}

/** @throws Error when the PIN's file is open to others, or the token refuses; it is not tried again. */
export async function asSecurityOfficer(
  token: OfficersToken,
  soPinFile: string,
  keys: readonly { readonly backingKeyId: BackingKeyId; readonly publicKey: Buffer }[],
): Promise<void> {
  const daemon = await import('../../../daemon/index.ts');
  const { actAsOwner, actAsSelf } = await import('../../../secrets/act-as-owner.ts');
  const { Pin } = await import('../../../secrets/secret-bytes.ts');
  const { bytes, stats } = await readSecretFile(soPinFile, maxPinBytes);
  const log = daemon.createLog('error', token.configuration.budgets.log);
  try {
    if (stats?.isFile() === true) daemon.assertPrivate(soPinFile, stats);
    const end = bytes.findLastIndex((byte) => byte !== 0x0a && byte !== 0x0d) + 1;
    if (end === 0) throw new Error(`\`${soPinFile}\` is empty`);
    actAsOwner(nearestFolder(token.configuration.dataDir));
    const soPin = new Pin(bytes.subarray(0, end));
    for (const key of keys) await daemon.trustPublicKey({ ...token, log }, key, soPin);
  } finally {
    bytes.fill(0);
    actAsSelf();
  }
}

/** Whose the token is. The data folder itself may not be there yet. */
export function nearestFolder(path: string): string {
  return existsSync(path) || dirname(path) === path ? path : nearestFolder(dirname(path));
}
