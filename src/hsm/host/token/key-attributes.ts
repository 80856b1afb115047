/**
 * The attributes of our key objects: what a key is generated with, what the token says of it afterwards, and whether
 * that is as strong as what was asked for.
 *
 * Source: PKCS#11 3.1, sections 4.8 to 4.10 (key, public, private and secret key objects), 6.1 (RSA) and 6.3 (elliptic curves); 3.2 for
 * ML-DSA.
 */

import type { BackingKeyAttributes } from '../../key-store.ts';
import type { VendorProfile } from '../../vendor-profile.ts';
import { type Attribute, type Cryptoki, constant, constantName, type Handle, returnValueOf } from './cryptoki.ts';
import { curveOfParams } from './curves.ts';
import { HostFailure } from './failures.ts';
import { mlDsaParameterSet } from './parameter-sets.ts';
import {
  type HostKeySpec,
  privateKeyUsageAttributes,
  publicKeyUsageAttributes,
  secretKeyUsageAttributes,
  type UsageRow,
} from './pkcs11-key-specs.ts';
import { curvePublicKey, mlDsaPublicKey, rsaPublicKey } from './subject-public-keys.ts';

/** Every label of ours begins so. Objects without it are somebody else's and are never used, listed or destroyed. */
export const labelPrefix = 'drawbridge:';

/** A `CK_ULONG` as the token returns it: 8 bytes in the machine's order, which is little-endian wherever Node.js 24 runs. */
export function ulong(value: Buffer | undefined): number | undefined {
  return value?.length === 8 ? Number(value.readBigUInt64LE(0)) : undefined;
}

/** F4, the exponent of every RSA key of KMS. */
const publicExponent = Buffer.from([1, 0, 1]);

/** What a new key is to be: a token object of ours, or (`id` is `null`) a session object. */
export interface KeyOutline {
  readonly row: HostKeySpec;
  readonly usage: UsageRow;
  readonly id: Buffer | null;
  /** `null`: none. SoftHSM2 2.6.1 encrypts each text of a private object, in 7 µs. */
  readonly label: string | null;
  /**
   * Of what is made to leave: a session object in the clear, as the private key of a data key pair; one that the token wraps and nobody
   * sees; a key of our own that goes to other HSMs, under nothing but a public key that the security officer trusted. Absent: it stays.
   */
  readonly leaves?: 'inTheClear' | 'wrapped' | 'underTrusted';
  /** What only keys of its kind have. */
  readonly further?: readonly Attribute[];
}

const flag = (name: string, value: boolean): Attribute => ({ type: constant(name), value });

export function secretKeyTemplate(key: KeyOutline, profile: VendorProfile): readonly Attribute[] {
  const { row, usage } = key;
  return [
    { type: constant('CKA_CLASS'), value: constant(row.objectClass) },
    { type: constant('CKA_KEY_TYPE'), value: constant(row.keyType ?? '') },
    { type: constant('CKA_VALUE_LEN'), value: row.keyBits / 8 },
    ...guarded(key),
    ...secretKeyUsageAttributes.map((name) => flag(name, usage.attributes.includes(name))),
    ...common(key, profile),
  ];
}

export function privateKeyTemplate(key: KeyOutline, profile: VendorProfile): readonly Attribute[] {
  return [
    ...guarded(key),
    ...privateKeyUsageAttributes.map((name) => flag(name, key.usage.attributes.includes(name))),
    ...common(key, profile),
  ];
}

export function publicKeyTemplate(key: KeyOutline, profile: VendorProfile): readonly Attribute[] {
  const { row, usage, id } = key;
  return [
    ...pairParameters(row),
    flag('CKA_TOKEN', id !== null),
    flag('CKA_PRIVATE', false),
    ...publicKeyUsageAttributes.map((name) => flag(name, usage.publicAttributes.includes(name))),
    ...common(key, profile),
  ];
}

/**
 * A secret or private key that comes from outside: for `C_UnwrapKey`, or with its values for `C_CreateObject`. Every flag is named,
 * because tokens differ in what they take for unsaid; the length of a secret is not, because SoftHSM2 refuses it and NSS cuts by it.
 */
