/** HSMs that take no IV from a caller, make their own, and write it where his was. */

import { randomBytes } from 'node:crypto';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { describeEachShimmedToken } from '../../support/pkcs11-shim.ts';
import { type InProcessHost, importKey, openInProcess } from './in-process.ts';

describeEachShimmedToken('A library that encrypts under an IV of its own', (token) => {
  let host: InProcessHost;
  beforeAll(() => {
    host = openInProcess(token());
  });
  afterAll(() => host.close());

  // 4,097 bytes of additional data go by way of pkcs11js.
  test.each([0, 96, 4097])('is believed, with %i bytes of additional data', (aadBytes) => {
    const id = randomBytes(16);
    importKey(host, { id, value: randomBytes(32), keyType: 'CKK_AES', usages: ['CKA_ENCRYPT', 'CKA_DECRYPT'] });
    const [aad, plaintext] = [randomBytes(aadBytes), randomBytes(50)];
    token().fault('C_EncryptInit', 'flip');
    const sealed = host.secrets.encrypt(id, aad, plaintext);
    const [iv, ciphertext] = [Buffer.from(sealed.iv), Buffer.from(sealed.ciphertext)];
    token().healAll();
    expect(host.secrets.decrypt(id, aad, iv, ciphertext)).toEqual(plaintext);
    iv[11] = (iv[11] ?? 0) ^ 1;
    expect(() => host.secrets.decrypt(id, aad, iv, ciphertext)).toThrow('C_Decrypt');
  });
});
