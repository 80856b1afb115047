import { describe, expect, it } from 'vitest';
import { marker, policyDocument, policyName, regionName } from '../../src/operations/declaration/members.ts';
import { pathName } from '../../src/operations/declaration/path-name.ts';
import {
  blob,
  boolean,
  decodeRequest,
  enumeration,
  integer,
  list,
  object,
  optional,
  type Shape,
  secretBlob,
  string,
  stringMap,
  timestamp,
} from '../../src/operations/declaration/schema.ts';
import { xksMembers } from '../../src/operations/key-stores/key-store-request.ts';
import { Plaintext } from '../../src/secrets/secret-bytes.ts';

/** As the service model of AWS KMS has them. */
const modelPatterns = [
  [marker, 'Marker', '\u0100', '[\\u0020-\\u00FF]*'],
  [policyDocument, 'Policy', '{"\u0100"}', '[\\u0009\\u000A\\u000D\\u0020-\\u00FF]+'],
  [policyName, 'PolicyName', 'a b', '[\\w]+'],
  [regionName, 'ReplicaRegion', 'Mars', '^([a-z]+-){2,3}\\d+$'],
  [xksMembers.XksProxyUriEndpoint, 'XksProxyUriEndpoint', 'http://example', '^https://[a-zA-Z0-9.-]+$'],
  [xksMembers.XksProxyVpcEndpointServiceOwner, 'XksProxyVpcEndpointServiceOwner', '12345678901x', '[0-9]{12}'],
] as const;

const request = object({
  KeyId: string({ min: 1, max: 8 }),
  Kind: optional(enumeration(['A', 'B'])),
  Count: optional(integer({ min: 1, max: 10 })),
  Data: optional(blob({ min: 1, max: 4 })),
  Secret: optional(secretBlob({ min: 1, max: 4 })),
  Names: optional(list(string({ min: 1 }), { max: 2 })),
  Context: optional(stringMap),
  Dry: optional(boolean),
  Tags: optional(list(object({ TagKey: string({ max: 2 }) }))),
  Name: optional(string({ pattern: /^[a-z]+$/ })),
});

function errorOf(value: unknown, shape: Shape<unknown> = request, unknownMembers: 'ignore' | 'refuse' = 'ignore') {
  try {
    decodeRequest(shape, value, unknownMembers);
  } catch (error) {
    return error instanceof Error ? `${error.name}: ${error.message}` : error;
  }
  return 'no error';
}

const one = '1 validation error detected: ';
const valid = { KeyId: 'k' };

describe('a request that breaks a constraint', () => {
  it.each([
    ['a missing member', {}, `${one}Value null at 'keyId' failed to satisfy constraint: Member must not be null`],
    [
      'a null member',
      { KeyId: null },
      `${one}Value null at 'keyId' failed to satisfy constraint: Member must not be null`,
    ],
    [
      'too short',
      { KeyId: '' },
      `${one}Value '' at 'keyId' failed to satisfy constraint: Member must have length greater than or equal to 1`,
    ],
    [
      'too long',
      { KeyId: '123456789' },
      `${one}Value '123456789' at 'keyId' failed to satisfy constraint: Member must have length less than or equal to 8`,
    ],
    [
      'no such value',
      { ...valid, Kind: 'C' },
      `${one}Value 'C' at 'kind' failed to satisfy constraint: Member must satisfy enum value set: [A, B]`,
    ],
    [
      'too small',
      { ...valid, Count: 0 },
      `${one}Value '0' at 'count' failed to satisfy constraint: Member must have value greater than or equal to 1`,
    ],
    [
      'too large',
      { ...valid, Count: 11 },
      `${one}Value '11' at 'count' failed to satisfy constraint: Member must have value less than or equal to 10`,
    ],
    [
      'too many bytes, which are not repeated',
      { ...valid, Data: 'AAAAAAA=' },
      `${one}Value at 'data' failed to satisfy constraint: Member must have length less than or equal to 4`,
    ],
    [
      'no bytes',
      { ...valid, Secret: '' },
      `${one}Value at 'secret' failed to satisfy constraint: Member must have length greater than or equal to 1`,
    ],
    [
      'a member of a list',
      { ...valid, Tags: [{ TagKey: 'ok' }, { TagKey: 'long' }] },
      `${one}Value 'long' at 'tags.2.member.tagKey' failed to satisfy constraint: Member must have length less than or equal to 2`,
    ],
    [
      'another pattern',
      { ...valid, Name: 'A' },
      `${one}Value 'A' at 'name' failed to satisfy constraint: Member must satisfy regular expression pattern: ^[a-z]+$`,
    ],
    [
      'several at once',
      { KeyId: '', Count: 0 },
      "2 validation errors detected: Value '' at 'keyId' failed to satisfy constraint: Member must have length greater than or equal to 1; Value '0' at 'count' failed to satisfy constraint: Member must have value greater than or equal to 1",
    ],
  ])('hears AWS’s words: %s', (_what, value, message) => {
    expect(errorOf(value)).toBe(`ValidationException: ${message}`);
  });

  it('hears of at most ten problems, with values cut to a bounded length', () => {
    const message = String(errorOf({ KeyId: 'x'.repeat(100_000), Tags: Array(5000).fill({ TagKey: 'long' }) }));
    expect(message).toMatch(/^ValidationException: 10 validation errors detected/);
    expect(message.length).toBeLessThan(4000);
  });
});

