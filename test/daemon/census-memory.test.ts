/** The census of more keys than are in memory: what it reads for itself does not stay there. */

import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { censusControl } from '../../src/daemon/census.ts';
import { defaultBudgets } from '../../src/kms/budgets.ts';
import type { AliasName, KeyId } from '../../src/kms/names.ts';
import { whenVerified } from '../../src/store/record-source.ts';
import { added } from '../../src/store/records/changes.ts';
import { examples } from '../store/records.ts';
import { describeEachToken } from '../support/tokens.ts';
import { startService, type TestService } from './kms-service.ts';

describeEachToken('The census of keys that are read on demand', (token) => {
  const folder = mkdtempSync(join(tmpdir(), 'drawbridge-census-memory-'));
  let service: TestService;
  const start = (keysInMemory: number): Promise<TestService> => {
    const memory = { ...defaultBudgets.memory, keysInMemory };
    return startService(token(), folder, {
      auditFolder: join(folder, 'audit'),
      budgets: { ...defaultBudgets, memory },
    });
  };
  const keyIds: KeyId[] = [];

  beforeAll(async () => {
    service = await start(100);
    for (let made = 0; made < 12; made++) keyIds.push(await service.newKey());
    await service.close();
    service = await start(10);
  });
  afterAll(async () => {
    await service.close();
    rmSync(folder, { recursive: true });
  });

  test('uses each of them, and leaves in memory what was there, and nothing else', async () => {
    const { directory, keyStore } = service;
    expect(directory.source).toBeDefined();
    const read = (keyId: KeyId | undefined) => whenVerified(() => keyId && directory.findKey(keyId));
    const [used, ...others] = keyIds;
    await read(used);
    // What was asked for twice stays.
    const before = await read(used);
    const during: unknown[] = [];
    // What a key is in memory is one object for as long as it is there.
    const watched = new Proxy(keyStore, {
      get(target, name) {
        const member: unknown = Reflect.get(target, name, target);
        if (typeof member !== 'function') return member;
        return (...parameters: readonly unknown[]) => {
          if (name === 'decrypt') during.push(directory.findKey(others[0] as KeyId));
          return Reflect.apply(member, target, parameters);
        };
      },
    });
    const census = censusControl({
      ...{ regions: [{ directory }], keyStores: new Map([['default', watched]]), domainKeys: { of: () => [] } },
    });
    expect(await census.part(null)).toMatchObject({ keys: 12, proven: 12, problems: [], next: null });
    expect(new Set(during).size).toBe(1);
    expect(await read(used)).toBe(before);
    for (const keyId of others) expect(during).not.toContain(await read(keyId));
    expect(await read(others[0])).toBe(await read(others[0]));
  });

  test('goes on where a record of one does not verify, and counts that one', async () => {
    // Of fewer records each is verified before anybody is served.
    const [keyId] = keyIds as [KeyId];
    const common = { ...examples.alias, region: service.directory.realm.region, keyId };
    const aliases = Array.from({ length: 4_200 }, (_, at) =>
      added('alias', { ...common, aliasName: `alias/${at}` as AliasName }),
    );
    await service.store.write(aliases);
    await service.close();
    const database = new DatabaseSync(join(folder, 'metadata.sqlite'));
    database.prepare("update kms_key set description = 'edited' where key_id = ?").run(keyIds[3] ?? '');
    database.close();
    service = await start(10);
    const { directory, keyStore } = service;
    const census = censusControl({
      ...{ regions: [{ directory }], keyStores: new Map([['default', keyStore]]), domainKeys: { of: () => [] } },
    });
    expect(await census.part(null)).toMatchObject({ proven: 11, problems: [], next: null });
    expect(await census.orphans()).toMatchObject({ damaged: 1 });
  });
});
