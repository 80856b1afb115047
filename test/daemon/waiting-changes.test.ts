/**
 * Changes that wait for their turn while a permission is taken away: every operation that changes something, with every way
 * in which each of its needs can be refused. Both are drawn from the table of operations, and the requests from the examples
 * of all operations; what those do not know of the scene here stands in `special`. The last test says which operation is
 * not asked.
 *
 * Over a real token, a real SQLite file and a real audit log. What takes the permission away is the turn that the change waits
 * behind, held by the test until the change has come, so that nothing depends on time.
 */

import { randomBytes } from 'node:crypto';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, beforeEach, expect, test } from 'vitest';
import { type RecordedEvent, readAuditEvents } from '../../src/audit/read-audit-log.ts';
import { type IdentityPolicies, parseIdentityPolicies } from '../../src/authorization/identity-policies.ts';
import type { KmsKey } from '../../src/keys/kms-key.ts';
import { KmsError } from '../../src/kms/errors.ts';
import { type GrantId, parseGrantId } from '../../src/kms/grant-terms.ts';
import { type KeyOrigin, type KeyState, keyStates, stateRefusal } from '../../src/kms/key-states.ts';
import { type AliasName, type KeyId, parseAliasName } from '../../src/kms/names.ts';
import type { AnyOperation, KeyNeed } from '../../src/operations/declaration/operation.ts';
import { type BuiltOperationName, operations } from '../../src/operations/find-operation.ts';
import { conditionVocabulary } from '../../src/pipeline/condition-key-table.ts';
import { added, type Change, removed, replaced } from '../../src/store/records/changes.ts';
import type { GrantRecord } from '../../src/store/records/records.ts';
import { alice, allow, bob, policy, realm } from '../authorization/policies.ts';
import { examples, onWire } from '../end-to-end/support/examples.ts';
import { wrapped } from '../end-to-end/support/imports.ts';
import { holdTurn } from '../support/held-turn.ts';
import { describeEachToken, softHsm2 } from '../support/tokens.ts';
import { startService, type TestService } from './kms-service.ts';

type Request = Record<string, unknown>;

/** What there is before each request. */
interface Scene {
  readonly keyId: KeyId;
  readonly otherKeyId: KeyId;
  /** Of the first key. */
  readonly alias: AliasName;
  /** On the first key. Alice may retire it and, where the key's policy allows her nothing, make others like it. */
  readonly grant: GrantRecord;
  readonly grantToken: string;
  /** That no alias has yet. */
  readonly unused: AliasName;
  /** Of a key for imported material, which has some: what brings it more. */
  readonly imports: Request;
}

/** What the example of an operation (`examples.ts`) does not know of this scene. */
const special: { readonly [Name in BuiltOperationName]?: (scene: Scene) => Request } = {
  CreateAlias: ({ unused, keyId }) => ({ AliasName: unused, TargetKeyId: keyId }),
  CreateGrant: ({ keyId }) => ({ KeyId: keyId, GranteePrincipal: alice, Operations: ['Decrypt'] }),
  CreateKey: () => ({ Tags: [{ TagKey: 'team', TagValue: 'payroll' }] }),
  GetParametersForImport: ({ keyId }) => ({
    KeyId: keyId,
    WrappingAlgorithm: 'RSAES_OAEP_SHA_256',
    WrappingKeySpec: 'RSA_2048',
  }),
  ImportKeyMaterial: ({ keyId, imports }) => ({ KeyId: keyId, ...imports }),
  PutKeyPolicy: ({ keyId }) => ({ KeyId: keyId, Policy: policy(allow([alice, bob], 'kms:*')) }),
  TagResource: ({ keyId }) => ({ KeyId: keyId, Tags: [{ TagKey: 'team', TagValue: 'payroll' }] }),
  UpdateAlias: ({ alias, otherKeyId }) => ({ AliasName: alias, TargetKeyId: otherKeyId }),
};

/** These take a second Region, which the service of these tests does not have (`multi-region.test.ts`). */
const ofTwoRegions: ReadonlySet<string> = new Set(['ReplicateKey', 'UpdatePrimaryRegion']);

/**
 * Those on custom key stores are about an HSM beside the one of this service, which only a whole daemon has
 * (`end-to-end/custom-key-stores.test.ts`). They take one permission, of the account, as CreateKey does.
 */
function isAskedHere({ effect, name }: AnyOperation): boolean {
  return effect === 'changes' && !name.endsWith('CustomKeyStore') && !ofTwoRegions.has(name);
}

