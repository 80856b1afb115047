/**
 * Who runs, who waits and who is refused, over a service whose answers are held back until the test lets them go. So the
 * order in which requests get through is counted and not timed.
 */

import fc from 'fast-check';
import { expect, onTestFinished, test, vi } from 'vitest';
import type { Caller } from '../../src/identity/caller.ts';
import { payerOfCaller } from '../../src/identity/payer-of-caller.ts';
import { parsePrincipalArn } from '../../src/kms/names.ts';
import { payerNow } from '../../src/kms/paying.ts';
import { defaultShareLimits, type ShareLimits, Shares, shareFairly } from '../../src/pipeline/fair-shares.ts';
import { ProcessorTurns } from '../../src/pipeline/processor-turns.ts';
import type { KmsAnswer, KmsRequest, KmsService } from '../../src/pipeline/service.ts';
import { passingSecretMemory } from '../../src/secrets/secret-memory.ts';
import { silentAnnouncer } from '../support/announcer.ts';

const mallory = unixCaller(1001);
const alice = unixCaller(1002);

test('A user who floods from 500 connections does not delay the first request of another one', async () => {
  const { service, running, answerFirst } = heldService();
  const flood = Array.from({ length: 500 }, (_, index) => service.run(request(mallory, `flood ${index}`)));
  const other = service.run(request(alice, 'other'));
  expect(running).toHaveLength(129);
  expect(running.at(-1)).toBe('other');
  answerFirst(129);
  expect(await other).toEqual({ ok: true, body: 'other' });
  // 128 of the flood were before it; all the others come after.
  await endOfTurn();
  expect(running).toHaveLength(128);
  while (running.length > 0) {
    answerFirst(running.length);
    await endOfTurn();
  }
  expect(await Promise.all(flood)).toEqual(flood.map((_, index) => ({ ok: true, body: `flood ${index}` })));
});

test('Users who flood at the same time have as many requests under way', () => {
  const { service, running } = heldService();
  for (const caller of [mallory, alice])
    for (let count = 0; count < 300; count++) void service.run(request(caller, `of ${caller.arn}`));
  for (const caller of [mallory, alice])
    expect(running.filter((name) => name === `of ${caller.arn}`)).toHaveLength(128);
});

test('A request beyond those that may wait is refused with ThrottlingException, on record, and its body is wiped', async () => {
  const { service, refused } = heldService({ maxRunning: 1, maxWaiting: 1 });
  void service.run(request(mallory, 'running'));
  void service.run(request(mallory, 'waiting'));
  const tooMany = request(mallory, 'too many');
  expect(await service.run(tooMany)).toMatchObject({
    ok: false,
    error: { name: 'ThrottlingException', message: 'Rate exceeded' },
  });
  expect(refused).toEqual(['too many']);
  expect(tooMany.body).toEqual(Buffer.alloc(10));
});

test('A request that waits keeps no memory but that of its body, and is what it was when it runs', async () => {
  const bodies: Buffer[] = [];
  const { service: held, answerFirst } = heldService();
  const run = (one: KmsRequest) => {
    bodies.push(one.body);
    return held.run(one);
  };
  const service = shareFairly({ ...held, run }, new Shares({ requests: { ...defaultShareLimits, maxRunning: 1 } }));
  const [first, second] = ['first', 'second'].map((name) => {
    const body = passingSecretMemory(10);
    body.write(name);
    return { ...request(mallory, name), body };
  }) as [KmsRequest, KmsRequest];
  void service.run(first);
  void service.run(second);
  expect(second.body).toEqual(Buffer.alloc(10));
  answerFirst(1);
  await vi.waitUntil(() => bodies.length === 2);
  expect(bodies[0]).toBe(first.body);
  expect(bodies[1]?.toString()).toBe('second\0\0\0\0');
  expect(bodies[1]?.buffer.byteLength).toBe(10);
});

test('A request whose body is one byte too many to wait is refused, and one that just fits waits', async () => {
  const { service, refused } = heldService({ maxRunning: 1, maxWaitingBytes: 20 });
  void service.run(request(mallory, 'running'));
  void service.run(request(mallory, 'waiting', 10));
  await service.run(request(mallory, 'too large', 11));
  void service.run(request(mallory, 'just fits', 10));
  expect(refused).toEqual(['too large']);
});

test('A request that would wait for longer than is of use is refused at once, and those that wait are not', async () => {
  let nowMs = 1_000;
  const clock = vi.spyOn(performance, 'now').mockImplementation(() => nowMs);
  onTestFinished(() => clock.mockRestore());
  const { service, refused, answerFirst } = heldService({ maxRunning: 1, maxExpectedMs: 2000 });
  for (let index = 0; index < 4; index++) void service.run(request(mallory, `waits ${index}`));
  for (let answered = 0; answered < 2; answered++) {
    nowMs += 20;
    answerFirst(1);
    await endOfTurn();
  }
  // At 20 ms for each, a hundred are the most that are worth waiting for.
  const late = Array.from({ length: 200 }, (_, index) => service.run(request(mallory, `late ${index}`)));
  await endOfTurn();
  expect(refused.length).toBeGreaterThanOrEqual(100);
  expect(refused).not.toContain('late 0');
  expect(await late.at(-1)).toMatchObject({ ok: false, error: { name: 'ThrottlingException' } });
});

