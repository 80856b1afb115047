/**
 * Wrapping a session object under a domain key, and unwrapping what was wrapped: how a key lives outside of the token.
 *
 * What is unwrapped is a session object, sensitive and not extractable, with the usages of its KeyUsage and no others. A blob says
 * nothing of that itself: the same bytes unwrap as an AES key, as an HMAC key, or on SoftHSM2 2.6.1 a private key as a secret that can be
 * read. So every flag is named (tokens differ in what they take for unsaid), and the object is read back before anybody uses it: its
 * protection, type and usages, and of a pair the modulus or the curve, against what the record says beside the blob. NSS softoken gives a
 * private key the usages that it thinks right, whatever it was told; there the record alone says what the key is for, and
 * calls go by that.
 *
 * Where the token holds to `CKA_UNWRAP_TEMPLATE`, the domain key itself refuses to unwrap into anything else. The object is read back
 * all the same, and each time, not once for each blob: it costs SoftHSM2 2.4 of 40 µs, and nothing says of a device that what it did
 * once it does again, after another of its group has taken over or its firmware was replaced. What is saved is taking the answer
 * apart, when it is to the last byte the one that was right.
 *
 * Source: RFC 5649; PKCS#11 3.1, sections 5.18.2 and 5.18.3 (C_WrapKey, C_UnwrapKey), 6.13.9 (AES key wrap).
 */

import type { VendorProfile } from '../../vendor-profile.ts';
import { blobFormat, type WrappedKeyFields } from '../../wrapped-key.ts';
import { AttributeReader } from './attribute-reader.ts';
import { type Attribute, constant, type Handle, type Mechanism, returnValueOf } from './cryptoki.ts';
import { curveOfParams } from './curves.ts';
import { prepared } from './direct-cryptoki.ts';
import { HostFailure } from './failures.ts';
import { importedKeyTemplate, type KeyOutline, readAttribute, ulong } from './key-attributes.ts';
import type { KeyFacts } from './object-facts.ts';
import {
  type HostKeySpec,
  privateKeyUsageAttributes,
  secretKeyUsageAttributes,
  type UsageRow,
  usageRow,
} from './pkcs11-key-specs.ts';
import type { TokenSession } from './token-session.ts';

/** An RSA-4096 private key has 2,384 bytes of blob. */
const maxBlobBytes = 8 * 1024;
/** RFC 5649: the integrity check value, and one block at least. */
const blockBytes = 8;

/** What a token says of a key that it does not wrap, and why that is. */
const whyKept: readonly (readonly [code: string, why: string])[] = [
  ['CKR_KEY_UNEXTRACTABLE', 'its CKA_EXTRACTABLE is false'],
  ['CKR_KEY_NOT_WRAPPABLE', 'no key may wrap it'],
];

/** What a wrapped key is for, as its record says. */
export interface WrappedKind {
  readonly row: HostKeySpec;
  readonly usage: UsageRow;
}

export interface Unwrapped {
  readonly handle: Handle;
  /** What calls go by, whatever usages the token has given the object. */
  readonly facts: KeyFacts;
}

/** What is the same for all wrapped keys of one KeySpec and KeyUsage. */
interface Kind extends WrappedKind {
  readonly facts: KeyFacts;
  /** `null` where it has the public key in it. */
  readonly template: readonly Attribute[] | null;
  /** Which attribute tells the size: the length, the modulus or the curve. */
  readonly size: string;
  readonly usages: readonly string[];
  readonly reader: AttributeReader;
  /** Is what the token tells of a key the same for all of them? Of RSA keys it is not: each has a modulus of its own. */
  readonly isTheSameForAll: boolean;
}

interface WrappingMechanism {
  readonly mechanism: Mechanism;
  readonly wrapStep: string;
  readonly unwrapStep: string;
}

export class KeyWrapping {
  readonly #session: TokenSession;
  readonly #profile: VendorProfile;
  /** By KeySpec and KeyUsage. */
  readonly #kinds = new Map<string, Map<string, Kind>>();
  readonly #way: WrappingMechanism | null;

  constructor(session: TokenSession, profile: VendorProfile) {
    this.#session = session;
    this.#profile = profile;
    const name = profile.wrapping?.mechanism;
    this.#way =
      name === undefined
        ? null
        : {
            mechanism: { mechanism: constant(name) },
            wrapStep: `${name} C_WrapKey`,
            unwrapStep: `${name} C_UnwrapKey`,
          };
  }

