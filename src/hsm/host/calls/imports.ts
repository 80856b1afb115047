/**
 * The calls that bring key material in: unwrap it, hold it to its KeySpec, know it again, keep it.
 *
 * How a ciphertext is opened is in `unwrapping.ts`, what the material must be in `key-material.ts`. The object that is kept is one that the
 * token unwrapped (`C_UnwrapKey`) wherever it does that with the attributes that were asked for (`imports.unwraps`); elsewhere, and only
 * where the token's memory is this process, `C_CreateObject` makes it of the bytes that were looked at:
 *
 *              SoftHSM2 2.6.1                                     NSS softoken 3.87
 *     AES      C_UnwrapKey; OAEP with SHA-256: C_CreateObject     C_UnwrapKey
 *     HMAC     C_UnwrapKey; OAEP with SHA-256: C_CreateObject     C_UnwrapKey
 *     RSA, EC  C_UnwrapKey; OAEP with SHA-256: C_CreateObject     C_CreateObject: unwrapped ones have usages that nobody asked for
 *     Ed25519  C_CreateObject                                     has none
 *
 * (Under an AES key the token unwraps whatever OAEP's hash was.) A device unwraps in itself or not at all; there, type, size, curve
 * and exponent are read back from the object, and a token that does not tell them is not one to import into.
 *
 * Material is first made a session object, does once what it is for, and gets its fingerprint; only then a token object is made of it, which
 * goes through the same. INVARIANT: what has the `CKA_ID` of an import afterwards has the fingerprint that was expected, or is not there. An
 * object that is there already is held to it and kept; a half that is missing is made, so that a call that was cut off can be repeated.
 */

import { publicEncrypt, randomBytes, timingSafeEqual } from 'node:crypto';
import {
  type BackingKeyAttributes,
  type Capability,
  type ImportCapability,
  wrappingKeyLabelPrefix,
  wrappingKeySpecs,
} from '../../key-store.ts';
import type { VendorProfile } from '../../vendor-profile.ts';
import type { ChangeLock } from '../token/change-lock.ts';
import { constant, type Handle } from '../token/cryptoki.ts';
import { HostFailure } from '../token/failures.ts';
import {
  importDeviations,
  importedKeyTemplate,
  importedPublicKeyTemplate,
  type KeyOutline,
  readImportedPublicKey,
  readKeyAttributes,
} from '../token/key-attributes.ts';
import { KeyTable } from '../token/key-table.ts';
import { type HostKeySpec, keySpecRow, type UsageRow, usageRow } from '../token/pkcs11-key-specs.ts';
import type { TokenSession } from '../token/token-session.ts';
import { knownAesFingerprint, pairFingerprint, secretFingerprint } from './fingerprint.ts';
import { type KeyCalls, type MadeKey, usageRowOfWrapping } from './key-calls.ts';
import { type KeyMaterial, publicKeyValues, readKeyMaterial } from './key-material.ts';
import { publicKeyOf, type TrialResult, tryPair, unusable } from './pair-trials.ts';
import { SecretCalls } from './secret-calls.ts';
import { type OpenedMaterial, Unwrapping, wrapByOpenSsl, wrappingSchemes } from './unwrapping.ts';
import { type WrappedKeyCalls, type WrappedResult, whyNotWrapped } from './wrapped-keys.ts';

export interface ImportRequest {
  readonly wrappingKeyId: Buffer;
  readonly wrapped: Buffer;
  readonly wrappingAlgorithm: string;
  readonly keyIdDigits: string;
  readonly keySpec: string;
  readonly keyUsage: string;
}

interface Kind {
  readonly keySpec: string;
  readonly keyUsage: string;
  readonly row: HostKeySpec;
  readonly usage: UsageRow;
  readonly keyIdDigits: string;
}

/** Material that is open and is what its KeySpec says, as far as this process can see. */
interface Incoming {
  readonly kind: Kind;
  readonly opened: OpenedMaterial;
  /** `null` where nobody but the token sees it. */
  readonly material: KeyMaterial | null;
}

interface Identity {
  readonly fingerprint: Buffer;
  readonly attributes: BackingKeyAttributes;
  /** SubjectPublicKeyInfo, DER, of a pair. */
  readonly publicKey: Buffer | null;
}

