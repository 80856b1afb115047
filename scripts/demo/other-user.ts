/**
 * Asks as another Unix user: becomes `nobody`, connects, and prints what the daemon answers.
 *
 *     other-user SOCKET KEY_ID CIPHERTEXT_BLOB < the encryption context as JSON
 *
 * Started by root, because only root can become somebody else. Nothing of the request says who asks: the daemon has it
 * from the kernel, which notes the effective user of whoever connects. It speaks HTTP by hand, as `curl` would, since
 * `nobody` may be unable to read the SDK's files.
 */

import { request } from 'node:http';
import { text } from 'node:stream/consumers';

const [socketPath = '', KeyId, CiphertextBlob] = process.argv.slice(2);
const EncryptionContext: unknown = JSON.parse(await text(process.stdin));

process.setgroups?.([]);
process.setegid?.(65534);
process.seteuid?.(65534);

const body = JSON.stringify({ KeyId, CiphertextBlob, EncryptionContext });
const call = request({ socketPath, path: '/v1/Decrypt', method: 'POST' }, async (response) => {
  const answer = await text(response);
  process.stdout.write(`${answer}\n`);
});
call.on('error', ({ message }) => process.stdout.write(`${JSON.stringify({ __type: 'unreachable', message })}\n`));
call.end(body);
