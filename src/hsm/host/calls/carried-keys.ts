/**
 * The calls that carry a key of a domain from one HSM into another: a domain key, or a service key.
 *
 * The newcomer makes an RSA pair in itself (`generateJoiningPair`), which unwraps and does nothing else. A member wraps the key under its
 * public half (`give`), the newcomer unwraps it (`receive`) with the attributes that such a key has where it was made. In between it
 * is OAEP's ciphertext. Nothing in that says whose key it is, since whoever knows a public key can wrap under it; so there comes along with
 * each key what it does (`CarriedKey.proof`), from where the newcomer's operator had it compared, and what does something else is not kept.
 *
 *     MAC key       its HMAC-SHA-256 of `proofInput`
 *     AES key       IV and ciphertext of `proofInput`, with the same as additional data
 *     domain key    the HMAC-SHA-256 of `proofInput` by a key, and that key wrapped under it
 *
 * Where the token holds to `CKA_WRAP_WITH_TRUSTED`, a member gives nothing away under a public key that its security officer did not
 * trust: an object with `CKA_TRUSTED`, made by him and no one else, which has the same modulus and exponent. Elsewhere the public key becomes a
 * session object for as long as the call lasts. A token that does not let go of what is not extractable says so in `C_WrapKey`.
 *
 * Source: PKCS#11 3.1, sections 5.18.2, 5.18.3, 6.1.8 (RSA PKCS #1 OAEP), 4.7 (CKA_TRUSTED, CKA_WRAP_WITH_TRUSTED); RFC 8017.
 */

import { createHmac, publicEncrypt, randomBytes, timingSafeEqual } from 'node:crypto';
import { type CarriedKey, joiningKeyLabelPrefix, proofInput } from '../../key-carrying.ts';
import { type BackingKeyAttributes, domainKeyLabelPrefix, serviceKeyLabelPrefix } from '../../key-store.ts';
import type { VendorProfile } from '../../vendor-profile.ts';
import type { ChangeLock } from '../token/change-lock.ts';
import { type Attribute, constant, type Handle, returnValueOf } from '../token/cryptoki.ts';
import { domainKeyDeviations, domainKeyTemplate, joiningPairAttributes } from '../token/domain-key.ts';
import { HostFailure } from '../token/failures.ts';
import { importDeviations, importedKeyTemplate, readAttribute, readKeyAttributes } from '../token/key-attributes.ts';
import type { KeyTable } from '../token/key-table.ts';
import { destroySessionObject, KeyWrapping } from '../token/key-wrapping.ts';
import { keySpecRow, usageRow } from '../token/pkcs11-key-specs.ts';
import { returnValueName } from '../token/return-values.ts';
import type { TokenSession } from '../token/token-session.ts';
import { type KeyCalls, leavingOf } from './key-calls.ts';
import { publicKeyValues } from './key-material.ts';
import { oaepAlgorithms } from './oaep.ts';
import { callsWith, publicKeyOf, type TrialResult, trialText, unusable } from './pair-trials.ts';
import type { SecretCalls } from './secret-calls.ts';

const joiningKeySpec = 'RSA_3072';
const macKey = { keySpec: 'HMAC_256', keyUsage: 'GENERATE_VERIFY_MAC' } as const;
const macAlgorithm = 'HMAC_SHA_256';
const macBytes = 32;
const ivBytes = 12;
/** How tokens refuse to let go of a key, or have no `C_WrapKey` for it. */
const wrapRefusals = [
  'CKR_KEY_UNEXTRACTABLE',
  'CKR_KEY_NOT_WRAPPABLE',
  'CKR_KEY_FUNCTION_NOT_PERMITTED',
  'CKR_MECHANISM_INVALID',
  'CKR_MECHANISM_PARAM_INVALID',
  'CKR_FUNCTION_NOT_SUPPORTED',
  'CKR_ARGUMENTS_BAD',
];

type KeyKind = Pick<CarriedKey, 'label' | 'keySpec' | 'keyUsage'>;

interface Parts {
  readonly secrets: SecretCalls;
  readonly keys: KeyCalls;
  readonly lock: ChangeLock;
  readonly profile: VendorProfile;
}

