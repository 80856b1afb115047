/** A KMS service in the test's process, put together as the daemon does it: over a token, a SQLite file and an audit log. */

import { join } from 'node:path';
import type { AuditLog } from '../../src/audit/audit-log.ts';
import { openAuditLog } from '../../src/audit/open-audit-log.ts';
import type { IdentityPolicies } from '../../src/authorization/identity-policies.ts';
import { parsePolicyDocument } from '../../src/authorization/language/policy-document.ts';
import type { KeyStore } from '../../src/hsm/key-store.ts';
import type { Caller } from '../../src/identity/caller.ts';
import { peerFacts } from '../../src/identity/peer-facts.ts';
import type { EncryptionLimits } from '../../src/keys/encryption-counter.ts';
import type { KeyDirectory } from '../../src/keys/key-directory.ts';
import type { KeyBudgets } from '../../src/keys/key-directory-options.ts';
import type { KeyDeletion } from '../../src/keys/life/key-deletion.ts';
import type { KeyLife } from '../../src/keys/life/key-life.ts';
import { openKeys } from '../../src/keys/life/open-keys.ts';
import { createServiceKey, findServiceKeys } from '../../src/keys/life/service-keys.ts';
import type { KmsError } from '../../src/kms/errors.ts';
import type { KeyId } from '../../src/kms/names.ts';
import { type Payer, unknownPayer } from '../../src/kms/payer.ts';
import { conditionVocabulary } from '../../src/pipeline/condition-key-table.ts';
import { Intents } from '../../src/pipeline/intents.ts';
import { createKmsService } from '../../src/pipeline/pipeline.ts';
import type { KmsAnswer, KmsService } from '../../src/pipeline/service.ts';
import { SessionPolicies } from '../../src/pipeline/session-policies.ts';
import { openSqliteStore, type SqliteStore } from '../../src/store/sqlite-store.ts';
import { Turns } from '../../src/store/turns.ts';
import { alice, allow, policy, realm } from '../authorization/policies.ts';
import { openStore } from '../hsm/test-store.ts';
import { newTestKey } from '../support/new-key.ts';
import type { TestToken } from '../support/tokens.ts';

export interface TestService {
  readonly keyStore: KeyStore;
  readonly store: SqliteStore;
  readonly directory: KeyDirectory;
  readonly life: KeyLife;
  readonly deletion: KeyDeletion;
  readonly turns: Turns;
  readonly intents: Intents;
  readonly service: KmsService;
  readonly audit: AuditLog;
  /** What the daemon's log would have of errors. */
  readonly errors: readonly object[];
  /** Who asks in `run`. */
  readonly caller: Caller;
  /** A key whose policy allows alice everything, unless it is another one. */
  newKey(policyDocument?: string, origin?: 'EXTERNAL'): Promise<KeyId>;
  /** What alice is answered. */
  run(operationName: string, request: object, payer?: Payer): Promise<KmsAnswer>;
  close(): Promise<void>;
}

export async function startService(
  token: TestToken,
  folder: string,
  options: {
    readonly auditFolder: string;
    readonly identityPolicies?: () => IdentityPolicies;
    /** Why alice's access key is not taken any more. */
    readonly refusal?: () => KmsError | undefined;
    /** How many calls the HSM works on at once; 1 unless given. */
    readonly lanes?: number;
    readonly encryptionLimits?: EncryptionLimits;
    /** Until an outcome that could not be put on record is tried again. */
    readonly intentRetryMs?: number;
    readonly budgets?: KeyBudgets;
  },
): Promise<TestService> {
  const {
    auditFolder,
    refusal = () => undefined,
    lanes = 1,
    encryptionLimits,
    intentRetryMs = 1_000,
    budgets,
    ...policies
  } = options;
  const errors: object[] = [];
  const log = { debug() {}, info() {}, warn() {}, error: (fields: object) => void errors.push(fields) };
  await using opened = new AsyncDisposableStack();
  const keyStore = await openStore(token, { lanes });
  opened.defer(() => keyStore.close());
  // Again over the same folder, it is the same instance.
  const purpose = 'metadata-integrity';
  const [known] = await findServiceKeys(keyStore, purpose);
  const backingKeyId = known ?? (await createServiceKey(keyStore, purpose));
  const store = await openSqliteStore({
    path: join(folder, 'metadata.sqlite'),
    macs: (messages) => keyStore.macs({ backingKeyId, algorithm: 'HMAC_SHA_256', messages }),
    formerRegion: realm.region,
    intentsFolder: auditFolder,
  });
  opened.defer(() => store.close());
  const audit = await openAuditLog({ folder: auditFolder, sync: 'default' });
  opened.defer(() => audit.close());
  const intents = new Intents({ audit, account: realm.account, log, retryMs: intentRetryMs });
  opened.defer(() => intents.stop());
  // Longer than a busy machine takes where many wait for theirs.
  const turns = new Turns(store, { own: intents.own, maxWaitMs: 170_000 });
  const { directory, life, deletion } = await openKeys({
    realm,
    store,
    turns,
    keyStores: new Map([['default', keyStore]]),
    defaultKeyStore: 'default',
    compilePolicy: (document) => parsePolicyDocument(document, realm, conditionVocabulary),
    log,
    encryptionLimits,
    budgets,
  });
  const { lastUses } = directory;
  const sessionPolicies = new SessionPolicies(realm);
  const service = createKmsService({
    sessionPolicies,
    directory,
    life,
    turns,
    lastUses,
    audit,
    intents,
    log,
    peerFacts,
    ...policies,
  });
  const running = opened.move();
  const caller: Caller = {
    type: 'IAMUser',
    arn: alice,
    accountId: realm.account,
    proof: { kind: 'sigv4', accessKeyId: 'AKIA', sourceIp: '127.0.0.1', refusal },
  };
  return {
    keyStore,
    store,
    directory,
    life,
    deletion,
    turns,
    intents,
    service,
    audit,
    errors,
    caller,
    async newKey(policyDocument = policy(allow(alice, 'kms:*')), origin) {
      const wanted = { policyDocument, ...(origin === undefined ? {} : { origin }) };
      const { record } = await newTestKey({ directory, life, turns }, wanted);
      return record.keyId;
    },
    run: (operationName, request, payer = unknownPayer) =>
      service.run({
        operationName,
        body: Buffer.from(JSON.stringify(request)),
        unknownMembers: 'refuse',
        requestId: operationName,
        receivedAtMs: Date.now(),
        sourceIPAddress: '127.0.0.1',
        userAgent: null,
        payer,
        caller,
      }),
    close: () => running.disposeAsync(),
  };
}