export function importedKeyTemplate(
  key: KeyOutline,
  profile: VendorProfile,
  values: readonly Attribute[] = [],
): readonly Attribute[] {
  const { row, usage } = key;
  const usageAttributes = row.objectClass === 'CKO_SECRET_KEY' ? secretKeyUsageAttributes : privateKeyUsageAttributes;
  return [
    { type: constant('CKA_CLASS'), value: constant(row.objectClass) },
    { type: constant('CKA_KEY_TYPE'), value: constant(row.keyType ?? '') },
    ...values,
    ...guarded(key),
    ...usageAttributes.map((name) => flag(name, usage.attributes.includes(name))),
    ...common(key, profile),
  ];
}

/** The public half of a pair that comes from outside, for `C_CreateObject`. */
export function importedPublicKeyTemplate(
  key: KeyOutline,
  profile: VendorProfile,
  values: readonly Attribute[],
): readonly Attribute[] {
  const { row, usage, id } = key;
  return [
    { type: constant('CKA_CLASS'), value: constant('CKO_PUBLIC_KEY') },
    { type: constant('CKA_KEY_TYPE'), value: constant(row.keyType ?? '') },
    ...values,
    flag('CKA_TOKEN', id !== null),
    flag('CKA_PRIVATE', false),
    ...publicKeyUsageAttributes.map((name) => flag(name, usage.publicAttributes.includes(name))),
    ...common(key, profile),
  ];
}

/** What kind of pair is to be made; PKCS#11 reads it from the template of the public half. */
function pairParameters({ curve, parameterSet, keyBits }: HostKeySpec): readonly Attribute[] {
  if (curve !== null) return [{ type: constant('CKA_EC_PARAMS'), value: Buffer.from(curve.ecParams[0] ?? '', 'hex') }];
  if (parameterSet !== null) return [{ type: constant('CKA_PARAMETER_SET'), value: constant(parameterSet.name) }];
  return [
    { type: constant('CKA_MODULUS_BITS'), value: keyBits },
    { type: constant('CKA_PUBLIC_EXPONENT'), value: publicExponent },
  ];
}

function guarded({ id, leaves, further = [] }: KeyOutline): readonly Attribute[] {
  return [
    flag('CKA_TOKEN', id !== null),
    flag('CKA_PRIVATE', true),
    flag('CKA_SENSITIVE', leaves !== 'inTheClear'),
    flag('CKA_EXTRACTABLE', leaves !== undefined),
    ...(leaves === 'underTrusted' ? [flag('CKA_WRAP_WITH_TRUSTED', true)] : []),
    ...further,
  ];
}

function common({ id, label }: KeyOutline, profile: VendorProfile): readonly Attribute[] {
  return [
    ...(label === null ? [] : [{ type: constant('CKA_LABEL'), value: label }]),
    ...(id === null ? [] : [{ type: constant('CKA_ID'), value: id }]),
    // Last, because there are tokens that take what follows it for a modification (SoftHSM2 2.6.1, C_UnwrapKey).
    ...(profile.attributes.nonModifiable ? [flag('CKA_MODIFIABLE', false)] : []),
  ];
}

/** One attribute, or `undefined` where the token does not have or does not tell it. */
export function readAttribute(cryptoki: Cryptoki, session: Handle, object: Handle, name: string): Buffer | undefined {
  try {
    return cryptoki.C_GetAttributeValue(session, object, [{ type: constant(name) }])[0]?.value;
  } catch (error) {
    const code = returnValueOf(error);
    if (code === constant('CKR_ATTRIBUTE_TYPE_INVALID') || code === constant('CKR_ATTRIBUTE_SENSITIVE'))
      return undefined;
    throw error;
  }
}

/**
 * What the token says about a key. A flag that it does not tell counts as the weaker answer: not sensitive, extractable,
 * modifiable.
 */
