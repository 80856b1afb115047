/**
 * `DescribeCustomKeyStores`: the custom key stores of the account, or one of them by its id or its name, and whether they are connected.
 *
 * Those that the configuration names are among them, since DescribeKey names them too: what AWS says where a key is can be asked about.
 * They have no certificate; and the date of the instance, since programs of others take for granted that each has one (Terraform's data
 * source `aws_kms_custom_key_store`).
 */

import type { ConfiguredKeyStore, CustomKeyStoreSource } from '../../keys/custom-key-store.ts';
import { type ConnectionState, connectionErrorCodes, connectionStates } from '../../kms/connection-states.ts';
import { KmsError } from '../../kms/errors.ts';
import type { CustomKeyStoreRecord } from '../../store/records/records.ts';
import { anyResource, customKeyStoreId, limit, marker } from '../declaration/members.ts';
import { namedKeyStore } from '../declaration/named-key-store.ts';
import { operation } from '../declaration/operation.ts';
import { decodeMarker, longPages, pageEnd, pageSize } from '../declaration/pages.ts';
import { boolean, enumeration, list, object, optional, string, timestamp } from '../declaration/schema.ts';
import { customKeyStoreName, customKeyStoreType, xksProxyConnectivity } from './key-store-request.ts';

const listName = 'DescribeCustomKeyStores';

export const describeCustomKeyStores = operation({
  name: 'DescribeCustomKeyStores',
  request: object({
    CustomKeyStoreId: optional(customKeyStoreId),
    CustomKeyStoreName: optional(customKeyStoreName),
    Limit: limit,
    Marker: marker,
  }),
  response: object({
    CustomKeyStores: optional(
      list(
        object({
          CustomKeyStoreId: optional(string()),
          CustomKeyStoreName: optional(string()),
          CloudHsmClusterId: optional(string()),
          TrustAnchorCertificate: optional(string()),
          ConnectionState: optional(enumeration(connectionStates)),
          ConnectionErrorCode: optional(enumeration(connectionErrorCodes)),
          CreationDate: optional(timestamp),
          CustomKeyStoreType: optional(customKeyStoreType),
          // Of an external key store, of which there are none.
          XksProxyConfiguration: optional(
            object({
              Connectivity: optional(xksProxyConnectivity),
              AccessKeyId: optional(string()),
              UriEndpoint: optional(string()),
              UriPath: optional(string()),
              VpcEndpointServiceName: optional(string()),
              VpcEndpointServiceOwner: optional(string()),
            }),
          ),
        }),
      ),
    ),
    NextMarker: optional(string()),
    Truncated: optional(boolean),
  }),
  needs: { resources: [{ action: 'kms:DescribeCustomKeyStores', resource: anyResource }] },
  effect: 'reads',
  record: ['CustomKeyStoreId', 'CustomKeyStoreName', 'Limit', 'Marker'],
  async handle({ request, directory }) {
    const stores = directory.customKeyStores;
    const { CustomKeyStoreId: id, CustomKeyStoreName: name } = request;
    if (id !== undefined && name !== undefined) {
      throw new KmsError(
        'ValidationException',
        'You cannot specify CustomKeyStoreId and CustomKeyStoreName in the same request.',
      );
    }
    const one = (customKeyStoreId: string) => ({
      CustomKeyStores: entriesOf(stores, customKeyStoreId),
      Truncated: false,
    });
    if (id !== undefined) return one(namedKeyStore(directory, id).customKeyStoreId);
    if (name !== undefined) {
      const found = stores.recordNamed(name)?.customKeyStoreId ?? stores.configured.get(name)?.customKeyStoreId;
      if (found !== undefined) return one(found);
      throw new KmsError('CustomKeyStoreNotFoundException', `Custom key store with name ${name} does not exist.`);
    }
    const page = stores.allIds.page(decodeMarker(listName, request.Marker), pageSize(request.Limit, longPages));
    return { CustomKeyStores: page.names.flatMap((each) => entriesOf(stores, each)), ...pageEnd(listName, page) };
  },
});

function entriesOf(stores: CustomKeyStoreSource, customKeyStoreId: string) {
  const record = stores.record(customKeyStoreId);
  const configured = stores.configured.get(customKeyStoreId);
  if (record !== undefined) return [entryOf(record, stores.connectionState(customKeyStoreId))];
  return configured === undefined ? [] : [configuredEntryOf(configured)];
}

function entryOf(record: CustomKeyStoreRecord, state: ConnectionState) {
  return {
    CustomKeyStoreId: record.customKeyStoreId,
    CustomKeyStoreName: record.name,
    CloudHsmClusterId: record.cloudHsmClusterId,
    TrustAnchorCertificate: record.trustAnchorCertificate,
    ConnectionState: state,
    ConnectionErrorCode: state === 'FAILED' ? (record.connectionErrorCode ?? undefined) : undefined,
    CreationDate: new Date(record.createdAtMs),
    CustomKeyStoreType: 'AWS_CLOUDHSM',
  } as const;
}

function configuredEntryOf({ customKeyStoreId, cloudHsmClusterId, connection, createdAtMs }: ConfiguredKeyStore) {
  return {
    CustomKeyStoreId: customKeyStoreId,
    CustomKeyStoreName: customKeyStoreId,
    CloudHsmClusterId: cloudHsmClusterId,
    ConnectionState: connection.state,
    ConnectionErrorCode: connection.errorCode,
    CreationDate: new Date(createdAtMs),
    CustomKeyStoreType: 'AWS_CLOUDHSM',
  } as const;
}