test('What a request begins is on the account of its payer, and of nobody else', async () => {
  const seen: (string | undefined)[] = [];
  const service = shareFairly(
    {
      ...heldService().service,
      async run() {
        await endOfTurn();
        seen.push(payerNow());
        return { ok: true, body: '' };
      },
    },
    new Shares(),
  );
  await Promise.all([mallory, alice].map((caller) => service.run(request(caller, 'Encrypt'))));
  expect(seen).toEqual([mallory, alice].map(payerOfCaller));
  expect(payerNow()).toBeUndefined();
});

test('Who asks in several Regions has one share for all of them, and one of each key store that generates', async () => {
  const requests = { ...defaultShareLimits, maxRunning: 2 };
  const shares = new Shares({ requests, processor: new ProcessorTurns(Number.POSITIVE_INFINITY) });
  const regions = ['one', 'one', 'another'].map((keyStore) => heldService({}, {}, shares, keyStore));
  const running = () => regions.map((region) => region.running.length);
  for (const { service } of regions) {
    for (let index = 0; index < 4; index++) void service.run(request(mallory, `Encrypt ${index}`));
  }
  expect(running()).toEqual([2, 0, 0]);
  void regions[1]?.service.run(request(alice, 'Encrypt'));
  expect(running()).toEqual([2, 1, 0]);
  for (const { service } of regions) void service.run(request(alice, 'CreateKey'));
  expect(running()).toEqual([3, 1, 1]);
  regions[0]?.answerFirst(3);
  await endOfTurn();
  expect(running()).toEqual([2, 2, 1]);
});

test('Generations wait in a queue of their own, and users who have many of them take turns', async () => {
  const { service, running, answerFirst } = heldService();
  const pairs = Array.from({ length: 5 }, () => service.run(request(mallory, 'GenerateDataKeyPair')));
  void service.run(request(mallory, 'Encrypt'));
  const keys = Array.from({ length: 2 }, () => service.run(request(alice, 'CreateKey')));
  expect(running).toEqual(['GenerateDataKeyPair', 'Encrypt', 'CreateKey']);
  const started: string[] = [];
  while (running.length > 0) {
    answerFirst(1);
    await endOfTurn();
    started.push(running.at(-1) ?? 'nothing');
  }
  expect(started.slice(0, 3)).toEqual(['GenerateDataKeyPair', 'GenerateDataKeyPair', 'CreateKey']);
  expect((await Promise.all([...pairs, ...keys])).every(({ ok }) => ok)).toBe(true);
});

test('A generation that waits too long for its turn is refused with ThrottlingException, and those behind it as well', async () => {
  const { service, running, refused, answerFirst } = heldService({}, { maxWaitingMs: 20 });
  void service.run(request(mallory, 'CreateKey'));
  const late = ['GenerateDataKeyPair', 'GenerateDataKeyPairWithoutPlaintext'].map((name) => request(mallory, name));
  for (const answer of await Promise.all(late.map((each) => service.run(each))))
    expect(answer).toMatchObject({ ok: false, error: { name: 'ThrottlingException', message: 'Rate exceeded' } });
  expect(refused).toEqual(late.map(({ operationName }) => operationName));
  expect(late.map(({ body }) => body)).toEqual([Buffer.alloc(10), Buffer.alloc(10)]);
  void service.run(request(mallory, 'CreateKey'));
  answerFirst(1);
  await endOfTurn();
  expect(running).toEqual(['CreateKey']);
});

interface Kinship {
  readonly what: string;
  readonly caller: Caller;
  readonly sharesWith: Caller;
  readonly isOne: boolean;
}

const session = (name: string): Caller => ({
  ...signedCaller(`arn:aws:sts::000000000000:assumed-role/ci/${name}`),
  type: 'AssumedRole',
  role: principal('arn:aws:iam::000000000000:role/ci'),
});
const user = (name: string): Caller => signedCaller(`arn:aws:iam::000000000000:user/${name}`);
const kinships: readonly Kinship[] = [
  { what: 'two connections of a Unix user', caller: unixCaller(1), sharesWith: unixCaller(1), isOne: true },
  { what: 'two Unix users', caller: unixCaller(1), sharesWith: unixCaller(2), isOne: false },
  {
    what: 'a Unix user and the access key that he was given',
    caller: unixCaller(1),
    sharesWith: signedCaller('arn:aws:iam::000000000000:user/unix/one', 1),
    isOne: true,
  },
  { what: 'two sessions of a role', caller: session('a'), sharesWith: session('b'), isOne: true },
  { what: 'two users with access keys', caller: user('a'), sharesWith: user('b'), isOne: false },
];

