import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { DatabaseSync, type SQLInputValue } from 'node:sqlite';
import fc from 'fast-check';
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import type { LoadOptions } from '../../src/store/metadata-store.ts';
import { type RecordSource, whenVerified } from '../../src/store/record-source.ts';
import { added, removed, replaced } from '../../src/store/records/changes.ts';
import type { KeyPolicyRecord } from '../../src/store/records/records.ts';
import { openSqliteStore } from '../../src/store/sqlite-store.ts';
import {
  type AnyPut,
  aliasPut,
  asPuts,
  conflict,
  eachByItself,
  examplePuts,
  examples,
  formerRegion,
  removeRoot,
  testMac,
  testMacs,
} from './records.ts';

let folder: string;
let path: string;
beforeEach(async () => {
  folder = mkdtempSync(join(tmpdir(), 'drawbridge-store-'));
  path = join(folder, 'metadata.db');
  const store = await openSqliteStore({ path, macs: testMacs, formerRegion });
  await store.write(examplePuts);
  await store.close();
});
afterEach(() => rmSync(folder, { recursive: true }));

async function load() {
  const store = await openSqliteStore({ path, macs: testMacs, formerRegion });
  try {
    return await store.load();
  } finally {
    await store.close();
  }
}

/** Edits the file behind the store's back, as anybody could who may write to it. */
function edit<T>(action: (database: DatabaseSync) => T): T {
  const database = new DatabaseSync(path);
  try {
    removeRoot(database);
    return action(database);
  } finally {
    database.close();
  }
}

const kindOfTable = {
  kms_key: 'key',
  backing_key: 'backingKey',
  key_policy: 'keyPolicy',
  alias: 'alias',
  key_grant: 'grant',
  access_key: 'accessKey',
} as const;
type Table = keyof typeof kindOfTable;
const tables = Object.keys(kindOfTable) as Table[];

const edited = 'its MAC does not verify: it was edited or damaged';
const impossible = (member: string) => `its member ${member} has a value that nothing here writes`;
const unknownFormat = 'its format is not known to this version';

