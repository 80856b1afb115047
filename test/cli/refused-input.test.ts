/** What commands refuse before they ask a daemon: no daemon is there to be asked. */

import { generateKeyPairSync } from 'node:crypto';
import { linkSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { buildProgram } from '../../src/cli/program.ts';

let folder: string;
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'drawbridge-refused-'));
  writeFileSync(join(folder, 'big'), Buffer.alloc(100_000, 'x'));
  writeFileSync(join(folder, 'empty'), '');
  writeFileSync(join(folder, 'text'), 'not hexadecimal');
  writeFileSync(join(folder, 'secret'), Buffer.alloc(32, 7));
  symlinkSync('secret', join(folder, 'link'));
  writeFileSync(join(folder, 'twice'), Buffer.alloc(32, 7));
  linkSync(join(folder, 'twice'), join(folder, 'again'));
  const cipher = { type: 'pkcs8', format: 'pem', cipher: 'aes-256-cbc', passphrase: 'horse' } as const;
  const { privateKey } = generateKeyPairSync('ec', {
    namedCurve: 'P-256',
    privateKeyEncoding: cipher,
    publicKeyEncoding: { type: 'spki', format: 'der' },
  });
  writeFileSync(join(folder, 'locked'), privateKey);
  writeFileSync(join(folder, 'mule'), 'mule\n');
  writeFileSync(join(folder, 'horse'), 'horse\r\nand more');
  writeFileSync(
    join(folder, 'no.csr'),
    '-----BEGIN CERTIFICATE REQUEST-----\nAAAA\n-----END CERTIFICATE REQUEST-----\n',
  );
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

const ed = 'sign --key k --algorithm ED25519_SHA_512 --in';
const pair = 'keys import --create --spec ECC_NIST_P256 --usage SIGN_VERIFY --expires 9';
const issuer = '--issuer FOLDER/text --issuer-key k';

