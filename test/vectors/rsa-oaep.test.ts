/**
 * RSA-OAEP of the HSM host against Wycheproof, whether the token takes the padding off or the host does. The private keys are
 * session objects with the vectors' values.
 */

import { createPrivateKey, randomBytes } from 'node:crypto';
import { afterAll, beforeAll, test } from 'vitest';
import { PairCalls } from '../../src/hsm/host/calls/pair-calls.ts';
import { HostFailure } from '../../src/hsm/host/token/failures.ts';
import { type InProcessHost, openInProcess } from '../hsm/host/in-process.ts';
import { describeEachToken } from '../support/tokens.ts';
import { importRsaKey } from './imported-keys.ts';
import { type Exemption, hex, Judge, type JudgedVector, readWycheproof, unused, verdictOf } from './wycheproof.ts';

type Vector = JudgedVector & { readonly msg: Buffer; readonly label: Buffer };

const labelled: Exemption<Vector> = {
  applies: ({ label }) => label.length > 0,
  verdict: 'refused',
  reason: 'KMS encrypts without a label, and a ciphertext with one is another',
};
const otherMask: Exemption<Vector> = {
  applies: () => true,
  verdict: 'refused',
  reason: 'the mask of KMS is made with the hash of the label, and not with SHA-1',
};

const files = [
  ['rsa_oaep_2048_sha1_mgf1sha1', 'RSAES_OAEP_SHA_1', [labelled]],
  ['rsa_oaep_2048_sha256_mgf1sha256', 'RSAES_OAEP_SHA_256', [labelled]],
  ['rsa_oaep_3072_sha256_mgf1sha256', 'RSAES_OAEP_SHA_256', [labelled]],
  ['rsa_oaep_4096_sha256_mgf1sha256', 'RSAES_OAEP_SHA_256', [labelled]],
  ['rsa_oaep_2048_sha256_mgf1sha1', 'RSAES_OAEP_SHA_256', [otherMask]],
] as const;

const otherForms = Object.fromEntries(
  ['keySize', 'sha', 'mgf', 'mgfSha', 'privateKey', 'privateKeyPem', 'privateKeyJwk'].map((name) => [
    name,
    unused.optional(),
  ]),
);

describeEachToken('RSA-OAEP', (token) => {
  let host: InProcessHost;
  let pairs: PairCalls;
  beforeAll(() => {
    host = openInProcess(token());
    pairs = new PairCalls(host.session, host.table, host.secrets, host.profile);
  });
  afterAll(() => host.close());

  test.each(files)(
    '%s: gives the message of each vector, and none for what was forged',
    (name, algorithm, exemptions) => {
      const judge = new Judge<Vector>(`${name}, ${token().name}`, exemptions);
      const groups = readWycheproof(name, { ...otherForms, privateKeyPkcs8: hex }, { msg: hex, ct: hex, label: hex });
      for (const { group, tests } of groups) {
        const id = randomBytes(16);
        importRsaKey(host, id, createPrivateKey({ key: group.privateKeyPkcs8, format: 'der', type: 'pkcs8' }));
        for (const vector of tests) {
          const verdict = verdictOf(
            () => pairs.decrypt(id, algorithm, vector.ct).equals(vector.msg),
            (error) => error instanceof HostFailure && error.failure === 'ciphertextInvalid',
          );
          judge.judge(vector, verdict);
        }
      }
      judge.end();
    },
  );
});
