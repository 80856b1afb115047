import { createCipheriv, createDecipheriv, createHmac, randomBytes } from 'node:crypto';
import fc from 'fast-check';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { AttributeReader } from '../../../src/hsm/host/token/attribute-reader.ts';
import { constant } from '../../../src/hsm/host/token/cryptoki.ts';
import { readAttribute } from '../../../src/hsm/host/token/key-attributes.ts';
import { describeEachToken } from '../../support/tokens.ts';
import { type InProcessHost, importKey, openInProcess } from './in-process.ts';

const hex = (text: string) => Buffer.from(text, 'hex');

/** McGrew and Viega, "The Galois/Counter Mode of Operation", appendix B, test case 16. */
const gcmVector = {
  key: hex('feffe9928665731c6d6a8f9467308308feffe9928665731c6d6a8f9467308308'),
  iv: hex('cafebabefacedbaddecaf888'),
  aad: hex('feedfacedeadbeeffeedfacedeadbeefabaddad2'),
  plaintext: hex(
    'd9313225f88406e5a55909c5aff5269a86a7a9531534f7da2e4c303d8a318a721c3c0c95956809532fcf0e2449a6b525b16aedf5aa0de657ba637b39',
  ),
  ciphertext: hex(
    '522dc1f099567d07f47f37a32a84427d643a8cdcbfe5c0c97598a2bd2555d1aa8cb08e48590dbb3da7b08b1056828838c5f61e6393ba7a0abcc9f66276fc6ece0f4e1768cddf8853bb2d551b',
  ),
};

/** RFC 4231, test case 6: the first whose key is long enough for SoftHSM2, which wants 32 bytes. */
const hmacVector = {
  key: Buffer.alloc(131, 0xaa),
  data: Buffer.from('Test Using Larger Than Block-Size Key - Hash Key First'),
  mac: '60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54',
};

