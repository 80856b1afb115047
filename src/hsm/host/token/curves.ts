/**
 * The elliptic curves: how PKCS#11, OpenSSL and JWK name each, and how long its field elements are.
 *
 * Source: PKCS#11 3.1, section 6.3.3 (`CKA_EC_PARAMS`: a DER OBJECT IDENTIFIER; for Edwards curves, 6.3.5, also a
 * PrintableString); the identifiers are those of SEC 2, appendix A.2, RFC 5480 and RFC 8410, made with
 * `openssl ecparam -name NAME -outform DER | xxd -p` and `printf '\x13\x0cedwards25519' | xxd -p`.
 */

export interface Curve {
  /** What `CKA_EC_PARAMS` may read, in hexadecimal; keys are generated with the first. */
  readonly ecParams: readonly string[];
  /** JWK's name (RFC 7518, section 6.2.1.1; RFC 8812; RFC 8037). */
  readonly jwk: string;
  readonly keyType: 'EC' | 'OKP';
  /** OpenSSL's name. */
  readonly namedCurve: string;
  /** For people. */
  readonly title: string;
  readonly keyBits: number;
  /** A coordinate, a private key, and half an ECDSA signature have this length. */
  readonly fieldBytes: number;
  /** `CKA_EC_POINT` without its OCTET STRING: 04, x and y; for Edwards curves y alone. */
  readonly pointBytes: number;
}

const weierstrass = (
  ecParams: string,
  names: Pick<Curve, 'jwk' | 'namedCurve' | 'title'>,
  keyBits: number,
  fieldBytes = keyBits / 8,
): Curve => ({
  ecParams: [ecParams],
  keyType: 'EC',
  ...names,
  keyBits,
  fieldBytes,
  pointBytes: 1 + 2 * fieldBytes,
});

export const curves = {
  ECC_NIST_P256: weierstrass(
    '06082a8648ce3d030107',
    { jwk: 'P-256', namedCurve: 'prime256v1', title: 'NIST P-256' },
    256,
  ),
  ECC_NIST_P384: weierstrass('06052b81040022', { jwk: 'P-384', namedCurve: 'secp384r1', title: 'NIST P-384' }, 384),
  ECC_NIST_P521: weierstrass('06052b81040023', { jwk: 'P-521', namedCurve: 'secp521r1', title: 'NIST P-521' }, 521, 66),
  ECC_SECG_P256K1: weierstrass(
    '06052b8104000a',
    { jwk: 'secp256k1', namedCurve: 'secp256k1', title: 'secp256k1' },
    256,
  ),
  ECC_NIST_EDWARDS25519: {
    // SoftHSM2 2.6.1 takes either, and reads back the first for the public half and the second for the private one.
    ecParams: ['06032b6570', '130c656477617264733235353139'],
    jwk: 'Ed25519',
    keyType: 'OKP',
    namedCurve: 'ed25519',
    title: 'edwards25519',
    keyBits: 255,
    fieldBytes: 32,
    pointBytes: 32,
  },
} as const satisfies Readonly<Record<string, Curve>>;

const byParams: ReadonlyMap<string, Curve> = new Map(
  Object.values<Curve>(curves).flatMap((curve) => curve.ecParams.map((params) => [params, curve] as const)),
);

/** The curve that `CKA_EC_PARAMS` names, or `undefined` for one that KMS does not have. */
export function curveOfParams(ecParams: Buffer): Curve | undefined {
  return byParams.get(ecParams.toString('hex'));
}
