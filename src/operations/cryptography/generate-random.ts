/** `GenerateRandom`: 1 to 1,024 bytes from the HSM's random generator. */

import { KmsError } from '../../kms/errors.ts';
import { anyResource, dataKeyBytes, recipient, refuseCustomKeyStore, refuseRecipient } from '../declaration/members.ts';
import { operation } from '../declaration/operation.ts';
import { blob, object, optional, secretBlob, string } from '../declaration/schema.ts';

export const generateRandom = operation({
  name: 'GenerateRandom',
  request: object({
    NumberOfBytes: optional(dataKeyBytes),
    CustomKeyStoreId: optional(string({ min: 1, max: 64 })),
    Recipient: recipient,
  }),
  response: object({ Plaintext: optional(secretBlob()), CiphertextForRecipient: optional(blob()) }),
  needs: { resources: [{ action: 'kms:GenerateRandom', resource: anyResource }] },
  effect: 'uses',
  record: ['NumberOfBytes', 'CustomKeyStoreId'],
  async handle({ request, directory }) {
    refuseRecipient(request);
    refuseCustomKeyStore(request);
    if (request.NumberOfBytes === undefined) throw new KmsError('ValidationException', 'NumberOfBytes is required.');
    const keyStore = directory.keyStore(directory.defaultKeyStore);
    return { Plaintext: await keyStore.random({ lengthBytes: request.NumberOfBytes }) };
  },
});
