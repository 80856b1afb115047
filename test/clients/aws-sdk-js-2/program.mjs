// What a program does with AWS KMS by the former SDK, which reads credentials from a profile, but no endpoint.
import { createRequire } from 'node:module';

// From the folder in which it was installed, and not from beside this file.
const require = createRequire(`${process.cwd()}/`);
const { KMS } = require('aws-sdk');

function check(isSo, otherwise) {
  if (!isSo) throw new Error(otherwise);
}

const kms = new KMS({ endpoint: process.argv[2] });
const { KeyMetadata: key } = await kms.createKey().promise();
const EncryptionContext = { host: 'web1' };
const { CiphertextBlob } = await kms.encrypt({ KeyId: key.KeyId, Plaintext: 'secret', EncryptionContext }).promise();
const opened = await kms.decrypt({ CiphertextBlob, EncryptionContext }).promise();
check(opened.Plaintext.toString() === 'secret' && opened.KeyId === key.Arn, 'another plaintext');
const refusal = await kms
  .decrypt({ CiphertextBlob })
  .promise()
  .catch((error) => error);
check(refusal.code === 'InvalidCiphertextException' && refusal.requestId, `without its encryption context: ${refusal}`);

const { KeyMetadata: pair } = await kms.createKey({ KeySpec: 'RSA_2048', KeyUsage: 'SIGN_VERIFY' }).promise();
const of = { KeyId: pair.KeyId, Message: 'text', SigningAlgorithm: 'RSASSA_PSS_SHA_512' };
const { Signature } = await kms.sign(of).promise();
check((await kms.verify({ ...of, Signature }).promise()).SignatureValid, 'the signature does not verify');

const listed = [];
await new Promise((resolve, reject) => {
  kms.listKeys({ Limit: 1 }).eachPage((error, page) => {
    if (error) reject(error);
    else if (page === null) resolve();
    else listed.push(...page.Keys.map(({ KeyId }) => KeyId));
    return true;
  });
});
check(
  [key, pair].every(({ KeyId }) => listed.includes(KeyId)),
  'a key is in no list',
);
