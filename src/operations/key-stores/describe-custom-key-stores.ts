/** `DescribeCustomKeyStores`: the custom key stores of the account, or one of them by its id or its name, and whether they are connected. */

import { connectionErrorCodes, connectionStates } from '../../kms/connection-states.ts';
import { KmsError } from '../../kms/errors.ts';
import type { CustomKeyStoreRecord } from '../../store/records/records.ts';
import { anyResource, customKeyStoreId, limit, marker } from '../declaration/members.ts';
import { operation } from '../declaration/operation.ts';
import { decodeMarker, longPages, pageEnd, pageSize } from '../declaration/pages.ts';
import { boolean, enumeration, list, object, optional, string, timestamp } from '../declaration/schema.ts';
import { customKeyStoreName, customKeyStoreType, recordOf, xksProxyConnectivity } from './key-store-request.ts';

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
    const entryOf = (record: CustomKeyStoreRecord) => {
      const state = stores.connectionState(record.customKeyStoreId);
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
    };
    if (id !== undefined && name !== undefined) {
      throw new KmsError(
        'ValidationException',
        'You cannot specify CustomKeyStoreId and CustomKeyStoreName in the same request.',
      );
    }
    if (id !== undefined) return { CustomKeyStores: [entryOf(recordOf(stores, id))], Truncated: false };
    if (name !== undefined) {
      const record = stores.recordNamed(name);
      if (record !== undefined) return { CustomKeyStores: [entryOf(record)], Truncated: false };
      throw new KmsError('CustomKeyStoreNotFoundException', `Custom key store with name ${name} does not exist.`);
    }
    const page = stores.ids.page(decodeMarker(listName, request.Marker), pageSize(request.Limit, longPages));
    const records = page.names.flatMap((each) => stores.record(each) ?? []);
    return { CustomKeyStores: records.map(entryOf), ...pageEnd(listName, page) };
  },
});
