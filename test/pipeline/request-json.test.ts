/** Secrets of requests become no strings, and what a request says does not depend on it. */

import fc from 'fast-check';
import { expect, test, vi } from 'vitest';
import { decodeRequest, object, optional, secretBlob, stringMap } from '../../src/operations/declaration/schema.ts';
import { parseBody } from '../../src/pipeline/request-json.ts';
import { Plaintext } from '../../src/secrets/secret-bytes.ts';

const request = object({ Plaintext: optional(secretBlob()), Context: optional(stringMap) });
const names = request.secretNames;

/** What an operation gets of a body, or the error. */
function outcomeOf(body: string, secretNames: readonly string[]): object {
  try {
    const { Plaintext: secret, Context } = decodeRequest(request, parseBody(Buffer.from(body), secretNames), 'ignore');
    return { secret: secret?.reveal().toString('hex'), Context };
  } catch (error) {
    return { error: String(error) };
  }
}

test.each([
  '{"Plaintext":"AAECAw=="}',
  '{ "KeyId": "k",\r\n\t"Plaintext" :\n"AAECAw==" , "Context": {"a": "b"} }',
  '{"Plaintext":"////"}',
  `{"Plaintext":"${'QUJD'.repeat(1365)}"}`,
  '{"Plaintext":"\\/\\/AB","Context":{"a":"\\/"}}',
])('The secret of %s is taken from the bytes, and the body is zero', (body) => {
  const bytes = Buffer.from(body);
  const value = parseBody(bytes, names) as { Plaintext: unknown };
  expect(value.Plaintext).toBeInstanceOf(Plaintext);
  expect(bytes.every((byte) => byte === 0)).toBe(true);
  expect(outcomeOf(body, names)).toEqual(outcomeOf(body, []));
});

test.each([
  ['a name within another map', '{"Context":{"Plaintext":"QUJD"}}'],
  ['a name within another map beside the secret', '{"Context":{"Plaintext":"QUJD"},"Plaintext":"REVG"}'],
  ['a name twice', '{"Plaintext":"QUJD","Plaintext":"REVG"}'],
  ['a name with an escape', '{"Pl\\u0061intext":"QUJD","Context":{"Plaintext":"REVG"}}'],
  ['the end of another name', '{"a\\"Plaintext":"QUJD"}'],
  ['a slash with an escape', '{"Plaintext":"\\/\\/\\/\\/"}'],
  ['a name that is a value', '{"Context":{"a":"Plaintext"}}'],
  ['the filler itself', '{"Plaintext":"****"}'],
  ['nothing', '{"Plaintext":""}'],
  ['no text', '{"Plaintext":null}'],
  ['a list', '[{"Plaintext":"QUJD"}]'],
  ['too little padding', '{"Plaintext":"QUI"}'],
  ['padding in the middle', '{"Plaintext":"QQ==QUJD"}'],
  ['only padding', '{"Plaintext":"===="}'],
  ['another alphabet', '{"Plaintext":"__--"}'],
  ['a line break', '{"Plaintext":"QUJD\nQUJD"}'],
  ['letters beyond ASCII', '{"Plaintext":"QUJä"}'],
  ['letters beyond ASCII in what is no JSON', '{"Plaintext":"QUJä"x}'],
  ['a word', '{"Plaintext":"my secret"}'],
  ['a word of base64 in another map', '{"Context":{"Plaintext":"my secret \\/ "}}'],
  ['a word in another map', '{"Context":{"Plaintext":"my secret"}}'],
  ['slashes with an escape in another map', '{"Context":{"Plaintext":"\\/\\/AB"}}'],
  ['slashes of both kinds in another map', '{"Context":{"Plaintext":"/\\/AB"}}'],
  ['an escape of something else', '{"Plaintext":"\\/\\/\\u0041B"}'],
  ['an escape at the end', '{"Plaintext":"QUJD\\"}'],
  ['an escaped quote', '{"Plaintext":"QUJ\\"DQUJD"}'],
  ['no end', '{"Plaintext":"QUJD'],
  ['no end and a word', '{"Plaintext":"my secret'],
  ['no end and an escape', '{"Plaintext":"QUJD\\u00'],
  ['no end and letters beyond ASCII', '{"Plaintext":"QUJäD\t'],
  ['no JSON behind it', '{"Plaintext":"QUJD",}'],
])('%s means what it means without looking for secrets', (_, body) => {
  expect(outcomeOf(body, names)).toEqual(outcomeOf(body, []));
});

test.each([
  ['with slashes as PHP writes them', '{"Plaintext":"c2VjcmV0\\/c2V"}'],
  ['that was cut off', '{"KeyId":"k","Plaintext":"c2VjcmV0'],
  ['in lines', '{"Plaintext":"c2VjcmV0\nc2VjcmV0\n"}'],
  ['that is no base64', '{"Plaintext":"the c2VjcmV0 itself"}'],
  ['in the alphabet of URLs', '{"Plaintext":"c2VjcmV0-_c2"}'],
  ['without its padding', '{"Plaintext":"c2VjcmV0c2"}'],
  ['that is too long', `{"Plaintext":"${'c2VjcmV0'.repeat(2_000)}"}`],
])('A plaintext %s becomes no string', (_, body) => {
  const parsed = vi.spyOn(JSON, 'parse');
  try {
    parseBody(Buffer.from(body), names);
  } catch {
    // Some are no JSON. What is told of them is compared above.
  }
  const texts = parsed.mock.calls.map(([text]) => text);
  parsed.mockRestore();
  expect(texts).not.toEqual([]);
  expect(texts.filter((text) => text.includes('c2VjcmV0'))).toEqual([]);
});

test('Whatever bytes there are, the same ones come out as from a string', () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 200, size: 'max' }), fc.string(), (bytes, text) => {
      const plaintext = Buffer.from(bytes).toString('base64');
      const body = JSON.stringify({ Context: { [text]: text }, Plaintext: plaintext });
      expect(outcomeOf(body, names)).toEqual(outcomeOf(body, []));
    }),
  );
  fc.assert(
    fc.property(fc.string(), (text) => {
      const body = JSON.stringify({ Plaintext: text });
      expect(outcomeOf(body, names)).toEqual(outcomeOf(body, []));
    }),
  );
  const nearly = fc.string({ unit: fc.constantFrom('A', 'Q', '/', '\\/', '=', '-', ' ', '\n', 'ä', '\\', '"', '*') });
  fc.assert(
    fc.property(nearly, fc.constantFrom('"}', '"', '', '"x}', '","Context":{"a":"b"}}'), (text, end) => {
      const body = `{"Plaintext":"${text}${end}`;
      expect(outcomeOf(body, names)).toEqual(outcomeOf(body, []));
    }),
    { numRuns: 2_000 },
  );
});

test('A secret of a request that is refused is wiped', () => {
  const value = parseBody(Buffer.from('{"Plaintext":"QUJD","Context":1}'), names) as { Plaintext: Plaintext };
  expect(() => decodeRequest(request, value, 'ignore')).toThrow('Expected map');
  expect(value.Plaintext.reveal().equals(Buffer.alloc(3))).toBe(true);
});
