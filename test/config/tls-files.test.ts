import { generateKeyPairSync } from 'node:crypto';
import { chmodSync, chownSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { readTlsFiles } from '../../src/config/tls-files.ts';
import { runsAsRoot, sayIfNotRoot } from '../end-to-end/support/unix-users.ts';
import { type ExampleIdentity, exampleIdentity } from '../support/tls-identity.ts';

let folder: string;
let example: ExampleIdentity;
const at = (name: string): string => join(folder, name);

beforeEach(async () => {
  folder = mkdtempSync(join(tmpdir(), 'drawbridge-tls-files-'));
  example = await exampleIdentity();
  writeFileSync(at('server.pem'), example.certificate + example.authority);
  writeFileSync(at('server.key'), example.key, { mode: 0o600 });
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

function read(key = 'server.key', certificate = 'server.pem') {
  return readTlsFiles({ certificate: { file: at(certificate) }, key: { file: at(key) } }, {});
}

test('A certificate, those behind it, and its key are read as they are', async () => {
  const { certificates, certificate, privateKey } = await read();
  expect(certificates).toBe(example.certificate + example.authority);
  expect(certificate.subjectAltName).toContain('DNS:localhost');
  expect(privateKey.reveal().toString()).toBe(example.key);
});

test('Both may be credentials of systemd', async () => {
  const sources = { certificate: { credential: 'server.pem' }, key: { credential: 'server.key' } };
  const { privateKey } = await readTlsFiles(sources, { CREDENTIALS_DIRECTORY: folder });
  expect(privateKey.reveal().toString()).toBe(example.key);
  await expect(readTlsFiles(sources, {})).rejects.toThrow(
    'the certificate of `listen.tls` is the systemd credential `server.pem`, but CREDENTIALS_DIRECTORY is not set; start with systemd and LoadCredential=server.pem:PATH',
  );
});

describe('is refused, and nothing of the key is said:', () => {
  test.each<[string, () => void, RegExp]>([
    ['a key that everybody can read', () => chmodSync(at('server.key'), 0o644), /has mode 0644.*chmod 0600/],
    ['a key that its group can read', () => chmodSync(at('server.key'), 0o640), /has mode 0640.*chmod 0600/],
    [
      'a key that is not there',
      () => rmSync(at('server.key')),
      /cannot read `.*server.key`, which `listen.tls` names: there is no such file \(ENOENT\)/,
    ],
    [
      'a folder that everybody can write to',
      () => chmodSync(folder, 0o777),
      /is not safe to use: `.*` can be written by everybody/,
    ],
    [
      'a key that is a certificate',
      () => writeFileSync(at('server.key'), example.certificate),
      /is no private key in PEM/,
    ],
    [
      'a key that is encrypted',
      () => {
        const { privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
        const options = { format: 'pem', type: 'pkcs8', cipher: 'aes-256-cbc', passphrase: 'secret' } as const;
        writeFileSync(at('server.key'), privateKey.export(options));
      },
      /server.key` is encrypted, and nobody is there to give its passphrase; run: openssl pkey/,
    ],
    [
      'the key of another certificate',
      () => {
        const { privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
        writeFileSync(at('server.key'), privateKey.export({ format: 'pem', type: 'pkcs8' }));
      },
      /server.key` does not belong to the first certificate in `.*server.pem`/,
    ],
    [
      'a certificate that is none',
      () => writeFileSync(at('server.pem'), 'hello'),
      /server.pem` has no certificate in PEM/,
    ],
    [
      'a broken one behind the first',
      () =>
        writeFileSync(
          at('server.pem'),
          `${example.certificate}-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----`,
        ),
      /certificate 2 in `.*server.pem` cannot be read/,
    ],
    ['a file that is too long', () => writeFileSync(at('endless'), Buffer.alloc(300_000)), /larger than 262144 bytes/],
  ])('%s', async (name, spoil, message) => {
    spoil();
    const reason = await read('server.key', name === 'a file that is too long' ? 'endless' : 'server.pem').then(
      () => 'taken',
      (error: Error) => error.message,
    );
    expect(reason).toMatch(message);
    expect(reason).not.toContain(example.key.split('\n')[1]);
  });

  sayIfNotRoot('A key in the folder of another user');
  test.skipIf(!runsAsRoot)('a key in the folder of another user', async () => {
    mkdirSync(at('theirs'));
    writeFileSync(at('theirs/server.key'), example.key, { mode: 0o600 });
    chownSync(at('theirs'), 54_401, 54_401);
    await expect(read('theirs/server.key')).rejects.toThrow(/belongs to uid 54401, who can put something else there/);
  });
});
