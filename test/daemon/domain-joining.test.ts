/**
 * An HSM joins the domain of a running daemon: by the four commands, from SoftHSM2 into NSS softoken, which then serves a restored backup alone; and what
 * comes of files that were changed, replaced, or meant for somebody else.
 */

import { execFile } from 'node:child_process';
import * as crypto from 'node:crypto';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { loadConfiguration } from '../../src/config/load.ts';
import { startDaemon } from '../../src/daemon/daemon.ts';
import { trustPublicKeys, withConfiguredToken } from '../../src/daemon/domain-joining.ts';
import { createLog } from '../../src/daemon/log.ts';
import { restoreBackup } from '../../src/daemon/restore.ts';
import type { KeyStore } from '../../src/hsm/key-store.ts';
import {
  domainFileText,
  type Invitation,
  isInvitation,
  isResponse,
  type JoinRequest,
  type JoinResponse,
  joiningKeyId,
  parseDomainFile,
  requestFingerprint,
} from '../../src/keys/domain/invitation.ts';
import { beginJoining, finishJoining } from '../../src/keys/domain/joining.ts';
import { Pin } from '../../src/secrets/secret-bytes.ts';
import { openBackup } from '../../src/store/backup-file.ts';
import { kmsOver } from '../end-to-end/support/connect.ts';
import { present } from '../end-to-end/support/daemon.ts';
import { send } from '../end-to-end/support/wire.ts';
import { openStore } from '../hsm/test-store.ts';
import { program } from '../support/program.ts';
import { SetClocks } from '../support/set-clocks.ts';
import { nssSoftoken, softHsm2, type TestToken } from '../support/tokens.ts';
import { createUpkeptInstance, type Running, type UpkeptInstance } from './upkept-instance.ts';

const missing = softHsm2.missing ?? nssSoftoken.missing;
if (missing !== null) process.stdout.write(`skipped: joining a domain: ${missing}\n`);

const log = createLog('error');

