// `write ARN FILE` encrypts `plain`; `read ARN FILE` decrypts to `read` and looks at the encryption context.
import { readFileSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';

// From the folder in which it was installed, and not from beside this file.
const require = createRequire(`${process.cwd()}/`);
const { buildClient, CommitmentPolicy, KmsKeyringNode } = require('@aws-crypto/client-node');

const [action, arn, file] = process.argv.slice(2);
const { encrypt, decrypt } = buildClient(CommitmentPolicy.REQUIRE_ENCRYPT_REQUIRE_DECRYPT);
const keyring = new KmsKeyringNode({ generatorKeyId: arn });
if (action === 'write') {
  const { result } = await encrypt(keyring, readFileSync('plain'), { encryptionContext: { host: 'web1' } });
  writeFileSync(file, result);
} else {
  const { plaintext, messageHeader } = await decrypt(keyring, readFileSync(file));
  if (messageHeader.encryptionContext.host !== 'web1') throw new Error('another encryption context');
  writeFileSync('read', plaintext);
}