export class CarriedKeyCalls {
  readonly #session: TokenSession;
  readonly #table: KeyTable;
  readonly #parts: Parts;

  constructor(session: TokenSession, table: KeyTable, parts: Parts) {
    this.#session = session;
    this.#table = table;
    this.#parts = parts;
  }

  /** Makes a joining pair, which has to unwrap once; else it is destroyed again. @returns SubjectPublicKeyInfo, DER. */
  generateJoiningPair(id: Buffer, label: string, oaep: string): Buffer {
    const { keys, profile } = this.#parts;
    assertPrefix(label, [joiningKeyLabelPrefix]);
    const { publicKey } = keys.generateAs(
      {
        ...{ id, label, keySpec: joiningKeySpec, keyUsage: 'ENCRYPT_DECRYPT', row: keySpecRow(joiningKeySpec) },
        usage: { attributes: ['CKA_UNWRAP'], publicAttributes: [], algorithms: {} },
        further: joiningPairAttributes(profile),
      },
      (handle, spki) => this.#tryPair(handle, spki, oaep),
    );
    if (publicKey === null) throw new HostFailure('internal', 'a pair has a public key');
    return publicKey;
  }

  /** Wraps a key of the domain under a public key. @param trustedId Of the object that the security officer trusted, where that matters. */
  give(id: Buffer, { publicKey, trustedId, oaep }: { publicKey: Buffer; trustedId: Buffer; oaep: string }): Buffer {
    const { secrets, keys, profile } = this.#parts;
    const { mechanism } = oaepOf(oaep);
    assertPrefix(keys.describe(id).label, [domainKeyLabelPrefix, serviceKeyLabelPrefix]);
    let wrapped: Buffer = Buffer.alloc(0);
    const { cryptoki } = this.#session;
    const needsTrust = profile.wrapping?.wrapWithTrusted === true;
    secrets.withKey(id, () => {
      const { handle } = this.#session;
      const [object] = this.#table.find(id);
      if (object === undefined) throw this.#table.missing(id);
      const under = needsTrust ? this.#trusted(trustedId, publicKey) : this.#sessionPublicKey(publicKey);
      try {
        const output = Buffer.alloc(1024);
        this.#session.step = 'CKM_RSA_PKCS_OAEP C_WrapKey';
        wrapped = output.subarray(0, cryptoki.C_WrapKey(handle, mechanism, under, object.handle, output));
      } catch (error) {
        throw whyNotGiven(error) ?? error;
      } finally {
        if (!needsTrust) destroySessionObject(this.#session, under);
      }
    });
    return wrapped;
  }

  /**
   * Unwraps a key of the domain, has it do what its proof says, and keeps it as a token object with its id and label where `keep` is true. One
   * that is there already is held to the same and stays. Throws `HostFailure`: `ciphertextInvalid` for what was not wrapped for this pair,
   * `materialInvalid` for another key.
   */
  receive(
    key: CarriedKey,
    { joiningId, wrapped, oaep, keep }: { joiningId: Buffer; wrapped: Buffer; oaep: string; keep: boolean },
  ): void {
    const { secrets, lock, keys } = this.#parts;
    assertPrefix(key.label, [domainKeyLabelPrefix, serviceKeyLabelPrefix]);
    if (this.#isThere(key)) return;
    secrets.withKey(joiningId, (pair) => {
      if (!keys.describe(joiningId).label.startsWith(joiningKeyLabelPrefix))
        throw new HostFailure('keyUnavailable', 'the key is not a joining pair');
      const trial = this.#unwrap(this.#template(key, null), { pair, wrapped, oaep });
      try {
        this.#prove(trial, key);
      } finally {
        destroySessionObject(this.#session, trial);
      }
      if (keep)
        lock.changing(() => {
          let isWhole = false;
          try {
            const kept = this.#unwrap(this.#template(key, idOf(key)), { pair, wrapped, oaep });
            this.#assertProtected(key, kept);
            this.#prove(kept, key);
            isWhole = true;
          } finally {
            if (!isWhole) keys.discard(idOf(key));
          }
        });
    });
  }

  /** Is it there, and is it this key? Throws `HostFailure` (`materialInvalid`) where the object is another one. */
  #isThere(key: CarriedKey): boolean {
    const id = idOf(key);
    return this.#session.run(() => {
      const found = this.#table.findWithPublicKeys(id);
      const [object, another] = found;
      if (object === undefined) return false;
      if (another !== undefined || object.label !== key.label)
        throw new HostFailure('materialInvalid', `the token has another object with the CKA_ID of ${key.label}`);
      this.#assertProtected(key, object.handle);
      this.#prove(object.handle, key);
      return true;
    });
  }

