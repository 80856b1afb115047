/**
 * pkcs11js's class, with the calls that are made for each request done by `direct-functions.ts` where they can be.
 *
 * They mean what they mean there, errors included, and whatever is out of the ordinary is left to pkcs11js: a mechanism with another
 * parameter than GCM's, a template that was not prepared, a library whose functions cannot be called otherwise.
 *
 * Source: PKCS#11 3.1, sections 3.2 (CK_ATTRIBUTE, CK_MECHANISM) and 6.13.3 (CK_GCM_PARAMS); on 64-bit Linux, little-endian.
 */

import koffi from 'koffi';
import { type Attribute, constant, constantName, type Handle, type Mechanism, NativeCryptoki } from './cryptoki.ts';
import { type DirectFunctions, directFunctionsOf, handleNumber } from './direct-functions.ts';
import { FixedMemory } from './fixed-memory.ts';

const ok = constant('CKR_OK');
const gcmType = constant('CK_PARAMS_GCM');
/** A CK_ATTRIBUTE: type, pointer, length, each of 8 bytes. So is a CK_MECHANISM. */
const attributeBytes = 24;
const ulongBytes = 8;

/** Of a GCM call: the parameter, then the additional data. */
const gcmAt = attributeBytes;
const gcmBytes = 6 * ulongBytes;
const aadAt = gcmAt + gcmBytes;
/** What binds a ciphertext to its key has some 100 bytes, with an encryption context some hundreds. */
const maxAadBytes = 4096;

/** As `calls/secret-calls.ts` makes it; pkcs11js has no type for it that it checks. */
interface GcmParameter {
  readonly type: number;
  readonly iv: Buffer;
  readonly ivBits: number;
  readonly aad: Buffer;
  readonly tagBits: number;
}

interface PreparedTemplate {
  readonly attributes: FixedMemory;
  readonly count: number;
  /** What the attributes point to lives as long as they do. */
  readonly values: FixedMemory;
}

const preparedTemplates = new WeakMap<readonly Attribute[], PreparedTemplate>();

/**
 * The same template, of which `C_UnwrapKey` knows from now on what it is in bytes. For one with numbers and flags alone that is used
 * again and again, and never changed.
 */
export function prepared(template: readonly Attribute[]): readonly Attribute[] {
  const values = new FixedMemory(template.length * ulongBytes);
  const attributes = new FixedMemory(template.length * attributeBytes);
  for (const [index, { type, value }] of template.entries()) {
    if (typeof value !== 'number' && typeof value !== 'boolean')
      throw new TypeError('a prepared template has numbers and flags alone');
    values.bytes.writeBigUInt64LE(BigInt(value), index * ulongBytes);
    const at = index * attributeBytes;
    attributes.bytes.writeBigUInt64LE(BigInt(type), at);
    attributes.bytes.writeBigUInt64LE(BigInt(values.address + index * ulongBytes), at + ulongBytes);
    attributes.bytes.writeBigUInt64LE(BigInt(typeof value === 'boolean' ? 1 : ulongBytes), at + 2 * ulongBytes);
  }
  preparedTemplates.set(template, { attributes, count: template.length, values });
  return template;
}

export class DirectCryptoki extends NativeCryptoki {
  #path: string | undefined;
  /** `undefined` until the first call that could use them, when the library is initialised. */
  #functions: DirectFunctions | null | undefined;
  readonly #mechanism = new FixedMemory(attributeBytes);
  /** Mechanism, parameter and AAD of a GCM call. */
  readonly #gcm = new FixedMemory(aadAt + maxAadBytes);
  /** Its IV is where the caller has it: there are HSMs that take none and write theirs in its place, and the caller has to see that. */
  #iv: Buffer | undefined;
  readonly #outputBytes = new FixedMemory(ulongBytes);
  /** The handle of what was unwrapped. */
  readonly #unwrapped = new FixedMemory(ulongBytes);

  constructor() {
    super();
    const { bytes, address } = this.#gcm;
    bytes.writeBigUInt64LE(BigInt(address + gcmAt), ulongBytes);
    bytes.writeBigUInt64LE(BigInt(gcmBytes), 2 * ulongBytes);
    bytes.writeBigUInt64LE(BigInt(address + aadAt), gcmAt + 3 * ulongBytes);
  }

  override load(path: string): void {
    super.load(path);
    this.#path = path;
  }

