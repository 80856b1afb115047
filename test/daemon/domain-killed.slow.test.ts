/** `kill -9` while a token joins a domain, and while its members get a new domain key: it is done or it is not, and can be done again. */

import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { KMS } from '@aws-sdk/client-kms';
import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest';
import { loadConfiguration } from '../../src/config/load.ts';
import { type Daemon, startDaemon } from '../../src/daemon/daemon.ts';
import { createInstance } from '../../src/daemon/new-instance.ts';
import type { KeyStore } from '../../src/hsm/key-store.ts';
import { domainFileText, isInvitation, parseDomainFile, requestFingerprint } from '../../src/keys/domain/invitation.ts';
import { beginJoining, finishJoining } from '../../src/keys/domain/joining.ts';
import { kmsOver } from '../end-to-end/support/connect.ts';
import { present } from '../end-to-end/support/daemon.ts';
import { send } from '../end-to-end/support/wire.ts';
import { openStore } from '../hsm/test-store.ts';
import { nssSoftoken, softHsm2, type TestToken } from '../support/tokens.ts';
import { memberSettings } from './domain-commands.ts';

const missing = softHsm2.missing ?? nssSoftoken.missing;
if (missing !== null) process.stdout.write(`skipped: a domain and kill -9: ${missing}\n`);

const child = fileURLToPath(new URL('./killed-in-domain.ts', import.meta.url));
const log = { debug() {}, info() {}, warn() {}, error() {} };
const account = '000000000000';
const region = 'us-east-1';
const service = ['access-key-encryption', 'metadata-integrity', 'session-credentials'].map(
  (purpose) => `drawbridge:service:${purpose}`,
);
/** By which each member is told from the others. */
const mark = 'drawbridge:member:default';

