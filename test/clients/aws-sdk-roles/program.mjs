// Encrypts and decrypts under the key that it is told, as the role of AWS_PROFILE.
import { createRequire } from 'node:module';

// From the folder in which they were installed, and not from beside this file.
const require = createRequire(`${process.cwd()}/`);
const { KMS } = require('@aws-sdk/client-kms');
const { STS } = require('@aws-sdk/client-sts');

function check(isSo, otherwise) {
  if (!isSo) throw new Error(otherwise);
}

const kms = new KMS({});
const { Arn } = await new STS({}).getCallerIdentity({});
check(Arn === 'arn:aws:sts::000000000000:assumed-role/deploy/release', Arn);
const { CiphertextBlob } = await kms.encrypt({ KeyId: process.argv[2], Plaintext: Buffer.from('secret') });
const { Plaintext } = await kms.decrypt({ CiphertextBlob });
check(Buffer.from(Plaintext).toString() === 'secret', 'another plaintext');
const refusal = await kms.createKey({}).catch((error) => error);
check(refusal.name === 'AccessDeniedException' && refusal.message.includes(Arn), `the role made a key: ${refusal}`);