describeEachToken('HSM host, against another implementation', (token) => {
  let host: InProcessHost;
  const id = randomBytes(16);
  beforeAll(() => {
    host = openInProcess(token());
  });
  afterAll(() => host.close());

  const withAes = (value: Buffer) =>
    importKey(host, { id, value, keyType: 'CKK_AES', usages: ['CKA_ENCRYPT', 'CKA_DECRYPT'] });

  test('AES-256-GCM decrypts the published test case', () => {
    withAes(gcmVector.key);
    expect(host.secrets.decrypt(id, gcmVector.aad, gcmVector.iv, gcmVector.ciphertext)).toEqual(gcmVector.plaintext);
  });

  test('HMAC-SHA-256 gives the published MAC', () => {
    importKey(host, { id, value: hmacVector.key, keyType: 'CKK_GENERIC_SECRET', usages: ['CKA_SIGN'] });
    expect(host.secrets.mac(id, 'HMAC_SHA_256', hmacVector.data).toString('hex')).toBe(hmacVector.mac);
  });

  test('node:crypto decrypts what the token encrypted, and the token what node:crypto encrypted', () => {
    const bytes = (minLength: number, maxLength: number) =>
      fc.uint8Array({ minLength, maxLength, size: 'max' }).map((array) => Buffer.from(array));
    fc.assert(
      fc.property(bytes(32, 32), bytes(0, 300), bytes(1, 5000), bytes(12, 12), (key, aad, plaintext, iv) => {
        withAes(key);
        const sealed = host.secrets.encrypt(id, aad, plaintext);
        const decipher = createDecipheriv('aes-256-gcm', key, sealed.iv).setAAD(aad);
        decipher.setAuthTag(sealed.ciphertext.subarray(-16));
        const opened = Buffer.concat([decipher.update(sealed.ciphertext.subarray(0, -16)), decipher.final()]);
        expect(opened).toEqual(plaintext);
        host.secrets.wipe();

        const cipher = createCipheriv('aes-256-gcm', key, iv).setAAD(aad);
        const ciphertext = Buffer.concat([cipher.update(plaintext), cipher.final(), cipher.getAuthTag()]);
        expect(host.secrets.decrypt(id, aad, iv, ciphertext)).toEqual(plaintext);
        host.secrets.wipe();
      }),
      { numRuns: 100 },
    );
  });

  test.each([
    ['HMAC_SHA_224', 'sha224', 28],
    ['HMAC_SHA_256', 'sha256', 32],
    ['HMAC_SHA_384', 'sha384', 48],
    ['HMAC_SHA_512', 'sha512', 64],
  ])('MACs by %s equal those of node:crypto', (algorithm, hash, keyBytes) => {
    fc.assert(
      fc.property(
        fc.uint8Array({ minLength: keyBytes, maxLength: keyBytes }),
        fc.uint8Array({ minLength: 1, maxLength: 9000, size: 'max' }),
        (key, data) => {
          importKey(host, { id, value: Buffer.from(key), keyType: 'CKK_GENERIC_SECRET', usages: ['CKA_SIGN'] });
          const mac = host.secrets.mac(id, algorithm, Buffer.from(data));
          expect(mac).toEqual(createHmac(hash, key).update(data).digest());
        },
      ),
      { numRuns: 20 },
    );
  });

  test('attributes that are read at once are what they are one by one, and nothing is left of the key before', () => {
    const { cryptoki, session, table } = host;
    const names = [
      'CKA_KEY_TYPE',
      'CKA_VALUE_LEN',
      'CKA_TOKEN',
      'CKA_SENSITIVE',
      'CKA_EXTRACTABLE',
      'CKA_SIGN',
      'CKA_ID',
    ];
    const reader = new AttributeReader(cryptoki, names.slice(0, -1), ['CKA_ID']);
    const readOf = (key: Buffer): Record<string, string | undefined> => {
      expect(reader.ask(session.handle, key)).toBe(true);
      const read = reader.values();
      return Object.fromEntries(names.map((name) => [name, read.get(name)?.toString('hex')]));
    };
    const oneByOne = (key: Buffer): Record<string, string | undefined> =>
      Object.fromEntries(
        names.map((name) => [name, readAttribute(cryptoki, session.handle, key, name)?.toString('hex')]),
      );
    importKey(host, { id, value: randomBytes(64), keyType: 'CKK_GENERIC_SECRET', usages: ['CKA_SIGN'] });
    const mac = table.resolve(id);
    const first = readOf(mac);
    expect(first).toEqual(oneByOne(mac));
    withAes(randomBytes(32));
    const aes = table.resolve(id);
    const second = readOf(aes);
    expect(second).toEqual(oneByOne(aes));
    expect([first['CKA_SIGN'], second['CKA_KEY_TYPE']]).toEqual(['01', ulongOf('CKK_AES')]);

    // A key that is gone, and an attribute that a key has not: the reader says nothing, instead of what it has read before.
    cryptoki.C_DestroyObject(session.handle, mac);
    expect(reader.ask(session.handle, mac)).toBe(false);
    expect(new AttributeReader(cryptoki, ['CKA_KEY_TYPE'], ['CKA_MODULUS']).ask(session.handle, aes)).toBe(false);
  });

  test('an answer is familiar that is to the last byte the one that was right, and no other', () => {
    const { cryptoki, session } = host;
    const reader = new AttributeReader(cryptoki, ['CKA_KEY_TYPE', 'CKA_TOKEN', 'CKA_SIGN']);
    const isFamiliar = (keyType: string, signs: boolean): boolean => {
      const key = cryptoki.C_CreateObject(session.handle, [
        { type: constant('CKA_CLASS'), value: constant('CKO_SECRET_KEY') },
        { type: constant('CKA_KEY_TYPE'), value: constant(keyType) },
        { type: constant('CKA_TOKEN'), value: false },
        { type: constant('CKA_SIGN'), value: signs },
        { type: constant('CKA_VALUE'), value: randomBytes(32) },
      ]);
      expect(reader.ask(session.handle, key)).toBe(true);
      return reader.isFamiliar();
    };
    expect(isFamiliar('CKK_AES', false)).toBe(false);
    reader.remember();
    expect(isFamiliar('CKK_AES', false)).toBe(true);
    expect(isFamiliar('CKK_AES', true)).toBe(false);
    expect(isFamiliar('CKK_GENERIC_SECRET', false)).toBe(false);
    expect(isFamiliar('CKK_AES', false)).toBe(true);
  });
});

function ulongOf(name: string): string {
  const bytes = Buffer.alloc(8);
  bytes.writeUInt32LE(constant(name));
  return bytes.toString('hex');
}
