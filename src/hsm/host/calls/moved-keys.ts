/**
 * The calls that give a key that is there already another place: a blob of it under a domain key, or a token object of what a blob holds.
 *
 * Neither shows the key to anybody. A blob is made by `C_WrapKey` of the key itself, which a token that holds to `CKA_EXTRACTABLE` false
 * refuses (SoftHSM2 2.6.1: CKR_KEY_UNEXTRACTABLE, of token objects and of what it has unwrapped alike; NSS softoken 3.87 wraps any key). A
 * token object is made by copying what was unwrapped (`C_CopyObject`): a domain key whose `CKA_UNWRAP_TEMPLATE` says `CKA_TOKEN`
 * false unwraps into no token object, and a copy of what is sensitive and not extractable is both. Where a token does not copy such
 * an object it is unwrapped once more, as a token object. The copy is told its usages where the unwrapped object has others: NSS softoken gives a
 * private key those that it thinks right.
 *
 * INVARIANT: what a call has made has done what the key that it was made of does, or is not there any more.
 */

import { parseWrappedKeyField, type WrappedKeyFields } from '../../wrapped-key.ts';
import type { ChangeLock } from '../token/change-lock.ts';
import { type Attribute, constant, type Handle, returnValueOf } from '../token/cryptoki.ts';
import { HostFailure } from '../token/failures.ts';
import { importDeviations, importedPublicKeyTemplate, readKeyAttributes } from '../token/key-attributes.ts';
import { isWrapped, type KeyTable } from '../token/key-table.ts';
import { KeyWrapping } from '../token/key-wrapping.ts';
import { copyRefusals } from '../token/login-check.ts';
import { privateKeyUsageAttributes, secretKeyUsageAttributes, usageRow } from '../token/pkcs11-key-specs.ts';
import { returnValueName } from '../token/return-values.ts';
import type { TokenSession } from '../token/token-session.ts';
import type { KeyCalls } from './key-calls.ts';
import { publicKeyValues } from './key-material.ts';
import type { SecretCalls } from './secret-calls.ts';
import { type WrappedKeyCalls, type WrappedKeyContext, type WrappingSource, whyNotWrapped } from './wrapped-keys.ts';

const idBytes = 16;
const flag = (name: string, value: boolean): Attribute => ({ type: constant(name), value });

/** A token object that is to be made, and what it is made of. */
interface Copied extends WrappingSource {
  readonly id: Buffer;
  readonly label: string;
  readonly domainKey: Handle;
  readonly fields: WrappedKeyFields;
}

export class MovedKeyCalls {
  readonly #session: TokenSession;
  readonly #keys: KeyTable;
  readonly #secrets: SecretCalls;
  readonly #context: WrappedKeyContext;
  readonly #wrapped: WrappedKeyCalls;

  constructor(
    session: TokenSession,
    keys: KeyTable,
    secrets: SecretCalls,
    { context, wrapped }: { readonly context: WrappedKeyContext; readonly wrapped: WrappedKeyCalls },
  ) {
    this.#session = session;
    this.#keys = keys;
    this.#secrets = secrets;
    this.#context = context;
    this.#wrapped = wrapped;
  }

