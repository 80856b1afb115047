import { afterAll, beforeAll, expect, test } from 'vitest';
import { describeEachToken } from '../../support/tokens.ts';
import { protectedKey } from '../protected-key.ts';
import { fieldOf, fieldsOf, HostProcess, jsonOf, newId, type Reply, u32, withHost } from './host-process.ts';

// Each host is a process that starts; a loaded machine takes its time.

describeEachToken('HSM host, keys', (token) => {
  let host: HostProcess;
  beforeAll(async () => {
    host = new HostProcess(token());
    await host.open();
  });
  afterAll(() => host.kill());

  const list = async (from = host) => {
    const lines: { backingKeyId: string; label: string }[] = [];
    for (;;) {
      const page = jsonOf<typeof lines>(await from.lane.call('listKeys', [u32(lines.length)]));
      if (page.length === 0) return lines;
      lines.push(...page);
    }
  };
  const encrypts = (key: Buffer, from = host): Promise<Reply> =>
    from.lane.call('encrypt', [key, Buffer.from('aad'), Buffer.from('x')]);

  const usages = [
    ['SYMMETRIC_DEFAULT', 'ENCRYPT_DECRYPT', { keyType: 'CKK_AES', usages: ['CKA_ENCRYPT', 'CKA_DECRYPT'] }],
    ['HMAC_256', 'GENERATE_VERIFY_MAC', { keyType: 'CKK_GENERIC_SECRET', usages: ['CKA_SIGN'] }],
  ] as const;

  test.each(usages)(
    'a new %s key is sensitive, cannot leave the token and does one thing only',
    async (keySpec, keyUsage, expected) => {
      const id = newId();
      const label = 'drawbridge:a4f0c1de-0000-4000-8000-000000000000:1';
      const attributes = jsonOf(await host.lane.generate({ id, label, keySpec, keyUsage }));
      expect(attributes).toMatchObject({
        backingKeyId: id.toString('hex'),
        label,
        objectClass: 'CKO_SECRET_KEY',
        keyBits: 256,
        ...protectedKey,
        ...expected,
      });
      expect(jsonOf(await host.lane.call('describeKey', [id]))).toEqual(attributes);
    },
  );

  test('what is not built, does not exist or is labelled wrongly is refused by name', async () => {
    const refusals: [Parameters<typeof host.lane.generate>[0], string, string][] = [
      [
        { keySpec: 'SM2', keyUsage: 'SIGN_VERIFY' },
        'unsupported',
        "PKCS#11 has no mechanism for the signatures and the encryption of SM2, a vendor's own is not known here, and no keys are made on its curve",
      ],
      [{ keySpec: 'AES_512' }, 'unsupported', 'there is no KeySpec `AES_512`'],
      [{ keySpec: '__proto__' }, 'unsupported', 'there is no KeySpec `__proto__`'],
      [{ keyUsage: 'SIGN_VERIFY' }, 'unsupported', 'KeySpec SYMMETRIC_DEFAULT has no KeyUsage `SIGN_VERIFY`'],
      [{ keyUsage: 'constructor' }, 'unsupported', 'KeySpec SYMMETRIC_DEFAULT has no KeyUsage `constructor`'],
      [{ label: 'mine' }, 'internal', 'a label is drawbridge:… and at most 100 bytes of ASCII'],
      [{ label: `drawbridge:${'x'.repeat(90)}` }, 'internal', 'a label is drawbridge:… and at most 100 bytes of ASCII'],
      [{ label: 'drawbridge:é' }, 'internal', 'a label is drawbridge:… and at most 100 bytes of ASCII'],
    ];
    const before = await list();
    for (const [request, code, message] of refusals)
      expect(await host.lane.generate(request)).toMatchObject({ code, message });
    expect(await list()).toEqual(before);
  });

  test('a second key with the id of another is refused, and the first still decrypts', async () => {
    const id = await host.lane.generateKey('SYMMETRIC_DEFAULT');
    const [iv, ciphertext] = fieldsOf(await encrypts(id)) as [Buffer, Buffer];
    const again = await host.lane.generate({ id });
    expect(again).toMatchObject({ code: 'internal', message: 'an object with this CKA_ID is in the token already' });
    expect(fieldOf(await host.lane.call('decrypt', [id, Buffer.from('aad'), iv, ciphertext])).toString()).toBe('x');
  });

  test('a destroyed key is gone for every call; destroying it again succeeds', async () => {
    const id = await host.lane.generateKey('SYMMETRIC_DEFAULT');
    fieldsOf(await encrypts(id));
    expect((await host.lane.call('destroyKey', [id])).code).toBe('success');
    const message = 'no object in the token has this CKA_ID';
    expect(await encrypts(id)).toMatchObject({ code: 'keyUnavailable', message });
    expect(await host.lane.call('describeKey', [id])).toMatchObject({ code: 'keyUnavailable', message });
    expect((await list()).map((line) => line.backingKeyId)).not.toContain(id.toString('hex'));
    expect((await host.lane.call('destroyKey', [id])).code).toBe('success');
  });

  test('keys are listed with their labels, those of another host too, and survive a new host', async () => {
    const mine = await host.lane.generateKey('SYMMETRIC_DEFAULT');
    await withHost(token(), async (other) => {
      const theirs = await other.lane.generateKey('HMAC_256');
      const ids = (await list()).map((line) => line.backingKeyId);
      expect(ids).toContain(mine.toString('hex'));
      expect(ids).toContain(theirs.toString('hex'));
      expect((await list(other)).map((line) => line.backingKeyId).sort()).toEqual([...ids].sort());
      // Made after the sweep of `host`, so found by its id on first use.
      expect(fieldOf(await host.lane.call('mac', [theirs, Buffer.from('HMAC_SHA_256'), Buffer.from('x')]))).toEqual(
        fieldOf(await other.lane.call('mac', [theirs, Buffer.from('HMAC_SHA_256'), Buffer.from('x')])),
      );
      const [iv, ciphertext] = fieldsOf(await encrypts(mine, other)) as [Buffer, Buffer];
      expect(fieldOf(await host.lane.call('decrypt', [mine, Buffer.from('aad'), iv, ciphertext])).toString()).toBe('x');
    });
  });

  test('a key that another host destroyed is gone once it is forgotten', async () => {
    const id = await host.lane.generateKey('SYMMETRIC_DEFAULT');
    fieldsOf(await encrypts(id));
    await withHost(token(), async (other) => {
      fieldsOf(await other.lane.call('destroyKey', [id]));
    });
    fieldsOf(await host.lane.call('forgetKey', [id]));
    expect((await encrypts(id)).code).toBe('keyUnavailable');
    fieldsOf(await host.lane.call('forgetKey', [newId()]));
  });

  test('a forgotten key that is there is found again', async () => {
    const id = await host.lane.generateKey('SYMMETRIC_DEFAULT');
    fieldsOf(await encrypts(id));
    fieldsOf(await host.lane.call('forgetKey', [id]));
    expect((await encrypts(id)).code).toBe('success');
  });
});

