/** A new domain key for a key store of several members, in two steps, between which a security officer may have something to do. */

import type { BackingKeyId } from '../../../kms/names.ts';
import { readTrustedConfiguration, type SocketOptions, usualConfiguration } from '../../requests/command-options.ts';
import type { KmsClient, Members } from '../../requests/kms-client.ts';
import { asSecurityOfficer } from './security-officer.ts';

export interface MemberRotationOptions extends SocketOptions {
  readonly member?: string;
  readonly soPinFile?: string;
  /** Keys may be lost with a leaver that is not there. */
  readonly yes?: true;
}

/** @param leaver Of a member that leaves, its name. */
export async function rotateMembers(
  client: KmsClient,
  keyStore: string,
  { member, soPinFile, config, yes }: MemberRotationOptions,
  leaver?: string,
): Promise<Members> {
  const path = `/domains/${encodeURIComponent(keyStore)}/rotation`;
  const begun = await client.post(path, {
    ...(member === undefined ? {} : { member }),
    ...(leaver === undefined ? {} : { leaver, ...(yes ? { acceptLoss: true } : {}) }),
  });
  if (soPinFile !== undefined) {
    const configuration = await readTrustedConfiguration(config ?? usualConfiguration);
    const pairs = begun['pairs'] as readonly { readonly backingKeyId: BackingKeyId; readonly publicKey: string }[];
    const keys = pairs.map(({ backingKeyId, publicKey }) => ({
      backingKeyId,
      publicKey: Buffer.from(publicKey, 'base64'),
    }));
    await asSecurityOfficer({ configuration, keyStore, member: String(begun['member']) }, soPinFile, keys);
  }
  return client.post(`${path}/finish`, { domainKeyId: begun['domainKeyId'] });
}
