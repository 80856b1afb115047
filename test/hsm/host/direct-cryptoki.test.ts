import { randomBytes } from 'node:crypto';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { afterAll, beforeAll, expect, test } from 'vitest';
import {
  type Attribute,
  type Cryptoki,
  constant,
  type Handle,
  NativeCryptoki,
} from '../../../src/hsm/host/token/cryptoki.ts';
import { prepared } from '../../../src/hsm/host/token/direct-cryptoki.ts';
import { directFunctionsOf } from '../../../src/hsm/host/token/direct-functions.ts';
import { describeEachToken } from '../../support/tokens.ts';
import { type InProcessHost, importKey, openInProcess } from './in-process.ts';

const flag = (name: string, value: boolean): Attribute => ({ type: constant(name), value });

describeEachToken('The library, called without pkcs11js,', (token) => {
  let host: InProcessHost;
  const id = randomBytes(16);
  beforeAll(() => {
    host = openInProcess(token());
  });
  afterAll(() => host.close());

  /** The same object, called as pkcs11js calls it. */
  const byPkcs11js = <Name extends keyof Cryptoki>(name: Name): Cryptoki[Name] =>
    NativeCryptoki.prototype[name].bind(host.cryptoki);
  const aesKey = (): Handle => {
    importKey(host, { id, value: randomBytes(32), keyType: 'CKK_AES', usages: ['CKA_ENCRYPT', 'CKA_DECRYPT'] });
    return host.table.resolve(id);
  };
  const gcm = (aadBytes: number) => ({
    mechanism: constant('CKM_AES_GCM'),
    parameter: {
      ...{ type: constant('CK_PARAMS_GCM'), iv: randomBytes(12), ivBits: 96, tagBits: 128 },
      aad: randomBytes(aadBytes),
    },
  });
  const messageOf = (call: () => unknown): string => {
    try {
      call();
    } catch (error) {
      return error instanceof Error ? error.message : String(error);
    }
    return 'no error';
  };

  test('can be', () => {
    expect(directFunctionsOf(token().library)).not.toBeNull();
  });

  // 4,097 bytes of additional data are more than there is memory for.
  test.each([0, 1, 96, 4096, 4097])(
    'encrypts and decrypts as by way of it, with %i bytes of additional data',
    (aadBytes) => {
      const { cryptoki, session } = host;
      const [key, mechanism, plaintext] = [aesKey(), gcm(aadBytes), randomBytes(50)];
      const [output, expected] = [Buffer.alloc(100), Buffer.alloc(100)];
      cryptoki.C_EncryptInit(session.handle, mechanism, key);
      expect(cryptoki.C_Encrypt(session.handle, plaintext, output)).toBe(66);
      byPkcs11js('C_EncryptInit')(session.handle, mechanism, key);
      expect(byPkcs11js('C_Encrypt')(session.handle, plaintext, expected)).toBe(66);
      expect(output).toEqual(expected);
      cryptoki.C_DecryptInit(session.handle, mechanism, key);
      expect(cryptoki.C_Decrypt(session.handle, output.subarray(0, 66), expected)).toBe(50);
      expect(expected.subarray(0, 50)).toEqual(plaintext);
    },
  );

  test('reads an IV where it is, whatever V8 has collected and moved since it was told where', () => {
    setFlagsFromString('--expose-gc');
    const collect = runInNewContext('gc') as () => void;
    const { cryptoki, session } = host;
    const [key, mechanism, plaintext] = [aesKey(), gcm(20), randomBytes(50)];
    // Short arrays like this one begin among V8's objects.
    const iv = Buffer.alloc(12);
    const at = { ...mechanism, parameter: { ...mechanism.parameter, iv } };
    const [output, expected] = [Buffer.alloc(66), Buffer.alloc(66)];
    for (let round = 0; round < 4; round++) {
      iv.fill(round);
      cryptoki.C_EncryptInit(session.handle, at, key);
      cryptoki.C_Encrypt(session.handle, plaintext, output);
      byPkcs11js('C_EncryptInit')(session.handle, at, key);
      byPkcs11js('C_Encrypt')(session.handle, plaintext, expected);
      expect(output).toEqual(expected);
      collect();
    }
  });

  test('signs as by way of it', () => {
    const { cryptoki, session } = host;
    importKey(host, { id, value: randomBytes(64), keyType: 'CKK_GENERIC_SECRET', usages: ['CKA_SIGN'] });
    const [key, mechanism] = [host.table.resolve(id), { mechanism: constant('CKM_SHA256_HMAC') }];
    const [output, expected] = [Buffer.alloc(64), Buffer.alloc(64)];
    cryptoki.C_SignInit(session.handle, mechanism, key);
    expect(cryptoki.C_Sign(session.handle, id, output)).toBe(32);
    byPkcs11js('C_SignInit')(session.handle, mechanism, key);
    byPkcs11js('C_Sign')(session.handle, id, expected);
    expect(output).toEqual(expected);
  });

  test('unwraps as by way of it', () => {
    const { cryptoki, session, profile } = host;
    importKey(host, { id, value: randomBytes(32), keyType: 'CKK_AES', usages: ['CKA_WRAP', 'CKA_UNWRAP'] });
    const domainKey = host.table.resolve(id);
    const source = cryptoki.C_CreateObject(session.handle, [
      ...secret(true),
      { type: constant('CKA_VALUE'), value: randomBytes(32) },
    ]);
    const mechanism = { mechanism: constant(profile.wrapping?.mechanism ?? '') };
    const wrapped = Buffer.alloc(64);
    const blob = wrapped.subarray(0, cryptoki.C_WrapKey(session.handle, mechanism, domainKey, source, wrapped));
    const template = prepared(secret(false));
    const [iv, plaintext] = [gcm(0), randomBytes(20)];
    const unwrap = (by: Cryptoki['C_UnwrapKey']) => {
      const key = by(session.handle, mechanism, domainKey, blob, template);
      const output = Buffer.alloc(36);
      cryptoki.C_EncryptInit(session.handle, iv, key);
      cryptoki.C_Encrypt(session.handle, plaintext, output);
      const told = cryptoki.C_GetAttributeValue(session.handle, key, template);
      cryptoki.C_DestroyObject(session.handle, key);
      return { output, told: told.map(({ value }) => value?.toString('hex')) };
    };
    expect(unwrap(cryptoki.C_UnwrapKey.bind(cryptoki))).toEqual(unwrap(byPkcs11js('C_UnwrapKey')));
    // It is kept for long, and keeps nothing else in memory.
    const handle = cryptoki.C_UnwrapKey(session.handle, mechanism, domainKey, blob, template);
    expect(handle.buffer.byteLength).toBe(8);
    cryptoki.C_DestroyObject(session.handle, handle);
    const damaged = Buffer.from(blob).fill(0, 8, 16);
    const unwrapDamaged = (by: Cryptoki['C_UnwrapKey']) =>
      messageOf(() => by(session.handle, mechanism, domainKey, damaged, template));
    expect(unwrapDamaged(cryptoki.C_UnwrapKey.bind(cryptoki))).toMatch(/^CKR_\w+:\d+$/);
    expect(unwrapDamaged(cryptoki.C_UnwrapKey.bind(cryptoki))).toBe(unwrapDamaged(byPkcs11js('C_UnwrapKey')));
  });

  test('fails as by way of it', () => {
    const { cryptoki, session } = host;
    const key = aesKey();
    const gone = Buffer.alloc(8, 0x7f);
    const [input, output] = [randomBytes(10), Buffer.alloc(100)];
    const failures = (by: <Name extends keyof Cryptoki>(name: Name) => Cryptoki[Name]): readonly string[] => [
      messageOf(() => by('C_DestroyObject')(session.handle, gone)),
      messageOf(() => by('C_DestroyObject')(gone, key)),
      messageOf(() => by('C_EncryptInit')(session.handle, gcm(1), gone)),
      messageOf(() => by('C_EncryptInit')(session.handle, { mechanism: 0x7fff_ffff }, key)),
      messageOf(() => by('C_Encrypt')(session.handle, input, output)),
      messageOf(() => by('C_DecryptInit')(gone, gcm(1), key)),
      messageOf(() => by('C_Decrypt')(session.handle, input, output)),
      messageOf(() => by('C_SignInit')(session.handle, { mechanism: constant('CKM_SHA256_HMAC') }, gone)),
      messageOf(() => by('C_Sign')(session.handle, input, output)),
    ];
    const direct = failures((name) => cryptoki[name].bind(cryptoki) as Cryptoki[typeof name]);
    for (const message of direct) expect(message).toMatch(/^CKR_\w+:\d+$/);
    expect(direct).toEqual(failures(byPkcs11js));
  });

  test('is told of templates whose bytes can be prepared alone', () => {
    expect(() => prepared([{ type: constant('CKA_LABEL'), value: 'text' }])).toThrow('numbers and flags alone');
  });
});

function secret(extractable: boolean): readonly Attribute[] {
  return [
    { type: constant('CKA_CLASS'), value: constant('CKO_SECRET_KEY') },
    { type: constant('CKA_KEY_TYPE'), value: constant('CKK_AES') },
    flag('CKA_TOKEN', false),
    flag('CKA_PRIVATE', true),
    flag('CKA_SENSITIVE', true),
    flag('CKA_EXTRACTABLE', extractable),
    flag('CKA_ENCRYPT', true),
    flag('CKA_DECRYPT', false),
  ];
}
