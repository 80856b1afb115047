import { afterAll, beforeAll, expect, test } from 'vitest';
import { httpRequest, parseAnswers, RawClient, startWire, type Wire } from './wire.ts';

let wire: Wire;
beforeAll(async () => {
  wire = await startWire();
});
afterAll(() => wire.close());

async function exchange(method: string, path: string, body = ''): Promise<{ status: number; body: unknown }> {
  const text = await new RawClient(wire.path).send(httpRequest(method, path, { Connection: 'close' }, body)).closed;
  const [answer] = parseAnswers(text);
  if (answer === undefined) throw new Error('there is no answer');
  return { status: answer.status, body: JSON.parse(answer.body) };
}

test('what upkeep does is listed, and confirmed by name, on record', async () => {
  wire.noted.length = 0;
  expect(await exchange('GET', '/upkeep')).toEqual({ status: 200, body: { work: [], more: 0 } });
  const work = 'deletion us-east-1 1234abcd-12ab-34cd-56ef-1234567890ab';
  expect(await exchange('POST', '/upkeep/confirm', JSON.stringify({ work }))).toEqual({ status: 200, body: { work } });
  expect(wire.noted.map(({ operationName }) => operationName)).toEqual(['ListUpkeep', 'ConfirmUpkeep']);
});

test.each([
  ['no body', ''],
  ['no JSON', '{"work"'],
  ['nothing', '{}'],
  ['a number', '{"work":1}'],
  ['a list', '[]'],
  ['null', 'null'],
  ['a word that is none', '{"work":"deletion","leaveMaterial":1}'],
  ['more than it takes', '{"work":"deletion","force":true}'],
])('nothing is confirmed by %s', async (_, body) => {
  expect(await exchange('POST', '/upkeep/confirm', body)).toEqual({
    status: 400,
    body: {
      __type: 'ValidationException',
      message: 'The request names what is confirmed, and nothing else but "leaveMaterial": {"work": "NAME"}.',
    },
  });
});
