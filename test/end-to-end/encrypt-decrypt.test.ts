/** Encrypt and Decrypt: what comes back, and every way in which a ciphertext can be wrong. */

import fc from 'fast-check';
import { beforeAll, expect, test } from 'vitest';
import { startInstance } from '../support/instance.ts';
import { kmsOver } from './support/connect.ts';
import { bootTimeoutMs, describeDaemon, newKey, present } from './support/daemon.ts';
import { incorrectKey, invalid, invalidCiphertext, problem, refusal, refused } from './support/refusals.ts';
import { call, errorIn, json } from './support/wire.ts';

describeDaemon('Encrypt and Decrypt', (daemon) => {
  let key: { readonly id: string; readonly arn: string };
  let other: { readonly id: string; readonly arn: string };
  beforeAll(async () => {
    key = await newKey(daemon().kms);
    other = await newKey(daemon().kms);
  });

  const encrypted = async (
    text = 'attack at dawn',
    EncryptionContext?: Record<string, string>,
  ): Promise<Uint8Array> => {
    const context = EncryptionContext === undefined ? {} : { EncryptionContext };
    const { CiphertextBlob } = await daemon().kms.encrypt({ KeyId: key.id, Plaintext: Buffer.from(text), ...context });
    return present(CiphertextBlob);
  };

  test('a plaintext comes back, with the key, its material and the algorithm named', async () => {
    const { kms } = daemon();
    const Plaintext = Buffer.from('attack at dawn');
    const made = await kms.encrypt({ KeyId: key.id, Plaintext });
    expect(made).toMatchObject({ KeyId: key.arn, EncryptionAlgorithm: 'SYMMETRIC_DEFAULT' });

    const opened = await kms.decrypt({ CiphertextBlob: present(made.CiphertextBlob) });
    const { KeyMetadata } = await kms.describeKey({ KeyId: key.id });
    expect(opened).toMatchObject({
      KeyId: key.arn,
      EncryptionAlgorithm: 'SYMMETRIC_DEFAULT',
      KeyMaterialId: KeyMetadata?.CurrentKeyMaterialId,
    });
    expect(Buffer.from(present(opened.Plaintext))).toEqual(Plaintext);
  });

  test('an answer of Encrypt has the members that AWS documents and no others', async () => {
    const body = { KeyId: key.id, Plaintext: Buffer.from('x').toString('base64') };
    const answer = json(await call(daemon().socket, 'Encrypt', body));
    expect(Object.keys(answer).sort()).toEqual(['CiphertextBlob', 'EncryptionAlgorithm', 'KeyId']);
  });

  test('any bytes under any encryption context come back, and under another context they do not', async () => {
    const { kms } = daemon();
    const context = fc.dictionary(
      fc.string({ unit: 'binary', minLength: 1, maxLength: 40 }),
      fc.string({ unit: 'binary', maxLength: 40 }),
      { maxKeys: 6 },
    );
    await fc.assert(
      fc.asyncProperty(
        fc.uint8Array({ minLength: 1, maxLength: 4096, size: 'max' }),
        context,
        context,
        async (bytes, right, wrong) => {
          const { CiphertextBlob } = await kms.encrypt({ KeyId: key.id, Plaintext: bytes, EncryptionContext: right });
          const blob = present(CiphertextBlob);
          const { Plaintext } = await kms.decrypt({ CiphertextBlob: blob, EncryptionContext: right });
          expect(Buffer.from(present(Plaintext))).toEqual(Buffer.from(bytes));
          if (canonical(right) === canonical(wrong)) return;
          expect(await refusal(kms.decrypt({ CiphertextBlob: blob, EncryptionContext: wrong }))).toEqual(
            invalidCiphertext,
          );
        },
      ),
      { numRuns: 60 },
    );
  });

  test('equal plaintexts have different ciphertexts', async () => {
    const blobs = await Promise.all(Array.from({ length: 32 }, () => encrypted('the same')));
    expect(new Set(blobs.map((blob) => Buffer.from(blob).toString('hex'))).size).toBe(32);
  });

  test.each([1, 2, 15, 16, 17, 4095, 4096])(
    'a plaintext of %i byte(s) comes back, for at most 100 bytes more',
    async (length) => {
      const { kms } = daemon();
      const Plaintext = Buffer.alloc(length, 0xa5);
      const { CiphertextBlob } = await kms.encrypt({ KeyId: key.id, Plaintext });
      const blob = present(CiphertextBlob);
      expect(blob.length - length).toBeLessThanOrEqual(100);
      expect(Buffer.from(present((await kms.decrypt({ CiphertextBlob: blob })).Plaintext))).toEqual(Plaintext);
    },
  );

  test('a plaintext that is empty, too long or missing is refused', async () => {
    const { kms, socket } = daemon();
    const encrypt = (length: number) => kms.encrypt({ KeyId: key.id, Plaintext: Buffer.alloc(length) });
    expect(await refusal(encrypt(0))).toEqual(invalid(problem.blobTooShort('plaintext', 1)));
    expect(await refusal(encrypt(4097))).toEqual(invalid(problem.blobTooLong('plaintext', 4096)));
    expect(await refusal(encrypt(100_000))).toEqual(invalid(problem.blobTooLong('plaintext', 4096)));
    expect(errorIn(await call(socket, 'Encrypt', { KeyId: key.id }))).toEqual(invalid(problem.missing('plaintext')));
  });

  test('Decrypt with the right key named, in all four forms, gives the plaintext', async () => {
    const { kms } = daemon();
    await kms.createAlias({ AliasName: 'alias/decrypts', TargetKeyId: key.id });
    const CiphertextBlob = await encrypted();
    for (const KeyId of [key.id, key.arn, 'alias/decrypts', key.arn.replace(`key/${key.id}`, 'alias/decrypts')]) {
      expect((await kms.decrypt({ CiphertextBlob, KeyId })).KeyId).toBe(key.arn);
    }
  });

  test('Decrypt with another key named is refused', async () => {
    const { kms } = daemon();
    await kms.createAlias({ AliasName: 'alias/other', TargetKeyId: other.id });
    const CiphertextBlob = await encrypted();
    for (const KeyId of [other.id, other.arn, 'alias/other']) {
      expect(await refusal(kms.decrypt({ CiphertextBlob, KeyId }))).toEqual(incorrectKey);
    }
  });

  test('a blob with any one byte changed is refused, and nothing says why', async () => {
    const { kms } = daemon();
    const blob = await encrypted('every byte counts', { purpose: 'test' });
    const changed = Array.from(blob.keys()).flatMap((index) =>
      [0x01, 0x80, 0xff].map((mask) => Buffer.from(blob.map((byte, at) => (at === index ? byte ^ mask : byte)))),
    );
    for (let at = 0; at < changed.length; at += 32) {
      const told = await Promise.all(
        changed
          .slice(at, at + 32)
          .map((CiphertextBlob) => refusal(kms.decrypt({ CiphertextBlob, EncryptionContext: { purpose: 'test' } }))),
      );
      for (const one of told) expect(one).toEqual(invalidCiphertext);
    }
  });

  test('a blob with any byte changed is refused in the same way when its key is named', async () => {
    const { kms } = daemon();
    const blob = await encrypted('every byte counts');
    const told = await Promise.all(
      Array.from(blob.keys(), (index) => {
        const CiphertextBlob = Buffer.from(blob.map((byte, at) => (at === index ? byte ^ 0x10 : byte)));
        return refusal(kms.decrypt({ CiphertextBlob, KeyId: key.id }));
      }),
    );
    for (const one of told) expect(one).toEqual(invalidCiphertext);
  });

  test('a blob cut at any length is refused', async () => {
    const { kms } = daemon();
    const blob = await encrypted('cut me');
    const told = await Promise.all(
      Array.from({ length: blob.length - 1 }, (_, index) =>
        refusal(kms.decrypt({ CiphertextBlob: blob.slice(0, index + 1) })),
      ),
    );
    for (const one of told) expect(one).toEqual(invalidCiphertext);
    expect(await refusal(kms.decrypt({ CiphertextBlob: Buffer.alloc(0) }))).toEqual(
      invalid(problem.blobTooShort('ciphertextBlob', 1)),
    );
  });

  test('a blob with bytes before, after or instead of its own is refused', async () => {
    const { kms } = daemon();
    const blob = Buffer.from(await encrypted());
    const strangers = [
      Buffer.concat([blob, Buffer.alloc(1)]),
      Buffer.concat([Buffer.alloc(1), blob]),
      Buffer.concat([blob, blob]),
      Buffer.from(blob.toString('base64')),
      Buffer.alloc(blob.length),
      Buffer.alloc(blob.length, 0xff),
      Buffer.from('not a ciphertext'),
      Buffer.alloc(6144, 1),
    ];
    for (const CiphertextBlob of strangers) {
      expect(await refusal(kms.decrypt({ CiphertextBlob }))).toEqual(invalidCiphertext);
    }
    expect(await refusal(kms.decrypt({ CiphertextBlob: Buffer.alloc(6145) }))).toEqual(
      invalid(problem.blobTooLong('ciphertextBlob', 6144)),
    );
  });

  test('halves of two blobs of one key do not make a blob', async () => {
    const { kms } = daemon();
    const [one, two] = [Buffer.from(await encrypted('one')), Buffer.from(await encrypted('two'))];
    for (let cut = 1; cut < one.length; cut += 3) {
      const CiphertextBlob = Buffer.concat([one.subarray(0, cut), two.subarray(cut)]);
      if (CiphertextBlob.equals(one) || CiphertextBlob.equals(two)) continue;
      expect(await refusal(kms.decrypt({ CiphertextBlob }))).toEqual(invalidCiphertext);
    }
  });

  test('Decrypt without a ciphertext says which member is missing', async () => {
    const answer = await call(daemon().socket, 'Decrypt', { KeyId: key.id });
    expect(errorIn(answer)).toEqual(invalid(problem.missing('ciphertextBlob')));
  });

  test('a refused ciphertext is a client error', async () => {
    const blob = Buffer.from(await encrypted());
    blob.writeUInt8(blob.readUInt8(blob.length - 1) ^ 1, blob.length - 1);
    const answer = await call(daemon().socket, 'Decrypt', { CiphertextBlob: blob.toString('base64') });
    expect(answer.status).toBe(400);
    expect(errorIn(answer)).toEqual(invalidCiphertext);
  });

  test('the order of the pairs of an encryption context does not matter', async () => {
    const CiphertextBlob = await encrypted('ordered', { a: '1', b: '2', c: '3' });
    await daemon().kms.decrypt({ CiphertextBlob, EncryptionContext: { c: '3', a: '1', b: '2' } });
  });

  test('no encryption context and an empty one are the same', async () => {
    const { kms } = daemon();
    await kms.decrypt({ CiphertextBlob: await encrypted('none'), EncryptionContext: {} });
    await kms.decrypt({ CiphertextBlob: await encrypted('empty', {}) });
  });

  test.each<[string, Record<string, string> | undefined]>([
    ['no context', undefined],
    ['an empty context', {}],
    ['a value in another case', { Tenant: 'acme', region: 'eu' }],
    ['a name in another case', { tenant: 'ACME', region: 'eu' }],
    ['a pair too few', { Tenant: 'ACME' }],
    ['a pair too many', { Tenant: 'ACME', region: 'eu', more: '' }],
    ['name and value exchanged', { ACME: 'Tenant', region: 'eu' }],
    ['values exchanged', { Tenant: 'eu', region: 'ACME' }],
    ['a space at the end', { Tenant: 'ACME ', region: 'eu' }],
    ['two pairs glued to one', { TenantACMEregion: 'eu' }],
    ['a border moved by a letter', { TenantA: 'CME', region: 'eu' }],
  ])('a ciphertext is refused under %s', async (_, EncryptionContext) => {
    const CiphertextBlob = await encrypted('for ACME', { Tenant: 'ACME', region: 'eu' });
    const context = EncryptionContext === undefined ? {} : { EncryptionContext };
    expect(await refusal(daemon().kms.decrypt({ CiphertextBlob, ...context }))).toEqual(invalidCiphertext);
  });

  test('composed and decomposed letters in a context are different', async () => {
    const CiphertextBlob = await encrypted('café', { place: 'caf\u00e9' });
    const told = await refusal(daemon().kms.decrypt({ CiphertextBlob, EncryptionContext: { place: 'cafe\u0301' } }));
    expect(told).toEqual(invalidCiphertext);
  });

  test('names like __proto__ are names like any other in an encryption context', async () => {
    const { socket } = daemon();
    const plaintext = Buffer.from('x').toString('base64');
    const body = (context: string) => `{"KeyId":"${key.id}","Plaintext":"${plaintext}","EncryptionContext":${context}}`;
    const made = json(await call(socket, 'Encrypt', body('{"__proto__":"a","constructor":"b"}')));
    const blob = String(made['CiphertextBlob']);
    const decrypt = (context: string) =>
      call(socket, 'Decrypt', `{"CiphertextBlob":"${blob}","EncryptionContext":${context}}`);
    expect((await decrypt('{"constructor":"b","__proto__":"a"}')).status).toBe(200);
    expect(errorIn(await decrypt('{"constructor":"b"}'))).toEqual(invalidCiphertext);
    expect(errorIn(await decrypt('{"constructor":"b","__proto__":"c"}'))).toEqual(invalidCiphertext);
  });

  test('an algorithm that a symmetric key does not have is refused', async () => {
    const { kms } = daemon();
    const told = refused(
      'InvalidKeyUsageException',
      'Algorithm RSAES_OAEP_SHA_256 is incompatible with key spec SYMMETRIC_DEFAULT.',
    );
    const Plaintext = Buffer.from('x');
    const EncryptionAlgorithm = 'RSAES_OAEP_SHA_256';
    expect(await refusal(kms.encrypt({ KeyId: key.id, Plaintext, EncryptionAlgorithm }))).toEqual(told);
    const CiphertextBlob = await encrypted();
    expect(await refusal(kms.decrypt({ KeyId: key.id, CiphertextBlob, EncryptionAlgorithm }))).toEqual(told);
    await kms.decrypt({ CiphertextBlob, EncryptionAlgorithm: 'SYMMETRIC_DEFAULT' });
    const answer = await call(daemon().socket, 'Encrypt', {
      KeyId: key.id,
      Plaintext: 'eA==',
      EncryptionAlgorithm: 'ROT13',
    });
    expect(errorIn(answer).message).toMatch(
      /^1 validation error detected: Value 'ROT13' at 'encryptionAlgorithm' failed to satisfy constraint: Member must satisfy enum value set: \[.*SYMMETRIC_DEFAULT.*\]$/,
    );
  });

  test('grant tokens are taken where there are none and refused where they are no grants', async () => {
    const { kms } = daemon();
    const Plaintext = Buffer.from('x');
    const CiphertextBlob = await encrypted();
    await kms.encrypt({ KeyId: key.id, Plaintext, GrantTokens: [] });
    await kms.decrypt({ CiphertextBlob, GrantTokens: [] });
    const GrantTokens = [
      'AQpAM2RhZTk1MGMyNTk2ZmZmMzEyYWVhOWViN2I1MWM4Mzc0MWFiYjc0ZDE1ODkyNGFlNTIzODZhMzgyZjBlNGY3NiKIAgEBAgB4',
    ];
    expect((await refusal(kms.encrypt({ KeyId: key.id, Plaintext, GrantTokens }))).name).toBe(
      'InvalidGrantTokenException',
    );
    expect((await refusal(kms.decrypt({ CiphertextBlob, GrantTokens }))).name).toBe('InvalidGrantTokenException');
    expect(
      (await refusal(kms.encrypt({ KeyId: key.id, Plaintext, GrantTokens: Array(11).fill('t') }))).message,
    ).toMatch(/ at 'grantTokens' failed to satisfy constraint: Member must have length less than or equal to 10$/);
    expect((await refusal(kms.encrypt({ KeyId: key.id, Plaintext, GrantTokens: [''] }))).message).toMatch(
      / at 'grantTokens\.1\.member' failed to satisfy constraint: Member must have length greater than or equal to 1$/,
    );
  });

  test('a recipient in an enclave is refused by name, before anything is decrypted', async () => {
    const Recipient = {
      KeyEncryptionAlgorithm: 'RSAES_OAEP_SHA_256',
      AttestationDocument: Buffer.from('document'),
    } as const;
    const told = await refusal(daemon().kms.decrypt({ CiphertextBlob: await encrypted(), Recipient }));
    expect(told.name).toBe('UnsupportedOperationException');
    expect(told.message).toContain('Recipient');
  });

  test(
    'a ciphertext of another daemon is refused',
    async () => {
      const stranger = await startInstance();
      const kms = kmsOver(stranger.socket);
      try {
        const { id } = await newKey(kms);
        const { CiphertextBlob } = await kms.encrypt({ KeyId: id, Plaintext: Buffer.from('foreign') });
        const foreign = { CiphertextBlob: present(CiphertextBlob) };
        expect(await refusal(daemon().kms.decrypt(foreign))).toEqual(invalidCiphertext);
        expect(Buffer.from(present((await kms.decrypt(foreign)).Plaintext)).toString()).toBe('foreign');
      } finally {
        kms.destroy();
        await stranger.stop();
      }
    },
    bootTimeoutMs,
  );

  test('after a thousand bad ciphertexts a good one decrypts', async () => {
    const { kms } = daemon();
    const CiphertextBlob = await encrypted('still here');
    const bad = Buffer.from(CiphertextBlob);
    bad.writeUInt8(bad.readUInt8(bad.length - 1) ^ 1, bad.length - 1);
    for (let round = 0; round < 20; round += 1) {
      await Promise.all(Array.from({ length: 50 }, () => refusal(kms.decrypt({ CiphertextBlob: bad }))));
    }
    expect(Buffer.from(present((await kms.decrypt({ CiphertextBlob })).Plaintext)).toString()).toBe('still here');
  });
});

function canonical(context: Readonly<Record<string, string>>): string {
  return JSON.stringify(Object.entries(context).sort(([a], [b]) => (a < b ? -1 : 1)));
}