describe('a request with a wrong JSON type', () => {
  it.each([
    ['a number for a string', { KeyId: 1 }, 'NUMBER_VALUE can not be converted to a String'],
    ['true for a string', { KeyId: true }, 'TRUE_VALUE can not be converted to a String'],
    ['an object for a string', { KeyId: {} }, 'Start of structure or map found where not expected.'],
    ['a list for a string', { KeyId: [] }, 'Start of structure or map found where not expected.'],
    ['a string for a number', { ...valid, Count: '1' }, 'STRING_VALUE can not be converted to an Integer'],
    ['a fraction', { ...valid, Count: 1.5 }, 'NUMBER_VALUE can not be converted to an Integer'],
    [
      'a number too large for an integer',
      { ...valid, Count: 2 ** 40 },
      'NUMBER_VALUE can not be converted to an Integer',
    ],
    ['a string for a boolean', { ...valid, Dry: 'true' }, 'STRING_VALUE can not be converted to a Boolean'],
    ['a string for a list', { ...valid, Names: 'a' }, 'Expected list or null'],
    ['a hole in a list', { ...valid, Names: [null] }, 'Unexpected null in a list'],
    ['a string for a map', { ...valid, Context: 'a' }, 'Expected map or null'],
    ['a number in a map of strings', { ...valid, Context: { a: 1 } }, 'NUMBER_VALUE can not be converted to a String'],
    ['a list instead of a request', [], 'Start of structure or map found where not expected.'],
    ['null instead of a request', null, 'Start of structure or map found where not expected.'],
    ['a lone surrogate', { KeyId: '\ud800' }, 'Invalid UTF-16 surrogate in a string value'],
    [
      'a lone surrogate in a context',
      { ...valid, Context: { '\udc00': 'x' } },
      'Invalid UTF-16 surrogate in a string value',
    ],
  ])('is a SerializationException: %s', (_what, value, message) => {
    expect(errorOf(value)).toBe(`SerializationException: ${message}`);
  });

  it.each(['AAA', 'A===', 'AA=A', 'AAAA\n', 'AA-_', 'A A=', '====', 'AAAAA'])('refuses %j as base64', (data) => {
    expect(errorOf({ ...valid, Data: data })).toBe(
      'SerializationException: Invalid length or character in a base64-encoded value',
    );
  });
});

describe('a request with members that nobody knows', () => {
  it('is taken on the AWS wire', () => {
    expect(decodeRequest(request, { ...valid, Newer: 1, constructor: 2 }, 'ignore')).toEqual({ KeyId: 'k' });
  });

  it('is refused where they are typing errors', () => {
    expect(errorOf({ ...valid, keyid: 'k' }, request, 'refuse')).toMatch(
      /^ValidationException: Unknown member 'keyid'; this operation takes: KeyId, Kind, /,
    );
  });

  it('cannot set a prototype', () => {
    const decoded = decodeRequest(request, JSON.parse('{"KeyId":"k","__proto__":{"Dry":true}}'), 'ignore');
    expect(decoded.Dry).toBeUndefined();
  });
});

describe('decoded values', () => {
  it('keep a map’s key that is called __proto__', () => {
    const decoded = decodeRequest(request, JSON.parse('{"KeyId":"k","Context":{"__proto__":"x"}}'), 'ignore');
    expect(Object.keys(decoded.Context ?? {})).toEqual(['__proto__']);
  });

  it('never stand in the message of a refusal when they are secret', () => {
    const secret = Buffer.from('hunter2 and more');
    const message = String(errorOf({ ...valid, Secret: secret.toString('base64') }));
    expect(message).toContain("Value at 'secret'");
    expect(message).not.toContain(secret.toString('base64'));
    expect(message).not.toContain('hunter2');
  });

  it('hold secrets in memory that wipe() zeroes', () => {
    const decoded = decodeRequest(request, { ...valid, Secret: 'AQID' }, 'ignore');
    expect(decoded.Secret?.reveal()).toEqual(Buffer.from([1, 2, 3]));
    request.wipe(decoded);
    expect(decoded.Secret?.reveal()).toEqual(Buffer.alloc(3));
  });
});

describe('encoded values', () => {
  it('are JSON as AWS writes it: base64, epoch seconds, absent members left out', () => {
    const response = object({
      Data: optional(blob()),
      Secret: optional(secretBlob()),
      When: optional(timestamp),
      Gone: optional(string()),
      Context: optional(stringMap),
      Names: optional(list(string())),
    });
    const json = response.encode({
      Data: Buffer.from('data'),
      Secret: new Plaintext(Buffer.from('secret')),
      When: new Date(1_700_000_000_250),
      Gone: undefined,
      Context: { 'a"b': 'c\n' },
      Names: ['x', 'y'],
    });
    expect(json).toBe(
      '{"Data":"ZGF0YQ==","Secret":"c2VjcmV0","When":1700000000.25,"Context":{"a\\"b":"c\\n"},"Names":["x","y"]}',
    );
  });
});

describe('Patterns of the service model', () => {
  it.each(modelPatterns)('are repeated as AWS repeats them: %#', (shape, name, value, pattern) => {
    const named = object({ [name]: shape });
    expect(() => decodeRequest(named, { [name]: value }, 'refuse')).toThrow(
      expect.objectContaining({
        message: `1 validation error detected: Value '${value}' at '${pathName(name)}' failed to satisfy constraint: Member must satisfy regular expression pattern: ${pattern}`,
      }),
    );
  });

  it('take what matches as a whole', () => {
    const name = object({ XksProxyVpcEndpointServiceName: xksMembers.XksProxyVpcEndpointServiceName });
    for (const start of ['com', 'eu']) {
      const XksProxyVpcEndpointServiceName = `${start}.amazonaws.vpce.eu-central-1.vpce-svc-0123456789abcdef0`;
      const decoded = decodeRequest(name, { XksProxyVpcEndpointServiceName }, 'refuse');
      expect(decoded).toEqual({ XksProxyVpcEndpointServiceName });
    }
  });
});
