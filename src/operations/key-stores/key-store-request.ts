/**
 * What the operations on custom key stores share: their members, with AWS's limits, and how they find what a request means.
 *
 * An external key store is refused by name. Its members are AWS's all the same, and are looked at first.
 *
 * Source: the service model of AWS KMS; API reference of the operations.
 */

import type { AttachableHsm, CustomKeyStoreSource } from '../../keys/custom-key-store.ts';
import { trustAnchorOf } from '../../keys/trust-anchor.ts';
import type { ConnectionState } from '../../kms/connection-states.ts';
import { KmsError } from '../../kms/errors.ts';
import type { CustomKeyStoreRecord } from '../../store/records/records.ts';
import { enumeration, object, optional, string } from '../declaration/schema.ts';
import { secretText } from '../declaration/secret-text.ts';
import { wholly } from '../declaration/whole-pattern.ts';

export const customKeyStoreName = string({ min: 1, max: 256 });
/**
 * The model's pattern lacks digits that AWS's own examples have (`cluster-1a23b4cdefg`). Whoever tries one of these is told that there is
 * no such cluster, and not that it is none.
 */
const clusterIdPattern = {
  source: 'cluster-[2-7a-zA-Z]{11,16}',
  test: (value: string) => /^cluster-[0-9a-zA-Z]{11,16}$/.test(value),
};
/** Source of its name on record: AWS KMS developer guide, log entries of CreateCustomKeyStore and UpdateCustomKeyStore. */
export const cloudHsmClusterId = {
  ...string({ min: 19, max: 24, pattern: clusterIdPattern }),
  recordName: 'clusterId',
};
export const keyStorePassword = secretText({ min: 7, max: 32 });
export const customKeyStoreType = enumeration(['AWS_CLOUDHSM', 'EXTERNAL_KEY_STORE']);
export const xksProxyConnectivity = enumeration(['PUBLIC_ENDPOINT', 'VPC_ENDPOINT_SERVICE']);

/** Those of an external key store that creating and updating share. */
export const xksMembers = {
  XksProxyUriEndpoint: optional(string({ min: 10, max: 128, pattern: wholly('^https://[a-zA-Z0-9.-]+$') })),
  XksProxyUriPath: optional(
    string({ min: 10, max: 128, pattern: wholly('^(/[a-zA-Z0-9\\/_-]+/kms/xks/v\\d{1,2})$|^(/kms/xks/v\\d{1,2})$') }),
  ),
  XksProxyVpcEndpointServiceName: optional(
    string({
      min: 20,
      max: 64,
      pattern: wholly('^(com|eu)\\.amazonaws\\.vpce\\.([a-z]+-){2,3}\\d+\\.vpce-svc-[0-9a-z]+$'),
    }),
  ),
  XksProxyVpcEndpointServiceOwner: optional(string({ min: 12, max: 12, pattern: wholly('[0-9]{12}') })),
  XksProxyAuthenticationCredential: optional(
    object({
      AccessKeyId: string({ min: 20, max: 30, pattern: /^[A-Z2-7]+$/ }),
      RawSecretAccessKey: secretText({ min: 43, max: 64 }),
    }),
  ),
  XksProxyConnectivity: optional(xksProxyConnectivity),
} as const;

/** Of the members above, those that go on record: the credential does not. */
export const recordedXksMembers = [
  'XksProxyUriEndpoint',
  'XksProxyUriPath',
  'XksProxyVpcEndpointServiceName',
  'XksProxyVpcEndpointServiceOwner',
  'XksProxyConnectivity',
] as const;

type XksRequest = { readonly [Name in keyof typeof xksMembers]?: unknown };

/** @throws KmsError `UnsupportedOperationException` for a request about an external key store. */
export function refuseExternalKeyStore(
  request: XksRequest & { readonly CustomKeyStoreType?: string | undefined },
): void {
  const names = Object.keys(xksMembers) as (keyof typeof xksMembers)[]; // It has exactly these.
  const named = names.find((name) => request[name] !== undefined);
  if (request.CustomKeyStoreType === 'EXTERNAL_KEY_STORE' || named !== undefined)
    throw new KmsError(
      'UnsupportedOperationException',
      `${named ?? 'CustomKeyStoreType EXTERNAL_KEY_STORE'} is not supported: there are no external key stores here.`,
    );
}

