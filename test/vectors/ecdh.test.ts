/**
 * ECDH of the HSM host against Wycheproof: the secret of each vector, and no secret with a public key that is malformed or
 * on another curve. The private keys are session objects with the vectors' values.
 */

import { randomBytes } from 'node:crypto';
import { afterAll, beforeAll, test } from 'vitest';
import { z } from 'zod';
import { PairCalls } from '../../src/hsm/host/calls/pair-calls.ts';
import { HostFailure } from '../../src/hsm/host/token/failures.ts';
import { type InProcessHost, openInProcess } from '../hsm/host/in-process.ts';
import { describeEachToken } from '../support/tokens.ts';
import { importEcKeys } from './imported-keys.ts';
import { hex, Judge, readWycheproof, verdictOf } from './wycheproof.ts';

const curves = [
  ['secp256r1', 'P-256', 32],
  ['secp384r1', 'P-384', 48],
  ['secp521r1', 'P-521', 66],
] as const;

/** Numbers in vectors have a leading zero, or lack one. */
const scalar = z.string().transform((digits) => digits.replace(/^(?:00)+/, ''));

describeEachToken('ECDH', (token) => {
  let host: InProcessHost;
  let pairs: PairCalls;
  beforeAll(() => {
    host = openInProcess(token());
    pairs = new PairCalls(host.session, host.table, host.secrets, host.profile);
  });
  afterAll(() => host.close());

  test.each(curves)('on %s gives the secret of each vector, and none for a bad key', (name, curve, fieldBytes) => {
    const groups = readWycheproof(
      `ecdh_${name}`,
      { curve: z.literal(name), encoding: z.literal('asn') },
      { public: hex, private: scalar, shared: hex },
    );
    const judge = new Judge(`ecdh_${name}, ${token().name}`);
    const scalars = new Set(groups.flatMap(({ tests }) => tests.map((vector) => vector.private)));
    const ids = new Map([...scalars].map((digits) => [digits, randomBytes(16)]));
    const keys = [...ids].map(
      ([digits, id]) => [id, Buffer.from(digits.padStart(2 * fieldBytes, '0'), 'hex')] as const,
    );
    importEcKeys(host, curve, keys);
    for (const { tests } of groups) {
      for (const vector of tests) {
        const id = ids.get(vector.private) ?? Buffer.alloc(0);
        const verdict = verdictOf(
          () => pairs.deriveSharedSecret(id, vector.public).equals(vector.shared),
          (error) => error instanceof HostFailure && error.failure === 'publicKeyInvalid',
        );
        judge.judge(vector, verdict);
      }
    }
    judge.end();
  });
});
