/**
 * The calls that make keys which live outside of the token, and the domain keys that they are wrapped under.
 *
 * A wrapped key is generated in the token as a session object that may leave wrapped and never in the clear, is wrapped by the token,
 * and unwrapped once; what came out has to do what the source does, or what OpenSSL expects of its public half, before anybody hears of
 * it. Nothing of it is left in the token then: what there is of the key is the blob.
 *
 * A domain key is a token object that wraps and unwraps and does nothing else. It is made with `CKA_MODIFIABLE` false, because with
 * `CKA_DECRYPT` it would open every blob in the clear, and, where the token holds to it, with a `CKA_UNWRAP_TEMPLATE`, so that what it unwraps
 * is sensitive, not extractable and no token object, whoever asks. Where the token holds to `CKA_WRAP_WITH_TRUSTED` it has that, and can be
 * given to another HSM under a public key that the security officer trusted; elsewhere it is not extractable. A new one is tried by what must
 * fail (`protection-trials.ts`), and destroyed again where the token does not hold what its profile says.
 */

import { type BackingKeyAttributes, type Capability, domainKeyLabelPrefix } from '../../key-store.ts';
import type { VendorProfile } from '../../vendor-profile.ts';
import type { ChangeLock } from '../token/change-lock.ts';
import { constant, type Handle } from '../token/cryptoki.ts';
import { domainKeyDeviations, domainKeyTemplate } from '../token/domain-key.ts';
import { HostFailure } from '../token/failures.ts';
import { readKeyAttributes, readPublicKey } from '../token/key-attributes.ts';
import type { KeyTable } from '../token/key-table.ts';
import { destroySessionObject, factsOf, KeyWrapping } from '../token/key-wrapping.ts';
import { type HostKeySpec, type UsageRow, usageRow } from '../token/pkcs11-key-specs.ts';
import type { TokenSession } from '../token/token-session.ts';
import type { KeyCalls } from './key-calls.ts';
import { generateObjects, whyNotGenerated } from './key-generation.ts';
import { callsWith, trialText, tryPair } from './pair-trials.ts';
import { triedProtection } from './protection-trials.ts';
import type { SecretCalls } from './secret-calls.ts';

export interface WrappedResult {
  readonly blob: Buffer;
  /** SubjectPublicKeyInfo, DER, of a pair. */
  readonly publicKey: Buffer | null;
}

export interface WrappedKeyContext {
  readonly profile: VendorProfile;
  readonly capabilities: readonly Capability[];
}

/** A source that is to be wrapped, and what it is for. */
export interface WrappingSource {
  readonly keySpec: string;
  readonly keyUsage: string;
  readonly row: HostKeySpec;
  readonly usage: UsageRow;
  readonly object: Handle;
  readonly publicKey: Buffer | null;
}

export class WrappedKeyCalls {
  readonly #session: TokenSession;
  readonly #keys: KeyTable;
  readonly #secrets: SecretCalls;
  readonly #context: WrappedKeyContext;
  readonly #wrapping: KeyWrapping;

  constructor(session: TokenSession, keys: KeyTable, secrets: SecretCalls, context: WrappedKeyContext) {
    this.#session = session;
    this.#keys = keys;
    this.#secrets = secrets;
    this.#context = context;
    this.#wrapping = new KeyWrapping(session, context.profile);
  }

  /** Generates a key and wraps it. Leaves nothing in the token. */
  generate(domainKeyId: Buffer, keySpec: string, keyUsage: string): WrappedResult {
    const { profile, capabilities } = this.#context;
    const { row, usage } = usageRow(keySpec, keyUsage);
    const missing = whyNotGenerated(capabilities, { keySpec, keyUsage }) ?? whyNotWrapped(keySpec, row, profile);
    if (missing !== null) throw new HostFailure('unsupported', missing);
    // Before the seconds that an RSA pair may take: is there the key to wrap it under?
    this.#withDomainKey(domainKeyId, () => undefined);
    return this.#session.run(() => {
      const outline = { row, usage, id: null, label: 'key to be wrapped', leaves: 'wrapped' as const };
      const made = generateObjects(this.#session, outline, profile);
      try {
        const { cryptoki, handle } = this.#session;
        this.#session.step = 'C_GetAttributeValue';
        const publicKey =
          made.publicKey === null
            ? null
            : readPublicKey(cryptoki, handle, { publicKey: made.publicKey, privateKey: made.key }, row);
        return {
          publicKey,
          blob: this.wrap(domainKeyId, { keySpec, keyUsage, row, usage, object: made.key, publicKey }),
        };
      } finally {
        for (const object of [made.key, made.publicKey])
          if (object !== null) destroySessionObject(this.#session, object);
      }
    });
  }

