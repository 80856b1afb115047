/** What `sign`, `verify`, `mac`, `csr` and `certificate` refuse before they ask a daemon: no daemon is there to be asked. */

import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
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
  writeFileSync(
    join(folder, 'no.csr'),
    '-----BEGIN CERTIFICATE REQUEST-----\nAAAA\n-----END CERTIFICATE REQUEST-----\n',
  );
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

const ed = 'sign --key k --algorithm ED25519_SHA_512 --in';
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
  ['sign --key k --algorithm ECDSA_SHA_256 --in FOLDER/none', 'Error', 'cannot read `FOLDER/none`: ENOENT'],
  [
    'sign --key k --encoding octal',
    'CommanderError',
    "argument 'octal' is invalid. Allowed choices are raw, base64, hex.",
  ],
  ['verify --key k --signature FOLDER/none', 'Error', 'cannot read `FOLDER/none`: ENOENT'],
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
  ['certificate --key k --subject CN=a --days -1', 'CommanderError', 'expected a whole number.'],
])('drawbridge %s: %s, %s', async (line, name, message) => {
  const here = (text: string): string => text.replaceAll('FOLDER', folder);
  const words = here(line).split(' ');
  const program = buildProgram();
  for (const command of program.commands) command.configureOutput({ writeErr: () => undefined });
  const run = program.parseAsync(['node', 'drawbridge', ...words, '--socket', join(folder, 'no.sock')]);
  const error = await run.then(
    () => undefined,
    (failure: Error) => failure,
  );
  expect(error).toMatchObject({ name, message: expect.stringContaining(here(message)) });
});
