import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { type JsonValue, parsePolicyJson } from '../../src/authorization/language/policy-json.ts';

/** As `JSON.parse` would have it; from entries, so that `__proto__` is a member like any other. */
function plain(value: JsonValue): unknown {
  if (value instanceof Map) return Object.fromEntries([...value].map(([name, item]) => [name, plain(item)]));
  return Array.isArray(value) ? value.map(plain) : value;
}

function attempt(parse: () => unknown): { readonly value: unknown } | 'refused' {
  try {
    return { value: parse() };
  } catch {
    return 'refused'; // Which error it is, is tested by name below.
  }
}

test('a document without duplicate names means what JSON.parse says it means', () => {
  fc.assert(
    fc.property(fc.jsonValue({ maxDepth: 12 }), fc.constantFrom(0, 1, '\t'), (value, space) => {
      const text = JSON.stringify(value, null, space);
      expect(plain(parsePolicyJson(text))).toEqual(JSON.parse(text));
    }),
  );
});

test('a text is JSON here exactly if it is JSON', () => {
  const fragment = fc.constantFrom(
    ...[
      '{',
      '}',
      '[',
      ']',
      ':',
      ',',
      '"',
      '"a"',
      '"b"',
      '\\',
      '\\u00e9',
      '\\ud800',
      'true',
      'null',
      'nul',
      ' ',
      '\n',
      '\t',
      '\v',
    ],
    ...['0', '-', '1', '.5', '1e3', '+', '01', '\u0000', '\u2028', '\ufeff', '/**/', "'a'"],
  );
  const hasDuplicate = (text: string): boolean => /"a"\s*:.*"a"\s*:|"b"\s*:.*"b"\s*:|""\s*:.*""\s*:/s.test(text);
  fc.assert(
    fc.property(fc.array(fragment, { maxLength: 12 }), (fragments) => {
      const text = fragments.join('');
      fc.pre(!hasDuplicate(text));
      expect(attempt(() => plain(parsePolicyJson(text)))).toEqual(attempt(() => JSON.parse(text)));
    }),
    { numRuns: 20_000 },
  );
});

describe('a refusal says line and column:', () => {
  test.each([
    [
      'a name that is there twice',
      '{"Effect": "Deny",\n "Effect": "Allow"}',
      'line 2, column 2: the member "Effect" is there twice.',
    ],
    ['the same name in two spellings', '{"a":1,"\\u0061":2}', 'line 1, column 8: the member "a" is there twice.'],
    ['__proto__ twice', '{"__proto__":1,"__proto__":2}', 'line 1, column 16: the member "__proto__" is there twice.'],
    ['something after the end', '{} {}', 'line 1, column 4: nothing may follow the document.'],
    ['a comma too many', '[1,]', 'line 1, column 4: expected a value.'],
    ['a comma too few', '[1 2]', 'line 1, column 4: expected "," or "]".'],
    ['a name without quotes', '{a:1}', 'line 1, column 2: expected the name of a member.'],
    ['no colon', '{"a" 1}', 'line 1, column 6: expected ":".'],
    ['an object that does not end', '{"a":1', 'line 1, column 7: expected "," or "}".'],
    ['a string that does not end', '\n\n "a', 'line 3, column 2: this string has no end.'],
    ['a byte order mark', '\ufeff{}', 'line 1, column 1: a byte order mark is no JSON; save the file without it.'],
    ['an escape that is none', '"\\x"', 'line 1, column 1: this string has an invalid escape or a control character.'],
    [
      'a line break in a string',
      '"a\nb"',
      'line 1, column 1: this string has an invalid escape or a control character.',
    ],
    [
      'seventeen levels',
      `${'['.repeat(17)}${']'.repeat(17)}`,
      'line 1, column 17: it is nested deeper than 16 levels.',
    ],
  ])('%s', (_, text, where) => {
    expect(() => parsePolicyJson(text)).toThrow(
      expect.objectContaining({
        name: 'MalformedPolicyDocumentException',
        message: `This policy contains invalid Json: ${where}`,
      }),
    );
  });

  test('not even a hundred thousand levels are too many for the stack', () => {
    expect(() => parsePolicyJson('['.repeat(100_000))).toThrow('it is nested deeper than 16 levels');
  });
});
