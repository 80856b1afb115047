/** `GenerateRandom`: 1 to 1,024 bytes from the random generator of the default key store's HSM, or of the custom key store that is named. */

import { KmsError } from '../../kms/errors.ts';
import { anyResource, customKeyStoreId, dataKeyBytes, recipient, refuseRecipient } from '../declaration/members.ts';
import { connectedKeyStore } from '../declaration/named-key-store.ts';
import { operation } from '../declaration/operation.ts';
import { blob, object, optional, secretBlob } from '../declaration/schema.ts';

export const generateRandom = operation({
  name: 'GenerateRandom',
  request: object({
    NumberOfBytes: optional(dataKeyBytes),
    CustomKeyStoreId: optional(customKeyStoreId),
    Recipient: recipient,
  }),
  response: object({ Plaintext: optional(secretBlob()), CiphertextForRecipient: optional(blob()) }),
  needs: { resources: [{ action: 'kms:GenerateRandom', resource: anyResource }] },
  effect: 'uses',
  record: ['NumberOfBytes', 'CustomKeyStoreId'],
  async handle({ request, directory }) {
    refuseRecipient(request);
    if (request.NumberOfBytes === undefined) throw new KmsError('ValidationException', 'NumberOfBytes is required.');
    const { NumberOfBytes: lengthBytes, CustomKeyStoreId: id } = request;
    const name = id === undefined ? directory.defaultKeyStore : connectedKeyStore(directory, id).customKeyStoreId;
    return { Plaintext: await directory.keyStore(name).random({ lengthBytes }) };
  },
});
