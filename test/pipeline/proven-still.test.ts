/** Access keys that are revoked while their requests wait, over a service that holds its first answer back. */

import { expect, test, vi } from 'vitest';
import type { Caller } from '../../src/identity/caller.ts';
import { KmsError } from '../../src/kms/errors.ts';
import { unknownPayer } from '../../src/kms/payer.ts';
import { Shares, shareFairly } from '../../src/pipeline/fair-shares.ts';
import { whileProven } from '../../src/pipeline/proven-still.ts';
import type { Act, KmsRequest, KmsService } from '../../src/pipeline/service.ts';
import { alice } from '../authorization/policies.ts';
import { silentAnnouncer } from '../support/announcer.ts';

test('A request whose access key is revoked while it waits is refused, on record, and its body is wiped', async () => {
  const { service, done, refused, answerNext } = oneAtATime();
  let refusal: KmsError | undefined;
  const caller: Caller = {
    type: 'IAMUser',
    arn: alice,
    accountId: '000000000000',
    proof: { kind: 'sigv4', accessKeyId: 'AKIA', sourceIp: '127.0.0.1', refusal: () => refusal },
  };
  const source = { requestId: 'r', receivedAtMs: 0, sourceIPAddress: '127.0.0.1', userAgent: null };
  const origin = { ...source, payer: unknownPayer, caller };
  const request = (operationName: string): KmsRequest => {
    return { ...origin, operationName, body: Buffer.from('body'), unknownMembers: 'ignore' };
  };
  const act: Act = { ...origin, operationName: 'act', eventSource: 'sts', effect: 'reads', parameters: null };
  const last = request('last');
  const first = service.run(request('first'));
  const second = service.run(request('second'));
  const others = [service.run(last), service.act(act, async () => ({ body: 'done', record: null }))];
  answerNext();
  expect(await first).toEqual({ ok: true, body: 'first' });
  // When the processor was busy, it begins a turn of the event loop later.
  await vi.waitUntil(() => done.includes('second'), { timeout: 170_000 });
  refusal = new KmsError('UnrecognizedClientException', 'The security token included in the request is invalid.');
  answerNext();
  expect(await second).toEqual({ ok: true, body: 'second' });
  expect(await Promise.all(others)).toEqual([
    { ok: false, error: refusal },
    { ok: false, error: refusal },
  ]);
  expect({ done, refused }).toEqual({ done: ['first', 'second'], refused: ['last', 'act'] });
  expect(last.body).toEqual(Buffer.alloc(4));
});

/** Each request runs alone, and is answered when the test says so. */
function oneAtATime(): { service: KmsService; done: string[]; refused: string[]; answerNext: () => void } {
  const done: string[] = [];
  const refused: string[] = [];
  let answerNext = (): void => undefined;
  const held: KmsService = {
    run: ({ operationName }) =>
      new Promise((resolve) => {
        done.push(operationName);
        answerNext = () => resolve({ ok: true, body: operationName });
      }),
    async refuse({ operationName }, error) {
      refused.push(operationName);
      return { ok: false, error };
    },
    async act({ operationName }, perform) {
      done.push(operationName);
      return { ok: true, body: (await perform(silentAnnouncer)).body };
    },
  };
  const requests = {
    maxRunning: 1,
    maxWaiting: 10,
    maxWaitingBytes: 1000,
    maxWaitingMs: Infinity,
    maxExpectedMs: Infinity,
  };
  return {
    service: shareFairly(whileProven(held), new Shares({ requests })),
    done,
    refused,
    answerNext: () => answerNext(),
  };
}