describe.skipIf(missing !== null)('kill -9', () => {
  const folder = mkdtempSync(join(tmpdir(), 'drawbridge-domain-killed-'));
  const path = (name: string): string => join(folder, name);
  const configurationFile = path('drawbridge.yaml');
  /** NSS softoken gives keys away without its security officer; SoftHSM2 joins. */
  let tokens: readonly [TestToken, TestToken];
  let newcomer: KeyStore;
  let daemon: Daemon | undefined;
  let kms: KMS;

  const memberOf = (name: string, token: TestToken) => memberSettings(folder, name, token);
  const start = async (): Promise<void> => {
    daemon = await startDaemon({ configuration: await loadConfiguration(configurationFile), environment: {}, log });
    kms = kmsOver(path('kms.sock'));
  };
  const stop = async (): Promise<void> => {
    kms?.destroy();
    await daemon?.stop();
    daemon = undefined;
  };
  const post = async (at: string, body: object = {}): Promise<Readonly<Record<string, unknown>>> => {
    const request = { method: 'POST', path: at, body: JSON.stringify(body) };
    return JSON.parse((await send(path('kms.sock'), request)).body);
  };
  async function killed(what: string, call: string, calls: number, file = ''): Promise<void> {
    const args = [child, what, call, String(calls), configurationFile, file];
    const running = spawn(process.execPath, args, { stdio: ['ignore', 'ignore', 'inherit'] });
    const [code, signal] = await once(running, 'exit');
    expect({ code, signal }, `${what}: ${call} ${calls}`).toEqual({ code: null, signal: 'SIGKILL' });
  }
  const labels = async (): Promise<readonly string[]> => (await newcomer.listKeys()).map(({ label }) => label).sort();

  beforeAll(async () => {
    tokens = [nssSoftoken.create(), softHsm2.create()];
    const [first, second] = tokens;
    const { profile, library, label, environment, libraryParameters } = first;
    const parameters = libraryParameters === null ? {} : { libraryParameters };
    const { pin } = memberOf('first', first);
    const socket = { path: path('kms.sock'), mode: '0600' };
    const root = [process.getuid?.() ?? 0];
    const keyStore = { profile, library, token: { label }, pinFile: pin.file, environment, ...parameters };
    const made = await createInstance(
      configurationFile,
      { region, account, dataDir: path('data'), root, socket, keyStore },
      {},
      log,
    );
    await made.close();
    const members = [memberOf('first', first), memberOf('second', second)];
    const keyStores = { default: { residency: 'wrapped', members: [members[0]] } };
    const identity = { root };
    const configuration = { account, region, dataDir: path('data'), socket, identity, keyStores };
    writeFileSync(configurationFile, JSON.stringify(configuration));
    await start();
    await kms.createKey({});
    keyStores.default.members = members;
    writeFileSync(configurationFile, JSON.stringify(configuration));
    newcomer = await openStore(second);
  });
  afterAll(async () => {
    await stop();
    await newcomer.close();
    for (const token of tokens) token.remove();
    rmSync(folder, { recursive: true, force: true });
  });

  test('leaves a token that joins with all keys of the domain, or no member; and it can be repeated', async () => {
    const invitation = parseDomainFile(String((await post('/domains/default/invite'))['invitation']));
    if (!isInvitation(invitation)) throw new Error('it is no invitation');
    writeFileSync(path('invitation'), domainFileText(invitation));
    await killed('join', 'generateJoiningPair', 1, path('invitation'));
    expect(await labels()).toEqual([expect.stringMatching(/^drawbridge:joining:/)]);
    const request = await beginJoining(newcomer, invitation);
    const asked = { request: domainFileText(request), fingerprint: requestFingerprint(request) };
    const text = String((await post('/domains/default/accept', asked))['response']);
    writeFileSync(path('response'), text);
    // Four keys are tried, then each is kept: the last one is that by which a member is known.
    for (const calls of [4, 7]) {
      await killed('join', 'receive', calls, path('response'));
      expect(await labels()).not.toContain('drawbridge:service:metadata-integrity');
    }
    const response = parseDomainFile(text);
    if (response.form !== 'drawbridge/domain-response/1') throw new Error('it is no response');
    await finishJoining(newcomer, response);
    expect(await labels()).toEqual(['drawbridge:domain:default:1', ...service]);
  });

  test('leaves members with a new domain key in all of them, or in none; and it can be repeated', async () => {
    await stop();
    for (const call of ['generateJoiningPair', 'give', 'receive'] as const) await killed('rotate', call, 1);
    expect(await labels(), 'it was killed after it had the key').toContain('drawbridge:domain:default:2');
    await start();
    await vi.waitFor(async () => expect(await labels()).not.toContain('drawbridge:domain:default:2'), {
      timeout: 60_000,
      interval: 50,
    });
    await stop();
    // All have it, and that is on record: whoever asked was not told.
    await killed('rotate', 'activate', 1);
    await start();
    expect(await labels()).toEqual(['drawbridge:domain:default:1', 'drawbridge:domain:default:2', mark, ...service]);
    const KeyId = present((await kms.createKey({})).KeyMetadata?.KeyId);
    const { CiphertextBlob } = await kms.encrypt({ KeyId, Plaintext: Buffer.from('after') });
    expect((await kms.decrypt({ CiphertextBlob })).Plaintext).toBeDefined();
    const { backingKeys } = JSON.parse(
      (await send(path('kms.sock'), { method: 'GET', path: `/status/keys/${KeyId}` })).body,
    );
    const { keyStores } = JSON.parse((await send(path('kms.sock'), { method: 'GET', path: '/status' })).body);
    const current = keyStores[0].domainKeys.at(-1);
    expect(backingKeys).toMatchObject([{ domainKeyId: current.backingKeyId }]);
    expect(await post('/census/orphans')).toMatchObject({ orphans: [] });
  });

  test('leaves a member that leaves with what it had, or part of it, and it can be emptied again', async () => {
    const KeyId = present((await kms.createKey({})).KeyMetadata?.KeyId);
    const { CiphertextBlob } = await kms.encrypt({ KeyId, Plaintext: Buffer.from('before') });
    await stop();
    // Its mark is among the first two: from then on it is known by what it lacks, and by its name.
    await killed('leave', 'destroyKey', 2);
    expect(await labels()).toEqual([expect.stringMatching(/^drawbridge:domain:default:[12]$/), ...service]);
    await start();
    const isLeft = async () => {
      const { body } = await send(path('kms.sock'), { method: 'GET', path: '/status' });
      expect(JSON.parse(body).keyStores[0].members[1]).toMatchObject({ name: 'second', state: 'left' });
    };
    await vi.waitFor(isLeft, { timeout: 170_000, interval: 50 });
    const again = async () => {
      const { domainKeyId } = await post('/domains/default/rotation', { leaver: 'second' });
      return post('/domains/default/rotation/finish', { domainKeyId });
    };
    await vi.waitFor(async () => expect(await again()).toMatchObject({ left: { member: 'second', isEmpty: true } }), {
      timeout: 60_000,
      interval: 200,
    });
    expect(await labels()).toEqual([]);
    expect((await kms.decrypt({ CiphertextBlob })).Plaintext).toBeDefined();
    expect(await post('/census/orphans')).toMatchObject({ orphans: [] });
  });
});