/**
 * Of one that CreateCustomKeyStore made.
 * @throws KmsError `CustomKeyStoreNotFoundException`; `UnsupportedOperationException` for one that the configuration names.
 */
export function recordOf(stores: CustomKeyStoreSource, customKeyStoreId: string): CustomKeyStoreRecord {
  const record = stores.record(customKeyStoreId);
  if (record !== undefined) return record;
  if (stores.configured.has(customKeyStoreId)) {
    throw new KmsError(
      'UnsupportedOperationException',
      `The key store ${customKeyStoreId} is one that the configuration of Drawbridge names: it is connected by itself, and changed there.`,
    );
  }
  throw new KmsError(
    'CustomKeyStoreNotFoundException',
    `Custom key store with CustomKeyStoreId ${customKeyStoreId} does not exist.`,
  );
}

/** @throws KmsError `CustomKeyStoreNameInUseException`. */
export function assertNameIsFree(stores: CustomKeyStoreSource, name: string, own?: string): void {
  const other = stores.recordNamed(name);
  const isFree = other === undefined ? !stores.configured.has(name) : other.customKeyStoreId === own;
  if (isFree) return;
  throw new KmsError('CustomKeyStoreNameInUseException', `Custom key store with name ${name} already exists.`);
}

/** What a custom key store can have of an HSM. */
export type CustomHsm = AttachableHsm & { readonly trustAnchor: string };

/**
 * The HSM that a request names.
 * @throws KmsError `CloudHsmClusterNotFoundException`; `CloudHsmClusterInvalidConfigurationException` for one that the configuration
 * gives a PIN of its own.
 */
export function hsmOf(stores: CustomKeyStoreSource, clusterId: string): CustomHsm {
  const hsm = stores.hsm(clusterId);
  if (hsm === undefined) {
    throw new KmsError('CloudHsmClusterNotFoundException', `The CloudHSM cluster ${clusterId} was not found.`);
  }
  const { trustAnchor } = hsm;
  if (trustAnchor !== undefined) return { ...hsm, trustAnchor };
  throw new KmsError(
    'CloudHsmClusterInvalidConfigurationException',
    `The HSM \`${hsm.name}\` has a \`pin\` in the configuration of Drawbridge, and so is for no custom key store.`,
  );
}

/** @throws KmsError `CloudHsmClusterNotActiveException` when its token is not there, or has no user PIN. */
export async function assertActive(hsm: AttachableHsm, clusterId: string): Promise<void> {
  const problem = await hsm.problem();
  if (problem === null) return;
  throw new KmsError('CloudHsmClusterNotActiveException', `The CloudHSM cluster ${clusterId} is not active.`, problem);
}

/** @throws KmsError `IncorrectTrustAnchorException` for another certificate than the configuration's, and for what is none. */
export function assertTrustAnchor({ trustAnchor }: CustomHsm, certificate: string): void {
  if (trustAnchorOf(certificate) === trustAnchor) return;
  throw new KmsError(
    'IncorrectTrustAnchorException',
    'The trust anchor certificate is not the one of the specified CloudHSM cluster.',
  );
}

const wayOut = {
  CONNECTED: ' Disconnect it first.',
  CONNECTING: ' Disconnect it first, or wait until it is connected.',
  FAILED: ' Disconnect it first.',
  DISCONNECTING: ' Try again when it is disconnected.',
  DISCONNECTED: '',
} as const satisfies Record<ConnectionState, string>;

/** @throws KmsError `CustomKeyStoreInvalidStateException`. */
export function invalidState(customKeyStoreId: string, state: ConnectionState): KmsError {
  return new KmsError(
    'CustomKeyStoreInvalidStateException',
    `Custom key store with CustomKeyStoreId ${customKeyStoreId} has connection state ${state}, in which this is not possible.${wayOut[state]}`,
  );
}

/** For the event, as CloudTrail has it of requests that name a custom key store by its id. */
export function toldOf({
  name,
  cloudHsmClusterId: clusterId,
}: Pick<CustomKeyStoreRecord, 'name' | 'cloudHsmClusterId'>): Readonly<Record<string, string>> {
  return { customKeyStoreName: name, clusterId };
}
