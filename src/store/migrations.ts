/**
 * The schema, as the numbered steps that make it. A step is never changed again, released or not: databases went through it.
 *
 * Types are ones that SQLite and PostgreSQL both have, so that one schema serves both. Columns are the members of the
 * records in `records/records.ts`; times are milliseconds since the epoch; `mac` is hexadecimal, and `format` says which
 * members it covers (`record-mac.ts`). There are no foreign keys: the store keeps records, and what belongs to what is
 * authenticated in the records and judged above.
 */

import { randomBytes } from 'node:crypto';
import { type Kysely, type SqlBool, sql } from 'kysely';
import type { Migration } from 'kysely/migration';
import { type AnySchema, addRegion, createRecords, remade } from './migrated-tables.ts';

export type Step = Pick<Migration, 'up'>;

/** In order; the name is what the database remembers. */
export const migrations: Readonly<Record<string, Step>> = {
  '0001-keys-aliases-policies': {
    async up(db: Kysely<AnySchema>) {
      const authenticated = (table: string, primaryKey: string) =>
        db.schema
          .createTable(table)
          .addColumn(primaryKey, 'text', (column) => column.primaryKey().notNull())
          .addColumn('format', 'integer', (column) => column.notNull())
          .addColumn('mac', 'text', (column) => column.notNull());

      await authenticated('kmsKey', 'keyId')
        .addColumn('state', 'text', (column) => column.notNull())
        .addColumn('keySpec', 'text', (column) => column.notNull())
        .addColumn('keyUsage', 'text', (column) => column.notNull())
        .addColumn('origin', 'text', (column) => column.notNull())
        .addColumn('description', 'text', (column) => column.notNull())
        .addColumn('createdAtMs', 'bigint', (column) => column.notNull())
        .addColumn('currentBackingKeyId', 'text', (column) => column.notNull())
        .addColumn('tags', 'text', (column) => column.notNull())
        .execute();

      await authenticated('backingKey', 'backingKeyId')
        .addColumn('keyId', 'text', (column) => column.notNull())
        .addColumn('keyStore', 'text', (column) => column.notNull())
        .addColumn('residency', 'text', (column) => column.notNull())
        .addColumn('state', 'text', (column) => column.notNull())
        .addColumn('ordinal', 'integer', (column) => column.notNull())
        .addColumn('createdAtMs', 'bigint', (column) => column.notNull())
        .addColumn('reservedEncryptions', 'bigint', (column) => column.notNull())
        .execute();

      await authenticated('keyPolicy', 'keyId')
        .addColumn('document', 'text', (column) => column.notNull())
        .execute();

      await authenticated('alias', 'aliasName')
        .addColumn('keyId', 'text', (column) => column.notNull())
        .addColumn('createdAtMs', 'bigint', (column) => column.notNull())
        .addColumn('updatedAtMs', 'bigint', (column) => column.notNull())
        .execute();

      await db.schema
        .createTable('serviceKey')
        .addColumn('purpose', 'text', (column) => column.primaryKey().notNull())
        .addColumn('backingKeyId', 'text', (column) => column.notNull())
        .execute();
    },
  },

  '0002-public-keys': {
    async up(db: Kysely<AnySchema>) {
      await db.schema
        .alterTable('backingKey')
        .addColumn('publicKey', 'text', (column) => column.notNull().defaultTo(''))
        .execute();
    },
  },

  '0003-grants': {
    async up(db: Kysely<AnySchema>) {
      await db.schema
        .createTable('keyGrant')
        .addColumn('grantId', 'text', (column) => column.primaryKey().notNull())
        .addColumn('format', 'integer', (column) => column.notNull())
        .addColumn('mac', 'text', (column) => column.notNull())
        .addColumn('keyId', 'text', (column) => column.notNull())
        .addColumn('name', 'text', (column) => column.notNull())
        .addColumn('grantee', 'text', (column) => column.notNull())
        .addColumn('retiring', 'text', (column) => column.notNull())
        .addColumn('issuingAccount', 'text', (column) => column.notNull())
        .addColumn('operations', 'text', (column) => column.notNull())
        .addColumn('constraints', 'text', (column) => column.notNull())
        .addColumn('createdAtMs', 'bigint', (column) => column.notNull())
        .execute();
    },
  },

  '0004-access-keys': {
    async up(db: Kysely<AnySchema>) {
      await db.schema
        .createTable('accessKey')
        .addColumn('accessKeyId', 'text', (column) => column.primaryKey().notNull())
        .addColumn('format', 'integer', (column) => column.notNull())
        .addColumn('mac', 'text', (column) => column.notNull())
        .addColumn('principal', 'text', (column) => column.notNull())
        .addColumn('sealedSecret', 'text', (column) => column.notNull())
        .addColumn('createdAtMs', 'bigint', (column) => column.notNull())
        .execute();
    },
  },

  '0005-regions-versions-owners': {
    async up(db: Kysely<AnySchema>) {
      const key = [
        'state',
        'keySpec',
        'keyUsage',
        'origin',
        'description',
        'createdAtMs',
        'currentBackingKeyId',
        'tags',
      ];
      await addRegion(db, 'kmsKey', 'keyId', key);
      await addRegion(db, 'keyPolicy', 'keyId', ['document']);
      await addRegion(db, 'alias', 'aliasName', ['keyId', 'createdAtMs', 'updatedAtMs']);
      const grantee = ['keyId', 'name', 'grantee', 'retiring', 'issuingAccount'];
      await addRegion(db, 'keyGrant', 'grantId', [...grantee, 'operations', 'constraints', 'createdAtMs']);
      await db.schema
        .alterTable('kmsKey')
        .addColumn('deletionDateMs', 'bigint', (column) => column.notNull().defaultTo(0))
        .execute();
      await db.schema
        .alterTable('backingKey')
        .addColumn('version', 'bigint', (column) => column.notNull().defaultTo(1))
        .execute();
      await db.schema
        .alterTable('backingKey')
        .addColumn('owner', 'text', (column) => column.notNull().defaultTo(''))
        .execute();
      await db.schema
        .alterTable('accessKey')
        .addColumn('version', 'bigint', (column) => column.notNull().defaultTo(1))
        .execute();
      await db.schema
        .createTable('node')
        .addColumn('nodeId', 'text', (column) => column.primaryKey().notNull())
        .execute();
      // Kysely knows the tables of a schema by type, and this one has none.
      const rows = db as unknown as Kysely<{ node: { nodeId: string } }>;
      await rows
        .insertInto('node')
        .values({ nodeId: randomBytes(16).toString('hex') })
        .execute();
    },
  },

  '0006-the-life-of-a-key': {
    async up(db: Kysely<AnySchema>) {
      const add = (table: string, name: string, type: 'text' | 'bigint', older: string | number) =>
        db.schema
          .alterTable(table)
          .addColumn(name, type, (column) => column.notNull().defaultTo(older))
          .execute();
      await add('kmsKey', 'keyManager', 'text', 'CUSTOMER');
      await add('kmsKey', 'rotationPeriodDays', 'bigint', 0);
      await add('kmsKey', 'nextRotationDateMs', 'bigint', 0);
      await add('backingKey', 'rotationType', 'text', '');
      await add('backingKey', 'rotatedAtMs', 'bigint', 0);
      await add('backingKey', 'importedMaterialId', 'text', '');
      await add('backingKey', 'materialDescription', 'text', '');
      await add('backingKey', 'validToMs', 'bigint', 0);

      await createRecords(db, 'tombstone', ['region', 'keyId'], ['deletedAtMs']);
      await createRecords(db, 'lastUse', ['region', 'keyId'], ['operation', 'usedAtMs', 'requestId', 'eventId']);
      const wrappingKey = ['keyId', 'keyStore', 'state', 'owner', 'principal', 'wrappingAlgorithm', 'wrappingKeySpec'];
      await createRecords(db, 'wrappingKey', ['region', 'backingKeyId'], [...wrappingKey, 'createdAtMs', 'validToMs']);
      await createRecords(db, 'milestone', ['milestone'], ['reachedAtMs', 'ranMs']);
      await createRecords(db, 'upkeepWait', ['work'], ['dueAtMs', 'ranMs', 'confirmedAtMs']);
    },
  },

  '0007-root': {
    async up(db: Kysely<AnySchema>) {
      await db.schema
        .createTable('root')
        .addColumn('epoch', 'bigint', (column) => column.notNull())
        .addColumn('intentId', 'text', (column) => column.notNull())
        .addColumn('records', 'text', (column) => column.notNull())
        .addColumn('auditSequence', 'bigint', (column) => column.notNull())
        .addColumn('auditHash', 'text', (column) => column.notNull())
        .addColumn('auditBytes', 'bigint', (column) => column.notNull())
        .addColumn('mac', 'text', (column) => column.notNull())
        .execute();
    },
  },

  '0008-wrapped-keys': {
    async up(db: Kysely<AnySchema>) {
      const add = (table: string, name: string) =>
        db.schema
          .alterTable(table)
          .addColumn(name, 'text', (column) => column.notNull().defaultTo(''))
          .execute();
      for (const name of ['wrappedKey', 'domainKeyId', 'wrappedKeySpec', 'wrappedKeyUsage'])
        await add('backingKey', name);
      await add('tombstone', 'domainKeyIds');
      await createRecords(db, 'domainKey', ['keyStore', 'backingKeyId'], ['state', 'owner', 'createdAtMs']);
      await db.schema
        .alterTable('domainKey')
        .addColumn('ordinal', 'integer', (column) => column.notNull())
        .execute();
    },
  },

  '0009-custom-key-stores': {
    async up(db: Kysely<AnySchema>) {
      const connection = ['sealedPassword', 'createdAtMs', 'connection', 'connectionErrorCode'];
      const members = ['name', 'cloudHsmClusterId', 'trustAnchorCertificate', ...connection];
      await createRecords(db, 'customKeyStore', ['region', 'customKeyStoreId'], members);
    },
  },

  '0010-multi-region-keys': {
    async up(db: Kysely<AnySchema>) {
      await db.schema
        .alterTable('kmsKey')
        .addColumn('primaryRegion', 'text', (column) => column.notNull().defaultTo(''))
        .execute();
      await db.schema
        .alterTable('kmsKey')
        .addColumn('deletionWindowDays', 'bigint', (column) => column.notNull().defaultTo(0))
        .execute();
    },
  },

  '0011-regions-of-backing-keys': {
    async up(db: Kysely<AnySchema>) {
      const texts = ['keyId', 'keyStore', 'residency', 'state', 'owner', 'publicKey', 'rotationType'];
      const imported = ['importedMaterialId', 'materialDescription'];
      const wrapped = ['wrappedKey', 'domainKeyId', 'wrappedKeySpec', 'wrappedKeyUsage'];
      const times = ['createdAtMs', 'rotatedAtMs', 'validToMs'];
      const numbers = ['ordinal', 'reservedEncryptions'];
      await remade(
        db,
        'backingKey',
        ['regions', 'backingKeyId'],
        [...texts, ...imported, ...wrapped, ...times],
        numbers,
      );
    },
  },

  '0012-moved-keys': {
    async up(db: Kysely<AnySchema>) {
      await createRecords(db, 'remnant', ['keyStore', 'backingKeyId'], ['keyId', 'owner', 'createdAtMs']);
    },
  },

  // What is read on demand is found by them.
  '0013-indexes-of-keys': {
    async up(db: Kysely<AnySchema>) {
      const index = (table: string, name: string, columns: readonly string[]) =>
        db.schema
          .createIndex(name)
          .on(table)
          .columns([...columns]);
      await index('backingKey', 'backingKeyOfKey', ['keyId']).execute();
      await index('backingKey', 'backingKeyById', ['backingKeyId']).execute();
      await index('alias', 'aliasOfKey', ['region', 'keyId']).execute();
      await index('keyGrant', 'keyGrantOfKey', ['region', 'keyId']).execute();
      await index('keyGrant', 'keyGrantByRetiring', ['region', 'retiring', 'grantId']).execute();
    },
  },

  // So that nobody has to go through all of them to find those that are wrapped under one domain key, or to be rotated next.
  '0014-indexes-of-what-is-to-be-done': {
    async up(db: Kysely<AnySchema>) {
      await db.schema
        .createIndex('backingKeyByDomainKey')
        .on('backingKey')
        .columns(['keyStore', 'domainKeyId'])
        .where(sql.ref('wrappedKey'), '<>', sql.lit(''))
        .execute();
      await db.schema
        .createIndex('kmsKeyByRotation')
        .on('kmsKey')
        .columns(['region', 'nextRotationDateMs', 'keyId', 'state'])
        .where(sql.ref('nextRotationDateMs'), '<>', sql.lit(0))
        .execute();
    },
  },

  '0015-former-domain-keys': {
    async up(db: Kysely<AnySchema>) {
      await db.schema
        .alterTable('backingKey')
        .addColumn('formerDomainKeyIds', 'text', (column) => column.notNull().defaultTo(''))
        .execute();
    },
  },

  '0016-members': {
    async up(db: Kysely<AnySchema>) {
      await createRecords(db, 'member', ['keyStore', 'backingKeyId'], ['name', 'proof', 'seenAtMs', 'leftAtMs']);
      await db.schema
        .alterTable('member')
        .addColumn('leftUnder', 'bigint', (column) => column.notNull().defaultTo(0))
        .execute();
      await db.schema
        .alterTable('domainKey')
        .addColumn('proof', 'text', (column) => column.notNull().defaultTo(''))
        .execute();
    },
  },

  // What has to be there in a token is looked for each time that a key store connects, and most material of many keys is not.
  '0017-index-of-material-in-tokens': {
    async up(db: Kysely<AnySchema>) {
      await db.schema
        .createIndex('backingKeyInToken')
        .on('backingKey')
        .columns(['keyStore'])
        .where(sql<SqlBool>`residency <> 'wrapped' or state <> 'Active'`)
        .execute();
    },
  },

  // A key that is disabled for years has a date that passed, and nobody steps over it to find those that are due.
  '0018-index-of-rotations-that-come': {
    async up(db: Kysely<AnySchema>) {
      await db.schema.dropIndex('kmsKeyByRotation').execute();
      await db.schema
        .createIndex('kmsKeyByRotation')
        .on('kmsKey')
        .columns(['region', 'nextRotationDateMs', 'keyId'])
        .where(sql<SqlBool>`next_rotation_date_ms <> 0 and state = 'Enabled'`)
        .execute();
    },
  },

  '0019-refusals-of-passwords': {
    async up(db: Kysely<AnySchema>) {
      await db.schema
        .alterTable('customKeyStore')
        .addColumn('refusals', 'text', (column) => column.notNull().defaultTo('[]'))
        .execute();
    },
  },
};
