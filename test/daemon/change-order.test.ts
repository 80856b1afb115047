/**
 * In which order a change is made, and what is left when a step of it refuses: operations that this test declares, through the
 * pipeline's own `change`, over a real token, a real SQLite file and a real audit log.
 */

import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, beforeEach, expect, test } from 'vitest';
import { type RecordedEvent, readAuditEvents } from '../../src/audit/read-audit-log.ts';
import { type AuthorizedKey, authorizeKey } from '../../src/keys/authorized-key.ts';
import { currentBackingKeyOf, type KmsKey } from '../../src/keys/kms-key.ts';
import type { GeneratedMaterial } from '../../src/keys/life/key-life.ts';
import { KmsError } from '../../src/kms/errors.ts';
import type { KeyId } from '../../src/kms/names.ts';
import { unknownPayer } from '../../src/kms/payer.ts';
import type { AnyChange } from '../../src/operations/declaration/operation.ts';
import { object } from '../../src/operations/declaration/schema.ts';
import { type ChangeParts, change } from '../../src/pipeline/change.ts';
import type { KmsAnswer } from '../../src/pipeline/service.ts';
import { added, replaced } from '../../src/store/records/changes.ts';
import { type Announcer, Turns } from '../../src/store/turns.ts';
import { silentAnnouncer } from '../support/announcer.ts';
import { holdTurn } from '../support/held-turn.ts';
import { describeEachToken } from '../support/tokens.ts';
import { startService, type TestService } from './kms-service.ts';

type Parts = Pick<AnyChange, 'prepare' | 'decide' | 'conclude'>;

