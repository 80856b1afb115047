/** How many wrapping keys there are at once: so many of each principal, and so many in all. Over a real token. */

import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { type KeyId, newBackingKeyId, type PrincipalArn } from '../../src/kms/names.ts';
import { added } from '../../src/store/records/changes.ts';
import type { WrappingKeyRecord } from '../../src/store/records/records.ts';
import { alice, bob, realm } from '../authorization/policies.ts';
import { describeToken, softHsm2 } from '../support/tokens.ts';
import { startService, type TestService } from './kms-service.ts';

const maxPerPrincipal = 32;
const maxInAll = 256;

describeToken(softHsm2, 'Wrapping keys', (token) => {
  const folder = mkdtempSync(join(tmpdir(), 'drawbridge-wrapping-'));
  let kms: TestService;
  let keyId: KeyId;
  beforeAll(async () => {
    kms = await startService(token(), folder, { auditFolder: join(folder, 'audit') });
    keyId = await kms.newKey(undefined, 'EXTERNAL');
  });
  afterAll(async () => {
    await kms.close();
    rmSync(folder, { recursive: true });
  });

  /** Puts on record what so many requests would have left. */
  async function askedBy(principal: PrincipalArn, count: number): Promise<readonly WrappingKeyRecord[]> {
    const records = Array.from(
      { length: count },
      (_, at): WrappingKeyRecord => ({
        region: realm.region,
        backingKeyId: newBackingKeyId(),
        version: 1,
        keyId,
        keyStore: 'default',
        state: 'Active',
        owner: '',
        principal,
        wrappingAlgorithm: 'RSAES_OAEP_SHA_256',
        wrappingKeySpec: 'RSA_2048',
        createdAtMs: Date.now() - count + at,
        validToMs: Date.now() + 1_000_000,
      }),
    );
    await kms.turns.take(() => ({
      changes: records.map((record) => added('wrappingKey', record)),
      response: undefined,
    }));
    return records;
  }
  const ask = () =>
    kms.run('GetParametersForImport', {
      KeyId: keyId,
      WrappingAlgorithm: 'RSAES_OAEP_SHA_256',
      WrappingKeySpec: 'RSA_2048',
    });
  const ofPrincipal = (principal: PrincipalArn) =>
    kms.life.imports.wrappingKeys.all().filter((record) => record.principal === principal);

  test('of one principal are replaced, the oldest first, and nobody else loses any', async () => {
    const [mine, others] = [await askedBy(alice, maxPerPrincipal), await askedBy(bob, maxPerPrincipal)];
    expect(await ask()).toMatchObject({ ok: true });
    const left = ofPrincipal(alice).map(({ backingKeyId }) => backingKeyId);
    expect(left).toHaveLength(maxPerPrincipal);
    expect(mine.filter(({ backingKeyId }) => !left.includes(backingKeyId))).toEqual(mine.slice(0, 1));
    expect(ofPrincipal(bob)).toEqual(others);
  });

  test('are refused when there is no room for more, and none is made', async () => {
    await askedBy(bob, maxInAll - kms.life.imports.wrappingKeys.all().length);
    const objects = await kms.keyStore.listKeys();
    expect(await ask()).toMatchObject({ ok: false, error: { name: 'LimitExceededException' } });
    expect(await kms.keyStore.listKeys()).toEqual(objects);
  });
});