  /** The blob of a source, after what comes out of it has done what the source is for. The source stays. */
  wrap(domainKeyId: Buffer, source: WrappingSource): Buffer {
    let blob: Buffer = Buffer.alloc(0);
    this.#withDomainKey(domainKeyId, (domainKey) => {
      blob = this.#wrapping.wrap(domainKey, source.object);
      const { keySpec, keyUsage, publicKey } = source;
      const fields = { keySpec, keyUsage, publicKey: publicKey ?? Buffer.alloc(0), blob };
      const { handle } = this.#wrapping.unwrap(domainKey, fields);
      try {
        const why = this.whyNotSame(source, handle);
        if (why !== null) throw new HostFailure('internal', `the key is another one after it was wrapped: ${why}`);
      } finally {
        destroySessionObject(this.#session, handle);
      }
      this.#keys.assertThere(domainKeyId);
    });
    return blob;
  }

  /** Makes a domain key, which has to be refused what it must not do; else it is destroyed again. */
  generateDomainKey(
    { id, label }: { readonly id: Buffer; readonly label: string },
    { keys, lock }: { readonly keys: KeyCalls; readonly lock: ChangeLock },
  ): BackingKeyAttributes {
    if (!label.startsWith(domainKeyLabelPrefix))
      throw new HostFailure('internal', `the label of a domain key is ${domainKeyLabelPrefix}…`);
    return lock.changing(() => {
      if (this.#session.run(() => this.#keys.findWithPublicKeys(id)).length > 0)
        throw new HostFailure('internal', 'an object with this CKA_ID is in the token already');
      let isWhole = false;
      try {
        const attributes = this.#makeDomainKey(id, label);
        isWhole = true;
        return attributes;
      } catch (error) {
        throw this.#session.failureFrom(error);
      } finally {
        if (!isWhole) keys.discard(id);
      }
    });
  }

  #makeDomainKey(id: Buffer, label: string): BackingKeyAttributes {
    const { profile } = this.#context;
    if (profile.wrapping === null) throw new HostFailure('unsupported', noWrapping);
    const { cryptoki, handle } = this.#session;
    this.#session.step = 'CKM_AES_KEY_GEN C_GenerateKey';
    const mechanism = { mechanism: constant('CKM_AES_KEY_GEN') };
    const key = cryptoki.C_GenerateKey(handle, mechanism, domainKeyTemplate({ id, label }, profile));
    this.#session.step = 'C_GetAttributeValue';
    const attributes = readKeyAttributes(cryptoki, handle, key);
    const wrong = domainKeyDeviations(attributes, { id }, profile);
    if (wrong.length > 0)
      throw new HostFailure(
        'internal',
        `the new domain key is not as asked and was destroyed again: ${wrong.join(', ')}`,
      );
    const broken = triedProtection(this.#session, profile, key).find(({ isPromised, isHeld }) => isPromised && !isHeld);
    if (broken !== undefined)
      throw new HostFailure(
        'internal',
        `the token does not hold what it has to or its profile says: ${broken.attempt}`,
      );
    return attributes;
  }

  #withDomainKey(id: Buffer, work: (domainKey: Handle) => void): void {
    this.#secrets.withKey(id, () => work(this.#keys.domainKey(id)));
  }

  /**
   * A secret does what its source does; the private half of a pair what OpenSSL expects by the public one.
   * @returns Why another object is not the key that the source is; `null`: it is.
   */
  whyNotSame({ keySpec, keyUsage, usage, row, object, publicKey }: WrappingSource, unwrapped: Handle): string | null {
    const { profile } = this.#context;
    if (publicKey !== null) {
      const pair = { handle: unwrapped, publicKey, facts: factsOf({ row, usage }) };
      return tryPair(this.#session, this.#context, { keySpec, keyUsage, usage }, pair);
    }
    const id = Buffer.alloc(16);
    const [before, after] = [object, unwrapped].map(
      (handle) => callsWith(this.#session, profile, { id, handle }).secrets,
    );
    if (before === undefined || after === undefined) throw new Error('unreachable: there are two');
    try {
      if (row.keyType === 'CKK_AES') {
        const { iv, ciphertext } = before.encrypt(id, trialText, trialText);
        return after.decrypt(id, trialText, iv, ciphertext).equals(trialText) ? null : 'it decrypts something else';
      }
      const algorithm = Object.keys(usage.algorithms)[0] ?? '';
      return before.mac(id, algorithm, trialText).equals(after.mac(id, algorithm, trialText))
        ? null
        : 'it makes another MAC';
    } finally {
      before.wipe();
      after.wipe();
    }
  }
}

const noWrapping = 'the vendor profile says that the token wraps no keys (`wrapping: null`)';

/** Why keys of a KeySpec cannot live outside of the token, or `null`. */
export function whyNotWrapped(
  keySpec: string,
  { keyType, parameterSet, unbuilt }: HostKeySpec,
  profile: VendorProfile,
) {
  if (profile.wrapping === null) return noWrapping;
  if (keyType === null || parameterSet !== null || unbuilt !== null)
    return unbuilt ?? 'no wrapping of such keys is built';
  return profile.wrapping.cannot.find((row) => row.keySpec === keySpec)?.reason ?? null;
}