/** A request that is answered, of each operation that changes something. */
const changing = operations.flatMap((operation) => {
  const example = examples.find((each) => each.operation === operation.name);
  if (!isAskedHere(operation) || example === undefined) return [];
  // Safe: the row of an operation's own name, or none.
  const ofScene = (special as Readonly<Record<string, (scene: Scene) => Request>>)[operation.name];
  const request = (scene: Scene): Request =>
    ofScene?.(scene) ??
    onWire(example.input({ keyId: scene.keyId, made: Buffer.of(), alias: scene.alias, grantId: scene.grant.grantId }));
  return [{ operation, request, origin: example.kind.origin }];
});

/** One in which the operation is done, where a key that was just made is in none. */
function stateBefore({ needs }: AnyOperation, origin: KeyOrigin = 'AWS_KMS'): KeyState | undefined {
  const refusals = (state: KeyState) =>
    Object.values(needs.keys ?? {}).filter(
      ({ states }) => stateRefusal(states, { arn: '', state, origin }) !== undefined,
    );
  return refusals('Enabled').length === 0 ? undefined : keyStates.find((state) => refusals(state).length === 0);
}

/** One way in which one need of an operation is refused by the time its turn comes. */
interface Loss {
  readonly what: string;
  readonly refusal: string;
  /** Of the first key, where alice may do nothing by its policy. */
  readonly policy?: string;
  readonly members?: (scene: Scene) => Request;
  /** What the turn before takes away; without any, `revoke` does. */
  readonly changes?: (kms: TestService, scene: Scene, request: Request) => readonly Change[];
  readonly revoke?: (world: World) => void;
}

/** What is no record. */
interface World {
  refusal: KmsError | undefined;
  /** That an identity policy does not allow alice. */
  withheld: string | undefined;
}

const bobsPolicy = policy(allow(bob, 'kms:*'));
const revokedKey = new KmsError(
  'UnrecognizedClientException',
  'The security token included in the request is invalid.',
);

function lossesOf({ needs, request }: AnyOperation, origin?: KeyOrigin): readonly Loss[] {
  const losses: Loss[] = [
    {
      what: 'the access key that signed it was revoked',
      refusal: 'UnrecognizedClientException',
      revoke: (world) => {
        world.refusal = revokedKey;
      },
    },
  ];
  for (const { action } of needs.resources ?? []) {
    losses.push({
      what: `the identity policy stopped allowing ${action}`,
      refusal: 'AccessDeniedException',
      revoke: (world) => {
        world.withheld = action;
      },
    });
  }
  for (const [name, need] of Object.entries(needs.keys ?? {})) losses.push(...lossesOfKeyNeed(name, need, origin));
  if (Object.keys(request.members ?? {}).includes('GrantTokens')) {
    losses.push({
      what: 'the grant of its grant token was revoked',
      refusal: 'InvalidGrantTokenException',
      members: ({ grantToken }) => ({ GrantTokens: [grantToken] }),
      changes: (_, { grant }) => [removed('grant', grant)],
    });
  }
  return losses;
}

function lossesOfKeyNeed(name: string, need: KeyNeed<Request>, origin?: KeyOrigin): readonly Loss[] {
  const losses: Loss[] = [];
  const keyOf = (kms: TestService, request: Request): KmsKey => need.key(request, kms.directory);
  if (need.retires === undefined) {
    losses.push({
      what: `the policy of the key \`${name}\` stopped allowing ${need.action}`,
      refusal: 'AccessDeniedException',
      changes: (kms, _, request) => [replaced('keyPolicy', keyOf(kms, request).policyRecord, { document: bobsPolicy })],
    });
  }
  if (need.grant !== undefined) {
    losses.push({
      what: `the grant that allowed ${need.action} was revoked`,
      refusal: need.retires === undefined ? 'AccessDeniedException' : 'NotFoundException',
      policy: bobsPolicy,
      changes: (_, { grant }) => [removed('grant', grant)],
    });
  }
  const state = refusingState(need, origin);
  if (state !== undefined) {
    losses.push({
      what: `the key \`${name}\` became ${state}`,
      refusal: 'KMSInvalidStateException',
      changes: (kms, _, request) => [replaced('key', keyOf(kms, request).record, { state })],
    });
  }
  return losses;
}

/** One in which AWS answers KMSInvalidStateException, where there is one. */
function refusingState({ states }: KeyNeed<Request>, origin: KeyOrigin = 'AWS_KMS'): KeyState | undefined {
  return keyStates.find(
    (state) => stateRefusal(states, { arn: '', state, origin })?.name === 'KMSInvalidStateException',
  );
}

const rows = changing.flatMap(({ operation, request, origin }) =>
  lossesOf(operation, origin).map((loss) => [operation.name, loss.what, { operation, request, origin, loss }] as const),
);

/** What a refusal could leave in the token, or take out of it. Of the others the token sees nothing, whichever it is. */
const touchesToken = /^(?:CreateKey|RotateKeyOnDemand|.*Import.*)$/;