describe('a record that was edited in the database file', () => {
  test('is found whatever column of whatever row was edited, is not returned, and harms no other record', {
    timeout: 170_000,
  }, async () => {
    const cells = edit((database) =>
      tables.flatMap((table) =>
        Object.entries(database.prepare(`SELECT * FROM ${table}`).get() ?? {}).map(([column, value]) => ({
          table,
          column,
          value,
        })),
      ),
    );
    expect(cells.length).toBeGreaterThan(30);
    const newValue: fc.Arbitrary<SQLInputValue> = fc.oneof(
      fc.string(),
      fc.maxSafeNat(),
      fc.constantFrom<SQLInputValue>(2n ** 62n, -1, 0.5, '', 'Enabled', '[]', 'alias/other', new Uint8Array([1, 2])),
    );
    await fc.assert(
      fc.asyncProperty(fc.constantFrom(...cells), newValue, async ({ table, column, value }, replacement) => {
        const stored = edit((database) => {
          database.prepare(`UPDATE ${table} SET ${column} = ?`).run(replacement);
          return database.prepare(`SELECT ${column} AS cell FROM ${table} WHERE ${column} IS ?`).get(value);
        });
        fc.pre(stored === undefined);
        try {
          const loaded = await load();
          expect(loaded.quarantined.map((record) => record.kind)).toEqual([kindOfTable[table]]);
          expect(asPuts(loaded)).toEqual(examplePuts.filter((put) => put.put !== kindOfTable[table]).sort(byKind));
        } finally {
          edit((database) => database.prepare(`UPDATE ${table} SET ${column} = ?`).run(value));
        }
      }),
      { numRuns: 150 },
    );
    expect(asPuts(await load())).toHaveLength(examplePuts.length);
  });

  test.each<[string, string, string, string]>([
    ['a key that was disabled is enabled', "UPDATE kms_key SET state = 'Disabled'", 'key', edited],
    ['a policy allows more', "UPDATE key_policy SET document = document || ' '", 'keyPolicy', edited],
    ['a tag list is spelled differently', "UPDATE kms_key SET tags = replace(tags, ':', ': ')", 'key', edited],
    ['a MAC is spelled differently', 'UPDATE alias SET mac = upper(mac)', 'alias', edited],
    ['a MAC is cut', 'UPDATE alias SET mac = substr(mac, 3)', 'alias', edited],
    ['a MAC is empty', "UPDATE alias SET mac = ''", 'alias', edited],
    ['a counter is set back', 'UPDATE backing_key SET reserved_encryptions = 0', 'backingKey', edited],
    ['an alias names another key', "UPDATE alias SET key_id = replace(key_id, '1', '2')", 'alias', edited],
    ['an alias has another name', "UPDATE alias SET alias_name = 'alias/root'", 'alias', edited],
    ['a number is huge', 'UPDATE alias SET created_at_ms = 9223372036854775807', 'alias', impossible('createdAtMs')],
    ['a number is negative', 'UPDATE alias SET created_at_ms = -1', 'alias', impossible('createdAtMs')],
    ['a number is a text', "UPDATE backing_key SET ordinal = 'one'", 'backingKey', impossible('ordinal')],
    ['a text is bytes', "UPDATE key_policy SET document = x'7b7d'", 'keyPolicy', impossible('document')],
    ['a state is unknown', "UPDATE kms_key SET state = '__proto__'", 'key', impossible('state')],
    ['an id is none', "UPDATE kms_key SET key_id = '../../etc'", 'key', impossible('keyId')],
    ['tags are not JSON', "UPDATE kms_key SET tags = '['", 'key', impossible('tags')],
    ['tags are null', "UPDATE kms_key SET tags = 'null'", 'key', impossible('tags')],
    ['tags hold null', "UPDATE kms_key SET tags = '[null]'", 'key', impossible('tags')],
    ['tags hold a number', `UPDATE kms_key SET tags = '[{"TagKey":1,"TagValue":""}]'`, 'key', impossible('tags')],
    ['a key moves to another Region', "UPDATE kms_key SET region = 'eu-west-1'", 'key', edited],
    ['a key policy moves to another Region', "UPDATE key_policy SET region = 'eu-west-1'", 'keyPolicy', edited],
    ['an alias moves to another Region', "UPDATE alias SET region = 'eu-west-1'", 'alias', edited],
    ['a grant moves to another Region', "UPDATE key_grant SET region = 'eu-west-1'", 'grant', edited],
    ['a key loses its Region', "UPDATE kms_key SET region = ''", 'key', edited],
    ['a key has another version', 'UPDATE kms_key SET version = 2', 'key', edited],
    ['a backing key has another version', 'UPDATE backing_key SET version = 2', 'backingKey', edited],
    ['a policy has another version', 'UPDATE key_policy SET version = 2', 'keyPolicy', edited],
    ['an alias has another version', 'UPDATE alias SET version = 2', 'alias', edited],
    ['a grant has another version', 'UPDATE key_grant SET version = 2', 'grant', edited],
    ['an access key has another version', 'UPDATE access_key SET version = 2', 'accessKey', edited],
    ['a backing key gets an owner', "UPDATE backing_key SET owner = 'me'", 'backingKey', edited],
    ['a key is to be deleted', 'UPDATE kms_key SET deletion_date_ms = 1', 'key', edited],
    ['a key has no current backing key', "UPDATE kms_key SET current_backing_key_id = ''", 'key', edited],
    ['a version is a text', "UPDATE alias SET version = 'one'", 'alias', impossible('version')],
    ['a deletion date is negative', 'UPDATE kms_key SET deletion_date_ms = -1', 'key', impossible('deletionDateMs')],
    ['a format is newer', 'UPDATE alias SET format = 3', 'alias', unknownFormat],
    ['a format is a text', "UPDATE alias SET format = 'x'", 'alias', unknownFormat],
  ])('is refused with its reason: %s', async (_what, sql, kind, reason) => {
    edit((database) => database.exec(sql));
    const { quarantined } = await load();
    expect(quarantined.map((record) => [record.kind, record.reason])).toEqual([[kind, reason]]);
  });

  test('cannot take the MAC of another record', async () => {
    const store = await openSqliteStore({ path, macs: testMacs, formerRegion });
    const open = {
      ...examples.keyPolicy,
      keyId: examples.key.keyId.replaceAll('1', '2') as typeof examples.key.keyId,
      document: '{"open":1}',
    };
    await store.write([added('keyPolicy', open)]);
    await store.close();
    edit((database) => {
      database.exec(
        `UPDATE key_policy SET (document, mac) = (SELECT document, mac FROM key_policy WHERE key_id = '${open.keyId}')
         WHERE key_id = '${examples.key.keyId}'`,
      );
    });
    const loaded = await load();
    expect(loaded.quarantined).toEqual([
      { kind: 'keyPolicy', id: examples.key.keyId, region: formerRegion, reason: edited },
    ]);
    expect(loaded.keyPolicy).toEqual([open]);
  });

  test('cannot be made up without the key of the MACs', async () => {
    edit((database) => {
      database.exec(
        "INSERT INTO alias SELECT region, 'alias/forged', version, format, mac, key_id, created_at_ms, updated_at_ms FROM alias",
      );
    });
    expect((await load()).quarantined).toEqual([
      { kind: 'alias', id: 'alias/forged', region: formerRegion, reason: edited },
    ]);
  });

  test('is quarantined as a whole when the store was written with another key', async () => {
    edit(() => undefined);
    const store = await openSqliteStore({
      path,
      formerRegion,
      macs: eachByItself((data) => testMac(Buffer.concat([data, Buffer.of(0)]))),
    });
    const loaded = await store.load();
    await store.close();
    expect(asPuts(loaded)).toEqual([]);
    expect(loaded.quarantined).toHaveLength(examplePuts.length);
  });

  test('is whole again when it is put again', async () => {
    edit((database) => database.exec("UPDATE alias SET mac = ''"));
    const store = await openSqliteStore({ path, macs: testMacs, formerRegion });
    await store.write([replaced('alias', examples.alias, {})]);
    await store.close();
    expect((await load()).quarantined).toEqual([]);
  });
});

