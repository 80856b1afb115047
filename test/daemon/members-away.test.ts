/** A key store of two members of which one or both are away: at the start, and while keys are made, used and destroyed. */

import { execFile } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest';
import { kmsOver } from '../end-to-end/support/connect.ts';
import { present } from '../end-to-end/support/daemon.ts';
import {
  type ImportParameters,
  importMaterial,
  importParameters,
  importRequest,
  newExternalKey,
} from '../end-to-end/support/imports.ts';
import { refusal } from '../end-to-end/support/refusals.ts';
import { send } from '../end-to-end/support/wire.ts';
import { program } from '../support/program.ts';
import { softHsm2 } from '../support/tokens.ts';
import { InstanceOfMembers } from './instance-of-members.ts';

if (softHsm2.missing !== null) process.stdout.write(`skipped: members that are away: ${softHsm2.missing}\n`);

const furtherRegion = 'eu-central-1';

describe.skipIf(softHsm2.missing !== null)('A key store of two members', () => {
  let instance: InstanceOfMembers;
  const keys = { a: '', b: '' };
  /** A key without material, and how it could be imported: by a pair that is in `b`. */
  let external: string;
  let pairInB: ImportParameters;

  beforeAll(async () => {
    instance = await InstanceOfMembers.create({
      names: ['a', 'b'],
      residency: 'token',
      furtherRegion,
      settings: { deadlines: { callMs: 5_000 } },
    });
  });
  afterAll(() => instance?.remove());

  const until = (states: Record<string, string>) =>
    vi.waitFor(async () => expect(await instance.states()).toMatchObject(states), { timeout: 170_000, interval: 100 });
  const unplug = async (...names: string[]) => {
    for (const name of names) {
      instance.member(name).pull();
      for (const pid of (await instance.statusOf(name)).pids) process.kill(pid, 'SIGKILL');
    }
  };
  const newKey = async () => present((await instance.kms.createKey({})).KeyMetadata?.KeyId);
  const encrypt = (KeyId: string) => instance.kms.encrypt({ KeyId, Plaintext: Buffer.from('x') });
  const rotation = async (body: object, act = 'rotation') => {
    const request = { path: `/domains/default/${act}`, body: JSON.stringify(body) };
    return JSON.parse((await send(instance.socket, request)).body);
  };
  /** What a command prints to people, whatever it finds. */
  const drawbridge = (command: string) =>
    new Promise<string>((resolve) => {
      execFile(process.execPath, [program, command, '--socket', instance.socket], (_, stdout) => resolve(stdout));
    });
  const away = { name: 'KMSInvalidStateException' };
  const stateOf = async (KeyId: string) => (await instance.kms.describeKey({ KeyId })).KeyMetadata?.KeyState;
  /** What comes back by itself does so later and later. */
  const plug = async (name: string) => {
    instance.member(name).plug();
    // The attempt that this joins may be one that began before, and found no token.
    await vi.waitFor(
      async () => expect(await instance.reconnect(`default/members/${name}`)).toMatchObject({ status: 200 }),
      { timeout: 170_000, interval: 100 },
    );
  };

  test('starts with one of them, and says which is missing', async () => {
    instance.member('b').pull();
    await instance.start();
    expect((await instance.states())['a']).toBe('connected');
    expect(await instance.ask('/health')).toEqual({
      status: 200,
      body: {
        status: 'ok',
        reason: expect.stringMatching(/^key store default is degraded: member b is (?:re)?connecting$/),
      },
    });
    keys.a = await newKey();
    await encrypt(keys.a);
    instance.member('b').plug();
    await until({ a: 'connected', b: 'connected' });
    expect((await instance.ask('/health')).body).toEqual({ status: 'ok', reason: null });
  });

  test('keeps a token object in the member that made it: away with that one, and back with it', async () => {
    await unplug('a');
    expect(await refusal(encrypt(keys.a))).toMatchObject(away);
    keys.b = await newKey();
    await encrypt(keys.b);
    const there = kmsOver(instance.socketIn(furtherRegion));
    await there.createKey({});
    there.destroy();
    expect([await stateOf(keys.a), await stateOf(keys.b)]).toEqual(['Unavailable', 'Enabled']);
    await instance.kms.generateRandom({ NumberOfBytes: 8 });
    const census = await drawbridge('census');
    expect(census).toMatch(/^missing or not working +0\nnot asked, because their token is away +1$/m);
    expect(census).not.toContain('not in every member');
    expect(census).toMatch(
      new RegExp(
        `^default +${keys.a} .* member a: it is not there, and proves nothing: .+; the key is only there$`,
        'm',
      ),
    );
    const status = await drawbridge('status');
    expect(status).toMatch(/^member +b: connected, .*, 0 under way, \d+ hosts? replaced$/m);
    // Why the other one is away stands once, with that one.
    expect(status).not.toContain('last failure');
    expect(status).toMatch(/^member +a: (?!connected)\w+, /m);
    const orphans = await send(instance.socket, { method: 'POST', path: '/census/orphans', body: '{}' });
    expect(JSON.parse(orphans.body)).toMatchObject({ orphans: [], unreachable: ['default/a'] });
    external = (await newExternalKey(instance.kms)).id;
    pairInB = await importParameters(instance.kms, external);
    await plug('a');
    await Promise.all([encrypt(keys.a), encrypt(keys.b)]);
    expect(await stateOf(keys.a)).toBe('Enabled');
  });

  test('has calls wait for a moment when the last member goes, fails them then, and serves when one is back', async () => {
    await unplug('a', 'b');
    expect(await refusal(instance.kms.generateRandom({ NumberOfBytes: 8 }))).toMatchObject({
      name: 'KMSInternalException',
    });
    expect(await instance.ask('/health')).toMatchObject({ status: 503 });
    await plug('b');
    await encrypt(keys.b);
    expect(await refusal(encrypt(keys.a))).toMatchObject(away);
  });

  test('waits at the start for any of them, and serves when the first is there', async () => {
    instance.member('a').plug();
    await instance.stop();
    for (const member of instance.members) member.pull();
    await instance.start(true);
    expect((await instance.ask('/status')).body['waitsFor']).toMatch(/key store `default`/);
    instance.member('a').plug();
    await vi.waitFor(() => encrypt(keys.a), { timeout: 170_000, interval: 100 });
    expect(await refusal(encrypt(keys.b))).toMatchObject(away);
  });

  test('has no member leave with keys which no other one has, of whatever Region, whether it is there or was never', async () => {
    expect(await rotation({ leaver: 'b' })).toMatchObject({
      __type: 'ConflictException',
      message: expect.stringMatching(/^2 backing keys .* in no member that stays.* leave b --key-store default --yes/),
    });
    const { domainKeyId } = await rotation({ leaver: 'b', acceptLoss: true });
    instance.member('b').plug();
    await until({ a: 'connected', b: 'connected' });
    // What only the leaver can open is kept in no member.
    const material = randomBytes(32);
    const late = instance.kms.importKeyMaterial(importRequest(external, pairInB, material));
    expect(await refusal(late)).toMatchObject({ name: 'ExpiredImportTokenException' });
    await importMaterial(instance.kms, external, material);
    // At once, so that each member would have its share.
    const made = await Promise.all(Array.from({ length: 6 }, newKey));
    const isThere = {
      __type: 'ConflictException',
      message: expect.stringMatching(/^2 backing keys .* `b` and nowhere/),
    };
    expect(await rotation({ domainKeyId }, 'rotation/finish')).toMatchObject(isThere);
    expect(await rotation({ leaver: 'b', acceptLoss: true }), 'what can be moved is not given up').toMatchObject(
      isThere,
    );
    for (const KeyId of [keys.a, keys.b, ...made]) await encrypt(KeyId);
    expect(await rotation({ domainKeyId }, 'rotation/finish')).toMatchObject({
      message: expect.stringContaining('begin anew'),
    });
  });
});
