/**
 * What the token enforces: each thing that must fail is tried once, with throw-away session objects, and what comes of it is told.
 *
 * That a key has an attribute does not mean that the token goes by it. NSS softoken keeps all of them and wraps a key with
 * `CKA_EXTRACTABLE` false for whoever asks; a holder of the PIN then has it in the clear. Nothing here is taken from the profile: it says
 * what has to hold (`isPromised`) so that a domain key may be made, and the token shows whether it does.
 */

import { type ProtectionTrial, wrapsUnderUntrusted } from '../../token-protection.ts';
import type { VendorProfile } from '../../vendor-profile.ts';
import { type Attribute, constant, type Handle, returnValueOf } from '../token/cryptoki.ts';
import { domainKeyTemplate } from '../token/domain-key.ts';
import { readAttribute } from '../token/key-attributes.ts';
import { destroySessionObject } from '../token/key-wrapping.ts';
import { secretKeyUsageAttributes } from '../token/pkcs11-key-specs.ts';
import { returnValueName } from '../token/return-values.ts';
import type { TokenSession } from '../token/token-session.ts';

const flag = (name: string, value: boolean): Attribute => ({ type: constant(name), value });
const aes = (usages: readonly string[], isExtractable: boolean): readonly Attribute[] => [
  flag('CKA_TOKEN', false),
  flag('CKA_PRIVATE', true),
  flag('CKA_SENSITIVE', true),
  flag('CKA_EXTRACTABLE', isExtractable),
  ...secretKeyUsageAttributes.map((name) => flag(name, usages.includes(name))),
];
const kind: readonly Attribute[] = [
  { type: constant('CKA_CLASS'), value: constant('CKO_SECRET_KEY') },
  { type: constant('CKA_KEY_TYPE'), value: constant('CKK_AES') },
];
const length: Attribute = { type: constant('CKA_VALUE_LEN'), value: 32 };
const encrypting = ['CKA_ENCRYPT', 'CKA_DECRYPT'];

/**
 * Tries all of it. Throws errors of the library as they are where not even the preparations succeed.
 * @param domainKey One to try; `null`: a session object with the attributes of one.
 */
export function triedProtection(
  session: TokenSession,
  profile: VendorProfile,
  domainKey: Handle | null,
): readonly ProtectionTrial[] {
  const { wrapping } = profile;
  const { cryptoki, handle } = session;
  const made: Handle[] = [];
  const generate = (template: readonly Attribute[]): Handle => {
    session.step = 'CKM_AES_KEY_GEN C_GenerateKey';
    const key = cryptoki.C_GenerateKey(handle, { mechanism: constant('CKM_AES_KEY_GEN') }, template);
    made.push(key);
    return key;
  };
  const wrap = (mechanism: string, under: Handle, key: Handle): Buffer => {
    const output = Buffer.alloc(256);
    session.step = `${mechanism} C_WrapKey`;
    const bytes = cryptoki.C_WrapKey(handle, { mechanism: constant(mechanism) }, under, key, output);
    return output.subarray(0, bytes);
  };
  const tried = (attempt: string, isPromised: boolean, work: () => string | null): ProtectionTrial => {
    try {
      const what = work();
      return { attempt, isHeld: what !== null, isPromised, answer: what ?? 'done' };
    } catch (error) {
      const code = returnValueOf(error);
      if (code === undefined) throw error;
      return { attempt, isHeld: true, isPromised, answer: returnValueName(code) };
    }
  };
  /** Whoever makes a new object of it has to see that it really is what must not be. */
  const isNow = (object: Handle, name: string): string | null => {
    made.push(object);
    return readAttribute(cryptoki, handle, object, name)?.[0] === 1 ? null : `done, but ${name} stays false`;
  };
  try {
    const kept = generate([...kind, length, ...aes(encrypting, false)]);
    const untrusted = generate([...kind, length, ...aes(['CKA_WRAP', 'CKA_UNWRAP'], false)]);
    const trials = [
      tried('read the value of a key that is sensitive', true, () => {
        const value = readAttribute(cryptoki, handle, kept, 'CKA_VALUE');
        const isSeen = value !== undefined && value.length > 0;
        value?.fill(0);
        return isSeen ? null : 'CKR_ATTRIBUTE_SENSITIVE';
      }),
      tried('make a key extractable that is not', false, () => {
        cryptoki.C_SetAttributeValue(handle, kept, [flag('CKA_EXTRACTABLE', true)]);
        return readAttribute(cryptoki, handle, kept, 'CKA_EXTRACTABLE')?.[0] === 1 ? null : 'done, without an effect';
      }),
      tried('make an extractable copy of a key that is not', false, () =>
        isNow(cryptoki.C_CopyObject(handle, kept, [flag('CKA_EXTRACTABLE', true)]), 'CKA_EXTRACTABLE'),
      ),
    ];
    if (wrapping === null) return trials;
    const domain = domainKey ?? generate(domainKeyTemplate({ id: null, label: 'trial' }, profile));
    const leaving = generate([...kind, length, ...aes(encrypting, true)]);
    const blob = wrap(wrapping.mechanism, domain, leaving);
    return [
      ...trials,
      tried('wrap a key that is not extractable', false, () => {
        wrap(wrapping.mechanism, untrusted, kept);
        return null;
      }),
      tried(wrapsUnderUntrusted, wrapping.wrapWithTrusted, () => {
        wrap(wrapping.mechanism, untrusted, domain);
        return null;
      }),
      tried('unwrap a key of the domain as an extractable one', wrapping.unwrapTemplate, () => {
        session.step = `${wrapping.mechanism} C_UnwrapKey`;
        const mechanism = { mechanism: constant(wrapping.mechanism) };
        const template = [...kind, ...aes(encrypting, true)];
        return isNow(cryptoki.C_UnwrapKey(handle, mechanism, domain, blob, template), 'CKA_EXTRACTABLE');
      }),
      tried('open a key of the domain by decrypting it with the domain key', true, () => {
        cryptoki.C_DecryptInit(handle, { mechanism: constant('CKM_AES_ECB') }, domain);
        // An operation that was begun has to end, or none could be begun after it.
        cryptoki.C_Decrypt(handle, Buffer.alloc(16), Buffer.alloc(32));
        return null;
      }),
      tried('make a copy of the domain key that decrypts', false, () =>
        isNow(
          cryptoki.C_CopyObject(handle, domain, [flag('CKA_TOKEN', false), flag('CKA_DECRYPT', true)]),
          'CKA_DECRYPT',
        ),
      ),
    ];
  } finally {
    for (const object of made) destroySessionObject(session, object);
  }
}
