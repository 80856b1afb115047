import { randomBytes } from 'node:crypto';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { describeEachToken } from '../../support/tokens.ts';
import { fieldOf, fieldsOf, HostProcess, newId, type Reply, u32 } from './host-process.ts';

// Each host is a process that starts; a loaded machine takes its time.

const hmacSha256 = Buffer.from('HMAC_SHA_256');

describeEachToken('HSM host, secret calls', (token) => {
  let host: HostProcess;
  let aesKey: Buffer;
  let hmacKey: Buffer;
  const aad = Buffer.from('header and encryption context');

  beforeAll(async () => {
    host = new HostProcess(token());
    await host.open();
    aesKey = await host.lane.generateKey('SYMMETRIC_DEFAULT');
    hmacKey = await host.lane.generateKey('HMAC_256');
  });
  afterAll(() => host.kill());

  const encrypt = async (plaintext: Buffer, key = aesKey) => {
    const [iv, ciphertext] = fieldsOf(await host.lane.call('encrypt', [key, aad, plaintext]));
    return { iv: iv as Buffer, ciphertext: ciphertext as Buffer }; // `encrypt` replies with two fields.
  };
  const flipped = (bytes: Buffer, index: number): Buffer => {
    const copy = Buffer.from(bytes);
    copy.writeUInt8(copy.readUInt8(index) ^ 1, index);
    return copy;
  };
  const refused = (reply: Reply) => ({ code: reply.code, fields: reply.fields.length });

  test.each([1, 15, 16, 17, 64, 4096, 8192])('decrypts what it encrypted, %i bytes', async (bytes) => {
    const plaintext = randomBytes(bytes);
    const { iv, ciphertext } = await encrypt(plaintext);
    expect(iv.length).toBe(12);
    expect(ciphertext.length).toBe(bytes + 16);
    expect(fieldOf(await host.lane.call('decrypt', [aesKey, aad, iv, ciphertext]))).toEqual(plaintext);
  });

  test('an empty AAD and an AAD of 100 KB are bound as well', async () => {
    for (const size of [0, 100_000]) {
      const context = randomBytes(size);
      const [iv, ciphertext] = fieldsOf(await host.lane.call('encrypt', [aesKey, context, Buffer.from('x')]));
      const sealed = [iv as Buffer, ciphertext as Buffer];
      expect(fieldOf(await host.lane.call('decrypt', [aesKey, context, ...sealed])).toString()).toBe('x');
      const other = await host.lane.call('decrypt', [aesKey, Buffer.concat([context, Buffer.from('.')]), ...sealed]);
      expect(other.code).toBe('ciphertextInvalid');
    }
  });

  test('a ciphertext changed in any bit, cut or lengthened is refused, and the session lives on', async () => {
    const { iv, ciphertext } = await encrypt(Buffer.from('attack at dawn'));
    const wrong: [string, readonly Buffer[]][] = [
      ...Array.from(ciphertext.keys(), (at): [string, Buffer[]] => [`byte ${at}`, [aad, iv, flipped(ciphertext, at)]]),
      ...Array.from(ciphertext.keys(), (at): [string, Buffer[]] => [
        `cut at ${at}`,
        [aad, iv, ciphertext.subarray(0, at)],
      ]),
      ['longer', [aad, iv, Buffer.concat([ciphertext, Buffer.alloc(1)])]],
      ['much longer', [aad, iv, Buffer.alloc(100_000)]],
      ...Array.from(iv.keys(), (at): [string, Buffer[]] => [`IV byte ${at}`, [aad, flipped(iv, at), ciphertext]]),
      ['no IV', [aad, Buffer.alloc(0), ciphertext]],
      ['long IV', [aad, Buffer.alloc(16), ciphertext]],
      ['AAD', [flipped(aad, 0), iv, ciphertext]],
    ];
    for (const [what, fields] of wrong)
      expect({ what, ...refused(await host.lane.call('decrypt', [aesKey, ...fields])) }).toEqual({
        what,
        code: 'ciphertextInvalid',
        fields: 1,
      });
    expect(fieldOf(await host.lane.call('decrypt', [aesKey, aad, iv, ciphertext])).toString()).toBe('attack at dawn');
  });

  test('a ciphertext of another key is refused', async () => {
    const { iv, ciphertext } = await encrypt(Buffer.from('x'), await host.lane.generateKey('SYMMETRIC_DEFAULT'));
    expect((await host.lane.call('decrypt', [aesKey, aad, iv, ciphertext])).code).toBe('ciphertextInvalid');
  });

  test.each([0, 8193])('a plaintext of %i bytes is refused', async (bytes) => {
    const reply = await host.lane.call('encrypt', [aesKey, aad, Buffer.alloc(bytes)]);
    expect(reply).toMatchObject({ code: 'internal', message: `a plaintext has 1 to 8192 bytes, not ${bytes}` });
  });

  test('a thousand encryptions of one plaintext have a thousand IVs', async () => {
    const replies = await Promise.all(
      Array.from({ length: 1000 }, () => host.lane.call('encrypt', [aesKey, aad, Buffer.from('same')])),
    );
    expect(new Set(replies.map((reply) => fieldOf(reply, 0).toString('hex'))).size).toBe(1000);
  });

  test('a data key comes with its own ciphertext; without plaintext, with the ciphertext alone', async () => {
    for (const lengthBytes of [1, 32, 1024]) {
      const [iv, ciphertext, plaintext] = fieldsOf(
        await host.lane.call('generateDataKey', [aesKey, aad, u32(lengthBytes)]),
      ) as [Buffer, Buffer, Buffer];
      expect(plaintext.length).toBe(lengthBytes);
      expect(fieldOf(await host.lane.call('decrypt', [aesKey, aad, iv, ciphertext]))).toEqual(plaintext);
      const alone = fieldsOf(await host.lane.call('generateDataKeyWithoutPlaintext', [aesKey, aad, u32(lengthBytes)]));
      expect(alone.map((field) => field.length)).toEqual([12, lengthBytes + 16]);
    }
  });

  test.each([0, 1025, 2 ** 32 - 1])('%i random bytes at once are refused', async (lengthBytes) => {
    const refusal = { code: 'internal', message: `random bytes are 1 to 1024 at once, not ${lengthBytes}` };
    expect(await host.lane.call('random', [u32(lengthBytes)])).toMatchObject(refusal);
    expect(await host.lane.call('generateDataKey', [aesKey, aad, u32(lengthBytes)])).toMatchObject(refusal);
  });

  test('random bytes have the length asked for and do not repeat', async () => {
    const draws = await Promise.all(Array.from({ length: 100 }, () => host.lane.call('random', [u32(16)])));
    expect(new Set(draws.map((reply) => fieldOf(reply).toString('hex'))).size).toBe(100);
    expect(fieldOf(await host.lane.call('random', [u32(1024)])).length).toBe(1024);
  });

  test('a MAC depends on key and data alone', async () => {
    const mac = async (key: Buffer, data: string) =>
      fieldOf(await host.lane.call('mac', [key, hmacSha256, Buffer.from(data)])).toString('hex');
    const first = await mac(hmacKey, 'record');
    expect(first).toMatch(/^[0-9a-f]{64}$/);
    expect(await mac(hmacKey, 'record')).toBe(first);
    expect(await mac(hmacKey, 'recore')).not.toBe(first);
    expect(await mac(await host.lane.generateKey('HMAC_256'), 'record')).not.toBe(first);
    expect((await host.lane.call('mac', [hmacKey, hmacSha256, Buffer.alloc(0)])).code).toBe('internal');
  });

  test('a key does only what it is for, and an unknown key nothing', async () => {
    const { iv, ciphertext } = await encrypt(Buffer.from('x'));
    const attempts: [string, () => Promise<Reply>][] = [
      ['encrypt with an HMAC key', () => host.lane.call('encrypt', [hmacKey, aad, Buffer.from('x')])],
      ['decrypt with an HMAC key', () => host.lane.call('decrypt', [hmacKey, aad, iv, ciphertext])],
      ['MAC with an AES key', () => host.lane.call('mac', [aesKey, hmacSha256, Buffer.from('x')])],
      ['encrypt with no key', () => host.lane.call('encrypt', [newId(), aad, Buffer.from('x')])],
      ['decrypt with no key', () => host.lane.call('decrypt', [newId(), aad, iv, ciphertext])],
      ['data key with no key', () => host.lane.call('generateDataKey', [newId(), aad, u32(32)])],
      ['MAC with no key', () => host.lane.call('mac', [newId(), hmacSha256, Buffer.from('x')])],
    ];
    for (const [what, attempt] of attempts)
      expect({ what, ...refused(await attempt()) }).toEqual({ what, code: 'keyUnavailable', fields: 1 });
    expect(fieldOf(await host.lane.call('decrypt', [aesKey, aad, iv, ciphertext])).toString()).toBe('x');
  });

  test('calls sent together are answered each with its own result, in order', async () => {
    const order: number[] = [];
    await Promise.all(
      Array.from({ length: 300 }, async (_, index) => {
        const { iv, ciphertext } = await encrypt(Buffer.from(`message ${index}`));
        const plaintext = fieldOf(await host.lane.call('decrypt', [aesKey, aad, iv, ciphertext]));
        expect(plaintext.toString()).toBe(`message ${index}`);
        order.push(index);
      }),
    );
    expect(order).toEqual(Array.from({ length: 300 }, (_, index) => index));
  });
});