test.each([
  [
    'sign --key k --algorithm ECDSA_SHA_1',
    'UsageError',
    '`ECDSA_SHA_1` is no signing algorithm for files; there are RSA',
  ],
  [
    `${ed} FOLDER/big`,
    'Error',
    'ED25519_SHA_512 signs the message itself, which can be 4096 bytes at most, and `FOLDER/big`',
  ],
  [`${ed} FOLDER/empty`, 'Error', 'ED25519_SHA_512 signs the message itself, and `FOLDER/empty` is empty'],
  [`${ed} FOLDER`, 'Error', 'cannot read `FOLDER`: it is a folder'],
  [
    'sign --key k --algorithm ECDSA_SHA_256 --in FOLDER/none',
    'Error',
    'cannot read `FOLDER/none`: there is no such file (ENOENT)',
  ],
  [
    'sign --key k --encoding octal',
    'CommanderError',
    "argument 'octal' is invalid. Allowed choices are raw, base64, hex.",
  ],
  ['verify --key k --signature FOLDER/none', 'Error', 'cannot read `FOLDER/none`: there is no such file (ENOENT)'],
  ['verify --key k --signature FOLDER/big', 'Error', '`FOLDER/big` is too long for a signature'],
  ['verify --key k --signature FOLDER/text --encoding hex', 'Error', '`FOLDER/text` is not hex'],
  ['verify --key k --signature FOLDER/text --encoding base64', 'Error', '`FOLDER/text` is not base64'],
  ['mac --key k --in FOLDER/big', 'Error', 'HMAC keys take the message itself, which can be 4096 bytes at most'],
  ['mac --key k --verify FOLDER/big', 'Error', '`FOLDER/big` is too long for a MAC'],
  ['mac --key k --verify FOLDER/text --out x', 'UsageError', '--verify makes no MAC that --out could take'],
  ['csr --key k', 'UsageError', 'give --subject, --san, or both'],
  ['csr --key k --subject CN=a,Inc.', 'UsageError', 'a comma within a value is written `\\,`'],
  ['certificate --subject CN=a', 'UsageError', 'give --key or --request'],
  ['certificate --key k --request FOLDER/no.csr', 'UsageError', 'give --key or --request'],
  ['certificate --request FOLDER/no.csr', 'UsageError', 'a request is for another key: give --issuer and --issuer-key'],
  ['certificate --key k --issuer FOLDER/text', 'UsageError', '--issuer and --issuer-key go together'],
  [`certificate --request FOLDER/no.csr ${issuer}`, 'Error', 'cannot use `FOLDER/no.csr`: it is no PKCS#10 request'],
  [`certificate --request FOLDER/text ${issuer}`, 'Error', 'cannot use `FOLDER/text`: it is no PKCS#10 request'],
  [`certificate --key k --subject CN=a ${issuer}`, 'Error', 'cannot use `FOLDER/text`: it is no X.509 certificate'],
  [
    'certificate --key k --subject CN=a --path-length 0',
    'UsageError',
    '--path-length is about authorities: give --ca too',
  ],
  ['certificate --key k --subject CN=a --not-before tomorrow', 'CommanderError', 'expected a time in UTC'],
  ['keys rotation k --enable --disable', 'UsageError', 'give --enable or --disable'],
  ['keys rotation k --period 90', 'UsageError', '--period says how often: give --enable too'],
  ['keys rotation k --enable --period year', 'CommanderError', 'expected a whole number.'],
  ['keys import k', 'UsageError', 'give the key and the file (`-`: stdin); with --create, the file alone'],
  ['keys import k FOLDER/text --create', 'UsageError', 'with --create, the file alone'],
  ['keys import k FOLDER/text', 'UsageError', 'give --expires or --does-not-expire: key material expires unless'],
  ['keys import k FOLDER/text --expires 9 --does-not-expire', 'UsageError', 'give --expires or --does-not-expire'],
  ['keys import k FOLDER/text --expires soon', 'CommanderError', 'expected a number of days, or a time in UTC'],
  ['keys import k FOLDER/text --expires 2020-01-31', 'CommanderError', 'this is over already.'],
  ['keys import k FOLDER/text --expires 0', 'CommanderError', 'this is over already.'],
  ['keys import k FOLDER/text --expires 366', 'CommanderError', 'key material expires after 365 days at most'],
  ['keys import k f --expires 9 --new --existing', 'UsageError', 'give --new or --existing'],
  ['keys import k f --expires 9 --new --material m', 'UsageError', '--material is for material that there was'],
  ['keys import k f --expires 9 --wipe --keep', 'UsageError', 'give --wipe or --keep'],
  ['keys import k f --expires 9 --alias alias/a', 'UsageError', '--alias is for a key that --create makes'],
  ['keys import k f --expires 9 --encoding pem', 'CommanderError', 'Allowed choices are raw, hex, base64.'],
  ['keys import k f --expires 9', 'Error', 'cannot reach a daemon at `FOLDER/no.sock`: there is no such socket'],
  [
    'keys import --create FOLDER/none --expires 9',
    'Error',
    'cannot read `FOLDER/none`: there is no such file (ENOENT)',
  ],
  ['keys import --create FOLDER --expires 9', 'Error', 'cannot read `FOLDER`: it is a folder'],
  ['keys import --create FOLDER/big --expires 9', 'Error', 'it is larger than 65536 bytes, and no key'],
  [
    'keys import --create FOLDER/text --expires 9',
    'Error',
    'SYMMETRIC_DEFAULT takes 32 bytes, and `FOLDER/text` has 15',
  ],
  ['keys import --create FOLDER/text --expires 9 --spec RSA_2048 --usage SIGN_VERIFY', 'Error', 'is no private key'],
  [
    `${pair} FOLDER/locked`,
    'Error',
    '`FOLDER/locked` is encrypted, and nobody is there to be asked: give --passphrase',
  ],
  [`${pair} FOLDER/locked --passphrase-file FOLDER/mule`, 'Error', 'cannot be decrypted: wrong passphrase'],
  [
    `${pair} FOLDER/locked --passphrase-file FOLDER/none`,
    'Error',
    'cannot read `FOLDER/none`: there is no such file (ENOENT)',
  ],
  [`${pair} FOLDER/locked --passphrase-file FOLDER/horse`, 'Error', 'cannot reach a daemon at `FOLDER/no.sock`'],
  [
    'keys import --create FOLDER/link --expires 9 --wipe',
    'UsageError',
    '`FOLDER/link` is a symbolic link; name the file',
  ],
  ['keys import --create FOLDER/twice --expires 9 --wipe', 'UsageError', '`FOLDER/twice` has 2 names (hard links)'],
  ['keys import --create FOLDER/secret --expires 9 --wipe', 'Error', 'cannot reach a daemon at `FOLDER/no.sock`'],
  ['keys import --create FOLDER/text --expires 9 --spec SM2', 'Error', 'knows no files with keys of SM2'],
  ['keys delete-material k', 'UsageError', 'nobody is there to be asked; --yes deletes it all the same'],
  ['certificate --key k --subject CN=a --days -1', 'CommanderError', 'expected a whole number.'],
])('drawbridge %s: %s, %s', async (line, name, message) => {
  const here = (text: string): string => text.replaceAll('FOLDER', folder);
  const words = here(line).split(' ');
  const program = await buildProgram();
  for (const command of program.commands.flatMap((each) => [each, ...each.commands]))
    command.configureOutput({ writeErr: () => undefined });
  const run = program.parseAsync(['node', 'drawbridge', ...words, '--socket', join(folder, 'no.sock')]);
  const error = await run.then(
    () => undefined,
    (failure: Error) => failure,
  );
  expect(error).toMatchObject({ name, message: expect.stringContaining(here(message)) });
});
