/**
 * `GetParametersForImport`: a public key under which key material is wrapped that is to be imported into a KMS key, and the token
 * that says so.
 *
 * The pair is made in the HSM for this request and is good for 24 hours. What becomes of it stands in `keys/life/wrapping-keys.ts`,
 * what is in a token in `keys/import-tokens.ts`.
 */

import { assertTokenCanImport } from '../../keys/token-capabilities.ts';
import { keyNamedBy, keyReference } from '../declaration/members.ts';
import { operation } from '../declaration/operation.ts';
import { blob, object, optional, string, timestamp } from '../declaration/schema.ts';
import { wrappingAlgorithm, wrappingKeySpec, wrappingOf } from './import-request.ts';

export const getParametersForImport = operation({
  name: 'GetParametersForImport',
  request: object({
    KeyId: keyReference,
    WrappingAlgorithm: wrappingAlgorithm,
    WrappingKeySpec: wrappingKeySpec,
  }),
  response: object({
    KeyId: optional(string()),
    ImportToken: optional(blob()),
    PublicKey: optional(blob()),
    ParametersValidTo: optional(timestamp),
  }),
  needs: {
    keys: {
      key: {
        action: 'kms:GetParametersForImport',
        key: keyNamedBy('KeyId', 'keyOnly'),
        conditions: ['kms:WrappingAlgorithm', 'kms:WrappingKeySpec'],
        states: 'importPreparation',
      },
    },
  },
  effect: 'changes',
  generates: true,
  record: ['KeyId', 'WrappingAlgorithm', 'WrappingKeySpec'],
  async prepare({ request, keys, caller, directory, life }) {
    const { record, materials } = keys.key.key;
    const { keyId, keySpec } = record;
    const wrapping = wrappingOf(keySpec, request);
    // All material of a key lives in one place.
    const keyStore = materials[0]?.keyStore ?? directory.defaultKeyStore;
    assertTokenCanImport(directory.keyStore(keyStore), keySpec, wrapping.wrappingAlgorithm);
    const principal = caller.role ?? caller.arn;
    return life.imports.wrappingKeys.make({ ...wrapping, keyId, keyStore, principal });
  },
  decide({ keys, prepared: { activated, publicKey, importToken, validToMs } }) {
    return {
      changes: activated(),
      response: {
        KeyId: keys.key.key.arn,
        ImportToken: importToken,
        PublicKey: publicKey,
        ParametersValidTo: new Date(validToMs),
      },
    };
  },
  conclude: ({ prepared }) => prepared.destroyEnded(),
});