  /**
   * The blob of a key that may leave wrapped. Throws `HostFailure` (`unsupported`) for one that the token keeps from that, and other
   * errors of the library as they are.
   */
  wrap(domainKey: Handle, object: Handle): Buffer {
    const { mechanism, wrapStep } = this.#mechanism();
    const output = Buffer.alloc(1 + maxBlobBytes);
    this.#session.step = wrapStep;
    const { cryptoki, handle } = this.#session;
    let bytes: number;
    try {
      bytes = cryptoki.C_WrapKey(handle, mechanism, domainKey, object, output.subarray(1));
    } catch (error) {
      const why = whyKept.find(([code]) => constant(code) === returnValueOf(error));
      if (why === undefined) throw error;
      throw new HostFailure('unsupported', `the token does not wrap the key: ${why[1]} (${why[0]})`, { cause: error });
    }
    output[0] = blobFormat;
    return Buffer.from(output.subarray(0, 1 + bytes));
  }

  /**
   * The session object of a blob, held to what its record says. Throws `HostFailure` (`keyUnavailable`) for a blob that is damaged or
   * of another domain key, or is another key than is said; and errors of the library as they are.
   */
  unwrap(domainKey: Handle, { keySpec, keyUsage, publicKey, blob }: Omit<WrappedKeyFields, 'domainKeyId'>): Unwrapped {
    const kind = this.#kindOf(keySpec, keyUsage);
    if (blob[0] !== blobFormat)
      throw new HostFailure('keyUnavailable', `the wrapped key has the format ${blob[0]}, which this version lacks`);
    const wrapped = blob.subarray(1);
    // Not every library looks: NSS softoken 3.87 says CKR_HOST_MEMORY of an empty one, as of a host that has none left.
    if (wrapped.length < 2 * blockBytes || wrapped.length % blockBytes !== 0) throw damagedBlob();
    const handle = this.#unwrap(domainKey, wrapped, kind.template ?? this.#template(kind, publicKey));
    let isRight = false;
    try {
      const wrong = this.#wrongOf(handle, kind, publicKey);
      if (wrong.length > 0)
        throw new HostFailure(
          'keyUnavailable',
          `what was unwrapped is not the ${keySpec} key for ${keyUsage} that its record says: ${wrong.join(', ')}`,
        );
      isRight = true;
      return { facts: kind.facts, handle };
    } finally {
      if (!isRight) destroySessionObject(this.#session, handle);
    }
  }

  /** The same key as a token object, with the usages that the token gives it. Throws errors of the library as they are. */
  unwrapAs(
    domainKey: Handle,
    { keySpec, keyUsage, publicKey, blob }: Omit<WrappedKeyFields, 'domainKeyId'>,
    object: { readonly id: Buffer; readonly label: string },
  ): Handle {
    const { mechanism, unwrapStep } = this.#mechanism();
    const { cryptoki, handle } = this.#session;
    const template = this.#template(usageRow(keySpec, keyUsage), publicKey, object);
    this.#session.step = unwrapStep;
    return cryptoki.C_UnwrapKey(handle, mechanism, domainKey, Buffer.from(blob.subarray(1)), template);
  }

  #mechanism(): WrappingMechanism {
    if (this.#way !== null) return this.#way;
    throw new HostFailure('unsupported', 'the vendor profile names no mechanism for wrapped keys (`wrapping`)');
  }

  #unwrap(domainKey: Handle, wrapped: Buffer, template: readonly Attribute[]): Handle {
    const { mechanism, unwrapStep } = this.#mechanism();
    const { cryptoki, handle } = this.#session;
    this.#session.step = unwrapStep;
    try {
      return cryptoki.C_UnwrapKey(handle, mechanism, domainKey, wrapped, template);
    } catch (error) {
      if (this.#session.meaningOf(error) !== 'callersFault') throw error;
      throw damagedBlob(error);
    }
  }

  #template(
    { row, usage }: WrappedKind,
    publicKey: Buffer,
    object: Pick<KeyOutline, 'id' | 'label'> = { id: null, label: null },
  ): readonly Attribute[] {
    const attribute = this.#pointAttributeOf(row);
    // The bare point: NSS softoken 3.87 takes whatever stands here for the public key when it wraps the key again, and no other library
    // opens a private key that has the point inside an OCTET STRING.
    const point =
      attribute === null || row.curve === null
        ? []
        : [{ type: constant(attribute), value: publicKey.subarray(-row.curve.pointBytes) }];
    return importedKeyTemplate({ row, usage, ...object }, this.#profile, point);
  }

  /** What the template of a private key on a curve has its public point in; `null` where it has none. */
  #pointAttributeOf({ curve }: HostKeySpec): string | null {
    return curve === null ? null : (this.#profile.wrapping?.publicPointAttribute ?? null);
  }

  #kindOf(keySpec: string, keyUsage: string): Kind {
    let kind = this.#kinds.get(keySpec)?.get(keyUsage);
    if (kind === undefined) {
      const { row, usage } = usageRow(keySpec, keyUsage);
      const isSecret = row.objectClass === 'CKO_SECRET_KEY';
      const size = isSecret ? 'CKA_VALUE_LEN' : row.curve === null ? 'CKA_MODULUS' : 'CKA_EC_PARAMS';
      const usages = isSecret ? secretKeyUsageAttributes : privateKeyUsageAttributes;
      const names = ['CKA_KEY_TYPE', ...flags, ...usages];
      const hasPoint = this.#pointAttributeOf(row) !== null;
      const { cryptoki } = this.#session;
      kind = {
        ...{ row, usage, size, usages },
        facts: factsOf({ row, usage }),
        template: hasPoint ? null : prepared(this.#template({ row, usage }, Buffer.alloc(0))),
        reader: isSecret
          ? new AttributeReader(cryptoki, [...names, size])
          : new AttributeReader(cryptoki, names, [size]),
        isTheSameForAll: size !== 'CKA_MODULUS',
      };
      const ofKeySpec = this.#kinds.get(keySpec) ?? new Map<string, Kind>();
      this.#kinds.set(keySpec, ofKeySpec.set(keyUsage, kind));
    }
    return kind;
  }

  /** The attributes that are not as the record says. */
  #wrongOf(object: Handle, kind: Kind, publicKey: Buffer): readonly string[] {
    const { row, usage, size, usages, reader } = kind;
    this.#session.step = 'C_GetAttributeValue';
    const isAnswered = reader.ask(this.#session.handle, object);
    if (isAnswered && reader.isFamiliar()) return [];
    const read = isAnswered ? reader.values() : this.#read(object, ['CKA_KEY_TYPE', size, ...flags, ...usages]);
    const isTrue = (name: string) => read.get(name)?.[0] === 1;
    const takesUsages = this.#profile.imports.unwraps.some((keyType) => keyType === row.keyType);
    const wrongUsages = usages.filter((name) => isTrue(name) !== usage.attributes.includes(name));
    const wrong = [
      ...(ulong(read.get('CKA_KEY_TYPE')) === constant(row.keyType ?? '') ? [] : ['CKA_KEY_TYPE']),
      ...(isOfSize(read.get(size), row, publicKey) ? [] : [size]),
      ...flags.filter((name) => read.get(name)?.[0] !== (weakFlags.includes(name) ? 0 : 1)),
      ...(takesUsages ? wrongUsages : wrongUsages.filter((name) => usage.attributes.includes(name))),
    ];
    if (isAnswered && kind.isTheSameForAll && wrong.length === 0) reader.remember();
    return wrong;
  }

  /** What the reader leaves. What a token does not know is read one by one. */
  #read(object: Handle, names: readonly string[]): ReadonlyMap<string, Buffer | undefined> {
    const { cryptoki, handle } = this.#session;
    try {
      const template = names.map((name) => ({ type: constant(name) }));
      const values = cryptoki.C_GetAttributeValue(handle, object, template);
      return new Map(names.map((name, index) => [name, values[index]?.value]));
    } catch (error) {
      if (returnValueOf(error) !== constant('CKR_ATTRIBUTE_TYPE_INVALID')) throw error;
      return new Map(names.map((name) => [name, readAttribute(cryptoki, handle, object, name)]));
    }
  }
}