  /**
   * A blob of a key that is there, a token object or a wrapped one. The key stays as it is.
   * @param kind.publicKey SubjectPublicKeyInfo, DER; empty for a secret key.
   */
  wrap(
    key: Buffer,
    domainKeyId: Buffer,
    kind: { readonly keySpec: string; readonly keyUsage: string; readonly publicKey: Buffer },
  ): Buffer {
    const { keySpec, keyUsage } = kind;
    const rows = usageRow(keySpec, keyUsage);
    const missing = whyNotWrapped(keySpec, rows.row, this.#context.profile);
    if (missing !== null) throw new HostFailure('unsupported', missing);
    const publicKey = kind.publicKey.length === 0 ? null : kind.publicKey;
    let blob: Buffer = Buffer.alloc(0);
    this.#secrets.withKey(key, (object) => {
      blob = this.#wrapped.wrap(domainKeyId, { keySpec, keyUsage, ...rows, object, publicKey });
    });
    return blob;
  }

  /** Makes a token object of a wrapped key, under the id of the backing key, or finds it made. */
  keep(key: Buffer, label: string, { keys, lock }: { readonly keys: KeyCalls; readonly lock: ChangeLock }): void {
    keys.assertLabel(label);
    const fields = isWrapped(key) ? parseWrappedKeyField(key) : undefined;
    if (fields === undefined) throw new HostFailure('internal', 'what is to be kept in the token is no wrapped key');
    const { keySpec, keyUsage } = fields;
    const publicKey = fields.publicKey.length === 0 ? null : fields.publicKey;
    const kind = { keySpec, keyUsage, ...usageRow(keySpec, keyUsage), publicKey };
    this.#secrets.withKey(key, (object) => {
      const id = key.subarray(0, idBytes);
      // Before the lock, which looking it up may take as well.
      const domainKey = this.#keys.domainKey(fields.domainKeyId);
      lock.changing(() => this.#makeOrFind({ ...kind, object, id, label, domainKey, fields }, keys));
    });
  }

  #makeOrFind(copied: Copied, keys: KeyCalls): void {
    const { id } = copied;
    const [there, another] = this.#keys.find(id);
    if (another !== undefined)
      throw new HostFailure('keyUnavailable', 'more than one object in the token has this CKA_ID');
    if (there !== undefined) {
      this.#assertSame(there.handle, copied);
      this.#completePair(copied);
      return;
    }
    // The public half of a call that was cut off, if anything.
    keys.discard(id);
    let isWhole = false;
    try {
      this.#assertSame(this.#copy(copied) ?? this.#unwrap(copied), copied);
      this.#completePair(copied);
      isWhole = true;
    } finally {
      // By its id and not by its handle: a trial may have opened another session.
      if (!isWhole) keys.discard(id);
    }
  }

  /** `undefined` where the token makes no such copies. */
  #copy({ row, usage, object, id, label }: Copied): Handle | undefined {
    const { cryptoki, handle } = this.#session;
    const { nonModifiable } = this.#context.profile.attributes;
    this.#session.step = 'C_GetAttributeValue';
    const { usages } = readKeyAttributes(cryptoki, handle, object);
    const named: readonly string[] =
      row.objectClass === 'CKO_SECRET_KEY' ? secretKeyUsageAttributes : privateKeyUsageAttributes;
    const wrong = named.filter((name) => usages.includes(name) !== usage.attributes.includes(name));
    this.#session.step = 'C_CopyObject';
    try {
      return cryptoki.C_CopyObject(handle, object, [
        flag('CKA_TOKEN', true),
        { type: constant('CKA_LABEL'), value: label },
        { type: constant('CKA_ID'), value: id },
        ...wrong.map((name) => flag(name, usage.attributes.includes(name))),
        ...(nonModifiable ? [flag('CKA_MODIFIABLE', false)] : []),
      ]);
    } catch (error) {
      const code = returnValueOf(error);
      if (copyRefusals.some((name) => constant(name) === code)) return undefined;
      throw error;
    }
  }

  #unwrap({ id, label, domainKey, fields }: Copied): Handle {
    try {
      return new KeyWrapping(this.#session, this.#context.profile).unwrapAs(domainKey, fields, { id, label });
    } catch (error) {
      const code = returnValueOf(error);
      if (code !== constant('CKR_TEMPLATE_INCONSISTENT')) throw error;
      throw new HostFailure(
        'unsupported',
        `the token makes no token object of a wrapped key: it copies none (C_CopyObject), and CKA_UNWRAP_TEMPLATE of the domain key says CKA_TOKEN false (${returnValueName(code)})`,
      );
    }
  }

  /** @throws HostFailure for an object that is not protected as asked, or is another key. */
  #assertSame(object: Handle, copied: Copied): void {
    const { row, usage, id } = copied;
    const { cryptoki, handle } = this.#session;
    this.#session.step = 'C_GetAttributeValue';
    const attributes = readKeyAttributes(cryptoki, handle, object);
    const asked = { row, usage, id, isSizeKnown: true };
    const { kind, protection } = importDeviations(attributes, asked, this.#context.profile);
    const wrong = [...kind, ...protection];
    if (wrong.length > 0)
      throw new HostFailure('internal', `the object in the token is not as asked: ${wrong.join(', ')}`);
    const why = this.#wrapped.whyNotSame(copied, object);
    if (why !== null) throw new HostFailure('internal', `the object in the token is another key: ${why}`);
  }

  /** The public half of a pair, where it is not there yet. */
  #completePair({ publicKey, row, usage, id, label }: Copied): void {
    if (publicKey === null || this.#keys.findWithPublicKeys(id).length > 1) return;
    const { cryptoki, handle } = this.#session;
    const values = publicKeyValues(publicKey, row);
    this.#session.step = 'C_CreateObject';
    cryptoki.C_CreateObject(
      handle,
      importedPublicKeyTemplate({ row, usage, id, label }, this.#context.profile, values),
    );
  }
}
