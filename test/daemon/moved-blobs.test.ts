/**
 * Wrapped keys that somebody who can write to the database moves: to another key, KeySpec, KeyUsage or Region. What a blob is a key for
 * stands in its record, under the record's MAC, and nowhere else.
 */

import type { SQLInputValue, SQLOutputValue } from 'node:sqlite';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { acceptMetadata } from '../../src/daemon/accept-metadata.ts';
import { present } from '../end-to-end/support/daemon.ts';
import { refusal } from '../end-to-end/support/refusals.ts';
import { softHsm2 } from '../support/tokens.ts';
import { here, type RegionName, TwoRegions, there } from './two-regions.ts';

if (softHsm2.missing !== null) process.stdout.write(`skipped: moved wrapped keys: ${softHsm2.missing}\n`);

const silent = { debug() {}, info() {}, warn() {}, error() {} };
const mac = { KeySpec: 'HMAC_256', KeyUsage: 'GENERATE_VERIFY_MAC' } as const;
const pair = { KeySpec: 'ECC_NIST_P256', KeyUsage: 'SIGN_VERIFY' } as const;

describe.skipIf(softHsm2.missing !== null)('a wrapped key', () => {
  let regions: TwoRegions;
  beforeAll(async () => {
    regions = new TwoRegions();
    await regions.create();
  });
  afterAll(() => regions.remove());

  async function newKey(request: object = {}): Promise<string> {
    const { KeyMetadata } = await regions.in(here).createKey({ MultiRegion: true, ...request });
    return present(KeyMetadata?.KeyId);
  }
  const encrypt = (region: RegionName, KeyId: string) =>
    regions.in(region).encrypt({ KeyId, Plaintext: Buffer.from('x') });
  const refused = { name: 'KMSInternalException' };
  const rowsOf = (table: string, KeyId: string) => regions.rows(`SELECT * FROM ${table} WHERE key_id = ?`, KeyId);
  /** A start refuses a file whose MACs are others, until an operator accepts it as it is; which tells nothing of any one record. */
  async function startWhenAccepted(): Promise<void> {
    const said = await regions.start().then(
      () => 'it started',
      (error: Error) => error.message,
    );
    expect(said).toContain('are not those that were written last');
    const state = present(/accept --state ([0-9a-f]{16})$/.exec(said)?.[1]);
    const { configuration, environment } = regions;
    await acceptMetadata({ configuration, environment, state, uid: 0, log: silent });
    await regions.start();
  }
  function insert(table: string, rows: readonly Record<string, unknown>[]): void {
    for (const row of rows) {
      const marks = Object.keys(row).map(() => '?');
      regions.edit(`INSERT INTO ${table} VALUES (${marks})`, ...(Object.values(row) as SQLInputValue[]));
    }
  }

  test('is refused where it is edited into the record of another key, KeySpec, KeyUsage or Region, and no other key is', async () => {
    const [spared, kept] = [await newKey(), await newKey()];
    await regions.in(here).replicateKey({ KeyId: kept, ReplicaRegion: there });
    const { CiphertextBlob } = await encrypt(here, spared);
    const blobOf = (KeyId: string) => rowsOf('backing_key', KeyId)[0] as Record<string, SQLOutputValue>;
    const set = (table: string, columns: string, ...values: readonly SQLInputValue[]) => {
      return (KeyId: string) => regions.edit(`UPDATE ${table} SET ${columns} WHERE key_id = ?`, ...values, KeyId);
    };
    const { wrapped_key: otherBlob, mac: otherMac } = blobOf(spared);
    const cases: readonly (readonly [string, (KeyId: string) => number, object?])[] = [
      ['the blob of another key', set('backing_key', 'wrapped_key = ?', present(otherBlob))],
      [
        'another blob and its MAC',
        set('backing_key', 'wrapped_key = ?, mac = ?', present(otherBlob), present(otherMac)),
      ],
      ['a secret as a MAC key', set('backing_key', "wrapped_key_spec = 'HMAC_256'")],
      ['a MAC key as AES', set('backing_key', "wrapped_key_spec = 'SYMMETRIC_DEFAULT'"), mac],
      ['all that says MAC key', set('kms_key', "key_spec = 'SYMMETRIC_DEFAULT', key_usage = 'ENCRYPT_DECRYPT'"), mac],
      ['a pair for agreement', set('backing_key', "wrapped_key_usage = 'KEY_AGREEMENT'"), pair],
      ['a pair as a secret', set('backing_key', "wrapped_key_spec = 'SYMMETRIC_DEFAULT', public_key = ''"), pair],
      ['another Region', set('backing_key', 'regions = ?', there)],
      ['one Region more', set('backing_key', 'regions = ?', `${there} ${here}`)],
      ['no Region', set('backing_key', "regions = ''")],
      ['a key of another Region', set('kms_key', 'region = ?', there)],
      ['another domain key', set('backing_key', "domain_key_id = '00112233445566778899aabbccddeeff'")],
      ['another key store', set('backing_key', "key_store = 'annex'")],
      ['none, by its key', set('backing_key', 'key_id = ?', spared)],
    ];
    const keyIds: string[] = [];
    for (const [, , request] of cases) keyIds.push(await newKey(request));
    const before = await encrypt(there, kept);
    await regions.stop();
    for (const [index, [, edit]] of cases.entries()) expect(edit(present(keyIds[index]))).toBe(1);
    await startWhenAccepted();
    for (const [index, [what]] of cases.entries()) {
      for (const region of [here, there] as const) {
        const { name } = await refusal(regions.in(region).describeKey({ KeyId: keyIds[index] }));
        const isThere = region === here && what !== 'a key of another Region';
        expect([what, region, name]).toEqual([
          what,
          region,
          isThere ? refused.name : expect.stringMatching(/NotFound|Internal/),
        ]);
      }
    }
    await regions.in(here).decrypt({ CiphertextBlob });
    await regions.in(there).decrypt({ CiphertextBlob: before.CiphertextBlob });
    await encrypt(here, kept);
  });

  test('is not that of a replica that was deleted, whatever true records of it are put back and accepted', async () => {
    const KeyId = await newKey();
    await regions.in(here).replicateKey({ KeyId, ReplicaRegion: there });
    await encrypt(there, KeyId);
    const old = ['kms_key', 'key_policy'].map((table) => [table, rowsOf(table, KeyId)] as const);
    await regions.in(there).scheduleKeyDeletion({ KeyId, PendingWindowInDays: 7 });
    await regions.passDays(8);
    await expect.poll(async () => (await refusal(encrypt(there, KeyId))).name).toBe('NotFoundException');
    expect(rowsOf('backing_key', KeyId)).toMatchObject([{ regions: here }]);
    await regions.stop();
    for (const [table, rows] of old)
      insert(
        table,
        rows.filter(({ region }) => region === there),
      );
    expect(regions.edit('DELETE FROM tombstone WHERE key_id = ?', KeyId)).toBe(1);
    await startWhenAccepted();
    expect(await refusal(encrypt(there, KeyId))).toMatchObject(refused);
    await encrypt(here, KeyId);
  });
});
