/**
 * The attributes of our key objects: what a key is generated with, what the token says of it afterwards, and whether
 * that is as strong as what was asked for.
 *
 * Source: PKCS#11 3.1, sections 4.8 (key objects) and 4.10 (secret key objects).
 */

import type { BackingKeyAttributes } from '../key-store.ts';
import type { VendorProfile } from '../vendor-profile.ts';
import { type Attribute, type Cryptoki, constant, constantName, type Handle, returnValueOf } from './cryptoki.ts';
import { type HostKeySpec, secretKeyUsageAttributes, type UsageRow } from './key-specs.ts';

/** Every label of ours begins so. Objects without it are somebody else's and are never used, listed or destroyed. */
export const labelPrefix = 'drawbridge:';

/** A `CK_ULONG` as the token returns it: 8 bytes in the machine's order, which is little-endian wherever Node.js 24 runs. */
export function ulong(value: Buffer | undefined): number | undefined {
  return value?.length === 8 ? Number(value.readBigUInt64LE(0)) : undefined;
}

/** The template of a secret key: a token object of ours, or (`id` is `null`) a throw-away session object for a probe. */
export function secretKeyTemplate(
  { row, usage, id, label }: { row: HostKeySpec; usage: UsageRow; id: Buffer | null; label: string },
  profile: VendorProfile,
): readonly Attribute[] {
  const flag = (name: string, value: boolean): Attribute => ({ type: constant(name), value });
  return [
    { type: constant('CKA_CLASS'), value: constant(row.objectClass) },
    { type: constant('CKA_KEY_TYPE'), value: constant(row.keyType ?? '') },
    { type: constant('CKA_VALUE_LEN'), value: row.keyBits / 8 },
    flag('CKA_TOKEN', id !== null),
    flag('CKA_PRIVATE', true),
    flag('CKA_SENSITIVE', true),
    flag('CKA_EXTRACTABLE', false),
    ...(profile.attributes.nonModifiable ? [flag('CKA_MODIFIABLE', false)] : []),
    ...secretKeyUsageAttributes.map((name) => flag(name, usage.attributes.includes(name))),
    { type: constant('CKA_LABEL'), value: label },
    ...(id === null ? [] : [{ type: constant('CKA_ID'), value: id }]),
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
  const valueBytes = ulong(read('CKA_VALUE_LEN'));
  return {
    // The branded type is made by `parseBackingKeyId` from 32 hexadecimal digits; a `CKA_ID` of 16 bytes is just that.
    backingKeyId: (read('CKA_ID') ?? Buffer.alloc(0)).toString('hex') as BackingKeyAttributes['backingKeyId'],
    label: read('CKA_LABEL')?.toString('utf8') ?? '',
    objectClass: constantName('CKO', ulong(read('CKA_CLASS')) ?? 0xffff),
    keyType: constantName('CKK', ulong(read('CKA_KEY_TYPE')) ?? 0xffff),
    keyBits: valueBytes === undefined ? null : valueBytes * 8,
    token: isTrue('CKA_TOKEN'),
    private: isTrue('CKA_PRIVATE'),
    sensitive: isTrue('CKA_SENSITIVE'),
    alwaysSensitive: isTrue('CKA_ALWAYS_SENSITIVE'),
    extractable: isNotFalse('CKA_EXTRACTABLE'),
    neverExtractable: isTrue('CKA_NEVER_EXTRACTABLE'),
    modifiable: isNotFalse('CKA_MODIFIABLE'),
    local: isTrue('CKA_LOCAL'),
    usages: secretKeyUsageAttributes.filter(isTrue),
  };
}

/** Where a new key is not what was asked for, attribute by attribute; `[]` is as it must be. */
export function deviations(
  attributes: BackingKeyAttributes,
  { row, usage, id }: { row: HostKeySpec; usage: UsageRow; id: Buffer },
  profile: VendorProfile,
): readonly string[] {
  const unasked = attributes.usages.filter((name) => !usage.attributes.includes(name));
  const denied = usage.attributes.filter((name) => !attributes.usages.includes(name));
  const checks: readonly (readonly [attribute: string, asAsked: boolean])[] = [
    ['CKA_CLASS', attributes.objectClass === row.objectClass],
    ['CKA_KEY_TYPE', attributes.keyType === row.keyType],
    ['CKA_VALUE_LEN', attributes.keyBits === row.keyBits],
    ['CKA_ID', attributes.backingKeyId === id.toString('hex')],
    ['CKA_TOKEN', attributes.token],
    ['CKA_PRIVATE', attributes.private],
    ['CKA_SENSITIVE', attributes.sensitive],
    ['CKA_ALWAYS_SENSITIVE', attributes.alwaysSensitive],
    ['CKA_EXTRACTABLE', !attributes.extractable],
    ['CKA_NEVER_EXTRACTABLE', attributes.neverExtractable],
    ['CKA_MODIFIABLE', !attributes.modifiable || !profile.attributes.nonModifiable],
    ['CKA_LOCAL', attributes.local],
    ...[...unasked, ...denied].map((name) => [name, false] as const),
  ];
  return checks
    .filter(([attribute, asAsked]) => !asAsked && !profile.attributes.notReadBack.includes(attribute))
    .map(([attribute]) => attribute);
}
