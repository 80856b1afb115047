/**
 * Changes that wait for their turn while permissions are taken away, over a real token, a real SQLite file and a real audit
 * log. The turn is held by the test, so that nothing depends on time.
 */

import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { type RecordedEvent, readAuditEvents } from '../../src/audit/read-audit-log.ts';
import {
  type IdentityPolicies,
  noIdentityPolicies,
  parseIdentityPolicies,
} from '../../src/authorization/identity-policies.ts';
import { KmsError } from '../../src/kms/errors.ts';
import { parseGrantId } from '../../src/kms/grant-terms.ts';
import { type AliasName, type KeyId, parseAliasName } from '../../src/kms/names.ts';
import { conditionVocabulary } from '../../src/pipeline/condition-key-table.ts';
import { added, type Change, removed } from '../../src/store/records/changes.ts';
import { alice, realm } from '../authorization/policies.ts';
import { holdTurn } from '../support/held-turn.ts';
import { describeEachToken } from '../support/tokens.ts';
import { startService, type TestService } from './kms-service.ts';

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
  let kms: TestService;
  let identityPolicies: IdentityPolicies = onAliases;
  let refusal: KmsError | undefined;
  let keyIds: readonly KeyId[] = [];

  beforeAll(async () => {
    kms = await startService(token(), folder, {
      auditFolder,
      identityPolicies: () => identityPolicies,
      refusal: () => refusal,
    });
    keyIds = await Promise.all([kms.newKey(), kms.newKey()]);
  });
  afterAll(async () => {
    await kms.close();
    rmSync(folder, { recursive: true });
  });

  /** A change that is nobody's business here: it holds a turn. */
  let elsewhereCount = 0;
  const elsewhere = (): Change => {
    const aliasName = name(`alias/elsewhere-${elsewhereCount++}`);
    const [keyId] = keyIds;
    if (keyId === undefined) throw new TypeError('there is no key');
    return added('alias', { region: 'eu-west-1', aliasName, version: 1, keyId, createdAtMs: 0, updatedAtMs: 0 });
  };

  const name = (text: string): AliasName => {
    const parsed = parseAliasName(text);
    if (parsed === undefined) throw new TypeError(`${text} is no alias name`);
    return parsed;
  };
  /**
   * What is answered to a request that is allowed when it comes, and whose turn comes after `meanwhile`.
   * @param changes What the turn before changes; whatever it is, it shows only after the request came.
   */
  async function answerAfter(
    meanwhile: () => unknown,
    operationName: string,
    request: object,
    changes: readonly Change[] = [elsewhere()],
  ): Promise<{ readonly name: string; readonly message: string } | 'done'> {
    const turn = await holdTurn(kms.turns, () => changes);
    const answer = kms.run(operationName, request);
    meanwhile();
    await turn.letGo();
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
      const record = { region: realm.region, aliasName: unchanged, version: 1, keyId, createdAtMs: 0, updatedAtMs: 0 };
      if (kms.directory.aliases.find(unchanged) === undefined) {
        await kms.turns.take(() => ({ changes: [added('alias', record)], response: undefined }));
      }
      const takeAway = (): void => {
        identityPolicies = noIdentityPolicies;
      };
      expect(await answerAfter(takeAway, operation, request())).toEqual({
        name: 'AccessDeniedException',
        message: `User: ${alice} is not authorized to perform: kms:${operation} on resource: arn:aws:kms:us-east-1:000000000000:${alias} because no identity-based policy allows the kms:${operation} action`,
      });
      expect(kms.directory.aliases.find(name('alias/created'))).toBeUndefined();
      expect(kms.directory.aliases.find(unchanged)).toMatchObject({ keyId, updatedAtMs: 0 });
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
    expect(kms.directory.aliases.find(name('alias/kept'))).toMatchObject({ keyId: keyIds[0] });
  });

  test('is refused, on record, when the access key that signed it was revoked while it waited', async () => {
    const revoke = (): void => {
      refusal = new KmsError('UnrecognizedClientException', 'The security token included in the request is invalid.');
    };
    const [keyId] = keyIds;
    if (keyId === undefined) throw new TypeError('there is no key');
    const before = kms.directory.grants.ofKey(keyId)?.ids.page(undefined, 10).names ?? [];
    const grant = { KeyId: keyId, GranteePrincipal: alice, Operations: ['Decrypt'] };
    expect(await answerAfter(revoke, 'CreateGrant', grant)).toEqual({
      name: 'UnrecognizedClientException',
      message: 'The security token included in the request is invalid.',
    });
    refusal = undefined;
    expect(kms.directory.grants.ofKey(keyId)?.ids.page(undefined, 10).names ?? []).toEqual(before);
    expect(await lastEvent(auditFolder)).toMatchObject({ errorCode: 'UnrecognizedClientException' });
  });

  test('is refused when the grant that its grant token names was revoked while it waited', async () => {
    const grant = { KeyId: keyIds[0], GranteePrincipal: alice, Operations: ['Encrypt'] };
    const made = await kms.run('CreateGrant', grant);
    if (!made.ok) throw made.error;
    const { GrantToken, GrantId } = JSON.parse(made.body) as { GrantToken: string; GrantId: string };
    const id = parseGrantId(GrantId);
    const record = id === undefined ? undefined : kms.directory.grants.find(id);
    if (record === undefined) throw new TypeError('there is no such grant');
    const nothing = (): void => undefined;
    const request = { ...grant, GrantTokens: [GrantToken] };
    expect(await answerAfter(nothing, 'CreateGrant', request, [removed('grant', record)])).toEqual({
      name: 'InvalidGrantTokenException',
      message: 'The grant token is not valid.',
    });
  });
});

async function lastEvent(folder: string): Promise<RecordedEvent | undefined> {
  let last: RecordedEvent | undefined;
  for await (const event of readAuditEvents(folder)) last = event;
  return last;
}
