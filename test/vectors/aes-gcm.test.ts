/** AES-GCM of the HSM host against Wycheproof: the keys are session objects with the vectors' values, of every size. */

import { randomBytes } from 'node:crypto';
import { afterAll, beforeAll, test } from 'vitest';
import { z } from 'zod';
import { ivBytes } from '../../src/hsm/host/calls/secret-calls.ts';
import { HostFailure } from '../../src/hsm/host/token/failures.ts';
import { type InProcessHost, importKey, openInProcess } from '../hsm/host/in-process.ts';
import { describeEachToken } from '../support/tokens.ts';
import { hex, Judge, readWycheproof, verdictOf } from './wycheproof.ts';

const groups = readWycheproof(
  'aes_gcm',
  { keySize: z.number(), ivSize: z.number(), tagSize: z.literal(128) },
  { key: hex, iv: hex, aad: hex, msg: hex, ct: hex, tag: hex },
);
type Vector = (typeof groups)[number]['tests'][number];

describeEachToken('AES-GCM', (token) => {
  let host: InProcessHost;
  beforeAll(() => {
    host = openInProcess(token());
  });
  afterAll(() => host.close());

  test('gives the plaintexts of the vectors, and nothing for what was forged', () => {
    const judge = new Judge<Vector>(`aes_gcm, ${token().name}`, [
      { applies: ({ iv }) => iv.length !== ivBytes, verdict: 'refused', reason: 'an IV of ours has 96 bits' },
      { applies: ({ ct }) => ct.length === 0, verdict: 'refused', reason: 'a plaintext of ours is never empty' },
    ]);
    for (const { tests } of groups) {
      for (const vector of tests) {
        const id = randomBytes(16);
        importKey(host, { id, value: vector.key, keyType: 'CKK_AES', usages: ['CKA_ENCRYPT', 'CKA_DECRYPT'] });
        const verdict = verdictOf(
          () =>
            host.secrets.decrypt(id, vector.aad, vector.iv, Buffer.concat([vector.ct, vector.tag])).equals(vector.msg),
          (error) => error instanceof HostFailure && error.failure === 'ciphertextInvalid',
        );
        judge.judge(vector, verdict);
      }
    }
    judge.end();
  });
});