test.each(kinships)('One share for both or one for each: $what', ({ caller, sharesWith, isOne }) => {
  const { service, running } = heldService({ maxRunning: 1 });
  void service.run(request(caller, 'first'));
  void service.run(request(sharesWith, 'second'));
  expect(running).toEqual(isOne ? ['first'] : ['first', 'second']);
});

test('Every request is answered once, in the order of its user, and never more run than may', async () => {
  const steps = fc.array(fc.oneof(fc.integer({ min: 1, max: 3 }), fc.constant('answer' as const)), {
    maxLength: 60,
    size: 'max',
  });
  await fc.assert(
    fc.asyncProperty(steps, async (sequence) => {
      const { service, running, answerFirst } = heldService({ maxRunning: 2, maxWaiting: 3 });
      const answers: Promise<KmsAnswer>[] = [];
      const lastStarted = new Map<number, number>();
      const check = (): void => {
        for (const uid of [1, 2, 3]) {
          const own = running.filter((name) => name.startsWith(`${uid} `)).map((name) => Number(name.slice(2)));
          expect(own.length).toBeLessThanOrEqual(2);
          expect(own).toEqual([...own].sort((a, b) => a - b));
          const before = lastStarted.get(uid) ?? 0;
          const last = own.at(-1) ?? before;
          expect(last).toBeGreaterThanOrEqual(before);
          lastStarted.set(uid, last);
        }
      };
      for (const [index, step] of sequence.entries()) {
        if (step === 'answer') {
          answerFirst(1);
          await endOfTurn();
        } else answers.push(service.run(request(unixCaller(step), `${step} ${index}`)));
        check();
      }
      while (running.length > 0) {
        answerFirst(1);
        await endOfTurn();
        check();
      }
      expect(await Promise.all(answers)).toHaveLength(answers.length);
    }),
  );
});

/** What runs stands in `running`, in the order of its start. */
function heldService(
  limits: Partial<ShareLimits> = {},
  ofGenerations: Partial<ShareLimits> = {},
  shares?: Shares,
  keyStore = 'default',
): {
  service: KmsService;
  running: string[];
  refused: string[];
  answerFirst: (count: number) => void;
} {
  const running: string[] = [];
  const refused: string[] = [];
  const ends: (() => void)[] = [];
  const held: KmsService = {
    run: ({ operationName }) =>
      new Promise((resolve) => {
        running.push(operationName);
        ends.push(() => resolve({ ok: true, body: operationName }));
      }),
    async refuse({ operationName }, error) {
      refused.push(operationName);
      return { ok: false, error };
    },
    async act(_act, perform) {
      return { ok: true, body: (await perform(silentAnnouncer)).body };
    },
  };
  return {
    service: shareFairly(
      held,
      shares ??
        new Shares({
          // Whoever may run does: how the processor is shared is another test's.
          processor: new ProcessorTurns(Number.POSITIVE_INFINITY),
          requests: {
            maxRunning: 128,
            maxWaiting: 2048,
            maxWaitingBytes: 1024 * 1024,
            maxWaitingMs: Infinity,
            maxExpectedMs: Infinity,
            ...limits,
          },
        }),
      {
        keyStore,
        limits: {
          maxRunning: 1,
          maxWaiting: 2048,
          maxWaitingBytes: 1024 * 1024,
          maxExpectedMs: Infinity,
          maxWaitingMs: Infinity,
          ...ofGenerations,
        },
      },
    ),
    running,
    refused,
    answerFirst(count) {
      running.splice(0, count);
      for (const end of ends.splice(0, count)) end();
    },
  };
}

async function endOfTurn(): Promise<void> {
  await new Promise((resolve) => setImmediate(resolve));
}

function request(caller: Caller, operationName: string, bytes = 10): KmsRequest {
  return {
    requestId: 'id',
    receivedAtMs: 0,
    sourceIPAddress: 'unix',
    userAgent: null,
    payer: payerOfCaller(caller),
    operationName,
    body: Buffer.alloc(bytes, 'x'),
    caller,
    unknownMembers: 'ignore',
  };
}

function unixCaller(uid: number): Caller {
  const proof = { kind: 'unix', uid, gid: uid, pid: 1, groups: [] } as const;
  return { ...userCaller(`arn:aws:iam::000000000000:user/unix/uid=${uid}`), proof };
}

function signedCaller(arn: string, uid?: number): Caller {
  const issuedTo = uid === undefined ? {} : { issuedTo: { kind: 'unix', uid, gid: uid, pid: 1, groups: [] } as const };
  return { ...userCaller(arn), proof: { kind: 'sigv4', accessKeyId: 'AKIA', sourceIp: '127.0.0.1', ...issuedTo } };
}

function userCaller(arn: string) {
  return { type: 'IAMUser', arn: principal(arn), accountId: '000000000000' } as const;
}

function principal(arn: string) {
  const parsed = parsePrincipalArn(arn);
  if (parsed === undefined) throw new Error(`\`${arn}\` is no principal`);
  return parsed;
}
