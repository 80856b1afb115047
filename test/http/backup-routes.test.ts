import { afterAll, beforeAll, expect, test } from 'vitest';
import { httpRequest, parseAnswers, RawClient, startWire, type Wire } from './wire.ts';

let wire: Wire;
beforeAll(async () => {
  wire = await startWire();
});
afterAll(() => wire.close());

async function post(path: string, body: string): Promise<{ status: number; body: Readonly<Record<string, unknown>> }> {
  const text = await new RawClient(wire.path).send(httpRequest('POST', path, { Connection: 'close' }, body)).closed;
  const [answer] = parseAnswers(text);
  if (answer === undefined) throw new Error('there is no answer');
  return { status: answer.status, body: JSON.parse(answer.body) };
}

test('a backup is made, read in pieces and ended', async () => {
  wire.noted.length = 0;
  expect(await post('/backup', '{}')).toMatchObject({ status: 200, body: { id: 'one', bytes: 4 } });
  const rest = Buffer.from('le').toString('base64');
  expect(await post('/backup/read', '{"id":"one","offset":2}')).toEqual({ status: 200, body: { data: rest } });
  expect(await post('/backup/end', '{"id":"one"}')).toEqual({ status: 200, body: {} });
  expect(wire.noted.map(({ operationName }) => operationName)).toEqual(['MakeBackup', 'ReadBackup', 'EndBackup']);
});

test.each([
  ['/backup/read', ''],
  ['/backup/read', '{"id":"one"}'],
  ['/backup/read', '{"id":"one","offset":-1}'],
  ['/backup/read', '{"id":"one","offset":0.5}'],
  ['/backup/read', '{"id":1,"offset":0}'],
  ['/backup/end', 'null'],
  ['/backup/end', '[]'],
  ['/census', '{}'],
  ['/census', '{"after":"us-east-1"}'],
  ['/census', '{"after":{"region":"us-east-1"}}'],
  ['/census', `{"after":{"region":"us-east-1","keyId":"${'k'.repeat(65)}"}}`],
])('%s is told which form it has for %s', async (path, body) => {
  expect(await post(path, body)).toMatchObject({
    status: 400,
    body: { __type: 'ValidationException', message: expect.stringMatching(/^The request has the form \{/) },
  });
});

test('a census is gone on with where it is said', async () => {
  const after = { region: 'us-east-1', keyId: 'one' };
  expect(await post('/census', JSON.stringify({ after }))).toEqual({ status: 200, body: { after } });
  expect(await post('/census', '{"after":null}')).toEqual({ status: 200, body: { after: null } });
});
