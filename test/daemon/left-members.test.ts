/** Members of a key store that have left while they were away, and what is put into the place of others: who serves, and who is left out. */

import { randomBytes } from 'node:crypto';
import { cpSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import type { KMS } from '@aws-sdk/client-kms';
import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest';
import { parse, stringify } from 'yaml';
import { createLog } from '../../src/daemon/log.ts';
import { MemberProofs } from '../../src/daemon/member-proofs.ts';
import type { KeyStore } from '../../src/hsm/key-store.ts';
import { newImportedRecord } from '../../src/keys/life/imported-records.ts';
import { RecordsOfKeys } from '../../src/keys/records-of-keys.ts';
import { newBackingKeyId, newKeyId } from '../../src/kms/names.ts';
import { inToken } from '../../src/store/records/records.ts';
import { present } from '../end-to-end/support/daemon.ts';
import { importMaterial } from '../end-to-end/support/imports.ts';
import { refusal } from '../end-to-end/support/refusals.ts';
import { send } from '../end-to-end/support/wire.ts';
import { openStore } from '../hsm/test-store.ts';
import { softHsm2 } from '../support/tokens.ts';
import { drawbridge, nextOf } from './domain-commands.ts';
import { InstanceOfMembers } from './instance-of-members.ts';

if (softHsm2.missing !== null) process.stdout.write(`skipped: members that left: ${softHsm2.missing}\n`);

describe.skipIf(softHsm2.missing !== null)('A key store of four members, two of which leave', () => {
  const names = ['a', 'b', 'c', 'd'] as const;
  type Name = (typeof names)[number];
  let instance: InstanceOfMembers;
  let before: Uint8Array | undefined;
  let after: Uint8Array | undefined;
  /** The token of one that left, and was emptied. */
  let emptied: KeyStore | undefined;

  const patience = { timeout: 170_000, interval: 50 };
  const until = (name: Name, state: string, more: object = {}) =>
    vi.waitFor(async () => expect(await instance.statusOf(name)).toMatchObject({ state, ...more }), patience);
  async function unplug(...members: readonly Name[]): Promise<void> {
    for (const name of members) {
      instance.member(name).pull();
      for (const pid of (await instance.statusOf(name)).pids) process.kill(pid, 'SIGKILL');
      await vi.waitFor(async () => expect((await instance.statusOf(name)).state).not.toBe('connected'), patience);
    }
  }
  /** What comes back by itself does so later and later. */
  async function plug(name: Name): Promise<{ readonly status: number; readonly message?: string }> {
    instance.member(name).plug();
    for (;;) {
      const { status, body } = await instance.reconnect(`default/members/${name}`);
      // Of an attempt that was under way before: the library has looked for tokens already.
      if (!String(body['message']).includes('no token has the label')) return { status, ...body };
    }
  }
  /** What is plugged next is a copy of that. */
  function replace(name: Name, copy: string): void {
    const out = `${instance.member(name).tokens}.out`;
    rmSync(out, { recursive: true });
    cpSync(copy, out, { recursive: true });
  }
  const keep = (name: Name, as: string): string => {
    const copy = join(instance.folder, `${name}-${as}`);
    cpSync(instance.member(name).tokens, copy, { recursive: true });
    return copy;
  };
  async function ciphertext(): Promise<Uint8Array | undefined> {
    const KeyId = present((await instance.kms.createKey({})).KeyMetadata?.KeyId);
    return (await instance.kms.encrypt({ KeyId, Plaintext: Buffer.from('x') })).CiphertextBlob;
  }
  const decrypt = (CiphertextBlob: Uint8Array | undefined) => instance.kms.decrypt({ CiphertextBlob });
  const post = async (act: string, body: object) => {
    const request = { path: `/domains/default/${act}`, body: JSON.stringify(body) };
    return JSON.parse((await send(instance.socket, request)).body);
  };
  const command = (act: string, ...args: readonly string[]) =>
    drawbridge(act, ...args, '--config', instance.configurationFile, '--so-pin-file', soPin(), '--json');
  const soPin = (): string => join(instance.folder, 'so-pin');

  /** A member of the record of what was made first, which then does not verify; while nobody serves. */
  function alterFirstKey(by: '+ 1' | '- 1'): void {
    const database = new DatabaseSync(join(instance.folder, 'data', 'metadata.db'));
    const first = 'SELECT backing_key_id FROM backing_key ORDER BY created_at_ms LIMIT 1';
    database.exec(`UPDATE backing_key SET ordinal = ordinal ${by} WHERE backing_key_id = (${first})`);
    database.close();
  }

  beforeAll(async () => {
    instance = await InstanceOfMembers.create({ names, prepare: async (kms) => void (await kms.createKey({})) });
    writeFileSync(soPin(), `${instance.token.soPin}\n`, { mode: 0o600 });
    await instance.start();
    for (const name of names) await until(name, 'connected');
    const marked = () => instance.logged.filter((line) => line.includes('is known by its mark'));
    await vi.waitFor(() => expect(marked()).toHaveLength(names.length), patience);
    before = await ciphertext();
  });
  afterAll(async () => {
    await emptied?.close();
    await instance?.remove();
  });

  const copies = { b: '', c: '', bNow: '' };

  test('gets a new domain key in each of them by the trust of one security officer', async () => {
    expect(await command('rotate')).toMatchObject({ members: names, left: null });
    for (const name of names) expect(await instance.statusOf(name)).toMatchObject({ state: 'connected', lacks: [] });
    [copies.b, copies.c] = [keep('b', 'backup'), keep('c', 'backup')];
  });

  test('has no new domain key left in the member that was lost when it had made it', async () => {
    const { domainKeyId } = await post('rotation', {});
    await unplug('a');
    expect(await post('rotation/finish', { domainKeyId })).toMatchObject({ __type: expect.any(String) });
    expect(await plug('a')).toMatchObject({ status: 200 });
    const undone = () =>
      instance.logged.filter((line) => line.includes('undid an unfinished creation of a domain key'));
    await vi.waitFor(() => expect(undone()).toHaveLength(1), patience);
    const { body } = await send(instance.socket, { path: '/census/orphans', body: '{}' });
    expect(JSON.parse(body)).toMatchObject({ orphans: [], unreachable: [] });
  });

  test('lets those that are away leave together, and none of them by itself', async () => {
    await unplug('c', 'd');
    expect(await post('rotation', { leaver: 'c' })).toMatchObject({
      __type: 'ConflictException',
      message: expect.stringMatching(/^`d` of .*several leave by one command/),
    });
    const { domainKeyId } = await post('rotation', { leaver: ['c', 'd'] });
    const done = await command('leave', 'c', 'd');
    const left = ['c', 'd'].map((member) => ({ member, isEmpty: false }));
    expect(done).toMatchObject({ members: ['a', 'b'], left: left[0], allLeft: left });
    // What somebody else had begun is not finished.
    expect(await post('rotation/finish', { domainKeyId })).toMatchObject({ __type: 'ConflictException' });
    after = await ciphertext();
    copies.bNow = keep('b', 'now');
    expect(await instance.statusOf('d')).toMatchObject({ hasLeft: true });
  });

  test('knows one that left when it comes back, and one that is put into the place of another member', async () => {
    expect(await plug('c')).toMatchObject({ status: 500, message: expect.stringContaining('left as `c`') });
    await until('c', 'left', { command: 'drawbridge domain leave c --key-store default' });
    await unplug('b');
    replace('b', copies.c);
    expect(await plug('b')).toMatchObject({ status: 500, message: expect.stringContaining('left as `c`') });
    await until('b', 'left');
    await unplug('a');
    expect(await refusal(decrypt(before))).toMatchObject({ name: 'KMSInternalException' });
    expect(await instance.ask('/health')).toMatchObject({ status: 503 });
    expect(await plug('a')).toMatchObject({ status: 200 });
    await decrypt(before);
  });

  test('is served by an older copy of a member that did not leave', async () => {
    instance.member('b').pull();
    replace('b', copies.b);
    expect(await plug('b')).toMatchObject({ status: 200 });
    expect(await instance.statusOf('b')).toMatchObject({ state: 'connected', hasLeft: false });
    await unplug('a');
    await decrypt(before);
    expect(await refusal(decrypt(after)), 'it lacks what is newer').toMatchObject({ name: 'KMSInvalidStateException' });
    await plug('a');
    await until('b', 'connected', { lacks: [expect.any(String)] });
    // At once, so that each member has some; a pair in the one that cannot wrap what it opens would be of no use.
    const imported = Array.from({ length: 4 }, async () => {
      const { KeyMetadata } = await instance.kms.createKey({ Origin: 'EXTERNAL' });
      await importMaterial(instance.kms, present(KeyMetadata?.KeyId), randomBytes(32));
    });
    await Promise.all(imported);
    await unplug('b');
    replace('b', copies.bNow);
    await plug('b');
    await until('b', 'connected', { lacks: [] });
  });

  test('does not start with one that left alone, and waits for another', async () => {
    await instance.stop();
    for (const name of ['a', 'b'] as const) instance.member(name).pull();
    await expect(instance.start()).rejects.toThrow(/nobody is there but `c`, which left the domain/);
    await instance.stop();
    // As the only token of the key store it is the same one.
    const written = readFileSync(instance.configurationFile, 'utf8');
    const configuration = parse(written);
    const { name: _, ...alone } = configuration.keyStores.default.members[2];
    configuration.keyStores.default = alone;
    writeFileSync(instance.configurationFile, stringify(configuration));
    await expect(instance.start()).rejects.toThrow(/nobody is there but `default`, which left the domain/);
    await instance.stop();
    writeFileSync(instance.configurationFile, written);
    alterFirstKey('+ 1');
    await instance.start(true);
    const waitsFor = expect.stringMatching(/`c`.*left the domain/);
    await vi.waitFor(async () => expect((await instance.ask('/status')).body).toMatchObject({ waitsFor }), patience);
    expect(await instance.ask('/health')).toMatchObject({ status: 503 });
    for (const name of ['a', 'b'] as const) instance.member(name).plug();
    await vi.waitFor(async () => expect((await instance.ask('/health')).status).toBe(200), patience);
    await decrypt(after);
    await until('c', 'left');
  });

  test('has none emptied while a record does not verify, whose key may be in it alone', async () => {
    const message = expect.stringMatching(
      /^1 keys have a record that does not verify.*\(us-east-1 [0-9a-f-]{36}; .*drawbridge restore/,
    );
    const refused = { __type: 'ConflictException', message };
    for (const leaver of ['b', 'c']) expect(await post('rotation', { leaver })).toMatchObject(refused);
    expect(
      await post('rotation', { leaver: 'c', acceptLoss: true }),
      'it is there, and would be emptied',
    ).toMatchObject(refused);
    await instance.stop();
    alterFirstKey('- 1');
    await instance.start();
    for (const name of ['a', 'b'] as const) await until(name, 'connected');
    await until('c', 'left');
  });

  test('empties one that left, once, and rotates without it and the other one', async () => {
    expect(await command('leave', 'c')).toMatchObject({ left: { member: 'c', isEmpty: true } });
    await until('c', 'notOurs');
    emptied = await openStore({ ...instance.token, environment: instance.member('c').environment });
    expect(await emptied.listKeys()).toEqual([]);
    expect(await command('leave', 'c')).toMatchObject({ left: { member: 'c', isEmpty: false, heldNothing: true } });
    expect(await nextOf('leave', 'c', '--config', instance.configurationFile)).toMatch(/holds none of our keys/);
    expect(await nextOf('leave', 'd', '--config', instance.configurationFile)).toMatch(
      /is not there, and has what it.*take it out of the configuration/,
    );
    for (const name of ['a', 'b'] as const) await until(name, 'connected');
    expect(await command('rotate')).toMatchObject({ members: ['a', 'b'] });
    await decrypt(after);
  });

  test('takes no stranger into a key store whose keys are all of another Region than the first', async () => {
    const serviceKeys = { serviceKeyStore: 'default', serviceKey: () => newBackingKeyId() };
    const proofs = new MemberProofs({ ...serviceKeys, log: createLog('error') });
    const materials = new RecordsOfKeys();
    const made = { backingKeyId: newBackingKeyId(), keyId: newKeyId(), keyStore: 'payments', ordinal: 1 };
    const intent = newImportedRecord({ ...made, regions: 'eu-central-1', importedMaterialId: '' });
    materials.fileBackingKey({ ...intent, ...inToken, residency: 'token', state: 'Active', owner: '' });
    const regions = [new RecordsOfKeys(), materials].map((onRecord) => ({ directory: { onRecord } }));
    const none = { of: () => [], all: () => [] };
    const stranger = present(emptied);
    await proofs.use({ regions, domainKeys: none, members: none }, stranger, []);
    await expect(proofs.prove('payments', 'stranger', stranger)).rejects.toThrow(
      'none of the keys that the records name',
    );
    await expect(proofs.prove('vault', 'stranger', stranger)).resolves.toBeUndefined();
  });
});

describe.skipIf(softHsm2.missing !== null)('Two key stores of two members each that are one domain', () => {
  let instance: InstanceOfMembers;
  const patience = { timeout: 170_000, interval: 50 };
  const soPin = (): string => join(instance.folder, 'so-pin');
  const command = (act: string, ...args: readonly string[]) =>
    drawbridge(act, ...args, '--config', instance.configurationFile, '--so-pin-file', soPin(), '--json');
  const census = async () =>
    JSON.parse((await send(instance.socket, { path: '/census', body: '{"after":null}' })).body);
  const inAnnex = { Origin: 'AWS_CLOUDHSM', CustomKeyStoreId: 'annex' } as const;

  beforeAll(async () => {
    const prepare = async (kms: KMS) => void (await kms.createKey({}));
    instance = await InstanceOfMembers.create({ names: ['a', 'b'], annex: ['x', 'y'], prepare });
    writeFileSync(soPin(), `${instance.token.soPin}\n`, { mode: 0o600 });
    await instance.start();
    const marked = () => instance.logged.filter((line) => line.includes('is known by its mark'));
    await vi.waitFor(() => expect(marked(), 'also of one that the start does not wait for').toHaveLength(4), patience);
    await vi.waitFor(
      async () => expect(await instance.status()).toMatchObject({ domain: ['default', 'annex'] }),
      patience,
    );
  });
  afterAll(() => instance?.remove());

  test('get a new domain key in all HSMs, and have the census taken in each', async () => {
    expect(await command('rotate', 'default')).toMatchObject({ members: ['a', 'b', 'annex/x', 'annex/y'] });
    await instance.kms.createKey(inAnnex);
    expect(await census()).toMatchObject({ keys: 2, proven: 2, problems: [] });
  });

  test('have a member leave, which gets none of what is new and is emptied, and stay one domain', async () => {
    const done = await command('leave', 'b', '--key-store', 'default');
    expect(done).toMatchObject({ members: ['a', 'annex/x', 'annex/y'], allLeft: [{ member: 'b', isEmpty: true }] });
    await vi.waitFor(
      async () => expect(await instance.statusOf('b')).toMatchObject({ state: 'notOurs', hasLeft: true }),
      patience,
    );
    expect(await instance.status()).toMatchObject({ domain: ['default', 'annex'] });
    // Of a key store that the start does not wait for, as well.
    expect(await command('leave', 'y', '--key-store', 'annex')).toMatchObject({
      ...{ members: ['x', 'default/a'], allLeft: [{ member: 'y', isEmpty: true }] },
    });
    for (const choices of [{}, inAnnex]) {
      const KeyId = present((await instance.kms.createKey(choices)).KeyMetadata?.KeyId);
      await instance.kms.encrypt({ KeyId, Plaintext: Buffer.from('x') });
    }
  });
});