export interface ImportContext {
  readonly profile: VendorProfile;
  readonly capabilities: readonly Capability[];
  readonly imports: readonly ImportCapability[];
}

export class ImportCalls {
  readonly #session: TokenSession;
  readonly #keys: KeyTable;
  readonly #secrets: SecretCalls;
  readonly #context: ImportContext;
  readonly #unwrapping: Unwrapping;

  constructor(session: TokenSession, keys: KeyTable, secrets: SecretCalls, context: ImportContext) {
    this.#session = session;
    this.#keys = keys;
    this.#secrets = secrets;
    this.#context = context;
    this.#unwrapping = new Unwrapping(session, context.profile);
  }

  /** Leaves nothing in the token. Throws `HostFailure`: `ciphertextInvalid`, `materialInvalid`, … */
  examine(request: ImportRequest): Omit<Identity, 'attributes'> {
    return this.#withIncoming(request, (incoming) => this.#examine(incoming));
  }

  /** Makes the token object, or finds it made. */
  keep(
    request: ImportRequest & { readonly id: Buffer; readonly label: string; readonly fingerprint: Buffer },
    { keys, lock }: { readonly keys: KeyCalls; readonly lock: ChangeLock },
  ): MadeKey {
    const { id, label } = request;
    keys.assertLabel(label);
    return this.#withIncoming(request, (incoming) => {
      const { fingerprint } = this.#examine(incoming);
      if (!isSame(fingerprint, request.fingerprint))
        throw new HostFailure('materialInvalid', 'the key material is not the one that was expected');
      return lock.changing(() => this.#makeOrFind(incoming, { id, label, fingerprint }, keys));
    });
  }

  /** Makes a blob of it, and leaves nothing in the token. Which key comes out of the blob is compared with which went in. */
  wrap(
    request: ImportRequest & { readonly domainKeyId: Buffer; readonly fingerprint: Buffer },
    wrapped: WrappedKeyCalls,
  ): WrappedResult {
    const { domainKeyId, keySpec } = request;
    return this.#withIncoming(request, (incoming) => {
      const { kind } = incoming;
      const missing = whyNotWrapped(keySpec, kind.row, this.#context.profile);
      if (missing !== null) throw new HostFailure('unsupported', missing);
      const { fingerprint, publicKey } = this.#examine(incoming);
      if (!isSame(fingerprint, request.fingerprint))
        throw new HostFailure('materialInvalid', 'the key material is not the one that was expected');
      const object = this.#make(incoming, { ...kind, id: null, label: 'key material', leaves: 'wrapped' });
      try {
        return { publicKey, blob: wrapped.wrap(domainKeyId, { ...kind, object, publicKey }) };
      } finally {
        this.#unwrapping.destroy(object);
      }
    });
  }

  #withIncoming<Result>(request: ImportRequest, work: (incoming: Incoming) => Result): Result {
    const { wrappingKeyId, wrapped, wrappingAlgorithm, keyIdDigits, keySpec, keyUsage } = request;
    const kind = { keySpec, keyUsage, keyIdDigits, ...usageRow(keySpec, keyUsage) };
    const scheme = wrappingSchemes.get(wrappingAlgorithm);
    if (scheme === undefined)
      throw new HostFailure('unsupported', `there is no wrapping algorithm \`${wrappingAlgorithm}\``);
    for (const subject of [wrappingAlgorithm, keySpec]) {
      const missing = this.#context.imports.find((row) => row.subject === subject && !row.works);
      if (missing !== undefined)
        throw new HostFailure('unsupported', missing.reason ?? `${subject} cannot be imported`);
    }
    // Filled by the one run of the callback that ends well.
    const results: Result[] = [];
    this.#secrets.withKey(wrappingKeyId, (wrappingKey) => {
      const { keyType, usages } = this.#keys.facts(wrappingKeyId);
      if (keyType !== constant('CKK_RSA') || !usages.has('CKA_UNWRAP'))
        throw new HostFailure('keyUnavailable', 'the key is not a wrapping key');
      results.push(
        this.#unwrapping.withOpened({ wrappingKey, scheme, wrapped }, (opened) => {
          const material = opened.bytes === null ? null : readKeyMaterial(opened.bytes, kind.row);
          return work({ kind, opened, material });
        }),
      );
    });
    const [result] = results;
    if (result === undefined) throw new Error('unreachable: the callback has run to its end');
    return result;
  }

  #examine(incoming: Incoming): Identity {
    const object = this.#make(incoming, { ...incoming.kind, id: null, label: 'key material' });
    try {
      return this.#identify(incoming, object, { id: null, mistake: mistakeOf(incoming) });
    } finally {
      this.#unwrapping.destroy(object);
    }
  }

  #makeOrFind(
    incoming: Incoming,
    { id, label, fingerprint }: { id: Buffer; label: string; fingerprint: Buffer },
    keys: KeyCalls,
  ): MadeKey {
    const outline = { ...incoming.kind, id, label };
    const [there, another] = this.#keys.find(id);
    if (another !== undefined)
      throw new HostFailure('keyUnavailable', 'more than one object in the token has this CKA_ID');
    if (there !== undefined) {
      const kept = this.#identify(incoming, there.handle, { id, mistake: 'materialInvalid' });
      if (!isSame(kept.fingerprint, fingerprint))
        throw new HostFailure('materialInvalid', 'the object in the token that has this CKA_ID is another key');
      this.#completePair(kept.publicKey, outline);
      return kept;
    }
    // The public half of an import that was cut off, if anything.
    keys.discard(id);
    let isWhole = false;
    try {
      const mistake = mistakeOf(incoming);
      const made = this.#identify(incoming, this.#make(incoming, outline), { id, mistake });
      if (!isSame(made.fingerprint, fingerprint))
        throw new HostFailure('internal', 'the token has made another key of the material than before');
      this.#completePair(made.publicKey, outline);
      isWhole = true;
      return made;
    } finally {
      // By its id and not by its handle: a trial may have opened another session.
      if (!isWhole) keys.discard(id);
    }
  }

  #make({ opened, material }: Incoming, key: KeyOutline): Handle {
    const { profile } = this.#context;
    const keyType = key.row.keyType ?? '';
    if (opened.unwrap !== null && profile.imports.unwraps.includes(keyType))
      return opened.unwrap(importedKeyTemplate(key, profile));
    if (material === null) throw new HostFailure('unsupported', `the token unwraps no ${keyType}`);
    this.#session.step = 'C_CreateObject';
    const template = importedKeyTemplate(key, profile, material.values);
    return this.#session.cryptoki.C_CreateObject(this.#session.handle, template);
  }

  /** The public half of a pair, where it is not there yet. */
  #completePair(publicKey: Buffer | null, key: KeyOutline & { readonly id: Buffer }): void {
    if (publicKey === null || this.#keys.findWithPublicKeys(key.id).length > 1) return;
    this.#session.step = 'C_CreateObject';
    const template = importedPublicKeyTemplate(key, this.#context.profile, publicKeyValues(publicKey, key.row));
    this.#session.cryptoki.C_CreateObject(this.#session.handle, template);
  }

  /**
   * What an object is, after it did once what it is for.
   * @param asked.id `null` for a session object.
   * @param asked.mistake Whose fault it is that an object is another key than the material says.
   */
  #identify(
    { kind, material }: Incoming,
    object: Handle,
    { id, mistake }: { id: Buffer | null; mistake: 'materialInvalid' | 'internal' },
  ): Identity {
    const { keySpec, keyUsage, row, usage } = kind;
    const { cryptoki, handle } = this.#session;
    this.#session.step = 'C_GetAttributeValue';
    const attributes = readKeyAttributes(cryptoki, handle, object);
    const isSizeKnown = material !== null;
    if (!isSizeKnown && attributes.keyBits === null)
      throw new HostFailure('unsupported', 'the token does not tell the size of what it has unwrapped');
    const wrong = importDeviations(attributes, { row, usage, id, isSizeKnown }, this.#context.profile);
    if (wrong.kind.length > 0)
      throw new HostFailure(mistake, `the key is not one of ${keySpec}: ${wrong.kind.join(', ')}`);
    if (wrong.protection.length > 0)
      throw new HostFailure('internal', `the imported key is not as asked: ${wrong.protection.join(', ')}`);
    if (row.objectClass === 'CKO_SECRET_KEY') {
      const secret = { key: object, keyType: row.keyType ?? '', usage };
      return { fingerprint: secretFingerprint(this.#session, secret, kind), attributes, publicKey: null };
    }
    const publicKey = material?.publicKey ?? readImportedPublicKey(cryptoki, handle, object, row);
    const why = tryPair(this.#session, this.#context, { keySpec, keyUsage, usage }, { handle: object, publicKey });
    if (why !== null) throw new HostFailure(mistake, `the private key does not do what it is for: ${why}`);
    return { fingerprint: pairFingerprint(publicKey, kind), attributes, publicKey };
  }
}

/** Of a device only the object tells what the material was; where it was looked at, it is the token that is wrong. */
function mistakeOf({ material }: Incoming): 'materialInvalid' | 'internal' {
  return material === null ? 'materialInvalid' : 'internal';
}

/**
 * Makes a wrapping pair, which has to unwrap an AES key once; else it is destroyed again. The label says what it is, so that nobody takes
 * it for a KMS key's, and so do its usages.
 */
export function generateWrappingKey(
  request: { readonly id: Buffer; readonly label: string; readonly wrappingKeySpec: string },
  { session, context, keys }: { session: TokenSession; context: ImportContext; keys: KeyCalls },
): Buffer {
  const { id, label, wrappingKeySpec } = request;
  if (!wrappingKeySpecs.some((name) => name === wrappingKeySpec))
    throw new HostFailure('unsupported', `there are no wrapping keys of \`${wrappingKeySpec}\``);
  if (!label.startsWith(wrappingKeyLabelPrefix))
    throw new HostFailure('internal', `the label of a wrapping key is ${wrappingKeyLabelPrefix}…`);
  const algorithm = [...wrappingSchemes.keys()].find((name) =>
    context.imports.every((row) => row.subject !== name || row.works),
  );
  if (algorithm === undefined)
    throw new HostFailure('unsupported', context.imports.find(({ works }) => !works)?.reason ?? 'nothing is imported');
  const usage = usageRowOfWrapping(context.profile);
  const key = {
    id,
    label,
    keySpec: wrappingKeySpec,
    keyUsage: 'ENCRYPT_DECRYPT',
    row: keySpecRow(wrappingKeySpec),
    usage,
  };
  const { publicKey } = keys.generateAs(key, (handle, spki) =>
    tryWrappingKey({ session, context }, { id, handle, publicKey: spki, algorithm }),
  );
  if (publicKey === null) throw new HostFailure('internal', 'a pair has a public key');
  return publicKey;
}

/** Wraps a random AES key as a caller would, and has it examined. `null`: it came through unchanged. */
export function tryWrappingKey(
  { session, context }: { session: TokenSession; context: ImportContext },
  { id, handle, publicKey, algorithm }: { id: Buffer; handle: Handle; publicKey: Buffer; algorithm: string },
): TrialResult {
  const scheme = wrappingSchemes.get(algorithm);
  const key = publicKeyOf(publicKey);
  if (key === undefined || scheme === undefined) return unusable;
  const oaepHash = scheme.oaep === 'RSAES_OAEP_SHA_1' ? 'sha1' : 'sha256';
  const hide = (bytes: Buffer) => publicEncrypt({ key, oaepHash }, bytes);
  const value = randomBytes(32);
  let wrapped = hide(value);
  if (scheme.isHybrid) {
    const transport = randomBytes(32);
    wrapped = Buffer.concat([hide(transport), wrapByOpenSsl(transport, value)]);
  }
  // For one use of it a session copy is of no use.
  const table = new KeyTable(session, { ...context.profile, sessionCopies: [] });
  table.fill([{ id: id.toString('latin1'), label: 'trial', handle }]);
  const imports = new ImportCalls(session, table, new SecretCalls(session, table), context);
  const material = { keyIdDigits: 'trial', keySpec: 'SYMMETRIC_DEFAULT', keyUsage: 'ENCRYPT_DECRYPT' } as const;
  const { fingerprint } = imports.examine({ ...material, wrappingKeyId: id, wrapped, wrappingAlgorithm: algorithm });
  return fingerprint.equals(knownAesFingerprint(value, material))
    ? null
    : `${algorithm}: the token unwraps another key than was wrapped`;
}

function isSame(fingerprint: Buffer, expected: Buffer): boolean {
  return fingerprint.length === expected.length && timingSafeEqual(fingerprint, expected);
}
