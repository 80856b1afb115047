/**
 * Changes that wait for their turn while permissions are taken away, over a real token, a real SQLite file and a real audit
 * log. The turn is held by the test, so that nothing depends on time.
 */

import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { openAuditLog } from '../../src/audit/open-audit-log.ts';
import { type RecordedEvent, readAuditEvents } from '../../src/audit/read-audit-log.ts';
import {
  type IdentityPolicies,
  noIdentityPolicies,
  parseIdentityPolicies,
} from '../../src/authorization/identity-policies.ts';
import { parsePolicyDocument } from '../../src/authorization/policy-document.ts';
import { peerFacts } from '../../src/identity/peer-facts.ts';
import { createKey, openKeyDirectory } from '../../src/keys/key-creation.ts';
import type { KeyDirectory } from '../../src/keys/key-directory.ts';
import { createServiceKey } from '../../src/keys/service-keys.ts';
import { type AliasName, type KeyId, newKeyId, parseAliasName } from '../../src/kms/names.ts';
import { conditionVocabulary } from '../../src/operations/condition-keys.ts';
import { createKmsService } from '../../src/operations/pipeline.ts';
import type { KmsAnswer, KmsService } from '../../src/operations/service.ts';
import { openSqliteStore } from '../../src/store/sqlite-store.ts';
import { alice, allow, policy, realm } from '../authorization/policies.ts';
import { openStore } from '../hsm/test-store.ts';
import { describeEachToken } from '../support/tokens.ts';

const log = { debug() {}, info() {}, warn() {}, error() {} };
const aliasPermissions = ['kms:CreateAlias', 'kms:UpdateAlias', 'kms:DeleteAlias'];
const onAliases = parseIdentityPolicies(
  [
    {
      name: 'aliases.json',
      text: JSON.stringify({
        AttachedTo: [alice],
        PolicyDocument: {
          Version: '2012-10-17',
          Statement: [{ Effect: 'Allow', Action: aliasPermissions, Resource: 'arn:aws:kms:*:*:alias/*' }],
        },
      }),
    },
  ],
  { realm, vocabulary: conditionVocabulary, idOfGroup: () => undefined },
);

