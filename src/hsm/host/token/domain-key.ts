/**
 * What a domain key is made with, and whether a new one is that. `calls/wrapped-keys.ts` says why each of it.
 *
 * `CKA_UNWRAP_TEMPLATE` is an array of attributes with pointers to their values, which pkcs11js passes on as the bytes that it is given;
 * so the array is built here, and its memory lives as long as this module.
 *
 * Source: PKCS#11 3.1, sections 3.2 (CK_ATTRIBUTE) and 4.10 (secret key objects).
 */

import koffi from 'koffi';
import type { BackingKeyAttributes } from '../../key-store.ts';
import type { VendorProfile } from '../../vendor-profile.ts';
import { type Attribute, constant } from './cryptoki.ts';
import { secretKeyUsageAttributes } from './pkcs11-key-specs.ts';

const usages: readonly string[] = ['CKA_WRAP', 'CKA_UNWRAP'];
const lengthBytes = 32;
const flag = (name: string, value: boolean): Attribute => ({ type: constant(name), value });

/**
 * @param key.id `null`: a session object, to try what the token refuses such a key.
 * @param key.arrives For `C_UnwrapKey`, to which nobody says how long a key is.
 */
export function domainKeyTemplate(
  { id, label, arrives }: { readonly id: Buffer | null; readonly label: string; readonly arrives?: true },
  { wrapping }: VendorProfile,
): readonly Attribute[] {
  const canBeGivenOn = wrapping?.wrapWithTrusted === true;
  return [
    { type: constant('CKA_CLASS'), value: constant('CKO_SECRET_KEY') },
    { type: constant('CKA_KEY_TYPE'), value: constant('CKK_AES') },
    ...(arrives ? [] : [{ type: constant('CKA_VALUE_LEN'), value: lengthBytes }]),
    flag('CKA_TOKEN', id !== null),
    flag('CKA_PRIVATE', true),
    flag('CKA_SENSITIVE', true),
    flag('CKA_EXTRACTABLE', canBeGivenOn),
    ...(canBeGivenOn ? [flag('CKA_WRAP_WITH_TRUSTED', true)] : []),
    ...secretKeyUsageAttributes.map((name) => flag(name, usages.includes(name))),
    { type: constant('CKA_LABEL'), value: label },
    ...(id === null ? [] : [{ type: constant('CKA_ID'), value: id }]),
    ...(wrapping?.unwrapTemplate === true
      ? [{ type: constant('CKA_UNWRAP_TEMPLATE'), value: attributeArray(unwrapped) }]
      : []),
    flag('CKA_MODIFIABLE', false),
  ];
}

/**
 * Where a domain key is not what was asked for, attribute by attribute.
 * @param asked.arrived It was made in another HSM; of such a one a token may not know how long it is.
 */
export function domainKeyDeviations(
  key: BackingKeyAttributes,
  { id, arrived }: { readonly id: Buffer; readonly arrived?: true },
  { wrapping }: VendorProfile,
): readonly string[] {
  const canBeGivenOn = wrapping?.wrapWithTrusted === true;
  const checks: readonly (readonly [name: string, isAsAsked: boolean])[] = [
    ['CKA_ID', key.backingKeyId === id.toString('hex')],
    ['CKA_CLASS', key.objectClass === 'CKO_SECRET_KEY'],
    ['CKA_KEY_TYPE', key.keyType === 'CKK_AES'],
    ['CKA_VALUE_LEN', key.keyBits === lengthBytes * 8 || (arrived === true && key.keyBits === null)],
    ['CKA_TOKEN', key.token],
    ['CKA_PRIVATE', key.private],
    ['CKA_SENSITIVE', key.sensitive],
    ['CKA_EXTRACTABLE', key.extractable === canBeGivenOn],
    ['CKA_WRAP_WITH_TRUSTED', key.wrapWithTrusted || !canBeGivenOn],
    ['CKA_MODIFIABLE', !key.modifiable],
    ...secretKeyUsageAttributes.map((name) => [name, key.usages.includes(name) === usages.includes(name)] as const),
  ];
  return checks.filter(([, isAsAsked]) => !isAsAsked).map(([name]) => name);
}

const yes = Buffer.from([1]);
const no = Buffer.from([0]);
/** Sensitive, not extractable, no token object. */
const unwrapped: readonly (readonly [name: string, value: Buffer])[] = [
  ['CKA_SENSITIVE', yes],
  ['CKA_EXTRACTABLE', no],
  ['CKA_TOKEN', no],
];
/** A CK_ATTRIBUTE: type, pointer, length, each of 8 bytes. */
const attributeBytes = 24;

/**
 * What a joining pair unwraps, on a token that holds to it: keys that leave only under a key that the security officer trusted.
 * Whoever has the PIN makes nothing else of what was wrapped for the pair while that is there.
 */
const taken: typeof unwrapped = [
  ['CKA_SENSITIVE', yes],
  ['CKA_WRAP_WITH_TRUSTED', yes],
];

/** The attributes that only the private half of a joining pair has. */
export function joiningPairAttributes({ wrapping }: VendorProfile): readonly Attribute[] {
  if (wrapping?.unwrapTemplate !== true || !wrapping.wrapWithTrusted) return [];
  return [{ type: constant('CKA_UNWRAP_TEMPLATE'), value: attributeArray(taken) }];
}

function attributeArray(attributes: typeof unwrapped): Buffer {
  const array = Buffer.alloc(attributes.length * attributeBytes);
  for (const [index, [name, value]] of attributes.entries()) {
    array.writeBigUInt64LE(BigInt(constant(name)), index * attributeBytes);
    array.writeBigUInt64LE(BigInt(koffi.address(value)), index * attributeBytes + 8);
    array.writeBigUInt64LE(BigInt(value.length), index * attributeBytes + 16);
  }
  return array;
}
