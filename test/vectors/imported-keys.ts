/** Private keys of vectors as session objects of a token, entered into the host's table: a path that tests alone have. */

import type { KeyObject } from 'node:crypto';
import { type Attribute, constant } from '../../src/hsm/host/token/cryptoki.ts';
import type { FoundKey } from '../../src/hsm/host/token/key-table.ts';
import type { InProcessHost } from '../hsm/host/in-process.ts';

/** The DER of the curves' object identifiers, by their names in JWK. */
export const curveParams = new Map([
  ['P-256', '06082a8648ce3d030107'],
  ['P-384', '06052b81040022'],
  ['P-521', '06052b81040023'],
  ['secp256k1', '06052b8104000a'],
  ['Ed25519', '06032b6570'],
]);

/** RSA, to decrypt with. */
export function importRsaKey(host: InProcessHost, id: Buffer, privateKey: KeyObject): void {
  const jwk: Readonly<Record<string, unknown>> = { ...privateKey.export({ format: 'jwk' }) };
  const number = (attribute: string, member: string): Attribute => ({
    type: constant(attribute),
    value: Buffer.from(String(jwk[member]), 'base64url'),
  });
  const key = create(host, id, [
    { type: constant('CKA_KEY_TYPE'), value: constant('CKK_RSA') },
    { type: constant('CKA_DECRYPT'), value: true },
    // Left out it would be true, as of a wrapping key, which decrypts nothing for callers.
    { type: constant('CKA_UNWRAP'), value: false },
    number('CKA_MODULUS', 'n'),
    number('CKA_PUBLIC_EXPONENT', 'e'),
    number('CKA_PRIVATE_EXPONENT', 'd'),
    number('CKA_PRIME_1', 'p'),
    number('CKA_PRIME_2', 'q'),
    number('CKA_EXPONENT_1', 'dp'),
    number('CKA_EXPONENT_2', 'dq'),
    number('CKA_COEFFICIENT', 'qi'),
  ]);
  host.table.fill([key]);
}

/** Private keys of an elliptic curve, to derive with. @param scalars By id, as many bytes as the curve's field has. */
export function importEcKeys(
  host: InProcessHost,
  curve: string,
  scalars: readonly (readonly [Buffer, Buffer])[],
): void {
  const keys = scalars.map(([id, scalar]) =>
    create(host, id, [
      { type: constant('CKA_KEY_TYPE'), value: constant('CKK_EC') },
      { type: constant('CKA_DERIVE'), value: true },
      { type: constant('CKA_UNWRAP'), value: false },
      { type: constant('CKA_EC_PARAMS'), value: Buffer.from(curveParams.get(curve) ?? '', 'hex') },
      { type: constant('CKA_VALUE'), value: scalar },
    ]),
  );
  host.table.fill(keys);
}

function create(host: InProcessHost, id: Buffer, attributes: readonly Attribute[]): FoundKey {
  const handle = host.cryptoki.C_CreateObject(host.session.handle, [
    { type: constant('CKA_CLASS'), value: constant('CKO_PRIVATE_KEY') },
    { type: constant('CKA_TOKEN'), value: false },
    { type: constant('CKA_PRIVATE'), value: true },
    { type: constant('CKA_SENSITIVE'), value: true },
    { type: constant('CKA_EXTRACTABLE'), value: false },
    { type: constant('CKA_ID'), value: id },
    ...attributes,
  ]);
  return { id: id.toString('latin1'), label: 'drawbridge:imported', handle };
}