  override C_UnwrapKey(
    session: Handle,
    mechanism: Mechanism,
    unwrappingKey: Handle,
    wrappedKey: Buffer,
    template: readonly Attribute[],
  ): Handle {
    const functions = this.#direct();
    const known = preparedTemplates.get(template);
    const native = this.#mechanismOf(mechanism);
    if (functions === null || known === undefined || native === null)
      return super.C_UnwrapKey(session, mechanism, unwrappingKey, wrappedKey, template);
    const [inSession, key] = [handleNumber(session), handleNumber(unwrappingKey)];
    const { attributes, count } = known;
    const { length } = wrappedKey;
    const { address } = this.#unwrapped;
    assertOk(functions.unwrapKey(inSession, native, key, wrappedKey, length, attributes.address, count, address));
    // Memory of its own: a piece of Node.js's pool would keep 64 KB for as long as the key is kept.
    const handle = Buffer.alloc(ulongBytes);
    handle.set(this.#unwrapped.bytes);
    return handle;
  }

  override C_DestroyObject(session: Handle, object: Handle): void {
    const functions = this.#direct();
    if (functions === null) super.C_DestroyObject(session, object);
    else assertOk(functions.destroyObject(handleNumber(session), handleNumber(object)));
  }

  override C_EncryptInit(session: Handle, mechanism: Mechanism, key: Handle): void {
    const functions = this.#direct();
    const native = this.#mechanismOf(mechanism);
    if (functions === null || native === null) super.C_EncryptInit(session, mechanism, key);
    else assertOk(functions.encryptInit(handleNumber(session), native, handleNumber(key)));
  }

  override C_Encrypt(session: Handle, input: Buffer, output: Buffer): number {
    const functions = this.#direct();
    if (functions === null) return super.C_Encrypt(session, input, output);
    const outputBytes = this.#roomOf(output);
    assertOk(functions.encrypt(handleNumber(session), input, input.length, output, outputBytes.address));
    return outputBytes.bytes.readUInt32LE();
  }

  override C_DecryptInit(session: Handle, mechanism: Mechanism, key: Handle): void {
    const functions = this.#direct();
    const native = this.#mechanismOf(mechanism);
    if (functions === null || native === null) super.C_DecryptInit(session, mechanism, key);
    else assertOk(functions.decryptInit(handleNumber(session), native, handleNumber(key)));
  }

  override C_Decrypt(session: Handle, input: Buffer, output: Buffer): number {
    const functions = this.#direct();
    if (functions === null) return super.C_Decrypt(session, input, output);
    const outputBytes = this.#roomOf(output);
    assertOk(functions.decrypt(handleNumber(session), input, input.length, output, outputBytes.address));
    return outputBytes.bytes.readUInt32LE();
  }

  override C_SignInit(session: Handle, mechanism: Mechanism, key: Handle): void {
    const functions = this.#direct();
    const native = this.#mechanismOf(mechanism);
    if (functions === null || native === null) super.C_SignInit(session, mechanism, key);
    else assertOk(functions.signInit(handleNumber(session), native, handleNumber(key)));
  }

  override C_Sign(session: Handle, input: Buffer, output: Buffer): number {
    const functions = this.#direct();
    if (functions === null) return super.C_Sign(session, input, output);
    const outputBytes = this.#roomOf(output);
    assertOk(functions.sign(handleNumber(session), input, input.length, output, outputBytes.address));
    return outputBytes.bytes.readUInt32LE();
  }

  #direct(): DirectFunctions | null {
    if (this.#functions === undefined)
      this.#functions = this.#path === undefined ? null : directFunctionsOf(this.#path);
    return this.#functions;
  }

  /** Where the bytes of a mechanism are, valid until the next one; `null` for one that is left to pkcs11js. */
  #mechanismOf({ mechanism, parameter }: Mechanism): number | null {
    if (parameter === undefined) {
      this.#mechanism.bytes.writeUInt32LE(mechanism);
      return this.#mechanism.address;
    }
    if (!isGcm(parameter)) return null;
    const { iv, ivBits, aad, tagBits } = parameter;
    if (aad.length > maxAadBytes) return null;
    const native = this.#gcm.bytes;
    // Valid as long as the IV is: to tell an address, Node.js has V8 take a short array out of its heap for good.
    if (iv !== this.#iv) {
      native.writeBigUInt64LE(BigInt(koffi.address(iv)), gcmAt);
      this.#iv = iv;
    }
    native.writeUInt32LE(mechanism);
    native.writeUInt32LE(iv.length, gcmAt + ulongBytes);
    native.writeUInt32LE(ivBits, gcmAt + 2 * ulongBytes);
    native.writeUInt32LE(aad.length, gcmAt + 4 * ulongBytes);
    native.writeUInt32LE(tagBits, gcmAt + 5 * ulongBytes);
    native.set(aad, aadAt);
    return this.#gcm.address;
  }

  /** All of its bytes, since a call that failed may have left `CK_UNAVAILABLE_INFORMATION`: half of that would be room without end. */
  #roomOf(output: Buffer): FixedMemory {
    this.#outputBytes.bytes.writeUInt32LE(output.length);
    this.#outputBytes.bytes.writeUInt32LE(0, ulongBytes / 2);
    return this.#outputBytes;
  }
}

function isGcm(parameter: object): parameter is GcmParameter {
  return 'type' in parameter && parameter.type === gcmType;
}

/** Throws what pkcs11js throws. */
function assertOk(code: number): void {
  if (code !== ok) throw new Error(`${constantName('CKR', code)}:${code}`);
}