describeEachToken('HSM host, many keys', (token) => {
  test('a listing longer than a page is complete, and every key works after a new connection', async () => {
    const count = 40;
    const ids = await withHost(token(), async (host) => {
      const made: string[] = [];
      for (let index = 0; index < count; index++)
        made.push((await host.lane.generateKey('SYMMETRIC_DEFAULT')).toString('hex'));
      return made;
    });
    await withHost(token(), async (host) => {
      const page = jsonOf<{ backingKeyId: string }[]>(await host.lane.call('listKeys', [u32(0)]));
      expect(page.map((line) => line.backingKeyId).sort()).toEqual([...ids].sort());
      const rest = jsonOf<{ backingKeyId: string }[]>(await host.lane.call('listKeys', [u32(count - 3)]));
      expect(rest.length).toBe(3);
      expect(jsonOf(await host.lane.call('listKeys', [u32(count)]))).toEqual([]);
      expect(jsonOf(await host.lane.call('listKeys', [u32(2 ** 32 - 1)]))).toEqual([]);
      const replies = await Promise.all(
        ids.map((id) => host.lane.call('encrypt', [Buffer.from(id, 'hex'), Buffer.alloc(0), Buffer.from('x')])),
      );
      expect(replies.map((reply) => reply.code)).toEqual(ids.map(() => 'success'));
    });
  });
});
