/** The package's programs that age and sigstore start: with Debian's age, and as sigstore's client calls them. */

import { createHash, createPublicKey, verify } from 'node:crypto';
import { chmodSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { delimiter, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { KMS } from '@aws-sdk/client-kms';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { decodeBech32, encodeBech32 } from '../../src/cli/age/bech32.ts';
import { type Instance, missingForInstance, startInstance } from '../support/instance.ts';
import { kmsOver } from './support/connect.ts';
import { bootTimeoutMs } from './support/daemon.ts';
import { type Ended, missingProgram, runWith } from './support/openssh.ts';
import { deny, policy, rootMayAll } from './support/policies.ts';

const missing = missingForInstance();
if (missing !== null) process.stdout.write(`skipped: plugins of age and sigstore: ${missing}\n`);
const missingAge = missingProgram('age', 'age');
if (missingAge !== null) process.stdout.write(`skipped: the plugin of age: ${missingAge}\n`);

test.each([
  ['age1drawbridge', Buffer.from('arn:aws:kms:us-east-1:000000000000:key/1234abcd-12ab-34cd-56ef-1234567890ab')],
  ['age-plugin-drawbridge-', Buffer.alloc(0)],
  ['a', Buffer.of(0xff)],
])('Bech32 of %s is read as it was written, in either case, and with no letter changed', (prefix, data) => {
  const text = encodeBech32(prefix, data);
  expect([decodeBech32(text), decodeBech32(text.toUpperCase())]).toEqual(Array(2).fill({ prefix, data }));
  for (let index = 0; index < text.length; index++) {
    const changed = text[index] === 'q' ? 'p' : 'q';
    expect(decodeBech32(`${text.slice(0, index)}${changed}${text.slice(index + 1)}`)).toBeUndefined();
  }
});

test('Bech32 is what BIP 173 has as valid', () => {
  expect(decodeBech32('A12UEL5L')).toEqual({ prefix: 'a', data: Buffer.alloc(0) });
  expect(decodeBech32('abcdef1qpzry9x8gf2tvdw0s3jn54khce6mua7lmqqqxw')?.data.toString('hex')).toBe(
    '00443214c74254b635cf84653a56d7c675be77df',
  );
  expect([decodeBech32('A1G7SGD8'), decodeBech32('1qzzfhee'), decodeBech32('a12UEL5L')]).toEqual(
    Array(3).fill(undefined),
  );
});

describe.skipIf(missing !== null)('a plugin', () => {
  let instance: Instance;
  let kms: KMS;
  let folder: string;
  beforeAll(async () => {
    instance = await startInstance();
    kms = kmsOver(instance.socket);
    folder = mkdtempSync(join(tmpdir(), 'drawbridge-plugins-'));
    mkdirSync(join(folder, 'bin'));
    for (const name of ['age-plugin-drawbridge', 'sigstore-kms-drawbridge']) {
      const source = fileURLToPath(new URL(`../../src/cli/${name}.ts`, import.meta.url));
      writeFileSync(join(folder, 'bin', name), `#!/bin/sh\nexec '${process.execPath}' '${source}' "$@"\n`);
      chmodSync(join(folder, 'bin', name), 0o755);
    }
  }, bootTimeoutMs);
  afterAll(async () => {
    kms?.destroy();
    await instance?.stop();
    if (folder !== undefined) rmSync(folder, { recursive: true, force: true });
  }, bootTimeoutMs);

  const run = (command: readonly string[], input?: string): Promise<Ended> =>
    runWith(
      {
        DRAWBRIDGE_SOCKET: instance.socket,
        PATH: [join(folder, 'bin'), process.env['PATH']].join(delimiter),
        ...(process.env['NODE_COMPILE_CACHE'] ? { NODE_COMPILE_CACHE: process.env['NODE_COMPILE_CACHE'] } : {}),
      },
      folder,
      command,
      input,
    );

  describe.skipIf(missingAge !== null)('of age', () => {
    let recipient: string;
    beforeAll(async () => {
      const generated = await run(['age-plugin-drawbridge', '--generate', '--alias', 'alias/age']);
      expect(generated).toMatchObject({ code: 0, stderr: '' });
      writeFileSync(join(folder, 'identity.txt'), generated.stdout);
      recipient = /# recipient: (\S+)/.exec(generated.stdout)?.[1] ?? '';
      expect(await run(['age-plugin-drawbridge', '--recipient', 'alias/age'])).toMatchObject({
        stdout: `${recipient}\n`,
      });
    });

    test('encrypts for a list of recipients, and decrypts with an identity, with none but its name, and not with another', async () => {
      const other = await run(['age-plugin-drawbridge', '--generate']);
      writeFileSync(join(folder, 'other.txt'), other.stdout);
      writeFileSync(join(folder, 'list.txt'), `${recipient}\n${/# recipient: (\S+)/.exec(other.stdout)?.[1]}\n`);
      expect(await run(['age', '-R', 'list.txt', '-o', 'both.age'], 'a secret')).toMatchObject({ code: 0, stderr: '' });
      for (const identity of [
        ['-i', 'identity.txt'],
        ['-i', 'other.txt'],
        ['-j', 'drawbridge'],
      ]) {
        expect(await run(['age', '-d', ...identity, 'both.age'])).toMatchObject({ code: 0, stdout: 'a secret' });
      }
      expect(await run(['age', '-r', recipient, '-o', 'one.age'], 'a secret')).toMatchObject({ code: 0 });
      const refused = await run(['age', '-d', '-i', 'other.txt', 'one.age']);
      expect(refused).toMatchObject({ code: 1, stdout: '', stderr: expect.stringContaining('no identity matched') });
    });

    test('encrypts for an identity beside a key of age itself', async () => {
      await run(['age-keygen', '-o', 'plain.txt']);
      expect(
        await run(['age', '-e', '-i', 'identity.txt', '-i', 'plain.txt', '-o', 'mixed.age'], 'hello'),
      ).toMatchObject({ code: 0 });
      for (const identity of ['identity.txt', 'plain.txt']) {
        expect(await run(['age', '-d', '-i', identity, 'mixed.age'])).toMatchObject({ code: 0, stdout: 'hello' });
      }
    });

    test('says why the daemon refuses, and that a recipient is none', async () => {
      expect(await run(['age', '-r', recipient, '-o', 'refused.age'], 'hello')).toMatchObject({ code: 0 });
      const { KeyMetadata } = await kms.describeKey({ KeyId: 'alias/age' });
      const KeyId = KeyMetadata?.KeyId ?? '';
      await kms.putKeyPolicy({ KeyId, Policy: policy(rootMayAll, deny('*', ['kms:Decrypt', 'kms:Encrypt'])) });
      try {
        const why = 'AccessDeniedException: User: arn:aws:iam::000000000000:root is not authorized';
        expect((await run(['age', '-r', recipient, '-o', 'never.age'], 'hello')).stderr).toContain(why);
        expect((await run(['age', '-d', '-i', 'identity.txt', 'refused.age'])).stderr).toContain(why);
      } finally {
        await kms.putKeyPolicy({ KeyId, Policy: policy(rootMayAll) });
      }
      const gone = encodeBech32('age1drawbridge', Buffer.from('alias/none'));
      expect((await run(['age', '-r', gone, '-o', 'never.age'], 'hello')).stderr).toContain('NotFoundException');
      expect(() => readFileSync(join(folder, 'never.age'))).toThrow('ENOENT');
    });

    test('passes over what it does not know, and refuses a conversation that it does not know', async () => {
      const said = [
        '-> grease-1F a b',
        'AAAA',
        '-> add-recipient nonsense',
        '',
        '-> wrap-file-key',
        'AAAAAAAAAAAAAAAAAAAAAA',
        '-> done',
        '',
        '-> ok',
        '',
      ];
      const { stdout } = await run(['age-plugin-drawbridge', '--age-plugin=recipient-v1'], `${said.join('\n')}\n`);
      const text = Buffer.from('this recipient names no key of Drawbridge').toString('base64').replace(/=+$/, '');
      expect(stdout).toBe(`-> error recipient 0\n${text}\n-> done\n\n`);
      expect(await run(['age-plugin-drawbridge', '--age-plugin=recipient-v9'])).toMatchObject({ code: 2, stdout: '' });
    });
  });

  describe('of sigstore', () => {
    async function ask(
      keyResourceID: string,
      methodName: string,
      args: object = {},
      message = '',
    ): Promise<Record<string, never>> {
      const request = {
        initOptions: { protocolVersion: 'v1', keyResourceID, hashFunc: 5, rpcOptions: { remoteVerification: false } },
        methodName,
        [methodName]: args,
      };
      const { stdout, stderr } = await run(['sigstore-kms-drawbridge', 'v1', JSON.stringify(request)], message);
      expect(stderr).toBe('');
      return JSON.parse(stdout);
    }
    const digest = createHash('sha256').update('an artifact').digest();
    const options = { messageOptions: { digest: digest.toString('base64'), hashFunc: 5 } };

    test('makes a key once, signs with it, and verifies', async () => {
      const { defaultAlgorithm } = await ask('alias/cosign', 'defaultAlgorithm');
      expect(defaultAlgorithm).toEqual({ defaultAlgorithm: 'ECC_NIST_P256' });
      const made = await ask('alias/cosign', 'createKey', { algorithm: 'ECC_NIST_P256' });
      expect(await ask('/alias/cosign', 'createKey', { algorithm: 'ECC_NIST_P256' })).toEqual(made);
      const { publicKeyPEM } = made['createKey'] as unknown as { publicKeyPEM: string };
      expect(await ask('alias/cosign', 'publicKey')).toEqual({ publicKey: { publicKeyPEM } });

      const signed = await ask('alias/cosign', 'signMessage', { signOptions: options });
      const { signature } = signed['signMessage'] as unknown as { signature: string };
      const key = createPublicKey(Buffer.from(publicKeyPEM, 'base64').toString());
      expect(verify('sha256', Buffer.from('an artifact'), key, Buffer.from(signature, 'base64'))).toBe(true);
      // cosign gives the message itself to be verified.
      const verification = { signature, verifyOptions: { messageOptions: { digest: null, hashFunc: 5 } } };
      expect(await ask('alias/cosign', 'verifySignature', verification, 'an artifact')).toEqual({
        verifySignature: {},
      });
      expect(await ask('alias/cosign', 'verifySignature', verification, 'another')).toEqual({
        errorMessage: expect.stringContaining('KMSInvalidSignatureException'),
      });
    });

    test('signs with the hash of the key, and says where a digest is none of it', async () => {
      await ask('alias/p384', 'createKey', { algorithm: 'ECC_NIST_P384' }).then(({ errorMessage }) =>
        expect(errorMessage).toContain('`ECC_NIST_P384` is no algorithm for a key here'),
      );
      const { KeyMetadata } = await kms.createKey({ KeySpec: 'ECC_NIST_P384', KeyUsage: 'SIGN_VERIFY' });
      const keyId = KeyMetadata?.KeyId ?? '';
      const signed = await ask(
        keyId,
        'signMessage',
        { signOptions: { messageOptions: { hashFunc: 5 } } },
        'an artifact',
      );
      const { signature } = signed['signMessage'] as unknown as { signature: string };
      const { PublicKey } = await kms.getPublicKey({ KeyId: keyId });
      const key = createPublicKey({ key: Buffer.from(PublicKey ?? []), format: 'der', type: 'spki' });
      expect(verify('sha384', Buffer.from('an artifact'), key, Buffer.from(signature, 'base64'))).toBe(true);
      expect(await ask(keyId, 'signMessage', { signOptions: options })).toEqual({
        errorMessage: 'the digest has 32 bytes, and the key signs those of sha384: use an RSA or P-256 key',
      });
    });

    test('answers a missing key, another method and another version with an error and nothing else', async () => {
      expect(await ask('alias/none', 'publicKey')).toEqual({
        errorMessage: expect.stringContaining('NotFoundException'),
      });
      expect(await ask('alias/none', 'cryptoSigner')).toEqual({
        errorMessage: 'the method `cryptoSigner` is not known here',
      });
      const { stdout, code } = await run(['sigstore-kms-drawbridge', 'v2', '{}']);
      expect([code, JSON.parse(stdout)]).toEqual([0, { errorMessage: expect.stringContaining('version `v2`') }]);
    });
  });
});
