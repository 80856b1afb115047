/**
 * `CreateCustomKeyStore`: a custom key store over an HSM of the configuration that has no PIN there. `KeyStorePassword` is that PIN. It is
 * kept encrypted, and is on no record; whether it is right shows when the store is connected.
 *
 * HSMs with the same trust anchor certificate are taken for copies of each other, as clusters with a shared backup history are in AWS:
 * one of them is for one custom key store.
 *
 * A request with all values of a custom key store that there is, and that is disconnected, is taken for a repeated one, and has the id of that
 * one; so are those that come while it is being made, as from a program that did not wait for the first answer.
 *
 * Source: AWS KMS developer guide, "Creating an AWS CloudHSM key store".
 */

import type { CustomKeyStoreSource } from '../../keys/custom-key-store.ts';
import type { KeyView } from '../../keys/key-view.ts';
import { trustAnchorOf } from '../../keys/trust-anchor.ts';
import { KmsError } from '../../kms/errors.ts';
import { newCustomKeyStoreId } from '../../kms/names.ts';
import type { Plaintext } from '../../secrets/secret-bytes.ts';
import { added } from '../../store/records/changes.ts';
import type { CustomKeyStoreRecord } from '../../store/records/records.ts';
import { anyResource } from '../declaration/members.ts';
import { operation } from '../declaration/operation.ts';
import { type Infer, object, optional, string } from '../declaration/schema.ts';
import {
  assertActive,
  assertNameIsFree,
  assertTrustAnchor,
  type CustomHsm,
  cloudHsmClusterId,
  customKeyStoreName,
  customKeyStoreType,
  hsmOf,
  keyStorePassword,
  recordedXksMembers,
  refuseExternalKeyStore,
  xksMembers,
} from './key-store-request.ts';

const request = object({
  CustomKeyStoreName: customKeyStoreName,
  CloudHsmClusterId: optional(cloudHsmClusterId),
  TrustAnchorCertificate: optional(string({ min: 1, max: 5000 })),
  KeyStorePassword: optional(keyStorePassword),
  CustomKeyStoreType: optional(customKeyStoreType),
  ...xksMembers,
});
type Request = Infer<typeof request>;

export const createCustomKeyStore = operation({
  name: 'CreateCustomKeyStore',
  request,
  response: object({ CustomKeyStoreId: optional(string()) }),
  needs: { resources: [{ action: 'kms:CreateCustomKeyStore', resource: anyResource }] },
  effect: 'changes',
  record: ['CustomKeyStoreName', 'CloudHsmClusterId', 'CustomKeyStoreType', ...recordedXksMembers],
  recordResponse: ['CustomKeyStoreId'],
  async prepare({ request, directory }) {
    const wanted = wantedOf(request);
    const end = await directory.customKeyStores.creations.enter(wanted.name);
    try {
      return { ...(await prepareOne(wanted, directory)), end, undo: async () => end() };
    } catch (error) {
      end();
      throw error;
    }
  },
  decide({ request, directory, prepared: { former, customKeyStoreId, sealedPassword }, nowMs }) {
    const wanted = wantedOf(request);
    const alike = recordLike(wanted, directory.customKeyStores);
    if (former !== undefined && alike?.sealedPassword.equals(former.sealedPassword) === true)
      return { changes: [], response: { CustomKeyStoreId: alike.customKeyStoreId } };
    assertCanBeMade(wanted, directory.customKeyStores, directory.budgets.quotas.customKeyStores);
    const record = {
      region: directory.realm.region,
      customKeyStoreId,
      version: 1,
      name: request.CustomKeyStoreName,
      cloudHsmClusterId: wanted.clusterId,
      trustAnchorCertificate: wanted.certificate,
      sealedPassword,
      createdAtMs: nowMs,
      connection: 'DISCONNECTED',
      connectionErrorCode: null,
      refusals: [],
    } as const;
    return { changes: [added('customKeyStore', record)], response: { CustomKeyStoreId: customKeyStoreId } };
  },
  conclude: async ({ prepared }) => prepared.end(),
});

async function prepareOne(wanted: Wanted, { customKeyStores: stores, budgets }: KeyView) {
  const alike = recordLike(wanted, stores);
  const former = alike !== undefined && (await stores.isRepeated(alike, wanted.password)) ? alike : undefined;
  if (former === undefined) {
    const hsm = assertCanBeMade(wanted, stores, budgets.quotas.customKeyStores);
    await assertActive(hsm, wanted.clusterId);
  }
  const customKeyStoreId = newCustomKeyStoreId();
  const sealedPassword = await stores.seal(wanted.password, customKeyStoreId);
  return { former, customKeyStoreId, sealedPassword };
}

interface Wanted {
  readonly name: string;
  readonly clusterId: string;
  readonly certificate: string;
  readonly password: Plaintext;
}

function wantedOf(request: Request): Wanted {
  refuseExternalKeyStore(request);
  const { CustomKeyStoreName: name, CloudHsmClusterId: clusterId } = request;
  const { TrustAnchorCertificate: certificate, KeyStorePassword: password } = request;
  if (clusterId === undefined) throw required('CloudHsmClusterId');
  if (certificate === undefined) throw required('TrustAnchorCertificate');
  if (password === undefined) throw required('KeyStorePassword');
  return { name, clusterId, certificate, password };
}

function required(member: string): KmsError {
  return new KmsError('ValidationException', `${member} is required when CustomKeyStoreType is AWS_CLOUDHSM.`);
}

/** One that is disconnected, and was made as this one is to be, but for the password. */
function recordLike(
  { name, clusterId, certificate }: Wanted,
  stores: CustomKeyStoreSource,
): CustomKeyStoreRecord | undefined {
  const record = stores.recordNamed(name);
  if (record === undefined || record.cloudHsmClusterId !== clusterId) return undefined;
  if (stores.trustAnchorOf(record) !== trustAnchorOf(certificate)) return undefined;
  return stores.connectionState(record.customKeyStoreId) === 'DISCONNECTED' ? record : undefined;
}

function assertCanBeMade(
  { name, clusterId, certificate }: Wanted,
  stores: CustomKeyStoreSource,
  most: number,
): CustomHsm {
  assertNameIsFree(stores, name);
  const hsm = hsmOf(stores, clusterId);
  assertTrustAnchor(hsm, certificate);
  const isRelated = (other: string): boolean =>
    other === clusterId || stores.hsm(other)?.trustAnchor === hsm.trustAnchor;
  if (stores.recordOfHsm(isRelated) !== undefined) {
    throw new KmsError(
      'CloudHsmClusterInUseException',
      `The CloudHSM cluster ${clusterId}, or one with the same trust anchor certificate, is associated with a custom key store already.`,
    );
  }
  if (stores.ids.size >= most) {
    throw new KmsError('LimitExceededException', `Custom key store quota for this account in this region is ${most}.`);
  }
  return hsm;
}
