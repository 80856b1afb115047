/** Every kind of key over NSS softoken, in one instance: what is tested stands in `key-types/`. */

import { describe } from 'vitest';
import { dataKeyPairs } from './key-types/data-key-pairs.ts';
import { fairGenerations } from './key-types/fair-generations.ts';
import { macs } from './key-types/macs.ts';
import { rsaEncryption } from './key-types/rsa-encryption.ts';
import { sharedSecrets } from './key-types/shared-secrets.ts';
import { signatures } from './key-types/signatures.ts';
import { describeDaemon } from './support/daemon.ts';

describeDaemon(
  'Over NSS softoken',
  (daemon) => {
    describe('Signatures', () => signatures(daemon, 'nss'));
    describe('MACs', () => macs(daemon));
    describe('RSA encryption', () => rsaEncryption(daemon));
    describe('Shared secrets', () => sharedSecrets(daemon));
    describe('Data key pairs', () => dataKeyPairs(daemon, 'nss'));
    describe('Fair shares', () => fairGenerations(daemon));
  },
  'nss',
);
