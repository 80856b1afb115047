import { afterAll, beforeAll, expect, test } from 'vitest';
import { WrappedKeyCalls } from '../../../src/hsm/host/calls/wrapped-keys.ts';
import { ChangeLock, newChangeLockMemory } from '../../../src/hsm/host/token/change-lock.ts';
import { constant } from '../../../src/hsm/host/token/cryptoki.ts';
import { HostFailure } from '../../../src/hsm/host/token/failures.ts';
import { readAttribute, secretKeyTemplate } from '../../../src/hsm/host/token/key-attributes.ts';
import { usageRow } from '../../../src/hsm/host/token/pkcs11-key-specs.ts';
import { wrappedKeyField } from '../../../src/hsm/wrapped-key.ts';
import type { BackingKeyId } from '../../../src/kms/names.ts';
import { describeEachToken } from '../../support/tokens.ts';
import { newId } from './host-process.ts';
import { type InProcessHost, openInProcess } from './in-process.ts';

const maxCopies = 4;
const aad = Buffer.from('aad');

describeEachToken('HSM host, when things change behind its back', (token) => {
  let host: InProcessHost;
  beforeAll(() => {
    host = openInProcess(token(), maxCopies);
  });
  afterAll(() => host.close());

  const newKey = (label = 'drawbridge:test:1') => {
    const id = newId();
    host.keys.generate({ id, label, keySpec: 'SYMMETRIC_DEFAULT', keyUsage: 'ENCRYPT_DECRYPT' });
    return id;
  };
  const roundTrip = (id: Buffer, text = 'x') => {
    const { iv, ciphertext } = host.secrets.encrypt(id, aad, Buffer.from(text));
    const [ivCopy, ciphertextCopy] = [Buffer.from(iv), Buffer.from(ciphertext)];
    return host.secrets.decrypt(id, aad, ivCopy, ciphertextCopy).toString();
  };
  const failureOf = (call: () => unknown) => {
    try {
      call();
    } catch (error) {
      if (error instanceof HostFailure) return { failure: error.failure, message: error.message };
      throw error;
    }
    return 'no failure';
  };
  const missing = { failure: 'keyUnavailable', message: 'no object in the token has this CKA_ID' };
  const ambiguous = { failure: 'keyUnavailable', message: 'more than one object in the token has this CKA_ID' };

  test('a closed session is replaced and the call repeated', () => {
    const id = newKey();
    roundTrip(id);
    const calls: [string, () => unknown][] = [
      ['encrypt and decrypt', () => roundTrip(id)],
      ['describe', () => host.keys.describe(id).label],
      ['list', () => host.keys.list(0).length],
      ['generate', () => roundTrip(newKey())],
      ['destroy', () => host.keys.destroy(newId())],
      ['forget', () => host.table.forget(id)],
    ];
    for (const [what, call] of calls) {
      const { number } = host.session;
      host.cryptoki.C_CloseSession(host.session.handle);
      expect({ what, failure: failureOf(call) }).toEqual({ what, failure: 'no failure' });
      expect(roundTrip(id)).toBe('x');
      expect({ what, number: host.session.number }).toEqual({ what, number: number + 1 });
    }
    // Some tokens do not look at the session of C_GenerateRandom; either way there are random bytes.
    host.cryptoki.C_CloseSession(host.session.handle);
    expect(host.secrets.random(32).length).toBe(32);
    expect(roundTrip(newKey())).toBe('x');
  });

  test('an operation that was left active does not stop the next call', () => {
    const id = newKey();
    roundTrip(id);
    const parameter = { type: constant('CK_PARAMS_GCM'), iv: Buffer.alloc(12), ivBits: 96, aad, tagBits: 128 };
    const mechanism = { mechanism: constant('CKM_AES_GCM'), parameter };
    host.cryptoki.C_EncryptInit(host.session.handle, mechanism, host.table.resolve(id));
    expect(roundTrip(id)).toBe('x');
  });

  test('a stale handle is looked up again', () => {
    const id = newKey();
    roundTrip(id);
    host.cryptoki.C_DestroyObject(host.session.handle, host.table.resolve(id));
    expect(roundTrip(id)).toBe('x');
  });

  test('a key whose every object is gone is unavailable, and others still work', () => {
    const [id, other] = [newKey(), newKey()];
    roundTrip(id);
    for (const { handle } of host.table.find(id)) host.cryptoki.C_DestroyObject(host.elsewhere, handle);
    host.cryptoki.C_DestroyObject(host.session.handle, host.table.resolve(id));
    expect(failureOf(() => roundTrip(id))).toEqual(missing);
    expect(roundTrip(other)).toBe('x');
  });

  test('two objects with one id are refused, in the sweep and when looked up', () => {
    const [one, two] = [newKey(), newKey()];
    const id = newId();
    const [first, second] = [host.table.find(one)[0], host.table.find(two)[0]];
    if (first === undefined || second === undefined) throw new Error('the keys are there');
    host.table.fill([first, second].map(({ handle }) => ({ id: id.toString('latin1'), label: 'drawbridge:', handle })));
    expect(failureOf(() => roundTrip(id))).toEqual(ambiguous);

    const { row, usage } = usageRow('SYMMETRIC_DEFAULT', 'ENCRYPT_DECRYPT');
    const twin = newKey();
    const template = secretKeyTemplate({ row, usage, id: twin, label: 'drawbridge:test:2' }, host.profile);
    host.cryptoki.C_GenerateKey(host.elsewhere, { mechanism: constant('CKM_AES_KEY_GEN') }, template);
    host.table.fill([]);
    // NSS softoken replaces the first object by the second; there is one then, and it works.
    const outcome = host.table.find(twin).length === 1 ? 'no failure' : ambiguous;
    expect(failureOf(() => roundTrip(twin))).toEqual(outcome);
    host.keys.destroy(twin);
    expect(host.table.find(twin)).toEqual([]);
  });

  test('an object without our label is neither used nor destroyed, whatever its id', () => {
    const { row, usage } = usageRow('SYMMETRIC_DEFAULT', 'ENCRYPT_DECRYPT');
    const id = newId();
    const template = secretKeyTemplate({ row, usage, id, label: 'payroll' }, host.profile);
    const handle = host.cryptoki.C_GenerateKey(host.elsewhere, { mechanism: constant('CKM_AES_KEY_GEN') }, template);
    expect(failureOf(() => roundTrip(id))).toEqual(missing);
    expect(failureOf(() => host.keys.describe(id))).toEqual(missing);
    host.keys.destroy(id);
    expect(readAttribute(host.cryptoki, host.elsewhere, handle, 'CKA_LABEL')?.toString()).toBe('payroll');
    expect(host.keys.list(0).some((line) => line.backingKeyId === id.toString('hex'))).toBe(false);
  });

  test('unwrapped keys are bounded, come back when they are used again, and outlive neither their session nor their destruction', () => {
    const context = { profile: host.profile, capabilities: [] };
    const wrapping = new WrappedKeyCalls(host.session, host.table, host.secrets, context);
    const [domainKeyId, kind] = [newId(), { keySpec: 'SYMMETRIC_DEFAULT', keyUsage: 'ENCRYPT_DECRYPT' } as const];
    const lock = new ChangeLock(newChangeLockMemory(), false);
    wrapping.generateDomainKey({ id: domainKeyId, label: 'drawbridge:domain:test:1' }, { keys: host.keys, lock });
    const idOf = (bytes: Buffer) => bytes.toString('hex') as BackingKeyId;
    const keys = Array.from({ length: maxCopies + 3 }, () => {
      const { blob, publicKey } = wrapping.generate(domainKeyId, kind.keySpec, kind.keyUsage);
      return wrappedKeyField(idOf(newId()), { domainKeyId: idOf(domainKeyId), ...kind, publicKey, blob });
    });
    for (const round of [1, 2, 3])
      for (const key of keys) expect(roundTrip(key, `round ${round}`)).toBe(`round ${round}`);
    expect(host.table.unwrappedKeys).toBe(maxCopies);
    host.session.reopen();
    for (const key of keys) expect(roundTrip(key)).toBe('x');
    for (const key of keys) host.table.forget(key.subarray(0, 16));
    expect(host.table.unwrappedKeys).toBe(0);
    host.keys.destroy(domainKeyId);
    for (const key of keys) expect(failureOf(() => roundTrip(key))).toMatchObject({ failure: 'keyUnavailable' });
  });

  test('session copies are bounded, protected as their originals, and every key works all the same', () => {
    const ids = Array.from({ length: maxCopies + 3 }, () => newKey());
    for (const round of [1, 2, 3]) for (const id of ids) expect(roundTrip(id, `round ${round}`)).toBe(`round ${round}`);
    expect(host.table.sessionCopies).toBe(maxCopies);
    const copy = host.table.resolve(ids.at(-1) ?? newId());
    const read = (name: string) => readAttribute(host.cryptoki, host.session.handle, copy, name)?.[0];
    expect({
      token: read('CKA_TOKEN'),
      sensitive: read('CKA_SENSITIVE'),
      extractable: read('CKA_EXTRACTABLE'),
    }).toEqual({
      token: 0,
      sensitive: 1,
      extractable: 0,
    });
  });

  test('a key that cannot be copied is used as it is', () => {
    const { row, usage } = usageRow('SYMMETRIC_DEFAULT', 'ENCRYPT_DECRYPT');
    const id = newId();
    const profile = { ...host.profile, attributes: { ...host.profile.attributes, nonModifiable: true } };
    const template = secretKeyTemplate({ row, usage, id, label: 'drawbridge:test:1' }, profile);
    host.cryptoki.C_GenerateKey(host.elsewhere, { mechanism: constant('CKM_AES_KEY_GEN') }, template);
    expect(roundTrip(id)).toBe('x');
  });

  test('a token that has logged us out is gone, not without keys', () => {
    const id = newKey();
    roundTrip(id);
    const logout: unknown = Reflect.get(host.cryptoki, 'C_Logout');
    if (typeof logout !== 'function') throw new Error('pkcs11js has C_Logout');
    logout.call(host.cryptoki, host.elsewhere);
    host.table.forget(id); // NSS softoken goes on with a session copy, even logged out.
    expect(failureOf(() => roundTrip(id))).toMatchObject({ failure: 'tokenGone' });
    expect(failureOf(() => host.keys.describe(id))).toMatchObject({ failure: 'tokenGone' });
    host.cryptoki.C_Login(host.session.handle, constant('CKU_USER'), token().pin);
    expect(roundTrip(id)).toBe('x');
  });
});