describeEachToken('A change that waits for its turn', (token, kind) => {
  const isAsked = ([name]: readonly [string, ...unknown[]]) => kind === softHsm2 || touchesToken.test(name);
  const folder = mkdtempSync(join(tmpdir(), 'drawbridge-waiting-'));
  const auditFolder = join(folder, 'audit');
  const world: World = { refusal: undefined, withheld: undefined };
  let kms: TestService;
  let number = 0;

  beforeAll(async () => {
    kms = await startService(token(), folder, {
      auditFolder,
      identityPolicies: () => allowingAllBut(world.withheld),
      refusal: () => world.refusal,
    });
  });
  beforeEach(() => {
    world.refusal = undefined;
    world.withheld = undefined;
  });
  afterAll(async () => {
    await kms.close();
    rmSync(folder, { recursive: true });
  });

  /** The policy of the first key comes last: without one of its own, alice may do everything. */
  async function newScene(
    document: string | undefined,
    state: KeyState | undefined,
    origin?: 'EXTERNAL',
  ): Promise<Scene> {
    const [keyId, otherKeyId] = [await kms.newKey(undefined, origin), await kms.newKey()];
    const imports = origin === undefined ? {} : await importsFor(keyId);
    const [alias, unused] = [aliasNamed(`a${number}`), aliasNamed(`unused-${number++}`)];
    await answered('CreateAlias', { AliasName: alias, TargetKeyId: keyId });
    const operations = ['CreateGrant', 'Decrypt', 'RetireGrant'];
    // What alice may by a policy, no grant may allow her besides.
    const granted = {
      GranteePrincipal: document === undefined ? bob : alice,
      RetiringPrincipal: alice,
      Operations: operations,
    };
    const { GrantId, GrantToken: grantToken } = await answered('CreateGrant', { KeyId: keyId, ...granted });
    const grant = kms.directory.grants.find(grantIdOf(GrantId));
    const policyRecord = kms.directory.findKey(keyId)?.policyRecord;
    if (grant === undefined || policyRecord === undefined) throw new TypeError('what was made is not there');
    const record = kms.directory.findKey(keyId)?.record;
    await kms.turns.take(() => ({
      changes: [
        ...(document === undefined ? [] : [replaced('keyPolicy', policyRecord, { document })]),
        ...(state === undefined || record === undefined ? [] : [replaced('key', record, { state })]),
      ],
      response: undefined,
    }));
    return { keyId, otherKeyId, alias, grant, grantToken: String(grantToken), unused, imports };
  }

  async function importsFor(keyId: KeyId): Promise<Request> {
    const WrappingAlgorithm = 'RSAES_OAEP_SHA_256';
    const wrapping = { WrappingAlgorithm, WrappingKeySpec: 'RSA_2048' };
    const { PublicKey, ImportToken } = await answered('GetParametersForImport', { KeyId: keyId, ...wrapping });
    const publicKey = Buffer.from(String(PublicKey), 'base64');
    const others = { ImportToken, ImportType: 'NEW_KEY_MATERIAL', ExpirationModel: 'KEY_MATERIAL_DOES_NOT_EXPIRE' };
    const material = (): Request => ({
      ...others,
      EncryptedKeyMaterial: wrapped({ WrappingAlgorithm, publicKey }, randomBytes(32)).toString('base64'),
    });
    await answered('ImportKeyMaterial', { KeyId: keyId, ...material() });
    return material();
  }

  async function answered(operationName: string, request: Request): Promise<Request> {
    const answer = await kms.run(operationName, request);
    if (!answer.ok) throw answer.error;
    return JSON.parse(answer.body) as Request;
  }

  /** A change that is nobody's business here: it only holds the turn. */
  function elsewhere({ unused: aliasName, keyId }: Scene): Change {
    return added('alias', { region: 'eu-west-1', aliasName, version: 1, keyId, createdAtMs: 0, updatedAtMs: 0 });
  }

  /** Its members in one order, whoever made it. */
  function textOf(record: object): string {
    return JSON.stringify(Object.entries(record).sort(([one], [other]) => (one < other ? -1 : 1)));
  }

  /** All records, as texts. */
  async function recordTexts(): Promise<readonly string[]> {
    const { quarantined, ...records } = await kms.store.load();
    expect(quarantined).toEqual([]);
    return Object.values(records).flatMap((ofKind) => ofKind.map((record) => textOf(record)));
  }

  test.each(rows.filter(isAsked))(
    '%s is refused, on record, and changes nothing, when meanwhile %s',
    async (name, _what, row) => {
      const { operation, request: requestOf, origin, loss } = row;
      const scene = await newScene(loss.policy, stateBefore(operation, origin), origin);
      const request = { ...requestOf(scene), ...loss.members?.(scene) };
      const changes = loss.changes?.(kms, scene, request) ?? [elsewhere(scene)];
      const [before, objects] = [await recordTexts(), await kms.keyStore.listKeys()];

      const turn = await holdTurn(kms.turns, () => changes);
      const answer = kms.run(name, request);
      loss.revoke?.(world);
      await turn.letGo();
      const outcome = await answer;

      expect(outcome.ok ? 'it was done' : outcome.error.name).toBe(loss.refusal);
      const after = await recordTexts();
      const written = changes.flatMap((change) => ('put' in change ? [textOf(change.record)] : []));
      expect(after.filter((text) => !before.includes(text))).toEqual(written);
      expect(after.length).toBe(before.length + growthOf(changes));
      expect(await kms.keyStore.listKeys()).toEqual(objects);
      const event = await lastEvent(auditFolder);
      expect(event).toMatchObject({ eventName: name, errorCode: loss.refusal });
      if (loss.refusal === 'AccessDeniedException') {
        expect(event).toMatchObject({ additionalEventData: { decision: { allowed: false } } });
      }
      const arns = ((event?.['resources'] ?? []) as readonly { readonly ARN: string }[]).map(({ ARN }) => ARN);
      expect(new Set(arns).size).toBe(arns.length);
    },
  );

  test.each(changing.map((row) => [row.operation.name, row] as const).filter(isAsked))(
    '%s is done when its permissions are still there',
    async (name, { operation, request: requestOf, origin }) => {
      const scene = await newScene(undefined, stateBefore(operation, origin), origin);
      const before = await recordTexts();
      const held = elsewhere(scene);
      const turn = await holdTurn(kms.turns, () => [held]);
      const answer = kms.run(name, requestOf(scene));
      await turn.letGo();
      expect(await answer).toMatchObject({ ok: true });
      const after = await recordTexts();
      const shared = after.filter((text) => before.includes(text));
      const isOther = after.length - shared.length > 1 || shared.length < before.length;
      expect(after).toContain(textOf(held.record));
      expect(isOther, `${name} changed a record`).toBe(true);
      const event = await lastEvent(auditFolder);
      expect([event?.eventName, event?.['errorCode']]).toEqual([name, undefined]);
    },
  );

  test.each(['UpdateAlias', 'DeleteAlias'] as const)(
    '%s is about the key that the alias stands for in its turn',
    async (name) => {
      const scene = await newScene(undefined, undefined);
      const { alias: aliasName, otherKeyId } = scene;
      const notMine = await kms.newKey(bobsPolicy);
      const alias = kms.directory.aliases.find(aliasName);
      if (alias === undefined) throw new TypeError('there is no such alias');
      const turn = await holdTurn(kms.turns, () => [replaced('alias', alias, { keyId: notMine })]);
      const answer = kms.run(name, {
        AliasName: aliasName,
        ...(name === 'UpdateAlias' ? { TargetKeyId: otherKeyId } : {}),
      });
      await turn.letGo();
      expect(await answer).toMatchObject({ ok: false, error: { name: 'AccessDeniedException' } });
      expect(kms.directory.aliases.find(aliasName)).toMatchObject({ keyId: notMine });
    },
  );
});

