/** HMAC of the HSM host against Wycheproof: the keys are session objects with the vectors' values, of every size. */

import { randomBytes } from 'node:crypto';
import { afterAll, beforeAll, test } from 'vitest';
import { z } from 'zod';
import { HostFailure } from '../../src/hsm/host/token/failures.ts';
import { type InProcessHost, importKey, openInProcess } from '../hsm/host/in-process.ts';
import { describeEachToken } from '../support/tokens.ts';
import { type Exemption, hex, Judge, type JudgedVector, readWycheproof, verdictOf } from './wycheproof.ts';

type Vector = JudgedVector & { readonly key: Buffer; readonly msg: Buffer; readonly tag: Buffer };

const tooShort = (hashBytes: number): Exemption<Vector> => ({
  applies: ({ key }) => key.length < hashBytes,
  verdict: 'refused',
  reason: 'the token takes no key that is shorter than the hash',
});

const hashes = [224, 256, 384, 512] as const;

describeEachToken('HMAC', (token) => {
  let host: InProcessHost;
  beforeAll(() => {
    host = openInProcess(token());
  });
  afterAll(() => host.close());

  test.each(hashes)('of SHA-%i is that of each vector', (bits) => {
    const file = `hmac_sha${bits}`;
    const groups = readWycheproof(file, { keySize: z.number(), tagSize: z.number() }, { key: hex, msg: hex, tag: hex });
    const judge = new Judge<Vector>(`${file}, ${token().name}`, [
      { applies: ({ tag }) => tag.length !== bits / 8, verdict: 'refused', reason: 'KMS cuts no MAC short' },
      { applies: ({ msg }) => msg.length === 0, verdict: 'refused', reason: 'a message of KMS is never empty' },
      // SoftHSM2 2.6.1: CKR_KEY_SIZE_RANGE. The keys of KMS are as long as the hash.
      ...(token().profile === 'softhsm2' ? [tooShort(bits / 8)] : []),
    ]);
    for (const { tests } of groups) {
      for (const vector of tests) {
        const { key, msg, tag } = vector;
        const id = randomBytes(16);
        importKey(host, { id, value: key, keyType: 'CKK_GENERIC_SECRET', usages: ['CKA_SIGN'] });
        const verdict = verdictOf(
          () => host.secrets.mac(id, `HMAC_SHA_${bits}`, msg).equals(tag),
          (error) => msg.length === 0 || (error instanceof HostFailure && error.message.includes('CKR_KEY_SIZE_RANGE')),
        );
        judge.judge(vector, verdict);
      }
    }
    judge.end();
  });
});