export function readKeyAttributes(cryptoki: Cryptoki, session: Handle, object: Handle): BackingKeyAttributes {
  const read = (name: string) => readAttribute(cryptoki, session, object, name);
  const isTrue = (name: string) => read(name)?.[0] === 1;
  const isNotFalse = (name: string) => read(name)?.[0] !== 0;
  return {
    // The branded type is made by `parseBackingKeyId` from 32 hexadecimal digits; a `CKA_ID` of 16 bytes is just that.
    backingKeyId: (read('CKA_ID') ?? Buffer.alloc(0)).toString('hex') as BackingKeyAttributes['backingKeyId'],
    label: read('CKA_LABEL')?.toString('utf8') ?? '',
    objectClass: constantName('CKO', ulong(read('CKA_CLASS')) ?? 0xffff),
    keyType: constantName('CKK', ulong(read('CKA_KEY_TYPE')) ?? 0xffff),
    keyBits: keyBits(read),
    token: isTrue('CKA_TOKEN'),
    private: isTrue('CKA_PRIVATE'),
    sensitive: isTrue('CKA_SENSITIVE'),
    alwaysSensitive: isTrue('CKA_ALWAYS_SENSITIVE'),
    extractable: isNotFalse('CKA_EXTRACTABLE'),
    neverExtractable: isTrue('CKA_NEVER_EXTRACTABLE'),
    wrapWithTrusted: isTrue('CKA_WRAP_WITH_TRUSTED'),
    modifiable: isNotFalse('CKA_MODIFIABLE'),
    local: isTrue('CKA_LOCAL'),
    usages: everyUsageAttribute.filter(isTrue),
  };
}

const everyUsageAttribute = [...new Set([...secretKeyUsageAttributes, ...privateKeyUsageAttributes])];

/** The size of a secret key, of a modulus, of a curve, or of a parameter set's public keys; `null` where the token tells none. */
function keyBits(read: (name: string) => Buffer | undefined): number | null {
  if (ulong(read('CKA_KEY_TYPE')) === constant('CKK_ML_DSA')) {
    const parameterSet = mlDsaParameterSet(ulong(read('CKA_PARAMETER_SET')));
    return parameterSet === undefined ? null : parameterSet.publicKeyBytes * 8;
  }
  const valueBytes = ulong(read('CKA_VALUE_LEN'));
  // SoftHSM2 2.6.1 says 0 of a secret that was unwrapped, which none is.
  if (valueBytes !== undefined) return valueBytes === 0 ? null : valueBytes * 8;
  const ecParams = read('CKA_EC_PARAMS');
  if (ecParams !== undefined) return curveOfParams(ecParams)?.keyBits ?? null;
  const modulus = read('CKA_MODULUS');
  return modulus === undefined ? null : BigInt(`0x${modulus.toString('hex')}`).toString(2).length;
}

/**
 * The public half of a pair as a SubjectPublicKeyInfo, read from its object. Throws `HostFailure` (`internal`) when it is
 * not of the size, exponent, curve or parameter set that was asked for, or not the public half of `privateKey`.
 */
export function readPublicKey(
  cryptoki: Cryptoki,
  session: Handle,
  pair: { readonly publicKey: Handle; readonly privateKey: Handle },
  row: HostKeySpec,
): Buffer {
  const read = (object: Handle, name: string) => readAttribute(cryptoki, session, object, name) ?? Buffer.alloc(0);
  if (row.curve !== null) {
    const ecParams = read(pair.publicKey, 'CKA_EC_PARAMS');
    if (curveOfParams(ecParams) !== row.curve) throw new HostFailure('internal', 'the new pair is on another curve');
    return curvePublicKey(read(pair.publicKey, 'CKA_EC_POINT'), row.curve);
  }
  if (row.parameterSet !== null) {
    for (const half of [pair.publicKey, pair.privateKey])
      if (mlDsaParameterSet(ulong(read(half, 'CKA_PARAMETER_SET'))) !== row.parameterSet)
        throw new HostFailure('internal', 'the new pair is of another parameter set');
    return mlDsaPublicKey(read(pair.publicKey, 'CKA_VALUE'), row.parameterSet);
  }
  const modulus = read(pair.publicKey, 'CKA_MODULUS');
  const exponent = read(pair.publicKey, 'CKA_PUBLIC_EXPONENT');
  if (!exponent.equals(publicExponent)) throw new HostFailure('internal', 'the new pair has another public exponent');
  if (!modulus.equals(read(pair.privateKey, 'CKA_MODULUS')))
    throw new HostFailure('internal', 'the halves of the new pair have different moduli');
  return rsaPublicKey(modulus, exponent);
}

/**
 * The public half of a private key that a device has unwrapped, from what the private one tells. Throws `HostFailure`: `materialInvalid`
 * for an RSA key with an exponent that none of KMS has, `unsupported` where the token does not tell enough.
 */