test('every operation that changes something is asked here', () => {
  const names = operations.filter(isAskedHere).map(({ name }) => name);
  expect(changing.map(({ operation }) => operation.name)).toEqual(names);
  for (const { operation, origin } of changing) expect(lossesOf(operation, origin), operation.name).not.toEqual([]);
});

function aliasNamed(text: string): AliasName {
  const parsed = parseAliasName(`alias/${text}`);
  if (parsed === undefined) throw new TypeError(`${text} is no alias name`);
  return parsed;
}

function grantIdOf(text: unknown): GrantId {
  const parsed = parseGrantId(String(text));
  if (parsed === undefined) throw new TypeError(`${text} is no grant id`);
  return parsed;
}

/** How many more records there are after changes. */
function growthOf(changes: readonly Change[]): number {
  return changes.reduce((sum, change) => sum + ('remove' in change ? -1 : Number(change.replaces === null)), 0);
}

/** What needs no key, alice may by an identity policy. */
function allowingAllBut(withheld: string | undefined): IdentityPolicies {
  const actions = changing.flatMap(({ operation }) => (operation.needs.resources ?? []).map(({ action }) => action));
  const Action = [...new Set(actions)].filter((action) => action !== withheld);
  const PolicyDocument = { Version: '2012-10-17', Statement: [{ Effect: 'Allow', Action, Resource: '*' }] };
  const text = JSON.stringify({ AttachedTo: [alice], PolicyDocument });
  const parts = { realm, vocabulary: conditionVocabulary, idOfGroup: () => undefined };
  return parseIdentityPolicies([{ name: 'alice.json', text }], parts);
}

async function lastEvent(folder: string): Promise<RecordedEvent | undefined> {
  let last: RecordedEvent | undefined;
  for await (const event of readAuditEvents(folder)) last = event;
  return last;
}