describe('a row that is edited past a store that reads on demand', () => {
  const { key, keyPolicy, alias, grant } = examples;
  const { keyId } = key;
  const reason = 'it is not in force: it was put back or edited past Drawbridge';
  let store: Awaited<ReturnType<typeof openSqliteStore>>;
  let source: RecordSource;
  /** What the store has open, as whoever edits the file's pages has it. */
  let file: DatabaseSync;
  let macsAsked = 0;
  const begin = async (keysInMemory: number, options: LoadOptions = {}) => {
    const opening = vi.spyOn(DatabaseSync.prototype, 'exec');
    const macs = eachByItself((data) => {
      macsAsked++;
      return testMac(data);
    });
    store = await openSqliteStore({ path, macs, formerRegion });
    file = opening.mock.contexts[0] as DatabaseSync;
    opening.mockRestore();
    const begun = await store.begin(keysInMemory, undefined, options);
    if (begun.source !== undefined) ({ source } = begun);
  };
  beforeEach(() => begin(0));
  afterEach(() => store.close());

  const row = (table: Table) => ({ ...file.prepare(`SELECT * FROM ${table}`).get() });
  const putBack = (table: Table, former: Record<string, SQLInputValue>) => {
    const names = Object.keys(former);
    file.exec(`DELETE FROM ${table}`);
    file
      .prepare(`INSERT INTO ${table} (${names.join(', ')}) VALUES (${names.map(() => '?').join(', ')})`)
      .run(...Object.values(former));
  };

  test('is not in force again because it was once, and the HSM is not asked whether it is genuine', async () => {
    const denied = { ...keyPolicy, version: 2, document: '{"Deny":"all"}' };
    const [policyRow, aliasRow, grantRow] = [row('key_policy'), row('alias'), row('key_grant')];
    expect(source.select('keyPolicy', { keyId })).toEqual([keyPolicy]);
    await store.write([
      replaced('keyPolicy', keyPolicy, { document: denied.document }),
      removed('alias', alias),
      removed('grant', grant),
    ]);
    expect(source.select('keyPolicy', { keyId })).toEqual([denied]);
    const before = macsAsked;
    const told: unknown[] = [];
    source.whenRefused((record) => told.push([record.kind, record.reason]));
    putBack('key_policy', policyRow);
    putBack('alias', aliasRow);
    putBack('key_grant', grantRow);
    expect(source.select('keyPolicy', { keyId })).toEqual([]);
    expect(source.select('alias', { aliasName: alias.aliasName })).toEqual([]);
    expect(source.select('grant', { keyId })).toEqual([]);
    expect(source.problemOf('keyPolicy', keyId, formerRegion)).toBe(reason);
    await source.verifyAll();
    expect(told).toEqual(['keyPolicy', 'alias', 'grant'].map((kind) => [kind, reason]));
    expect(macsAsked).toBe(before);
  });

  test.each([
    ['', 0],
    [', nor where all records are in memory', 1000],
  ])(
    'is neither what a write makes room for, nor what is read again after a conflict%s',
    async (_where, keysInMemory) => {
      await store.close();
      await begin(keysInMemory);
      const change = replaced('alias', alias, { updatedAtMs: alias.updatedAtMs + 1 });
      const former = row('alias');
      await store.write([change]);
      const again = replaced('alias', { ...alias, version: 2 }, { updatedAtMs: alias.updatedAtMs + 2 });
      putBack('alias', former);
      await expect(store.write([again])).rejects.toMatchObject(conflict);
      await expect(store.reread([again])).rejects.toMatchObject({ failure: 'damaged' });
      file.exec('UPDATE alias SET version = 2');
      file.exec(`UPDATE alias SET mac = '${'0'.repeat(64)}'`);
      await expect(store.write([again])).rejects.toMatchObject({ failure: 'altered' });
      expect(row('alias')['version']).toBe(2);
    },
  );

  test.each([0, 1024 * 1024])(
    'is not written over, so that what stood there before is not known for good (%i bytes of packed keys)',
    async (packedKeyBytes) => {
      await store.close();
      await begin(0, { packedKeyBytes });
      const found = () => whenVerified(() => source.readKey(formerRegion, keyId)?.policy);
      expect(await found()).toEqual(keyPolicy);
      const former = row('key_policy');
      file.exec(`UPDATE key_policy SET document = 'another'`);
      const denied = replaced('keyPolicy', keyPolicy, { document: '{"Deny":"all"}' });
      await expect(store.write([denied])).rejects.toMatchObject({ failure: 'altered' });
      putBack('key_policy', former);
      await store.write([denied]);
      // A MAC that is in force is none of this row.
      putBack('key_policy', { ...former, mac: String(row('key_policy')['mac']) });
      expect(await found()).not.toEqual(keyPolicy);
    },
  );

  test('that nobody has read since the start is written over, once the HSM says that it is sound', async () => {
    await store.close();
    const made = await openSqliteStore({ path, macs: testMacs, formerRegion });
    // More than a start verifies by itself.
    await made.write(Array.from({ length: 4100 }, (_, number) => aliasPut(`n${number}`)));
    await made.close();
    await begin(0);
    const renamed = replaced('key', key, { description: 'another' });
    await store.write([renamed, replaced('key', { ...key, version: 2 }, { description: 'a third' })]);
    file.exec(`UPDATE key_policy SET document = 'another'`);
    await expect(store.write([replaced('keyPolicy', keyPolicy, {})])).rejects.toMatchObject({ failure: 'altered' });
  });

  test('is none of what was written here, whoever reads while it is replaced', async () => {
    let newest: KeyPolicyRecord = keyPolicy;
    for (let version = 2; version < 6; version++) {
      const document = `{"version":${version}}`;
      const change = replaced('keyPolicy', newest, { document });
      await Promise.all([store.write([change]), whenVerified(() => source.select('keyPolicy', { keyId }))]);
      newest = { ...newest, version, document };
      expect(await whenVerified(() => source.select('keyPolicy', { keyId }))).toEqual([newest]);
    }
    await store.write([removed('keyPolicy', newest)]);
    await store.write([added('keyPolicy', keyPolicy)]);
    expect(source.select('keyPolicy', { keyId })).toEqual([keyPolicy]);
  });
});

function byKind(one: AnyPut, other: AnyPut): number {
  return one.put < other.put ? -1 : 1;
}