interface Ended {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

function drawbridge(...args: readonly string[]): Promise<Ended> {
  return new Promise((resolve) => {
    execFile(process.execPath, [program, ...args], (error, stdout, stderr) => {
      resolve({ code: typeof error?.code === 'number' ? error.code : 0, stdout, stderr });
    });
  });
}

describe.skipIf(missing !== null)('An HSM that joins a domain', () => {
  let token: TestToken;
  let other: TestToken;
  let otherStore: KeyStore;
  let instance: UpkeptInstance;
  let running: Running;
  let elsewhere: string;
  const path = (name: string): string => join(instance.folder, name);

  beforeAll(async () => {
    token = softHsm2.create();
    other = nssSoftoken.create();
    instance = await createUpkeptInstance(token, 'wrapped');
    running = await instance.start(new SetClocks());
    // Another machine, with another HSM, and nothing of this one's files.
    elsewhere = path('elsewhere.yaml');
    const pinFile = path('other-pin');
    writeFileSync(pinFile, `${other.pin}\n`, { mode: 0o600 });
    const parameters = ['--library', other.library, '--library-parameters', String(other.libraryParameters)];
    const itsToken = ['--profile', 'nss', '--token-label', other.label, '--pin-file', pinFile, ...parameters];
    const places = ['--config', elsewhere, '--dir', path('elsewhere'), '--socket', path('elsewhere.sock')];
    const made = await drawbridge('init', ...places, ...itsToken, '--to-join');
    expect(made).toMatchObject({ code: 0, stdout: expect.stringContaining('next: drawbridge domain join INVITATION') });
    otherStore = await openStore(other);
  });
  afterAll(async () => {
    await running.stop();
    await otherStore.close();
    await instance.remove();
    for (const each of [token, other]) each.remove();
  });

  async function post(act: string, body: object = {}): Promise<Readonly<Record<string, unknown>>> {
    const request = { method: 'POST', path: `/domains/default/${act}`, body: JSON.stringify(body) };
    return JSON.parse((await send(running.socketPath, request)).body);
  }
  async function invite(): Promise<Invitation> {
    const file = parseDomainFile(String((await post('invite'))['invitation']));
    if (!isInvitation(file)) throw new Error('it is no invitation');
    return file;
  }
  const trust = async (request: JoinRequest) => {
    const configuration = await loadConfiguration(instance.configurationFile);
    const { publicKey, invitation } = request;
    const key = { backingKeyId: joiningKeyId(invitation), publicKey };
    await trustPublicKeys({ configuration, keyStore: 'default', log }, [key], new Pin(Buffer.from(token.soPin ?? '')));
  };
  const accept = (request: JoinRequest, fingerprint = requestFingerprint(request)) =>
    post('accept', { request: domainFileText(request), fingerprint });
  async function accepted(request: JoinRequest): Promise<JoinResponse> {
    await trust(request);
    const answer = await accept(request);
    expect(answer).toMatchObject({ response: expect.any(String) });
    const file = parseDomainFile(String(answer['response']));
    if (!isResponse(file)) throw new Error('it is no response');
    return file;
  }
  const objects = async (keyStore: KeyStore) => (await keyStore.listKeys()).map(({ label }) => label).sort();
  const isJoining = (label: string) => label.startsWith('drawbridge:joining:');

  test('gets nothing for a request that was changed or replaced, or for another fingerprint', async () => {
    const invitation = await invite();
    const request = await beginJoining(otherStore, invitation);
    const { publicKey } = crypto.generateKeyPairSync('rsa', { modulusLength: 3072 });
    const attackers = publicKey.export({ type: 'spki', format: 'der' });
    const refusal = { __type: 'ValidationException', message: expect.stringMatching(/nothing was given away/) };
    const fingerprint = requestFingerprint(request);
    const mac = Buffer.from(invitation.mac);
    mac[0] = (mac[0] ?? 0) ^ 1;
    // The fingerprint that the person reads is that of the true request.
    expect(await accept({ ...request, publicKey: attackers }, fingerprint)).toMatchObject(refusal);
    expect(await accept({ ...request, token: { label: 'another', serial: '' } }, fingerprint)).toMatchObject(refusal);
    expect(await accept(request, '')).toMatchObject(refusal);
    const [first, ...others] = invitation.keys;
    for (const [changed, message] of [
      [{ ...invitation, mac }, /none of this domain, or it was changed/],
      [{ ...invitation, keys: others }, /none of this domain, or it was changed/],
      [{ ...invitation, domainId: 'another' }, /none of this domain/],
      [{ ...invitation, madeAtMs: invitation.madeAtMs + 1 }, /none of this domain/],
    ] as const) {
      const replaced = { ...request, invitation: { ...changed, keys: [...changed.keys] } };
      expect(await accept(replaced)).toMatchObject({ message: expect.stringMatching(message) });
    }
    expect(first).toBeDefined();
    const key = crypto.generateKeyPairSync('ec', { namedCurve: 'P-256' }).publicKey;
    const weak = { ...request, publicKey: key.export({ type: 'spki', format: 'der' }) };
    expect(await accept(weak)).toMatchObject({ message: expect.stringContaining('RSA, 3,072 bits') });
    // Nobody trusted it, whatever the fingerprint.
    expect(await accept(request)).toMatchObject({
      __type: 'UnsupportedOperationException',
      message: expect.stringContaining('--so-pin-file'),
    });
    // What was trusted for a request that was refused is trusted no more.
    await trust(request);
    expect(await accept(request, 'aaaa')).toMatchObject(refusal);
    expect(await accept(request)).toMatchObject({ __type: 'UnsupportedOperationException' });
    expect(await instance.events('AcceptIntoDomain')).not.toHaveLength(0);
  });

  test('keeps nothing of a response that is for another HSM, of another invitation, or of somebody else', async () => {
    const [invitation, later] = [await invite(), await invite()];
    const request = await beginJoining(otherStore, invitation);
    const before = await objects(otherStore);
    const response = await accepted(request);
    const finish = (file: JoinResponse) => finishJoining(otherStore, file);
    // An invitation that is put in the place of the one whose fingerprint was compared.
    await expect(finish({ ...response, invitation: later })).rejects.toThrow(/no joining pair for this invitation/);
    // Anybody can wrap keys of his own under a public key.
    const publicKey = crypto.createPublicKey({ key: request.publicKey, format: 'der', type: 'spki' });
    const own = response.keys.map(({ backingKeyId }) => {
      const wrapped = crypto.publicEncrypt({ key: publicKey, oaepHash: 'sha1' }, crypto.randomBytes(32));
      return { backingKeyId, wrapped };
    });
    await expect(finish({ ...response, keys: own })).rejects.toThrow(/another key than the invitation says/);
    const [first, second, ...rest] = response.keys;
    const swapped = [
      { ...present(first), wrapped: present(second).wrapped },
      { ...present(second), wrapped: present(first).wrapped },
    ];
    await expect(finish({ ...response, keys: [...swapped, ...rest] })).rejects.toThrow(/another key than/);
    await expect(finish({ ...response, keys: rest })).rejects.toThrow(/lacks the key/);
    const damaged = response.keys.map((key) => ({ ...key, wrapped: Buffer.from(key.wrapped).fill(1, 0, 8) }));
    await expect(finish({ ...response, keys: damaged })).rejects.toThrow(/damaged, or was wrapped for another HSM/);
    expect(await objects(otherStore)).toEqual(before);
    // Another attempt makes another pair, and the former response is of no use.
    await beginJoining(otherStore, invitation);
    await expect(finish(response)).rejects.toThrow(/damaged, or was wrapped for another HSM/);
    expect(await objects(otherStore)).toEqual(before);
  });

  test('asks by an invitation that is of no use after the domain key was rotated', async () => {
    const request = await beginJoining(otherStore, await invite());
    await post('rotate');
    expect(await accept(request)).toMatchObject({ message: expect.stringContaining('has other keys than when') });
  });

  test('serves what the others wrapped, alone and from a backup, after the four commands', async () => {
    const { KeyMetadata } = await running.kms.createKey({});
    const KeyId = present(KeyMetadata?.KeyId);
    const { CiphertextBlob } = await running.kms.encrypt({ KeyId, Plaintext: Buffer.from('kept') });
    const soPin = path('so-pin');
    writeFileSync(soPin, `${token.soPin}\n`, { mode: 0o600 });
    const [invitation, request, response] = ['invitation', 'request', 'response'].map(path) as [string, string, string];
    const daemon = ['--socket', running.socketPath];
    expect(await drawbridge('domain', 'invite', ...daemon, '--out', invitation)).toMatchObject({ code: 0 });
    const asked = await drawbridge('domain', 'join', invitation, '--config', elsewhere, '--out', request, '--json');
    expect(asked).toMatchObject({ code: 0, stderr: '' });
    const { fingerprint } = JSON.parse(asked.stdout);
    expect(fingerprint).toMatch(/^([a-z2-7]{4} ){9}[a-z2-7]{4}$/);
    const acceptance = ['domain', 'accept', request, '--config', instance.configurationFile, '--out', response];
    const wrong = await drawbridge(...acceptance, '--so-pin-file', soPin, '--fingerprint', 'abcd');
    expect(wrong).toMatchObject({ code: 1, stderr: expect.stringContaining('nothing was given away') });
    const given = await drawbridge(...acceptance, '--so-pin-file', soPin, '--fingerprint', fingerprint);
    expect(given).toMatchObject({ code: 0, stdout: expect.stringContaining('keys') });
    expect(given.stderr).toBe(`next, beside that HSM: drawbridge domain join ${response}\n`);
    const joined = await drawbridge('domain', 'join', response, '--config', elsewhere);
    expect(joined).toMatchObject({ code: 0, stdout: expect.stringContaining('has joined the domain') });
    const events = await instance.events('AcceptIntoDomain');
    expect(events.at(-1)).toMatchObject({ responseElements: { fingerprint, token: { label: other.label } } });
    expect(JSON.stringify(events)).not.toContain('wrapped');
    for (const file of [invitation, request, response, soPin]) expect(readFileSync(file)).not.toHaveLength(0);
    expect((await objects(otherStore)).filter(isJoining)).toEqual([]);

    const made = await send(running.socketPath, { method: 'POST', path: '/backup', body: '{}' });
    const { id } = JSON.parse(made.body);
    const read = { method: 'POST', path: '/backup/read', body: JSON.stringify({ id, offset: 0 }) };
    writeFileSync(path('backup'), Buffer.from(JSON.parse((await send(running.socketPath, read)).body).data, 'base64'));
    const configuration = await loadConfiguration(elsewhere);
    const backup = await openBackup(path('backup'));
    const restored = await restoreBackup({
      ...{ backup, configuration, environment: {}, uid: 0, log, progress: () => undefined },
    }).finally(() => backup.close());
    expect(restored).toMatchObject({ problems: [], proven: 1 });
    await withConfiguredToken({ configuration, environment: {}, keyStore: 'default', log }, async (keyStore) => {
      const second = await startDaemon({ configuration, environment: {}, log, openKeyStores: [keyStore] });
      const kms = kmsOver(second.regions[0].socketPath);
      const { Plaintext } = await kms.decrypt({ CiphertextBlob });
      expect(Buffer.from(present(Plaintext)).toString()).toBe('kept');
      kms.destroy();
      await second.stop();
    });
  });
});
