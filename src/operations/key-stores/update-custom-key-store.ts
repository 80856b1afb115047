/**
 * `UpdateCustomKeyStore`: another name, another password, another HSM that has the same keys.
 *
 * Only the name of a store that is connected can be changed; the HSM that it has may be named with it, as Terraform does
 * (`aws_kms_custom_key_store` names it in each update). What an HSM has refused is not presented to it again because something else was
 * updated, nor because the same password was given again (`password-refusals.ts`). Another HSM has to have the same trust anchor certificate; that it has the
 * keys of the store is looked at when it is connected.
 */

import type { CustomKeyStoreSource } from '../../keys/custom-key-store.ts';
import { KmsError } from '../../kms/errors.ts';
import type { Plaintext } from '../../secrets/secret-bytes.ts';
import { replaced } from '../../store/records/changes.ts';
import type { CustomKeyStoreRecord } from '../../store/records/records.ts';
import { anyResource, customKeyStoreId } from '../declaration/members.ts';
import { operation } from '../declaration/operation.ts';
import { type Infer, object, optional } from '../declaration/schema.ts';
import {
  assertActive,
  assertNameIsFree,
  cloudHsmClusterId,
  customKeyStoreName,
  hsmOf,
  invalidState,
  keyStorePassword,
  recordedXksMembers,
  recordOf,
  refuseExternalKeyStore,
  toldOf,
  xksMembers,
} from './key-store-request.ts';
import { refusalsAfter } from './password-refusals.ts';

const request = object({
  CustomKeyStoreId: customKeyStoreId,
  NewCustomKeyStoreName: optional(customKeyStoreName),
  KeyStorePassword: optional(keyStorePassword),
  CloudHsmClusterId: optional(cloudHsmClusterId),
  ...xksMembers,
});
type Request = Infer<typeof request>;

export const updateCustomKeyStore = operation({
  name: 'UpdateCustomKeyStore',
  request,
  response: object({}),
  needs: { resources: [{ action: 'kms:UpdateCustomKeyStore', resource: anyResource }] },
  effect: 'changes',
  record: ['CustomKeyStoreId', 'NewCustomKeyStoreName', 'CloudHsmClusterId', ...recordedXksMembers],
  async prepare({ request, directory }) {
    const stores = directory.customKeyStores;
    const { CustomKeyStoreId: id, KeyStorePassword: password, CloudHsmClusterId: clusterId } = request;
    const record = recordOf(stores, id);
    assertCanBeUpdated(request, record, stores);
    // Of a store that is connected only the name changes.
    const isAboutHsm = clusterId !== undefined && stores.connectionState(id) === 'DISCONNECTED';
    if (isAboutHsm) await assertActive(hsmOf(stores, clusterId), clusterId);
    const given = password === undefined ? undefined : await givenPassword(password, record, stores);
    return { given, undo: async () => undefined };
  },
  decide({ request, directory, prepared: { given }, annotate }) {
    const stores = directory.customKeyStores;
    const record = recordOf(stores, request.CustomKeyStoreId);
    annotate(toldOf(record));
    assertCanBeUpdated(request, record, stores);
    const { NewCustomKeyStoreName: name = record.name, CloudHsmClusterId: clusterId = record.cloudHsmClusterId } =
      request;
    // As it is then. Source: AWS KMS developer guide, log entry of UpdateCustomKeyStore, which has the new cluster.
    annotate(toldOf({ name, cloudHsmClusterId: clusterId }));
    // It may have got another one meanwhile.
    const isSame = given?.isSame === true && given.former.equals(record.sealedPassword);
    const password = given === undefined ? 'kept' : isSame ? 'again' : 'another';
    const updated = replaced('customKeyStore', record, {
      name,
      cloudHsmClusterId: clusterId,
      sealedPassword: given?.sealedPassword ?? record.sealedPassword,
      ...refusalsAfter(record, { cloudHsmClusterId: clusterId, password }),
    });
    return { changes: [updated], response: {} };
  },
});

async function givenPassword(password: Plaintext, record: CustomKeyStoreRecord, stores: CustomKeyStoreSource) {
  const { customKeyStoreId, sealedPassword: former } = record;
  const isSame = await stores.isPasswordOf(record, password);
  return { isSame, former, sealedPassword: isSame ? former : await stores.seal(password, customKeyStoreId) };
}

function assertCanBeUpdated(request: Request, record: CustomKeyStoreRecord, stores: CustomKeyStoreSource): void {
  refuseExternalKeyStore(request);
  const { NewCustomKeyStoreName: name, KeyStorePassword: password, CloudHsmClusterId: clusterId } = request;
  const { customKeyStoreId: id } = record;
  if (name === undefined && password === undefined && clusterId === undefined)
    throw new KmsError(
      'ValidationException',
      'You must specify at least one property of the custom key store to update.',
    );
  const state = stores.connectionState(id);
  const isNameAlone = name !== undefined && password === undefined && isHsmKept(request, record);
  if (state !== 'DISCONNECTED' && !(isNameAlone && state === 'CONNECTED')) throw invalidState(id, state);
  if (name !== undefined) assertNameIsFree(stores, name, id);
  if (clusterId === undefined || isHsmKept(request, record)) return;
  // What the store was made with, as that HSM may not be in the configuration any more.
  if (hsmOf(stores, clusterId).trustAnchor !== stores.trustAnchorOf(record)) {
    throw new KmsError(
      'CloudHsmClusterNotRelatedException',
      `The CloudHSM cluster ${clusterId} has another trust anchor certificate than the one of the custom key store.`,
    );
  }
}

/** Is the HSM that the request names, if it names one, that of the store? */
function isHsmKept({ CloudHsmClusterId: clusterId }: Request, record: CustomKeyStoreRecord): boolean {
  return clusterId === undefined || clusterId === record.cloudHsmClusterId;
}
