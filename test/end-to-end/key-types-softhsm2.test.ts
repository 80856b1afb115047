/** Every kind of key over SoftHSM2, in one instance: what is tested stands in `key-types/`. */

import { describe } from 'vitest';
import { dataKeyPairs } from './key-types/data-key-pairs.ts';
import { fairGenerations } from './key-types/fair-generations.ts';
import { macs } from './key-types/macs.ts';
import { rsaEncryption } from './key-types/rsa-encryption.ts';
import { sharedSecrets } from './key-types/shared-secrets.ts';
import { signatures } from './key-types/signatures.ts';
import { describeDaemon } from './support/daemon.ts';

describeDaemon(
  'Over SoftHSM2',
  (daemon) => {
    describe('Signatures', () => signatures(daemon, 'softhsm2'));
    describe('MACs', () => macs(daemon));
    describe('RSA encryption', () => rsaEncryption(daemon));
    describe('Shared secrets', () => sharedSecrets(daemon));
    describe('Data key pairs', () => dataKeyPairs(daemon, 'softhsm2'));
    describe('Fair shares', () => fairGenerations(daemon));
  },
  'softhsm2',
);
