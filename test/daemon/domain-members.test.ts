/**
 * A key store of several members gets a new domain key, and loses a member: SoftHSM2 and NSS softoken in one domain, the second one having joined by
 * the files; what is killed at a named step is undone by the next start, and can be done again.
 */

import { generateKeyPairSync } from 'node:crypto';
import { mkdtempSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { KeySpec, KeyUsageType, KMS } from '@aws-sdk/client-kms';
import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest';
import { loadConfiguration } from '../../src/config/load.ts';
import { type Daemon, startDaemon } from '../../src/daemon/daemon.ts';
import { trustPublicKeys } from '../../src/daemon/domain-joining.ts';
import { createLog } from '../../src/daemon/log.ts';
import { createInstance } from '../../src/daemon/new-instance.ts';
import type { KeyStore } from '../../src/hsm/key-store.ts';
import {
  domainFileText,
  isInvitation,
  isResponse,
  joiningKeyId,
  parseDomainFile,
  requestFingerprint,
} from '../../src/keys/domain/invitation.ts';
import { beginJoining, finishJoining } from '../../src/keys/domain/joining.ts';
import { type BackingKeyId, newBackingKeyId } from '../../src/kms/names.ts';
import { Pin } from '../../src/secrets/secret-bytes.ts';
import { kmsOver } from '../end-to-end/support/connect.ts';
import { present } from '../end-to-end/support/daemon.ts';
import { send } from '../end-to-end/support/wire.ts';
import { failureOf, newKey, openStore } from '../hsm/test-store.ts';
import { nssSoftoken, softHsm2, type TestToken } from '../support/tokens.ts';
import { type Answer, begun, drawbridge, memberSettings, nextOf, whatItSays } from './domain-commands.ts';
import { TakenOverDaemon } from './taken-over-daemon.ts';

const missing = softHsm2.missing ?? nssSoftoken.missing;
if (missing !== null) process.stdout.write(`skipped: members of a domain: ${missing}\n`);

const log = createLog('error');
const account = '000000000000';
const region = 'us-east-1';

describe.skipIf(missing !== null)('A domain of SoftHSM2 and NSS softoken', () => {
  const folder = mkdtempSync(join(tmpdir(), 'drawbridge-domain-'));
  const path = (name: string): string => join(folder, name);
  const configurationFile = path('drawbridge.yaml');
  let first: TestToken;
  let second: TestToken;
  let firstStore: KeyStore;
  let secondStore: KeyStore;
  let daemon: Daemon;
  let kms: KMS;

  const memberOf = (name: string, token: TestToken) => memberSettings(folder, name, token);
  const writeConfiguration = (members: readonly object[]): void => {
    const keyStores = { default: { residency: 'wrapped', members } };
    const identity = { root: [process.getuid?.() ?? 0] };
    const socket = { path: path('kms.sock'), mode: '0600' };
    const text = JSON.stringify({ account, region, dataDir: path('data'), socket, identity, keyStores });
    writeFileSync(configurationFile, text);
  };
  const start = async (): Promise<void> => {
    daemon = await startDaemon({ configuration: await loadConfiguration(configurationFile), environment: {}, log });
    kms = kmsOver(path('kms.sock'));
  };
  const stop = async (): Promise<void> => {
    kms?.destroy();
    await daemon?.stop();
  };
  const ask = async (method: 'GET' | 'POST', at: string, body?: object): Promise<Answer> => {
    const request = { method, path: at, ...(body === undefined ? {} : { body: JSON.stringify(body) }) };
    return JSON.parse((await send(path('kms.sock'), request)).body);
  };
  const domain = (act: string, body: object = {}) => ask('POST', `/domains/default/${act}`, body);
  const members = async (): Promise<Record<string, Answer>> => {
    const { keyStores } = (await ask('GET', '/status')) as { keyStores: { members: Answer[] }[] };
    return Object.fromEntries(present(keyStores[0]).members.map((member) => [String(member['name']), member]));
  };
  const patience = { timeout: 170_000, interval: 50 };
  const until = (name: string, state: string, more: object = {}) =>
    vi.waitFor(async () => expect((await members())[name]).toMatchObject({ state, ...more }), patience);
  const trust = async (pairs: readonly { readonly backingKeyId: BackingKeyId; readonly publicKey: Buffer }[]) => {
    const configuration = await loadConfiguration(configurationFile);
    const token = { configuration, keyStore: 'default', member: 'first', log };
    await trustPublicKeys(token, pairs, new Pin(Buffer.from(first.soPin ?? '')));
  };
  async function rotate(choices: object = {}): Promise<Answer> {
    const begun = await domain('rotation', choices);
    if (begun['pairs'] === undefined) return begun;
    const pairs = begun['pairs'] as { backingKeyId: BackingKeyId; publicKey: string }[];
    await trust(pairs.map((pair) => ({ ...pair, publicKey: Buffer.from(pair.publicKey, 'base64') })));
    return domain('rotation/finish', { domainKeyId: begun['domainKeyId'] });
  }
  /** Which objects of ours a token has, whoever else uses it. */
  const labelsIn = async (keyStore: KeyStore): Promise<readonly string[]> =>
    (await keyStore.listKeys()).map(({ label }) => label).sort();
  const service = ['access-key-encryption', 'metadata-integrity', 'session-credentials'].map(
    (purpose) => `drawbridge:service:${purpose}`,
  );

  /** By which each member is told from the others. */
  const mark = 'drawbridge:member:default';
  const invitation = async () => {
    const made = parseDomainFile(String((await domain('invite'))['invitation']));
    if (!isInvitation(made)) throw new Error('it is no invitation');
    return made;
  };
  async function responseFor(newcomer: KeyStore, invited: Awaited<ReturnType<typeof invitation>>) {
    const request = await beginJoining(newcomer, invited);
    await trust([{ backingKeyId: joiningKeyId(invited), publicKey: request.publicKey }]);
    const asked = { request: domainFileText(request), fingerprint: requestFingerprint(request) };
    const text = String((await domain('accept', asked))['response']);
    const response = parseDomainFile(text);
    if (!isResponse(response)) throw new Error(`it is no response: ${text}`);
    return { text, response };
  }
  async function takeOut(name: string, token: TestToken, atOnce?: () => Promise<void>): Promise<void> {
    const { pids } = (await members())[name] as { readonly pids: readonly number[] };
    expect(pids).not.toHaveLength(0);
    // Its database is gone, as is a token that somebody took out.
    renameSync(token.folder, `${token.folder}.away`);
    for (const pid of pids) process.kill(pid, 'SIGKILL');
    await atOnce?.();
    await vi.waitFor(async () => expect((await members())[name]?.['state']).not.toBe('connected'), patience);
  }
  const putBack = (token: TestToken): void => renameSync(`${token.folder}.away`, token.folder);

  beforeAll(async () => {
    first = softHsm2.create();
    second = nssSoftoken.create();
    const { profile, library, label, environment } = first;
    const { pin } = memberOf('first', first);
    const keyStore = await createInstance(
      configurationFile,
      {
        ...{ region, account, dataDir: path('data'), root: [process.getuid?.() ?? 0] },
        socket: { path: path('kms.sock'), mode: '0600' },
        keyStore: { profile, library, token: { label }, pinFile: pin.file, environment },
      },
      {},
      log,
    );
    await keyStore.close();
    writeConfiguration([memberOf('first', first)]);
    await start();
    [firstStore, secondStore] = [await openStore(first), await openStore(second)];
  });
  afterAll(async () => {
    await stop();
    for (const keyStore of [firstStore, secondStore]) await keyStore.close();
    for (const token of [first, second]) token.remove();
    rmSync(folder, { recursive: true, force: true });
  });

  test('has a second member after it has joined, wherever joining was cut off', async () => {
    await kms.createKey({});
    const invited = await invitation();
    await stop();
    writeConfiguration([memberOf('first', first), memberOf('second', second)]);
    await start();
    // The daemon runs, and knows that the token is none of ours yet.
    await until('second', 'notOurs');
    const configured = ['--config', configurationFile];
    expect(await nextOf('invite', '--out', path('invitation'), ...configured)).toBe(
      `next, beside the other HSM: drawbridge domain join ${path('invitation')} --out FILE --member second`,
    );
    const newcomer = secondStore;
    const { text: responseText, response } = await responseFor(newcomer, invited);
    const identity = async () => (await newcomer.listKeys()).some(({ label }) => label === service[1]);
    const { carrying } = newcomer;
    // Four keys, each tried and then kept: cut off before any of these.
    for (let done = 0; done < 8; done++) {
      let left = done;
      const cutOff = {
        listKeys: () => newcomer.listKeys(),
        capabilities: () => newcomer.capabilities(),
        destroyKey: (request: Parameters<typeof newcomer.destroyKey>[0]) => newcomer.destroyKey(request),
        carrying: {
          give: () => Promise.reject(new Error('a newcomer gives nothing')),
          generateJoiningPair: () => Promise.reject(new Error('it has a pair')),
          async receive(received: Parameters<typeof carrying.receive>[0]) {
            if (left-- === 0) throw new Error('cut off');
            await carrying.receive(received);
          },
        },
      };
      await expect(finishJoining(cutOff, response)).rejects.toThrow('cut off');
      expect(await identity(), 'it is no member before it has all').toBe(false);
    }
    await finishJoining(newcomer, response);
    // Twice is once.
    writeFileSync(path('response'), responseText);
    expect(await nextOf('join', path('response'), '--member', 'second', ...configured)).toBe(
      'next, if a daemon runs here: drawbridge reconnect default second',
    );
    expect((await newcomer.listKeys()).map(({ label }) => label).sort()).toEqual([
      'drawbridge:domain:default:1',
      ...service,
    ]);
    await ask('POST', '/key-stores/default/members/second/reconnect');
    for (const name of ['first', 'second']) await until(name, 'connected', { lacks: [] });
  });

  test('uses every kind of wrapped key in either of them while the other one is away', async () => {
    const message = Buffer.from('what both say');
    const create = async (KeySpec: KeySpec, KeyUsage: KeyUsageType) =>
      present((await kms.createKey({ KeySpec, KeyUsage })).KeyMetadata?.KeyId);
    const aes = await create('SYMMETRIC_DEFAULT', 'ENCRYPT_DECRYPT');
    const rsa = await create('RSA_2048', 'SIGN_VERIFY');
    const ec = await create('ECC_NIST_P256', 'SIGN_VERIFY');
    const hmac = await create('HMAC_256', 'GENERATE_VERIFY_MAC');
    const byRsa = { KeyId: rsa, Message: message, SigningAlgorithm: 'RSASSA_PKCS1_V1_5_SHA_256' } as const;
    const byEc = { KeyId: ec, Message: message, SigningAlgorithm: 'ECDSA_SHA_256' } as const;
    const byHmac = { KeyId: hmac, Message: message, MacAlgorithm: 'HMAC_SHA_256' } as const;
    const make = async () => {
      const { CiphertextBlob } = await kms.encrypt({ KeyId: aes, Plaintext: message });
      const { Signature: pkcs1 } = await kms.sign(byRsa);
      const { Signature: ecdsa } = await kms.sign(byEc);
      return { CiphertextBlob, pkcs1, ecdsa, mac: (await kms.generateMac(byHmac)).Mac };
    };
    type Made = Awaited<ReturnType<typeof make>>;
    const check = async ({ CiphertextBlob, pkcs1, ecdsa, mac }: Made, own: Made) => {
      expect(Buffer.from(present((await kms.decrypt({ CiphertextBlob })).Plaintext))).toEqual(message);
      expect([pkcs1, mac], 'these have no random part').toEqual([own.pkcs1, own.mac]);
      expect(await kms.verify({ ...byEc, Signature: ecdsa })).toMatchObject({ SignatureValid: true });
      expect(await kms.verify({ ...byRsa, Signature: pkcs1 })).toMatchObject({ SignatureValid: true });
      expect(await kms.verifyMac({ ...byHmac, Mac: mac })).toMatchObject({ MacValid: true });
    };
    // At once, so that each of the two has its share.
    const made = await Promise.all(Array.from({ length: 4 }, make));
    for (const [name, token] of [
      ['first', first],
      ['second', second],
    ] as const) {
      await takeOut(name, token);
      const own = await make();
      for (const each of made) await check(each, own);
      made.push(own);
      putBack(token);
      await until(name, 'connected', { lacks: [] });
    }
    expect(await ask('POST', '/census', { after: null })).toMatchObject({ proven: 5, problems: [] });
  });

  test('has a new domain key in both members before anything is wrapped under it', async () => {
    const { KeyMetadata } = await kms.createKey({});
    const KeyId = present(KeyMetadata?.KeyId);
    const { CiphertextBlob } = await kms.encrypt({ KeyId, Plaintext: Buffer.from('before') });
    const untrusted = await domain('rotation');
    expect(await domain('rotation/finish', { domainKeyId: untrusted['domainKeyId'] })).toMatchObject({
      __type: 'UnsupportedOperationException',
      message: expect.stringMatching(/CKA_TRUSTED.*`drawbridge domain rotate … --so-pin-file FILE --config FILE`$/),
    });
    // What failed has left nothing.
    for (const token of [firstStore, secondStore])
      expect(await labelsIn(token)).toEqual(['drawbridge:domain:default:1', mark, ...service]);
    const soPin = path('so-pin');
    writeFileSync(soPin, `${first.soPin}\n`, { mode: 0o600 });
    const configured = ['--config', configurationFile, '--json'];
    const done = await drawbridge('rotate', ...configured, '--so-pin-file', soPin);
    expect(done).toMatchObject({ members: ['first', 'second'], left: null });
    const everybody = ['first', 'second'].map((name) => ({ name, state: 'connected', has: true }));
    expect(await drawbridge('show', ...configured)).toMatchObject([{ members: everybody }, { members: everybody }]);
    for (const token of [firstStore, secondStore])
      expect(await labelsIn(token)).toEqual([
        ...['drawbridge:domain:default:1', 'drawbridge:domain:default:2', mark, ...service],
      ]);
    expect(await domain('rotation/finish', { domainKeyId: done['domainKeyId'] })).toMatchObject({
      __type: 'ConflictException',
    });
    const made = present((await kms.createKey({})).KeyMetadata?.KeyId);
    const { body } = await send(path('kms.sock'), { method: 'GET', path: `/status/keys/${made}` });
    expect(body).toContain(String(done['domainKeyId']));
    for (const [id, blob] of [
      [KeyId, CiphertextBlob],
      [made, undefined],
    ] as const) {
      const ciphertext = blob ?? (await kms.encrypt({ KeyId: id, Plaintext: Buffer.from('after') })).CiphertextBlob;
      expect((await kms.decrypt({ CiphertextBlob: ciphertext })).Plaintext).toBeDefined();
    }
  });

  test('has the security officer trust no key of a daemon that was taken over, and no key for longer than the command lasts', async () => {
    const soPin = path('so-pin');
    writeFileSync(soPin, `${first.soPin}\n`, { mode: 0o600 });
    const backingKeyId = newBackingKeyId();
    const label = `drawbridge:joining:${backingKeyId}`;
    const padding = 'RSAES_OAEP_SHA_1';
    const genuine = await secondStore.carrying.generateJoiningPair({ backingKeyId, label, padding });
    const own = generateKeyPairSync('rsa', { modulusLength: 3072 }).publicKey.export({ format: 'der', type: 'spki' });
    const [domainKey] = (await firstStore.listKeys()).filter((key) => key.label === 'drawbridge:domain:default:2');
    const given = (publicKey: Buffer) => {
      const key = { backingKeyId: present(domainKey).backingKeyId, publicKey, trustedKeyId: backingKeyId, padding };
      return firstStore.carrying
        .give(key as Parameters<typeof firstStore.carrying.give>[0])
        .then(() => 'given', String);
    };
    const untrusted = expect.stringContaining('CKA_TRUSTED');
    const takenOver = new TakenOverDaemon();
    const socket = path('taken-over.sock');
    await takenOver.listen(socket);
    const run = () =>
      begun('rotate', 'default', '--config', configurationFile, '--socket', socket, '--so-pin-file', soPin);
    const ended = (child = run()) => whatItSays(child);
    const pair = (member: string, publicKey: Buffer) => ({
      ...{ member, backingKeyId, publicKey: publicKey.toString('base64') },
    });
    try {
      for (const [pairs, refusal] of [
        [[pair('second', own)], /not that of a joining pair in the token of `default\/second`/],
        [[pair('second', genuine), pair('first', own)], /other members than the configuration/],
      ] as const) {
        takenOver.pairs = pairs;
        expect(await ended()).toMatch(refusal);
        expect(await given(own)).toEqual(untrusted);
      }
      expect(takenOver.finished).toBe(0);
      takenOver.pairs = [pair('second', genuine)];
      const during: string[] = [];
      takenOver.finish = async (response) => {
        during.push(await given(genuine));
        response.destroy();
      };
      expect(await ended()).toContain('SHA256:');
      expect(during).toEqual(['given']);
      expect(await given(genuine), 'it failed').toEqual(untrusted);
      const killedBy = async (signal: NodeJS.Signals) => {
        const child = run();
        takenOver.finish = () => child.kill(signal);
        await ended(child);
      };
      await killedBy('SIGTERM');
      expect(await given(genuine), 'it was told to end').toEqual(untrusted);
      await killedBy('SIGKILL');
      expect(await given(genuine), 'nothing can be done before that').toBe('given');
      takenOver.pairs = [];
      expect(await ended()).toMatch(/other members than the configuration/);
      expect(await given(genuine)).toEqual(untrusted);
    } finally {
      takenOver.close();
      await secondStore.destroyKey({ backingKeyId });
    }
  });

  test('refuses a new domain key while a member is away, which then leaves, and gets nothing of what is new', async () => {
    const KeyId = present((await kms.createKey({})).KeyMetadata?.KeyId);
    const { CiphertextBlob } = await kms.encrypt({ KeyId, Plaintext: Buffer.from('before') });
    const refusal = { message: expect.stringMatching(/^`second` .* would lack the new domain key.*have it leave/) };
    const known = await labelsIn(firstStore);
    const refuses = async () => expect([await rotate(), await labelsIn(firstStore)]).toMatchObject([refusal, known]);
    // Whether or not anybody knows yet that it is away.
    await takeOut('second', second, refuses);
    await refuses();
    expect(await rotate({ leaver: 'first' })).toMatchObject({ __type: 'ConflictException' });
    const done = await rotate({ leaver: 'second' });
    expect(done).toMatchObject({ members: ['first'], left: { member: 'second', isEmpty: false } });
    const after = present((await kms.createKey({})).KeyMetadata?.KeyId);
    // What has left is waited for by nobody.
    expect(await rotate()).toMatchObject({ members: ['first'], left: null });
    putBack(second);
    const left = { hasLeft: true, command: 'drawbridge domain leave second --key-store default' };
    await until('second', 'left', {
      ...left,
      lastFailure: expect.stringMatching(/left as `second`.*`drawbridge domain leave second /),
    });
    const reason = expect.stringMatching(/^key store default: member second has left .*\(drawbridge domain leave /);
    expect(await ask('GET', '/health')).toEqual({ status: 'ok', reason });
    // It has what it had, and is asked for none of it.
    await takeOut('first', first);
    await expect(kms.decrypt({ CiphertextBlob })).rejects.toThrow();
    putBack(first);
    await until('first', 'connected');
    await kms.encrypt({ KeyId: after, Plaintext: Buffer.from('after') });
    // Now that it is there, it can be emptied, for which nobody needs another key.
    const before = await labelsIn(firstStore);
    expect(await drawbridge('leave', 'second', '--config', configurationFile, '--json')).toMatchObject({
      left: { member: 'second', isEmpty: true },
    });
    expect([await labelsIn(firstStore), await labelsIn(secondStore)]).toEqual([before, []]);
    await until('second', 'notOurs');
    expect((await kms.decrypt({ CiphertextBlob })).Plaintext).toBeDefined();
  });

  test('has an HSM that joins under the name of one that left, and serves', async () => {
    // Another process has destroyed all that its host knew: that makes no key in what may be another token by now, and is replaced.
    expect(await failureOf(newKey(secondStore))).toMatchObject({ failure: 'unavailable' });
    const { response } = await responseFor(secondStore, await invitation());
    await finishJoining(secondStore, response);
    await ask('POST', '/key-stores/default/members/second/reconnect');
    await until('second', 'connected', { lacks: [], hasLeft: false });
    expect(await ask('GET', '/health')).toEqual({ status: 'ok', reason: null });
    const KeyId = present((await kms.createKey({})).KeyMetadata?.KeyId);
    const { CiphertextBlob } = await kms.encrypt({ KeyId, Plaintext: Buffer.from('new') });
    await takeOut('first', first);
    expect((await kms.decrypt({ CiphertextBlob })).Plaintext).toBeDefined();
    putBack(first);
    await until('first', 'connected');
  });
});