describeEachToken('A change', (token) => {
  const folder = mkdtempSync(join(tmpdir(), 'drawbridge-change-'));
  const auditFolder = join(folder, 'audit');
  let kms: TestService;
  let keyId: KeyId;
  const start = async (): Promise<void> => {
    kms = await startService(token(), folder, { auditFolder });
  };
  beforeAll(start);
  beforeEach(async () => {
    keyId = await kms.newKey();
  });
  afterAll(async () => {
    await kms.close();
    rmSync(folder, { recursive: true });
  });

  function keyNow(): KmsKey {
    const key = kms.directory.findKey(keyId);
    if (key === undefined) throw new TypeError('there is no key');
    return key;
  }
  /** The key as it is when this is called. */
  const permitNow = (): ChangeParts['permitted'] => ({
    keys: { key: authorizeKey(keyNow()) },
    decideUnder() {
      throw new TypeError('nothing here asks');
    },
  });

  const operationOf = (parts: Parts): AnyChange => ({
    ...{
      name: 'UpdateKeyDescription',
      request: object({}),
      response: object({}),
      needs: {},
      effect: 'changes',
      record: [],
    },
    ...parts,
  });
  const run = (
    parts: Parts,
    permitAgain = permitNow,
    turns = kms.turns,
    by: Announcer = silentAnnouncer,
  ): ReturnType<typeof change> =>
    change({
      operation: operationOf(parts),
      turns,
      life: kms.life,
      given: { request: {}, caller: kms.caller, directory: kms.directory, note() {}, annotate() {} },
      permitted: permitNow(),
      permitAgain,
      memory: kms.directory.memory,
      account: { payer: unknownPayer, isOperator: false },
      by,
    });
  /** The same as something that a caller asked for and hears the answer of, on record. */
  const ask = (parts: Parts, permitAgain = permitNow, turns = kms.turns): Promise<KmsAnswer> =>
    kms.service.act(
      {
        operationName: 'TestChange',
        eventSource: 'kms.amazonaws.com',
        effect: 'changes',
        caller: kms.caller,
        parameters: null,
        requestId: 'test',
        receivedAtMs: Date.now(),
        sourceIPAddress: '127.0.0.1',
        userAgent: null,
        payer: unknownPayer,
      },
      async (by) => ({ body: JSON.stringify(await run(parts, permitAgain, turns, by)), record: null }),
    );

  const describe = (description: string): Parts['decide'] => {
    return ({ keys }) => ({ changes: [keys['key']?.with({ description }) ?? never()], response: {} });
  };
  const description = (): string => keyNow().record.description;
  const descriptionOnDisk = async (): Promise<string | undefined> =>
    (await kms.store.load()).key.find((record) => record.keyId === keyId)?.description;
  const held = () => replaced('key', keyNow().record, { description: 'held' });

  test('takes its steps in one order: prepares, asks again in its turn, decides, has its intent on record, writes, shows, concludes, has its outcome on record, answers', async () => {
    const steps: string[] = [];
    const step = (name: string) => void steps.push(name);
    const turns = new Turns({
      async write(changes) {
        step(`write: ${description()} ${(await lastEvent(auditFolder))?.eventName}`);
        await kms.store.write(changes);
        step('written');
      },
      reread: (changes) => kms.store.reread(changes),
    });
    turns.follow({ apply: () => step('apply') });
    turns.follow(kms.directory);
    const parts: Parts = {
      async prepare() {
        step('prepare');
        return { undo: async () => step('undo') };
      },
      decide(deciding) {
        step('decide');
        return describe('new')(deciding);
      },
      async conclude() {
        step(`conclude: ${description()} ${await descriptionOnDisk()} ${(await lastEvent(auditFolder))?.eventName}`);
      },
    };
    const turn = await holdTurn(turns, () => [held()]);
    const answer = ask(
      parts,
      () => {
        step('permissions again');
        return permitNow();
      },
      turns,
    );
    await expect.poll(() => steps).toContain('prepare');
    expect(steps).not.toContain('decide');
    await turn.letGo();
    expect(await answer).toMatchObject({ ok: true });
    step(`answer: ${(await lastEvent(auditFolder))?.eventName}`);
    expect(steps).toEqual([
      'prepare',
      ...['write:  AuditOutcome', 'written', 'apply'],
      'permissions again',
      'decide',
      ...['write: held AuditIntent', 'written', 'apply'],
      'conclude: new new AuditIntent',
      'answer: TestChange',
    ]);
  });

  test('announces to whoever asked to be told before it is written', async () => {
    const turn = await holdTurn(kms.turns, () => [held()]);
    expect([description(), await descriptionOnDisk()]).toEqual(['', '']);
    await turn.letGo();
    expect([description(), await descriptionOnDisk()]).toEqual(['held', 'held']);
  });

  test.each(['a description', 'a rotation'])(
    'that was decided on a key as it was before %s is refused by the store, and nothing of either is lost',
    async (meanwhile) => {
      const first = keyNow();
      let captured: AuthorizedKey | undefined;
      const parts: Parts = {
        async prepare({ keys }) {
          if (meanwhile === 'a rotation') await kms.life.rotate(keyId, currentBackingKeyOf(first).record.backingKeyId);
          captured = keys['key'];
          return { undo: async () => undefined };
        },
        // The mistake: what was true before the turn.
        decide: () => ({ changes: [captured?.with({ description: 'stale' }) ?? never()], response: {} }),
      };
      const turn = meanwhile === 'a rotation' ? undefined : await holdTurn(kms.turns, () => [held()]);
      const answer = ask(parts);
      await expect.poll(() => captured).toBeDefined();
      await turn?.letGo();
      expect(await answer).toMatchObject({ ok: false, error: { name: 'KMSInternalException' } });
      expect(kms.errors.at(-1)).toMatchObject({ err: { name: 'StoreError', failure: 'conflict' } });
      const expected = meanwhile === 'a rotation' ? '' : 'held';
      expect([description(), await descriptionOnDisk()]).toEqual([expected, expected]);
      expect(keyNow().backingKeys.size).toBe(meanwhile === 'a rotation' ? 2 : 1);
    },
  );

  test('of the description that waits behind a rotation loses no backing key, and everything decrypts, also after a restart', async () => {
    const plaintext = Buffer.from('attack at dawn').toString('base64');
    const encrypted = async (): Promise<string> => {
      const { CiphertextBlob } = await answered('Encrypt', { KeyId: keyId, Plaintext: plaintext });
      return String(CiphertextBlob);
    };
    const before = await encrypted();
    const { backingKeyId } = currentBackingKeyOf(keyNow()).record;
    await run({
      // It came before the rotation, and its turn comes after.
      async prepare() {
        await kms.life.rotate(keyId, backingKeyId);
        return { undo: async () => undefined };
      },
      decide: describe('new'),
    });
    const blobs = [before, await encrypted()];
    const check = async (): Promise<void> => {
      expect(description()).toBe('new');
      expect(keyNow().backingKeys.size).toBe(2);
      expect(currentBackingKeyOf(keyNow()).record.backingKeyId).not.toBe(backingKeyId);
      for (const CiphertextBlob of blobs) {
        expect(await answered('Decrypt', { CiphertextBlob })).toMatchObject({ Plaintext: plaintext });
      }
    };
    await check();
    await kms.close();
    await start();
    await check();
  });

  const refusals: readonly [
    what: string,
    decide: Parts['decide'],
    permitAgain: ChangeParts['permitAgain'],
    error: object,
  ][] = [
    ['its permission is gone', describe('new'), refuse, { name: 'AccessDeniedException' }],
    ['the decision refuses', refuse, permitNow, { name: 'AccessDeniedException' }],
    ['the store cannot write it', describe('\ud800'), permitNow, { name: 'TypeError' }],
    [
      'the store has something else',
      () => ({ changes: [added('key', keyNow().record)], response: {} }),
      permitNow,
      { name: 'StoreError', failure: 'conflict' },
    ],
  ];
  test.each(refusals)(
    'whose material was generated leaves neither object nor intent when %s',
    async (_what, decide, permitAgain, error) => {
      const [objects, { backingKey: records }] = [await kms.keyStore.listKeys(), await kms.store.load()];
      let material: GeneratedMaterial | undefined;
      let made: object | undefined;
      let concluded = false;
      const parts: Parts = {
        async prepare({ life }) {
          material = await life.generate({ keyId, ...symmetric, keyStore: 'default', ordinal: 2 });
          made = (await kms.keyStore.listKeys()).find((each) => each.backingKeyId === material?.backingKeyId);
          const { undo } = material;
          return { undo };
        },
        decide,
        async conclude() {
          concluded = true;
        },
      };
      await expect(run(parts, permitAgain)).rejects.toMatchObject(error);
      expect(made).toBeDefined();
      expect(await kms.keyStore.listKeys()).toEqual(objects);
      expect((await kms.store.load()).backingKey).toEqual(records);
      expect([description(), await descriptionOnDisk()]).toEqual(['', '']);
      expect(concluded).toBe(false);
      await run({ decide: describe('next') });
      expect(description()).toBe('next');
    },
  );

  test('concludes outside of its turn, and is answered when that is done', async () => {
    const { promise: concluding, resolve: conclude } = Promise.withResolvers<void>();
    const order: string[] = [];
    const answer = ask({ decide: describe('new'), conclude: () => concluding }).then(() => order.push('concluded'));
    await expect.poll(description).toBe('new');
    await run({ decide: describe('newer') });
    order.push('another change');
    conclude();
    await answer;
    expect(order).toEqual(['another change', 'concluded']);
    expect(description()).toBe('newer');
  });

  test('stands when its conclusion fails, which is told, and undoes nothing', async () => {
    let undone = false;
    const parts: Parts = {
      async prepare() {
        return {
          async undo() {
            undone = true;
          },
        };
      },
      decide: describe('new'),
      conclude: () => Promise.reject(new Error('the HSM is away')),
    };
    expect(await ask(parts)).toMatchObject({ ok: false, error: { name: 'KMSInternalException' } });
    expect([undone, description(), await descriptionOnDisk()]).toEqual([false, 'new', 'new']);
    expect(kms.errors.at(-1)).toMatchObject({ err: { message: 'the HSM is away' } });
  });

  test('is not decided when its preparation fails', async () => {
    let decided = false;
    const parts: Parts = {
      prepare: () => Promise.reject(new KmsError('LimitExceededException', 'too many')),
      decide(deciding) {
        decided = true;
        return describe('new')(deciding);
      },
    };
    expect(await ask(parts)).toMatchObject({ ok: false, error: { name: 'LimitExceededException' } });
    expect([decided, description(), await descriptionOnDisk()]).toEqual([false, '', '']);
  });

  async function answered(operationName: string, request: object): Promise<Record<string, unknown>> {
    const answer = await kms.run(operationName, request);
    if (!answer.ok) throw answer.error;
    return JSON.parse(answer.body) as Record<string, unknown>;
  }
});

const symmetric = { keySpec: 'SYMMETRIC_DEFAULT', keyUsage: 'ENCRYPT_DECRYPT' } as const;

function refuse(): never {
  throw new KmsError('AccessDeniedException', 'not any more');
}

function never(): never {
  throw new TypeError('the key is not there');
}

async function lastEvent(folder: string): Promise<RecordedEvent | undefined> {
  let last: RecordedEvent | undefined;
  for await (const event of readAuditEvents(folder)) last = event;
  return last;
}
