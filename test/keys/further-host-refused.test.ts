/** A custom key store whose password was another one by the time when a further host logged in, and before it served. */

import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, test, vi } from 'vitest';
import { PresentedPasswordFiles } from '../../src/daemon/presented-passwords.ts';
import { beginKeyStore } from '../../src/hsm/open-key-store.ts';
import type { AttachableHsm } from '../../src/keys/custom-key-store.ts';
import { CustomKeyStores } from '../../src/keys/life/custom-key-stores.ts';
import { Pin } from '../../src/secrets/secret-bytes.ts';
import { added } from '../../src/store/records/changes.ts';
import { openSqliteStore } from '../../src/store/sqlite-store.ts';
import { Turns } from '../../src/store/turns.ts';
import { examples, formerRegion, testMacs } from '../store/records.ts';
import { softHsm2 } from '../support/tokens.ts';

const log = { debug() {}, info() {}, warn() {}, error() {} };

describe.skipIf(softHsm2.missing !== null)('A custom key store', () => {
  test('fails when a further host is refused while the token is looked at, and does not log in again', async () => {
    const folder = mkdtempSync(join(tmpdir(), 'drawbridge-further-host-'));
    const token = softHsm2.create();
    const store = await openSqliteStore({
      path: join(folder, 'metadata.db'),
      macs: testMacs,
      formerRegion,
    });
    await store.load();
    const turns = new Turns(store);
    const { customKeyStoreId, cloudHsmClusterId } = examples.customKeyStore;
    let logins = 0;
    let refused = false;
    const hsm: AttachableHsm = {
      name: 'hsm',
      trustAnchor: 'anchor',
      problem: async () => null,
      open(_pin, isWaitedFor, events) {
        const { settings, environment } = token;
        // Changed after the first host had logged in.
        const pin = async () => new Pin(Buffer.from(logins++ === 0 ? token.pin : `${token.pin}0`));
        const pinRefused = (message: string): void => {
          refused = true;
          events.pinRefused(message);
        };
        const options = { name: 'hsm', settings: settings(), hosts: 2, pin, environment, log };
        return beginKeyStore({ ...options, events: { ...events, pinRefused } }, isWaitedFor);
      },
    };
    const hsms = new Map([[cloudHsmClusterId, hsm]]);
    const unused = () => Promise.reject(new TypeError('no password is sealed here'));
    const vault = { seal: unused, isSame: unused, unseal: async () => new Pin(Buffer.from(token.pin)) };
    const presented = new PresentedPasswordFiles(folder);
    const configured = new Map();
    const stores = new CustomKeyStores({
      ...{ region: formerRegion, records: [], configured, hsms, vault, presented, turns, log },
    });
    turns.follow(stores);
    try {
      const whenRefused = () => vi.waitUntil(() => refused, { timeout: 170_000 }).then(() => undefined);
      stores.serve(whenRefused, async () => undefined);
      const record = { ...examples.customKeyStore, connection: 'CONNECTING', connectionErrorCode: null } as const;
      await turns.take(() => ({ changes: [added('customKeyStore', record)], response: undefined }));
      const disconnected = { ...record, version: 2, connection: 'DISCONNECTED' } as const;
      const again = { ...record, version: 3 } as const;
      await turns.take(() => ({
        changes: [{ put: 'customKeyStore', record: disconnected, replaces: 1 }],
        response: undefined,
      }));
      await turns.take(() => ({
        changes: [{ put: 'customKeyStore', record: again, replaces: 2 }],
        response: undefined,
      }));
      await expect
        .poll(() => stores.record(customKeyStoreId), { timeout: 170_000 })
        .toMatchObject({ connection: 'FAILED', connectionErrorCode: 'INVALID_CREDENTIALS' });
      expect(stores.find(customKeyStoreId)?.isAway).toBe(true);
      expect(logins).toBe(2);
    } finally {
      await stores.close();
      await store.close();
      token.remove();
      rmSync(folder, { recursive: true });
    }
  });
});
