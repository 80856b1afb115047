/**
 * Multi-Region keys as a program meets them: two Regions of one instance, each with its socket, and one loopback listener for both,
 * which goes by the Region that a signature names.
 */

import { join } from 'node:path';
import { KMS } from '@aws-sdk/client-kms';
import { expect, test } from 'vitest';
import { kmsOver } from './support/connect.ts';
import { describeDaemon, present } from './support/daemon.ts';

const [here, there] = ['us-east-1', 'eu-central-1'] as const;

describeDaemon(
  'A multi-Region key of one instance',
  (daemon) => {
    test('is replicated, used in both Regions, and gets another primary key', async () => {
      const { kms, instance } = daemon();
      const other = kmsOver(join(instance.dir, `${there}.sock`));
      const KeyId = present((await kms.createKey({ MultiRegion: true })).KeyMetadata?.KeyId);
      await kms.replicateKey({ KeyId, ReplicaRegion: there });
      const { CiphertextBlob } = await kms.encrypt({ KeyId, Plaintext: Buffer.from('x') });
      expect((await other.decrypt({ CiphertextBlob })).KeyId).toContain(`:${there}:`);
      await kms.updatePrimaryRegion({ KeyId, PrimaryRegion: there });
      const { KeyMetadata } = await other.describeKey({ KeyId });
      expect(KeyMetadata?.MultiRegionConfiguration?.MultiRegionKeyType).toBe('PRIMARY');
      other.destroy();
    });

    test('is used over one listener by the Region of the signature', async () => {
      const { kms, instance } = daemon();
      const KeyId = present((await kms.createKey({ MultiRegion: true })).KeyMetadata?.KeyId);
      await kms.replicateKey({ KeyId, ReplicaRegion: there });
      const { accessKeyId, secretAccessKey, endpoint } = instance;
      for (const region of [here, there]) {
        const signed = new KMS({ region, endpoint: present(endpoint), credentials: { accessKeyId, secretAccessKey } });
        const { KeyMetadata } = await signed.describeKey({ KeyId });
        expect(KeyMetadata?.Arn).toContain(`:${region}:`);
        signed.destroy();
      }
    });
  },
  'softhsm2',
  { regions: [there], tcp: true },
);
