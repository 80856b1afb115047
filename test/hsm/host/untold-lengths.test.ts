/** A library that says of a call that failed that it knows no length: the next call has as much room as there is. */

import { randomBytes } from 'node:crypto';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { constant } from '../../../src/hsm/host/token/cryptoki.ts';
import { describeEachShimmedToken } from '../../support/pkcs11-shim.ts';
import { type InProcessHost, importKey, openInProcess } from './in-process.ts';

describeEachShimmedToken('After a failure of unknown length', (token) => {
  let host: InProcessHost;
  beforeAll(() => {
    host = openInProcess(token());
  });
  afterAll(() => host.close());

  test('an output that is too short is refused, and not written behind its end', () => {
    const { cryptoki, session } = host;
    const id = randomBytes(16);
    importKey(host, { id, value: randomBytes(32), keyType: 'CKK_AES', usages: ['CKA_ENCRYPT'] });
    const gcm = { type: constant('CK_PARAMS_GCM'), iv: randomBytes(12), ivBits: 96, aad: randomBytes(9), tagBits: 128 };
    cryptoki.C_EncryptInit(
      session.handle,
      { mechanism: constant('CKM_AES_GCM'), parameter: gcm },
      host.table.resolve(id),
    );
    const [plaintext, memory] = [randomBytes(50), Buffer.alloc(100)];
    token().fault('C_Encrypt', 'unavailable 5');
    expect(() => cryptoki.C_Encrypt(session.handle, plaintext, memory)).toThrow('CKR_GENERAL_ERROR:5');
    token().healAll();
    expect(() => cryptoki.C_Encrypt(session.handle, plaintext, memory.subarray(0, 10))).toThrow('CKR_BUFFER_TOO_SMALL');
    expect(memory).toEqual(Buffer.alloc(100));
  });
});