describeEachToken('A change that waits for its turn', (token) => {
  const folder = mkdtempSync(join(tmpdir(), 'drawbridge-waiting-'));
  const auditFolder = join(folder, 'audit');
  const closers: (() => Promise<void>)[] = [];
  let directory: KeyDirectory;
  let service: KmsService;
  let identityPolicies: IdentityPolicies = onAliases;
  let keyIds: readonly KeyId[] = [];

  beforeAll(async () => {
    const keyStore = await openStore(token());
    closers.push(() => keyStore.close());
    const backingKeyId = await createServiceKey(keyStore, 'metadata-integrity');
    const store = await openSqliteStore({
      path: join(folder, 'metadata.sqlite'),
      mac: (data) => keyStore.mac({ backingKeyId, algorithm: 'HMAC_SHA_256', data }),
    });
    closers.push(() => store.close());
    directory = await openKeyDirectory({
      realm,
      store,
      keyStores: new Map([['default', keyStore]]),
      compilePolicy: (document) => parsePolicyDocument(document, realm, conditionVocabulary),
      log,
    });
    const audit = await openAuditLog({ folder: auditFolder, sync: 'default', region: realm.region });
    closers.push(() => audit.close());
    service = createKmsService({ directory, audit, log, identityPolicies: () => identityPolicies, peerFacts });
    keyIds = await Promise.all(
      [1, 2].map(async () => {
        const { record } = await createKey(directory, {
          keyId: newKeyId(),
          keySpec: 'SYMMETRIC_DEFAULT',
          keyUsage: 'ENCRYPT_DECRYPT',
          description: '',
          tags: [],
          policyDocument: policy(allow(alice, 'kms:*')),
          keyStore: 'default',
        });
        return record.keyId;
      }),
    );
  });
  afterAll(async () => {
    for (const close of closers.reverse()) await close();
    rmSync(folder, { recursive: true });
  });

  const name = (text: string): AliasName => {
    const parsed = parseAliasName(text);
    if (parsed === undefined) throw new TypeError(`${text} is no alias name`);
    return parsed;
  };
  const run = (operationName: string, request: object): Promise<KmsAnswer> =>
    service.run({
      operationName,
      body: Buffer.from(JSON.stringify(request)),
      unknownMembers: 'refuse',
      requestId: operationName,
      receivedAtMs: Date.now(),
      sourceIPAddress: '127.0.0.1',
      userAgent: null,
      caller: {
        type: 'IAMUser',
        arn: alice,
        accountId: realm.account,
        proof: { kind: 'sigv4', accessKeyId: 'AKIA', sourceIp: '127.0.0.1' },
      },
    });

  /** What is answered to a request that is allowed when it comes, and whose turn comes after `meanwhile`. */
  async function answerAfter(
    meanwhile: () => unknown,
    operationName: string,
    request: object,
  ): Promise<{ readonly name: string; readonly message: string } | 'done'> {
    const { promise: held, resolve: letGo } = Promise.withResolvers<void>();
    const turn = directory.exclusively(() => held);
    const answer = run(operationName, request);
    await meanwhile();
    letGo();
    await turn;
    const outcome = await answer;
    return outcome.ok ? 'done' : { name: outcome.error.name, message: outcome.error.message };
  }

  const unchanged = name('alias/unchanged');
  test.each([
    ['CreateAlias', 'alias/created', () => ({ AliasName: 'alias/created', TargetKeyId: keyIds[0] })],
    ['UpdateAlias', unchanged, () => ({ AliasName: unchanged, TargetKeyId: keyIds[1] })],
    ['DeleteAlias', unchanged, () => ({ AliasName: unchanged })],
  ])(
    '%s is refused, on record, when the permission on the alias was taken away while it waited',
    async (operation, alias, request) => {
      identityPolicies = onAliases;
      const [keyId] = keyIds;
      if (keyId === undefined) throw new TypeError('there is no key');
      await directory.putAlias({ aliasName: unchanged, keyId, createdAtMs: 0, updatedAtMs: 0 });
      const takeAway = (): void => {
        identityPolicies = noIdentityPolicies;
      };
      expect(await answerAfter(takeAway, operation, request())).toEqual({
        name: 'AccessDeniedException',
        message: `User: ${alice} is not authorized to perform: kms:${operation} on resource: arn:aws:kms:us-east-1:000000000000:${alias} because no identity-based policy allows the kms:${operation} action`,
      });
      expect(directory.findAlias(name('alias/created'))).toBeUndefined();
      expect(directory.findAlias(unchanged)).toMatchObject({ keyId, updatedAtMs: 0 });
      const last = await lastEvent(auditFolder);
      expect(last).toMatchObject({
        eventName: operation,
        errorCode: 'AccessDeniedException',
        additionalEventData: { decision: { allowed: false } },
      });
      const resources = (last?.['resources'] ?? []) as readonly { readonly ARN: string }[];
      expect(resources.filter(({ ARN }) => ARN.endsWith(alias))).toHaveLength(1);
    },
  );

  test('is made when its permissions are still there', async () => {
    identityPolicies = onAliases;
    const request = { AliasName: 'alias/kept', TargetKeyId: keyIds[0] };
    expect(await answerAfter(() => undefined, 'CreateAlias', request)).toBe('done');
    expect(directory.findAlias(name('alias/kept'))).toMatchObject({ keyId: keyIds[0] });
  });

  test('is refused when the grant that its grant token names was retired while it waited', async () => {
    const KeyId = keyIds[0];
    const grant = { KeyId, GranteePrincipal: alice, Operations: ['Encrypt'] };
    const made = await run('CreateGrant', grant);
    if (!made.ok) throw made.error;
    const { GrantToken, GrantId } = JSON.parse(made.body) as { GrantToken: string; GrantId: string };
    const { promise: held, resolve: letGo } = Promise.withResolvers<void>();
    const turn = directory.exclusively(() => held);
    const revoked = run('RevokeGrant', { KeyId, GrantId });
    const second = run('CreateGrant', { ...grant, GrantTokens: [GrantToken] });
    letGo();
    await turn;
    expect(await revoked).toMatchObject({ ok: true });
    expect(await second).toMatchObject({
      ok: false,
      error: { name: 'InvalidGrantTokenException', message: 'The grant token is not valid.' },
    });
  });
});

async function lastEvent(folder: string): Promise<RecordedEvent | undefined> {
  let last: RecordedEvent | undefined;
  for await (const event of readAuditEvents(folder)) last = event;
  return last;
}
