import { constants, createHash, generateKeyPairSync, privateDecrypt, publicEncrypt, randomBytes } from 'node:crypto';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { decodeOaep } from '../../../src/hsm/host/calls/oaep.ts';

const { publicKey, privateKey } = generateKeyPairSync('rsa', { modulusLength: 2048 });
const modulusBytes = 256;
type Hash = Parameters<typeof decodeOaep>[1];
const hashes = ['sha1', 'sha256'] as const;
const bytesOf = (hash: Hash) => createHash(hash).digest().length;
const maxMessageBytes = (hash: Hash) => modulusBytes - 2 * bytesOf(hash) - 2;

/** What the private operation gives for a ciphertext of OpenSSL's. */
const encodedByOpenSsl = (message: Buffer, hash: Hash): Buffer => {
  const ciphertext = publicEncrypt({ key: publicKey, oaepHash: hash }, message);
  return privateDecrypt({ key: privateKey, padding: constants.RSA_NO_PADDING }, ciphertext);
};

/** OpenSSL's verdict on an encoded message: the message, or `null`. */
const decodedByOpenSsl = (encoded: Buffer, hash: Hash): Buffer | null => {
  const ciphertext = publicEncrypt({ key: publicKey, padding: constants.RSA_NO_PADDING }, encoded);
  try {
    return privateDecrypt({ key: privateKey, oaepHash: hash }, ciphertext);
  } catch {
    return null; // Whatever it says: a refusal.
  }
};

/** EME-OAEP with a data block and first byte of the test's choice. */
function encode(dataBlock: Buffer, hash: Hash, first = 0): Buffer {
  const seed = randomBytes(bytesOf(hash));
  const maskedData = xor(dataBlock, mgf1(seed, dataBlock.length, hash));
  const maskedSeed = xor(seed, mgf1(maskedData, seed.length, hash));
  return Buffer.concat([Buffer.from([first]), maskedSeed, maskedData]);
}

function mgf1(seed: Buffer, length: number, hash: Hash): Buffer {
  const blocks = Array.from({ length: Math.ceil(length / bytesOf(hash)) }, (_, counter) =>
    createHash(hash)
      .update(seed)
      .update(Buffer.from([0, 0, 0, counter]))
      .digest(),
  );
  return Buffer.concat(blocks).subarray(0, length);
}

function xor(left: Buffer, right: Buffer): Buffer {
  return Buffer.from(left.map((byte, at) => byte ^ (right[at] ?? 0)));
}

/** lHash, then `rest`, then zeroes up to the length of a data block. */
function dataBlock(hash: Hash, rest: readonly number[], labelHash = createHash(hash).digest()): Buffer {
  const block = Buffer.alloc(modulusBytes - bytesOf(hash) - 1);
  Buffer.concat([labelHash, Buffer.from(rest)]).copy(block);
  return block;
}

describe.each(hashes)('OAEP with %s', (hash) => {
  test('decodes what OpenSSL encoded, from no byte to the most that there is room for', () => {
    for (const size of [0, 1, 32, maxMessageBytes(hash) - 1, maxMessageBytes(hash)]) {
      const message = randomBytes(size);
      expect(decodeOaep(encodedByOpenSsl(message, hash), hash)).toEqual(message);
    }
  });

  const zeroes = (count: number) => Array.from({ length: count }, () => 0);
  const room = modulusBytes - 2 * bytesOf(hash) - 1;
  const otherLabel = createHash(hash).update('label').digest();
  const almostLabel = (at: number) => {
    const labelHash = createHash(hash).digest();
    labelHash.writeUInt8(labelHash.readUInt8(at) ^ 1, at);
    return labelHash;
  };
  test.each<[what: string, encoded: Buffer, isGood: boolean]>([
    ['a message of zeroes', encode(dataBlock(hash, [1]), hash), true],
    ['a message that begins with the separator', encode(dataBlock(hash, [0, 1, 1, 1]), hash), true],
    ['the separator as the last byte', encode(dataBlock(hash, [...zeroes(room - 1), 1]), hash), true],
    ['a first byte of 1', encode(dataBlock(hash, [1, 7]), hash, 1), false],
    ['a first byte of 64', encode(dataBlock(hash, [1, 7]), hash, 64), false],
    ['no separator', encode(dataBlock(hash, zeroes(room)), hash), false],
    ['a 2 for the separator', encode(dataBlock(hash, [2, 7]), hash), false],
    ['a 2 before the separator', encode(dataBlock(hash, [0, 2, 1, 7]), hash), false],
    ['255 before the separator', encode(dataBlock(hash, [0, 255, 1, 7]), hash), false],
    ['the hash of another label', encode(dataBlock(hash, [1, 7], otherLabel), hash), false],
    ['the first byte of the label hash changed', encode(dataBlock(hash, [1, 7], almostLabel(0)), hash), false],
    [
      'the last byte of the label hash changed',
      encode(dataBlock(hash, [1, 7], almostLabel(bytesOf(hash) - 1)), hash),
      false,
    ],
    ['nothing but zeroes', Buffer.alloc(modulusBytes), false],
  ])('judges %s as OpenSSL does', (_what, encoded, isGood) => {
    const decoded = decodeOaep(encoded, hash);
    expect(decoded !== null).toBe(isGood);
    expect(decoded).toEqual(decodedByOpenSsl(encoded, hash));
  });

  test('refuses what has no room for a padding', () => {
    for (const length of [1, bytesOf(hash), 2 * bytesOf(hash) + 1]) {
      expect(decodeOaep(Buffer.alloc(length), hash)).toBeNull();
    }
  });

  test('any changed byte is refused', () => {
    const encoded = encodedByOpenSsl(Buffer.from('attack at dawn'), hash);
    fc.assert(
      fc.property(fc.nat({ max: modulusBytes - 1 }), fc.integer({ min: 1, max: 255 }), (at, change) => {
        const changed = Buffer.from(encoded);
        changed.writeUInt8(changed.readUInt8(at) ^ change, at);
        expect(decodeOaep(changed, hash)).toBeNull();
      }),
    );
  });

  test('leaves the encoded message as it was', () => {
    const encoded = encodedByOpenSsl(Buffer.from('x'), hash);
    const copy = Buffer.from(encoded);
    decodeOaep(encoded, hash);
    expect(encoded).toEqual(copy);
  });
});
