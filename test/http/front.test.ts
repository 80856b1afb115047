/**
 * A server with the front and one without it hear the same bytes: answers and records are the same.
 *
 * `DRAWBRIDGE_FRONT_STREAMS=100000` compares so many streams instead; `DRAWBRIDGE_SEED` those of a seed that was printed.
 */

import { isDeepStrictEqual } from 'node:util';
import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { ExchangeBudget } from '../../src/kms/budgets.ts';
import { type ByteStream, byteStreams, maxBodyBytes, signedStreams } from './byte-streams.ts';
import { heardFrom } from './heard-answers.ts';
import { awsRequest, RawClient, startWire, type Wire } from './wire.ts';

const streamCount = Number(process.env['DRAWBRIDGE_FRONT_STREAMS'] ?? 1000);
/** Of what needs fewer. */
const few = Math.ceil(streamCount / 5);
const seed = Number(process.env['DRAWBRIDGE_SEED'] ?? Date.now() % 1_000_000);
/** Compared at once, each on a connection of its own. */
const batchSize = 25;

type Pair = readonly [front: Wire, back: Wire];

async function startPair(kind: 'unix' | 'tcp', budgets: Partial<ExchangeBudget> = {}): Promise<Pair> {
  const start = (hasFront: boolean) => startWire({ maxBodyBytes }, kind, budgets, {}, { hasFront });
  return [await start(true), await start(false)];
}

function recorded({ noted }: Wire): string[] {
  const lines = noted.map(({ requestId: _id, ...rest }) => JSON.stringify(rest)).sort();
  noted.length = 0;
  return lines;
}

/** @param isOnce None of them is taken twice, because it is signed. */
async function compare(pair: Pair, streams: readonly ByteStream[], isOnce = false): Promise<void> {
  const [ours, nodes] = await Promise.all(pair.map((wire) => heardAndRecorded(wire, streams)));
  if (isDeepStrictEqual(ours, nodes)) return;
  if (isOnce) expect(ours, `seed ${seed}`).toEqual(nodes);
  // Which one it was is seen when each is alone; what differs once in a while is whatever comes behind the end of a connection.
  for (const stream of streams) await compareAlone(pair, stream);
}

async function compareAlone(pair: Pair, stream: ByteStream): Promise<void> {
  const { bytes, lengths } = stream;
  const shortened = (run: string, letter: string) => `${letter}×${run.length}`;
  const text = JSON.stringify(bytes.toString('latin1')).replace(/([yz])\1{50,}/g, shortened);
  for (let attempt = 1; ; attempt++) {
    const [ours, nodes] = await Promise.all(pair.map((wire) => heardAndRecorded(wire, [stream])));
    if (isDeepStrictEqual(ours, nodes)) return;
    if (attempt === 3) expect(ours, `${text} cut into ${JSON.stringify(lengths)}, seed ${seed}`).toEqual(nodes);
  }
}

async function heardAndRecorded(wire: Wire, streams: readonly ByteStream[]): Promise<readonly string[][]> {
  const answers = await Promise.all(streams.map((stream) => heardFrom(wire.endpoint, stream)));
  return [answers, recorded(wire)];
}

test('Two requests are the same wherever they are cut', async () => {
  const pair = await startPair('unix');
  const bytes = Buffer.from(awsRequest('Encrypt', '{"KeyId":"k"}', { 'User-Agent': 'a' }) + awsRequest('Decrypt'));
  const cuts = Array.from({ length: bytes.length - 1 }, (_, index) => ({ bytes, lengths: [index + 1] }));
  for (let from = 0; from < cuts.length; from += batchSize) await compare(pair, cuts.slice(from, from + batchSize));
  await Promise.all(pair.map((wire) => wire.close()));
});

test('A request that waits because others do is not late', async () => {
  const limits = { headersTimeoutMs: 1_500, requestTimeoutMs: 1_500 };
  const wire = await startWire(limits, 'unix', { unansweredPerPayer: 2 });
  let release: () => void = () => undefined;
  wire.hold = new Promise((resolve) => {
    release = resolve;
  });
  const late = awsRequest('Late');
  const client = new RawClient(wire.path).send(awsRequest('First') + late.slice(0, 20));
  await expect.poll(() => wire.noted.length).toBe(1);
  const other = new RawClient(wire.path).send(awsRequest('Other'));
  await expect.poll(() => wire.noted.length).toBe(2);
  client.send(late.slice(20));
  await new Promise((resolve) => setTimeout(resolve, 4_000));
  release();
  expect((await client.answers(2)).map(({ status }) => status)).toEqual([200, 200]);
  for (const { socket } of [client, other]) socket.destroy();
  await wire.close();
});

describe.each([
  ['a Unix socket', 'unix', byteStreams, streamCount, {}],
  ['a Unix socket, a few at a time', 'unix', byteStreams, few, { unansweredPerConnection: 2, beginsPerTurn: 1 }],
  ['the loopback address', 'tcp', signedStreams, few, {}],
  ['the loopback address, unsigned', 'tcp', byteStreams, few, {}],
] as const)('on %s', (_name, kind, arbitrary, count, budgets) => {
  let pair: Pair;
  beforeAll(async () => {
    pair = await startPair(kind, budgets);
  });
  afterAll(() => Promise.all(pair.map((wire) => wire.close())));

  test(
    'What is answered and put on record is the same with the front and without it',
    async () => {
      const streams = fc.sample<ByteStream>(arbitrary, { numRuns: count, seed });
      for (let from = 0; from < count; from += batchSize)
        await compare(pair, streams.slice(from, from + batchSize), arbitrary === signedStreams);
      // Whatever was sent, nothing counts as under way for ever.
      for (const { connections } of pair) await expect.poll(() => connections.awake.underWay).toBe(0);
    },
    60_000 + streamCount * 20,
  );
});
