/**
 * Where the material of a new KMS key comes from and lives: what a request for one says of that, and what AWS refuses.
 *
 * `Origin` and `CustomKeyStoreId` belong together. A custom key store takes what AWS lets it take, symmetric encryption keys whose
 * material is generated in it. DEVIATION: a key store that the configuration names, with `keySpecs: all`, takes pairs and HMAC keys too.
 *
 * Source: AWS KMS developer guide, "Creating KMS keys in an AWS CloudHSM key store"; API reference, `CreateKey`.
 */

import type { CustomKeyStore } from '../../keys/custom-key-store.ts';
import type { KeyView } from '../../keys/key-view.ts';
import { KmsError } from '../../kms/errors.ts';
import type { KeySpec } from '../../kms/key-specs.ts';
import type { KeyOrigin } from '../../kms/key-states.ts';
import type { KeyRecord } from '../../store/records/records.ts';
import { connectedKeyStore, namedKeyStore } from '../declaration/named-key-store.ts';

export interface KeyPlace {
  readonly origin: KeyRecord['origin'];
  /** The name of the key store. */
  readonly keyStore: string;
  readonly customKeyStore: CustomKeyStore | undefined;
}

interface PlaceRequest {
  readonly Origin?: KeyOrigin | undefined;
  readonly CustomKeyStoreId?: string | undefined;
  readonly XksKeyId?: string | undefined;
  readonly MultiRegion?: boolean | undefined;
}

/**
 * @throws KmsError `ValidationException` for what does not go together, `UnsupportedOperationException`, and for the custom key
 * store `CustomKeyStoreNotFoundException`, `CustomKeyStoreInvalidStateException` and `CloudHsmClusterInvalidConfigurationException`.
 */
export function placeOf(request: PlaceRequest, keySpec: KeySpec, directory: KeyView): KeyPlace {
  const { Origin: origin = 'AWS_KMS', CustomKeyStoreId: id } = request;
  assertMembersFit(origin, request);
  if (request.MultiRegion === true && origin === 'AWS_CLOUDHSM')
    throw unsupported('MultiRegion is not supported for keys in a custom key store.');
  switch (origin) {
    case 'AWS_KMS':
    case 'EXTERNAL':
      return { origin, keyStore: directory.defaultKeyStore, customKeyStore: undefined };
    case 'AWS_CLOUDHSM':
      return inCustomKeyStore(id ?? '', keySpec, directory);
    case 'EXTERNAL_KEY_STORE':
      throw unsupported(`Origin ${origin} is not supported: there are no external key stores here.`);
    default:
      throw new TypeError(`${origin satisfies never} is no origin`);
  }
}

function inCustomKeyStore(id: string, keySpec: KeySpec, directory: KeyView): KeyPlace {
  const { keySpecs } = namedKeyStore(directory, id);
  if (keySpecs !== 'all' && keySpec !== 'SYMMETRIC_DEFAULT')
    throw unsupported(`KeySpec ${keySpec} is not supported for Origin AWS_CLOUDHSM.`);
  assertHsmIsThere(id, directory);
  const customKeyStore = connectedKeyStore(directory, id);
  return { origin: 'AWS_CLOUDHSM', keyStore: customKeyStore.customKeyStoreId, customKeyStore };
}

/** @throws KmsError `CloudHsmClusterInvalidConfigurationException` where the custom key store is connected, and its HSM is away for a while. */
function assertHsmIsThere(id: string, directory: KeyView): void {
  const { isConnected, cloudHsmClusterId } = namedKeyStore(directory, id);
  if (isConnected || directory.customKeyStores.connectionState(id) !== 'CONNECTED') return;
  throw new KmsError(
    'CloudHsmClusterInvalidConfigurationException',
    `The CloudHSM cluster ${cloudHsmClusterId} has no active HSM, which this operation needs.`,
  );
}

function assertMembersFit(origin: KeyOrigin, { CustomKeyStoreId: id, XksKeyId }: PlaceRequest): void {
  const refuse = (message: string): never => {
    throw new KmsError('ValidationException', message);
  };
  if (XksKeyId !== undefined && origin !== 'EXTERNAL_KEY_STORE')
    refuse('XksKeyId can be specified only when Origin is EXTERNAL_KEY_STORE.');
  if (XksKeyId === undefined && origin === 'EXTERNAL_KEY_STORE')
    refuse('XksKeyId is required when Origin is EXTERNAL_KEY_STORE.');
  const isInCustomKeyStore = origin === 'AWS_CLOUDHSM' || origin === 'EXTERNAL_KEY_STORE';
  if (id !== undefined && !isInCustomKeyStore)
    refuse('CustomKeyStoreId can be specified only when Origin is AWS_CLOUDHSM or EXTERNAL_KEY_STORE.');
  if (id === undefined && isInCustomKeyStore) refuse(`CustomKeyStoreId is required when Origin is ${origin}.`);
}

function unsupported(message: string): KmsError {
  return new KmsError('UnsupportedOperationException', message);
}
