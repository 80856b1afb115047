/**
 * A program: puts into a token, with its user's PIN, pairs that look like joining pairs and are none.
 *
 *     imported     its private half was made outside
 *     decrypting   gives in the clear what is wrapped for it
 *     unguarded    what it unwraps may be in the clear, where the token would hold a pair to `CKA_UNWRAP_TEMPLATE`
 *
 * stdin: {"login", "forgeries": [{"kind", "id"}], "jwk"}; the last one is the private key that is imported.
 */

import { readFileSync } from 'node:fs';
import pkcs11js from 'pkcs11js';
import { type OneLogin, withOneLogin } from '../../src/hsm/host/token/one-login.ts';

interface Task {
  readonly login: OneLogin;
  readonly forgeries: readonly { readonly kind: 'imported' | 'decrypting' | 'unguarded'; readonly id: string }[];
  readonly jwk: Readonly<Record<string, string>>;
}

const { login, forgeries, jwk } = JSON.parse(readFileSync(0, 'utf8')) as Task;
const p = pkcs11js;
withOneLogin(login, p.CKU_USER, ({ module, session }) => {
  for (const { kind, id } of forgeries) {
    const common = [
      { type: p.CKA_TOKEN, value: true },
      { type: p.CKA_ID, value: Buffer.from(id, 'hex') },
      { type: p.CKA_LABEL, value: `drawbridge:joining:${id}` },
    ];
    const secret = [
      ...common,
      { type: p.CKA_PRIVATE, value: true },
      { type: p.CKA_SENSITIVE, value: true },
      { type: p.CKA_EXTRACTABLE, value: false },
      { type: p.CKA_UNWRAP, value: true },
      { type: p.CKA_DECRYPT, value: kind === 'decrypting' },
      { type: p.CKA_SIGN, value: false },
    ];
    if (kind === 'imported') {
      const part = (type: number, name: string) => ({ type, value: Buffer.from(jwk[name] ?? '', 'base64url') });
      module.C_CreateObject(session, [
        { type: p.CKA_CLASS, value: p.CKO_PRIVATE_KEY },
        { type: p.CKA_KEY_TYPE, value: p.CKK_RSA },
        ...secret,
        ...[part(p.CKA_MODULUS, 'n'), part(p.CKA_PUBLIC_EXPONENT, 'e'), part(p.CKA_PRIVATE_EXPONENT, 'd')],
        ...[part(p.CKA_PRIME_1, 'p'), part(p.CKA_PRIME_2, 'q'), part(p.CKA_COEFFICIENT, 'qi')],
        ...[part(p.CKA_EXPONENT_1, 'dp'), part(p.CKA_EXPONENT_2, 'dq')],
      ]);
      continue;
    }
    const publicHalf = [
      ...common,
      { type: p.CKA_MODULUS_BITS, value: 3072 },
      { type: p.CKA_PUBLIC_EXPONENT, value: Buffer.from([1, 0, 1]) },
    ];
    module.C_GenerateKeyPair(session, { mechanism: p.CKM_RSA_PKCS_KEY_PAIR_GEN }, publicHalf, secret);
  }
});
