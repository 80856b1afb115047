/** What the tests over a former version's instance share: requests about what is in it, and a look at its records. */

import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { DatabaseSync, type SQLOutputValue } from 'node:sqlite';
import { type EncryptionAlgorithmSpec, KMS } from '@aws-sdk/client-kms';
import { expect } from 'vitest';
import { type FormerCiphertext, type FormerKey, readFormerFacts } from '../../support/former-instance.ts';
import { type Instance, startInstance } from '../../support/instance.ts';
import { region } from './arns.ts';
import { kmsOver } from './connect.ts';
import { present } from './daemon.ts';

export const formerVersion = '0.1.0';
export const facts = readFormerFacts(formerVersion);
export const roles = Object.keys(facts.keys);

export const bytesOf = (base64: string): Buffer => Buffer.from(base64, 'base64');
export const base64Of = (value: Uint8Array | undefined): string => Buffer.from(present(value)).toString('base64');

export function formerKey(role: string): FormerKey {
  return present(facts.keys[role]);
}

/** For the names of tests. */
export function formerText({ key, backingKeyId, algorithm, context, madeWith }: FormerCiphertext): string {
  const under = backingKeyId === undefined ? algorithm : `backing key ${backingKeyId.slice(0, 4)}…`;
  return `what ${madeWith} gave under “${key}” (${under}) with the context ${JSON.stringify(context ?? {})}`;
}

/** The request that Decrypt has to answer with its plaintext. */
export function decryptFormer({ key, algorithm, context, ciphertext }: FormerCiphertext) {
  const isSymmetric = algorithm === 'SYMMETRIC_DEFAULT';
  return {
    CiphertextBlob: bytesOf(ciphertext),
    // The names are AWS's, as the former version took them.
    ...(isSymmetric ? {} : { KeyId: formerKey(key).keyId, EncryptionAlgorithm: algorithm as EncryptionAlgorithmSpec }),
    ...(context === undefined ? {} : { EncryptionContext: { ...context } }),
  };
}

/** An SDK client over the loopback listener; whoever makes it destroys it. */
export function kmsSignedBy(
  { endpoint }: Instance,
  credentials: { readonly accessKeyId: string; readonly secretAccessKey: string },
): KMS {
  return new KMS({ region, endpoint: present(endpoint), credentials, maxAttempts: 1 });
}

/** Starts the daemon over an instance's folder, and ends it in good order. */
export async function withDaemon<T>(dir: string, use: (kms: KMS, instance: Instance) => Promise<T>): Promise<T> {
  const instance = await startInstance({ dir });
  const kms = kmsOver(instance.socket);
  try {
    return await use(kms, instance);
  } finally {
    kms.destroy();
    expect(await instance.stop()).toBe(0);
  }
}

export type Row = Readonly<Record<string, SQLOutputValue>>;
export const recordTables = ['kms_key', 'backing_key', 'key_policy', 'alias', 'key_grant', 'access_key'] as const;
export type RecordTable = (typeof recordTables)[number];

/** Opens the metadata of an instance that is not running, as anybody could who may write to it. */
export function editMetadata<T>(dir: string, action: (database: DatabaseSync) => T): T {
  const database = new DatabaseSync(join(dir, 'data', 'metadata.db'));
  try {
    return action(database);
  } finally {
    database.close();
  }
}

/** All records of an instance that is not running, in the order of their ids. */
export function recordsIn(dir: string): Readonly<Record<RecordTable, readonly Row[]>> {
  const ids = {
    kms_key: 'key_id',
    backing_key: 'backing_key_id',
    key_policy: 'key_id',
    alias: 'alias_name',
    key_grant: 'grant_id',
    access_key: 'access_key_id',
  } as const satisfies Record<RecordTable, string>;
  return editMetadata(dir, (database) => {
    const rows = (table: RecordTable): readonly Row[] =>
      database
        .prepare(`SELECT * FROM ${table} ORDER BY ${ids[table]}`)
        .all()
        .map((row) => ({ ...row }));
    // Each table is there by name.
    return Object.fromEntries(recordTables.map((table) => [table, rows(table)])) as Record<RecordTable, readonly Row[]>;
  });
}

export interface LogLine {
  readonly level: string;
  readonly msg: string;
  readonly [member: string]: unknown;
}

export function logLines(log: string): readonly LogLine[] {
  return log
    .split('\n')
    .filter((line) => line.startsWith('{'))
    .map((line) => JSON.parse(line) as LogLine); // A line of ours.
}

/** The configuration of an instance, as text. */
export function configurationOf(dir: string): string {
  return readFileSync(join(dir, 'drawbridge.yaml'), 'utf8');
}