  #unwrap(
    template: readonly Attribute[],
    { pair, wrapped, oaep }: { pair: Handle; wrapped: Buffer; oaep: string },
  ): Handle {
    const { cryptoki, handle } = this.#session;
    this.#session.step = 'CKM_RSA_PKCS_OAEP C_UnwrapKey';
    try {
      return cryptoki.C_UnwrapKey(handle, oaepOf(oaep).mechanism, pair, wrapped, template);
    } catch (error) {
      if (this.#session.meaningOf(error) !== 'callersFault') throw error;
      const message = 'a key cannot be unwrapped: it is damaged, or was wrapped for another HSM';
      throw new HostFailure('ciphertextInvalid', message, { cause: error });
    }
  }

  #template({ label, keySpec, keyUsage }: KeyKind, id: Buffer | null): readonly Attribute[] {
    const { profile } = this.#parts;
    if (label.startsWith(domainKeyLabelPrefix)) return domainKeyTemplate({ id, label, arrives: true }, profile);
    return importedKeyTemplate({ ...usageRow(keySpec, keyUsage), id, label, ...leavingOf(label, profile) }, profile);
  }

  #assertProtected(key: CarriedKey, object: Handle): void {
    const { label, keySpec, keyUsage } = key;
    const id = idOf(key);
    const { profile } = this.#parts;
    const { cryptoki, handle } = this.#session;
    this.#session.step = 'C_GetAttributeValue';
    const attributes: BackingKeyAttributes = readKeyAttributes(cryptoki, handle, object);
    const asked = { ...usageRow(keySpec, keyUsage), id, ...leavingOf(label, profile), isSizeKnown: true };
    const found = label.startsWith(domainKeyLabelPrefix)
      ? { kind: [], protection: domainKeyDeviations(attributes, { id, arrived: true }, profile) }
      : importDeviations(attributes, asked, profile);
    const wrong = [...found.kind, ...found.protection];
    if (wrong.length > 0) throw new HostFailure('internal', `${label} is not as asked: ${wrong.join(', ')}`);
  }

  /** Throws `HostFailure` (`materialInvalid`) for a key that does not do what the proof says. */
  #prove(object: Handle, key: CarriedKey): void {
    const { profile } = this.#parts;
    const { proof, label, keySpec } = key;
    const input = proofInput(key);
    let isRight: boolean;
    try {
      if (label.startsWith(domainKeyLabelPrefix)) {
        const fields = { ...macKey, publicKey: Buffer.alloc(0), blob: proof.subarray(macBytes) };
        const { handle } = new KeyWrapping(this.#session, profile).unwrap(object, fields);
        try {
          isRight = this.#macsAs(handle, input, proof.subarray(0, macBytes));
        } finally {
          destroySessionObject(this.#session, handle);
        }
      } else if (keySpec === macKey.keySpec) isRight = this.#macsAs(object, input, proof);
      else isRight = this.#decryptsAs(object, input, proof);
    } catch (error) {
      const isOther = error instanceof HostFailure && ['ciphertextInvalid', 'keyUnavailable'].includes(error.failure);
      if (!isOther) throw error;
      isRight = false;
    }
    if (!isRight)
      throw new HostFailure('materialInvalid', `what came as ${label} is another key than the invitation says`);
  }

  #macsAs(object: Handle, data: Buffer, mac: Buffer): boolean {
    return this.#withCalls(object, (id, secrets) => isSame(secrets.mac(id, macAlgorithm, data), mac));
  }

  #decryptsAs(object: Handle, text: Buffer, proof: Buffer): boolean {
    const [iv, ciphertext] = [proof.subarray(0, ivBytes), proof.subarray(ivBytes)];
    return this.#withCalls(object, (id, secrets) => isSame(secrets.decrypt(id, text, iv, ciphertext), text));
  }

  #withCalls(handle: Handle, work: (id: Buffer, secrets: SecretCalls) => boolean): boolean {
    const id = randomBytes(16);
    const { secrets } = callsWith(this.#session, this.#parts.profile, { id, handle });
    try {
      return work(id, secrets);
    } finally {
      secrets.wipe();
    }
  }

  /** What OpenSSL wraps for the pair comes out as it went in. */
  #tryPair(pair: Handle, spki: Buffer, oaep: string): TrialResult {
    const publicKey = publicKeyOf(spki);
    if (publicKey === undefined) return unusable;
    const value = randomBytes(macBytes);
    const wrapped = publicEncrypt({ key: publicKey, oaepHash: oaepOf(oaep).hash }, value);
    const template = this.#template({ ...macKey, label: `${serviceKeyLabelPrefix}trial` }, null);
    const object = this.#unwrap(template, { pair, wrapped, oaep });
    try {
      const mac = createHmac('sha256', value).update(trialText).digest();
      return this.#macsAs(object, trialText, mac) ? null : `${oaep}: the token unwraps another key than was wrapped`;
    } finally {
      destroySessionObject(this.#session, object);
    }
  }

  /** The public key that the security officer trusted, if it is the one that is meant. */
  #trusted(id: Buffer, publicKey: Buffer): Handle {
    const { cryptoki, handle } = this.#session;
    const asked = publicKeyValues(publicKey, keySpecRow(joiningKeySpec));
    const isRight = (object: Handle): boolean =>
      readAttribute(cryptoki, handle, object, 'CKA_TRUSTED')?.[0] === 1 &&
      asked.every(({ type, value }) => {
        const [found] = cryptoki.C_GetAttributeValue(handle, object, [{ type }]);
        return Buffer.isBuffer(value) && found?.value?.equals(value) === true;
      });
    const found = this.#table.findWithPublicKeys(id).find((object) => isRight(object.handle));
    if (found !== undefined) return found.handle;
    throw new HostFailure(
      'unsupported',
      'the token lets its keys out under a public key alone that its security officer trusted (CKA_TRUSTED), and he did not trust this one',
    );
  }

  #sessionPublicKey(publicKey: Buffer): Handle {
    this.#session.step = 'C_CreateObject';
    return this.#session.cryptoki.C_CreateObject(this.#session.handle, [
      { type: constant('CKA_CLASS'), value: constant('CKO_PUBLIC_KEY') },
      { type: constant('CKA_KEY_TYPE'), value: constant('CKK_RSA') },
      ...publicKeyValues(publicKey, keySpecRow(joiningKeySpec)),
      { type: constant('CKA_TOKEN'), value: false },
      { type: constant('CKA_PRIVATE'), value: false },
      { type: constant('CKA_WRAP'), value: true },
    ]);
  }
}

function whyNotGiven(error: unknown): HostFailure | undefined {
  const code = returnValueOf(error);
  const name = code === undefined ? undefined : wrapRefusals.find((refusal) => constant(refusal) === code);
  if (name === undefined || code === undefined) return undefined;
  const message = `CKM_RSA_PKCS_OAEP C_WrapKey: ${returnValueName(code)}: the token does not let the key go to another HSM`;
  return new HostFailure('unsupported', message, { cause: error });
}

function oaepOf(name: string) {
  const algorithm = oaepAlgorithms.get(name);
  if (algorithm === undefined) throw new HostFailure('unsupported', `there is no ${name}`);
  return algorithm;
}

function assertPrefix(label: string, prefixes: readonly string[]): void {
  if (prefixes.some((prefix) => label.startsWith(prefix))) return;
  throw new HostFailure('keyUnavailable', `\`${label}\` is no key of a domain (${prefixes.join('…, ')}…)`);
}

function idOf({ backingKeyId }: CarriedKey): Buffer {
  return Buffer.from(backingKeyId, 'hex');
}

function isSame(one: Buffer, other: Buffer): boolean {
  return one.length === other.length && timingSafeEqual(one, other);
}