export function readImportedPublicKey(
  cryptoki: Cryptoki,
  session: Handle,
  privateKey: Handle,
  { curve }: HostKeySpec,
): Buffer {
  const read = (name: string) => {
    const value = readAttribute(cryptoki, session, privateKey, name);
    if (value !== undefined && value.length > 0) return value;
    throw new HostFailure('unsupported', `the token does not tell ${name} of an imported private key`);
  };
  if (curve !== null) return curvePublicKey(read('CKA_EC_POINT'), curve);
  const exponent = read('CKA_PUBLIC_EXPONENT');
  const isGood = (exponent.at(-1) ?? 0) % 2 === 1 && exponent.length <= 32 && exponent.length >= publicExponent.length;
  if (!isGood) throw new HostFailure('materialInvalid', 'the public exponent is even, or not between 2^16 and 2^256');
  return rsaPublicKey(read('CKA_MODULUS'), exponent);
}

function sizeAttribute({ curve, parameterSet, objectClass }: HostKeySpec): string {
  if (curve !== null) return 'CKA_EC_PARAMS';
  if (parameterSet !== null) return 'CKA_PARAMETER_SET';
  return objectClass === 'CKO_SECRET_KEY' ? 'CKA_VALUE_LEN' : 'CKA_MODULUS';
}

/** What stands against a key, attribute by attribute: what it is, who may see it, and what only a key that was made in the token has. */
interface Deviations {
  /** Class, type and size: of imported material, what the material itself says. */
  readonly kind: readonly string[];
  readonly protection: readonly string[];
  readonly history: readonly string[];
}

type Asked = Pick<KeyOutline, 'row' | 'usage' | 'id' | 'leaves'>;

function findDeviations(
  attributes: BackingKeyAttributes,
  { row, usage, id, leaves }: Asked,
  profile: VendorProfile,
): Deviations {
  const isGivenOn = leaves === 'underTrusted';
  const unasked = attributes.usages.filter((name) => !usage.attributes.includes(name));
  const denied = usage.attributes.filter((name) => !attributes.usages.includes(name));
  const wrong = (...checks: readonly (readonly [attribute: string, asAsked: boolean])[]) =>
    checks
      .filter(([attribute, asAsked]) => !asAsked && !profile.attributes.notReadBack.includes(attribute))
      .map(([attribute]) => attribute);
  return {
    kind: wrong(
      ['CKA_CLASS', attributes.objectClass === row.objectClass],
      ['CKA_KEY_TYPE', attributes.keyType === row.keyType],
      [sizeAttribute(row), attributes.keyBits === row.keyBits],
    ),
    protection: wrong(
      ['CKA_ID', id === null || attributes.backingKeyId === id.toString('hex')],
      ['CKA_TOKEN', attributes.token === (id !== null)],
      ['CKA_PRIVATE', attributes.private],
      ['CKA_SENSITIVE', attributes.sensitive],
      ['CKA_EXTRACTABLE', attributes.extractable === isGivenOn],
      ['CKA_WRAP_WITH_TRUSTED', attributes.wrapWithTrusted || !isGivenOn],
      ['CKA_MODIFIABLE', !attributes.modifiable || !profile.attributes.nonModifiable],
      ...[...unasked, ...denied].map((name) => [name, false] as const),
    ),
    history: wrong(
      ['CKA_ALWAYS_SENSITIVE', attributes.alwaysSensitive],
      ['CKA_NEVER_EXTRACTABLE', attributes.neverExtractable || isGivenOn],
      ['CKA_LOCAL', attributes.local],
    ),
  };
}

/** Where a new key is not what was asked for, attribute by attribute; `[]` is as it must be. */
export function deviations(
  attributes: BackingKeyAttributes,
  asked: Asked & { readonly id: Buffer },
  profile: VendorProfile,
): readonly string[] {
  const { kind, protection, history } = findDeviations(attributes, asked, profile);
  return [...kind, ...protection, ...history];
}

/**
 * The same for a key that was imported, which was neither made here nor always protected, and of which a token may not know how long
 * it is: `kind` is what the material is not, `protection` what the token did not do.
 * @param asked.isSizeKnown The host has seen the material itself.
 */
export function importDeviations(
  attributes: BackingKeyAttributes,
  asked: Asked & { readonly isSizeKnown: boolean },
  profile: VendorProfile,
): Pick<Deviations, 'kind' | 'protection'> {
  const { kind, protection } = findDeviations(attributes, asked, profile);
  const isUntold = asked.isSizeKnown && attributes.keyBits === null;
  return { kind: isUntold ? kind.filter((name) => name !== sizeAttribute(asked.row)) : kind, protection };
}