function damagedBlob(cause?: unknown): HostFailure {
  const message = 'the wrapped key is damaged, or was wrapped under another domain key';
  return new HostFailure('keyUnavailable', message, { cause });
}

/** What calls go by, whatever usages the token has given the object. */
export function factsOf({ row, usage }: WrappedKind): KeyFacts {
  return {
    keyType: constant(row.keyType ?? ''),
    usages: new Set(usage.attributes),
    curve: row.curve ?? undefined,
    parameterSet: undefined,
  };
}

const flags = ['CKA_TOKEN', 'CKA_PRIVATE', 'CKA_SENSITIVE', 'CKA_EXTRACTABLE'];
const weakFlags = ['CKA_TOKEN', 'CKA_EXTRACTABLE'];

/** A secret's length is not always told (SoftHSM2 says 0), and HMAC_224 may have grown to whole blocks of 8 bytes. */
function isOfSize(value: Buffer | undefined, { curve, objectClass, keyBits }: HostKeySpec, publicKey: Buffer): boolean {
  if (objectClass === 'CKO_SECRET_KEY') {
    const bytes = ulong(value);
    return bytes === undefined || bytes === 0 || bytes === keyBits / 8 || bytes === Math.ceil(keyBits / 64) * 8;
  }
  if (value === undefined || value.length === 0) return false;
  if (curve !== null) return curveOfParams(value) === curve;
  const modulus = value[0] === 0 ? value.subarray(1) : value;
  return modulus.length * 8 === keyBits && publicKey.includes(modulus);
}

/** Destroys a session object, or finds it gone with its session. */
export function destroySessionObject(session: TokenSession, object: Handle): void {
  try {
    session.cryptoki.C_DestroyObject(session.handle, object);
  } catch (error) {
    // Whatever lost it, or its session, ended it.
    if (returnValueOf(error) === undefined) throw error;
  }
}
