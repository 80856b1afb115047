/**
 * Schemas of the AWS JSON 1.1 protocol: one value declares a member's type, its constraints and its JSON on both ways.
 *
 * `decode` turns what `JSON.parse` gave into the declared type. A JSON value of the wrong type is a
 * `SerializationException` at once; constraints (missing, length, range, pattern, enumeration) are collected over the
 * whole request and become one `ValidationException` in AWS's words. `encode` writes a response member as JSON text.
 * The TypeScript type is derived from the schema (`Infer`), never written beside it; `test/operations/sdk.test-d.ts`
 * holds it to the AWS SDK's. Values of sensitive members are never repeated in a message.
 *
 * Our own and not a validation library's, because the messages, the two error names and the base64 and epoch encodings
 * are the wire format that Drawbridge exists to speak, and because this runs on every request.
 *
 * Sources: Smithy, "AWS JSON 1.1 protocol"; the messages are those that the service sends.
 */

import { KmsError } from '../../kms/errors.ts';
import { Plaintext } from '../../secrets/secret-bytes.ts';
import { secretMemory } from '../../secrets/secret-memory.ts';
import { pathName } from './path-name.ts';

/** A type that goes over the wire. */
export interface Shape<T> {
  /** Decodes a value that is neither absent nor null. `path` is where it stands, in AWS's spelling (`tags.1.member.tagKey`). */
  decode(value: unknown, path: string, context: DecodeContext): T;
  /** The value as JSON text. */
  encode(value: T): string;
  /** Zeroes every secret in the value. */
  wipe(value: T): void;
  /** As the audit log has it: `keyId` for the member `KeyId`, at every depth; times as text. Absent: the value as it is. */
  toRecord?(value: T): unknown;
  /** What the audit log calls a member of this shape, where CloudTrail calls it something else than its name has it. */
  readonly recordName?: string;
  /** Its value is a `Plaintext`, which `decode` takes as well as text: bytes in base64, or text as it is. */
  readonly isSecret?: 'bytes' | 'text';
}

/** A member that may be absent. */
export interface OptionalShape<T> extends Shape<T> {
  readonly optional: true;
}

export type Infer<S> = S extends Shape<infer T> ? T : never;

export type Members = Readonly<Record<string, Shape<unknown>>>;
type OptionalNames<M> = { [Name in keyof M]: M[Name] extends OptionalShape<unknown> ? Name : never }[keyof M];
type Flatten<T> = { [Name in keyof T]: T[Name] };
type InferMembers<M> = Flatten<
  { readonly [Name in Exclude<keyof M, OptionalNames<M>>]: Infer<M[Name]> } & {
    readonly [Name in OptionalNames<M>]?: Infer<M[Name]> | undefined;
  }
>;

/** What is collected while one request is decoded. */
export interface DecodeContext {
  readonly unknownMembers: 'ignore' | 'refuse';
  readonly problems: string[];
  /** Every secret decoded so far, so that a request refused half way is wiped too. */
  readonly secrets: Plaintext[];
}

/** AWS names at most this many problems; more would only make a longer message. */
const maxProblems = 10;
/**
 * AWS repeats a value whole. So is it here, when it is little longer than the longest members that are no documents (8,192
 * characters); of a longer one the beginning is enough to recognise it, and a bound for answers, log and audit lines.
 */
const maxWholeCharacters = 8192 + 256;
const beginningCharacters = 256;

function report(context: DecodeContext, value: string | null, path: string, constraint: string): void {
  if (context.problems.length >= maxProblems) return;
  const quoted = value === null ? 'Value' : `Value '${wholeOrBeginning(value)}'`;
  context.problems.push(`${quoted} at '${path}' failed to satisfy constraint: ${constraint}`);
}

function wholeOrBeginning(value: string): string {
  return value.length > maxWholeCharacters ? `${value.slice(0, beginningCharacters)}…` : value;
}

export function wrongType(value: unknown, expected: string): KmsError {
  if (typeof value === 'object') {
    return new KmsError('SerializationException', 'Start of structure or map found where not expected.');
  }
  const found =
    typeof value === 'boolean' ? (value ? 'TRUE_VALUE' : 'FALSE_VALUE') : `${typeof value}_VALUE`.toUpperCase();
  return new KmsError('SerializationException', `${found} can not be converted to ${expected}`);
}

const nothingToWipe = (): void => undefined;

export interface LengthLimits {
  readonly min?: number;
  readonly max?: number;
}

export function checkLength(
  length: number,
  limits: LengthLimits,
  value: string | null,
  path: string,
  context: DecodeContext,
): void {
  if (limits.min !== undefined && length < limits.min) {
    report(context, value, path, `Member must have length greater than or equal to ${limits.min}`);
  }
  if (limits.max !== undefined && length > limits.max) {
    report(context, value, path, `Member must have length less than or equal to ${limits.max}`);
  }
}

/** A JSON string of Unicode text; lengths are in UTF-16 code units, as AWS counts. */
export function string(
  limits: LengthLimits & { readonly pattern?: Pick<RegExp, 'source' | 'test'> } = {},
): Shape<string> {
  return {
    decode(value, path, context) {
      if (typeof value !== 'string') throw wrongType(value, 'a String');
      // A lone surrogate has no UTF-8 form: two different strings would become the same bytes further down.
      if (!value.isWellFormed())
        throw new KmsError('SerializationException', 'Invalid UTF-16 surrogate in a string value');
      checkLength(value.length, limits, value, path, context);
      if (limits.pattern !== undefined && !limits.pattern.test(value)) {
        report(context, value, path, `Member must satisfy regular expression pattern: ${limits.pattern.source}`);
      }
      return value;
    },
    encode: (value) => JSON.stringify(value),
    wipe: nothingToWipe,
  };
}

export function enumeration<const Value extends string>(values: readonly Value[]): Shape<Value> {
  const allowed = new Set<string>(values);
  return {
    decode(value, path, context) {
      if (typeof value !== 'string') throw wrongType(value, 'a String');
      if (!allowed.has(value))
        report(context, value, path, `Member must satisfy enum value set: [${values.join(', ')}]`);
      // Safe: when the value is not one of them, the problem just reported ends the request.
      return value as Value;
    },
    encode: (value) => `"${value}"`,
    wipe: nothingToWipe,
  };
}

export function integer(limits: { readonly min?: number; readonly max?: number } = {}): Shape<number> {
  return {
    decode(value, path, context) {
      if (typeof value !== 'number') throw wrongType(value, 'an Integer');
      if (!Number.isInteger(value) || Math.abs(value) > 0x7fffffff) {
        throw new KmsError('SerializationException', 'NUMBER_VALUE can not be converted to an Integer');
      }
      if (limits.min !== undefined && value < limits.min) {
        report(context, String(value), path, `Member must have value greater than or equal to ${limits.min}`);
      }
      if (limits.max !== undefined && value > limits.max) {
        report(context, String(value), path, `Member must have value less than or equal to ${limits.max}`);
      }
      return value;
    },
    encode: (value) => String(value),
    wipe: nothingToWipe,
  };
}

export const boolean: Shape<boolean> = {
  decode(value) {
    if (typeof value !== 'boolean') throw wrongType(value, 'a Boolean');
    return value;
  },
  encode: (value) => (value ? 'true' : 'false'),
  wipe: nothingToWipe,
};

/** A point in time: seconds since the epoch, as a JSON number with milliseconds as its fraction. */
export const timestamp: Shape<Date> = {
  decode(value) {
    if (typeof value !== 'number') throw wrongType(value, 'a Timestamp');
    const date = new Date(value * 1000);
    // Further off than any date: JSON has numbers that are no time.
    if (Number.isNaN(date.getTime())) {
      throw new KmsError('SerializationException', 'NUMBER_VALUE can not be converted to a Timestamp');
    }
    return date;
  },
  encode: (value) => String(value.getTime() / 1000),
  toRecord: (value) => value.toISOString(),
  wipe: nothingToWipe,
};

function decodeBase64(value: unknown): Buffer {
  if (typeof value !== 'string') throw wrongType(value, 'a Blob');
  const padding = value.endsWith('==') ? 2 : value.endsWith('=') ? 1 : 0;
  // Memory of its own, not of Buffer's pool: it may hold a secret and is wiped.
  const bytes = secretMemory(Math.max(0, Math.ceil(value.length / 4) * 3 - padding));
  // `Buffer` skips what is not base64 instead of refusing it, so that fewer bytes come out than the length promises; and it
  // takes the URL-safe alphabet, which AWS does not. Cheaper than a pattern over the whole text, which may have 8 KB.
  const written = bytes.write(value, 'base64');
  if (value.length % 4 !== 0 || written !== bytes.length || /[-_]/.test(value)) {
    bytes.fill(0);
    throw new KmsError('SerializationException', 'Invalid length or character in a base64-encoded value');
  }
  return bytes;
}

/** Bytes that are no secret (ciphertexts, public keys): base64 on the wire. */
export function blob(limits: LengthLimits = {}): Shape<Buffer> {
  return {
    decode(value, path, context) {
      const bytes = decodeBase64(value);
      checkLength(bytes.length, limits, null, path, context);
      return bytes;
    },
    encode: (value) => `"${value.toString('base64')}"`,
    wipe: nothingToWipe,
  };
}

/** Bytes that are secret: wiped after the request. Of an answer their base64 is a string that cannot be (`secrets/secret-bytes.ts`). */
export function secretBlob(limits: LengthLimits = {}): Shape<Plaintext> {
  return {
    decode(value, path, context) {
      const plaintext = value instanceof Plaintext ? value : new Plaintext(decodeBase64(value));
      if (plaintext !== value) context.secrets.push(plaintext);
      checkLength(plaintext.lengthBytes, limits, null, path, context);
      return plaintext;
    },
    encode: (value) => `"${value.reveal().toString('base64')}"`,
    wipe: (value) => value.wipe(),
    isSecret: 'bytes',
  };
}

export function list<T>(item: Shape<T>, limits: LengthLimits = {}): Shape<readonly T[]> {
  return {
    decode(value, path, context) {
      if (!Array.isArray(value)) {
        if (typeof value === 'object') throw wrongType(value, 'a List');
        throw new KmsError('SerializationException', 'Expected list or null');
      }
      checkLength(value.length, limits, `[${value.length} members]`, path, context);
      const items: T[] = [];
      for (const [index, element] of value.entries()) {
        const elementPath = `${path}.${index + 1}.member`;
        // A null element is a wrong type, not an absent member: a list has no holes.
        if (element === null) throw new KmsError('SerializationException', 'Unexpected null in a list');
        items.push(item.decode(element, elementPath, context));
        if (context.problems.length >= maxProblems) break;
      }
      return items;
    },
    encode: (value) => `[${value.map((element) => item.encode(element)).join(',')}]`,
    ...(item.toRecord && { toRecord: (value: readonly T[]) => value.map((element) => item.toRecord?.(element)) }),
    wipe(value) {
      for (const element of value) item.wipe(element);
    },
  };
}

/** A map of strings. It has no prototype, so that a key like `__proto__` is a key like any other. */
export const stringMap: Shape<Readonly<Record<string, string>>> = {
  decode(value) {
    if (typeof value !== 'object' || value === null || Array.isArray(value)) {
      throw Array.isArray(value)
        ? wrongType(value, 'a Map')
        : new KmsError('SerializationException', 'Expected map or null');
    }
    for (const key of Object.keys(value)) {
      const member = (value as Record<string, unknown>)[key];
      if (typeof member !== 'string') throw wrongType(member, 'a String');
      if (!key.isWellFormed() || !member.isWellFormed()) {
        throw new KmsError('SerializationException', 'Invalid UTF-16 surrogate in a string value');
      }
    }
    // Not filled from `Object.create(null)`, which V8 makes a hash table of: a fifth more for all that reads it afterwards.
    return Object.setPrototypeOf({ ...value }, null);
  },
  encode: (value) => JSON.stringify(value),
  wipe: nothingToWipe,
};

export function optional<T>(shape: Shape<T>): OptionalShape<T> {
  return { ...shape, optional: true };
}

export interface ObjectShape<M extends Members> extends Shape<InferMembers<M>> {
  readonly members: M;
  /** Of its own members. */
  readonly secretNames: readonly string[];
  /** Those of them that are no base64. */
  readonly secretTexts: ReadonlySet<string>;
}

export function object<const M extends Readonly<Record<string, Shape<unknown>>>>(members: M): ObjectShape<M> {
  const entries = Object.entries(members).map(([name, shape]) => ({
    name,
    path: pathName(name),
    // Safe: members are only ever called with what this object itself decoded, or with a value of the inferred type.
    shape: shape as unknown as Shape<unknown>,
    optional: 'optional' in shape,
    prefix: `${JSON.stringify(name)}:`,
  }));
  const known = new Set(Object.keys(members));
  const secretNames = entries.filter(({ shape }) => shape.isSecret !== undefined).map(({ name }) => name);
  // Most have none, and each request is wiped.
  const wiped = entries.filter(({ shape }) => shape.wipe !== nothingToWipe);
  const wipeMembers = (value: object): void => {
    for (const { name, shape } of wiped) {
      const member = (value as Record<string, unknown>)[name];
      if (member !== undefined) shape.wipe(member);
    }
  };
  const secretTexts = new Set(entries.filter(({ shape }) => shape.isSecret === 'text').map(({ name }) => name));
  return {
    members,
    secretNames,
    secretTexts,
    decode(value, path, context) {
      if (typeof value !== 'object' || value === null || Array.isArray(value)) throw wrongType(value, 'a Structure');
      const source = value as Record<string, unknown>;
      for (const name of secretNames) {
        const secret = source[name];
        if (secret instanceof Plaintext) context.secrets.push(secret);
      }
      if (context.unknownMembers === 'refuse') refuseUnknown(value, known);
      const decoded: Record<string, unknown> = {};
      for (const entry of entries) {
        const member = Object.hasOwn(source, entry.name) ? source[entry.name] : undefined;
        const memberPath = path === '' ? entry.path : `${path}.${entry.path}`;
        if (member !== undefined && member !== null) {
          decoded[entry.name] = entry.shape.decode(member, memberPath, context);
        } else if (!entry.optional && context.problems.length < maxProblems) {
          context.problems.push(`Value null at '${memberPath}' failed to satisfy constraint: Member must not be null`);
        }
      }
      // Safe: every member was decoded by its own shape, and a missing one is a reported problem.
      return decoded as InferMembers<M>;
    },
    encode(value) {
      const source = value as Record<string, unknown>;
      let json = '{';
      for (const entry of entries) {
        const member = source[entry.name];
        if (member === undefined) continue;
        json += (json.length > 1 ? ',' : '') + entry.prefix + entry.shape.encode(member);
      }
      return `${json}}`;
    },
    toRecord: (value) => recordMembers(members, Object.keys(value), value as Record<string, unknown>),
    wipe: wiped.length === 0 ? nothingToWipe : wipeMembers,
  };
}

/** Some members of a value, for the audit log; the names of a map of strings stay as they are. */
export function recordMembers(
  shapes: Members,
  names: readonly string[],
  values: Readonly<Record<string, unknown>>,
): Record<string, unknown> {
  const result: Record<string, unknown> = {};
  for (const name of names) {
    const value = values[name];
    const shape = shapes[name];
    if (value === undefined) continue;
    result[shape?.recordName ?? pathName(name)] = shape?.toRecord === undefined ? value : shape.toRecord(value);
  }
  return result;
}

function refuseUnknown(value: object, known: ReadonlySet<string>): void {
  for (const name of Object.keys(value)) {
    if (!known.has(name)) {
      throw new KmsError(
        'ValidationException',
        `Unknown member '${name.slice(0, beginningCharacters)}'; this operation takes: ${[...known].join(', ')}`,
      );
    }
  }
}

/**
 * Decodes a whole request.
 * @throws KmsError `SerializationException` for a wrong JSON type, `ValidationException` listing every broken constraint.
 */
export function decodeRequest<T>(shape: Shape<T>, value: unknown, unknownMembers: 'ignore' | 'refuse'): T {
  const context: DecodeContext = { unknownMembers, problems: [], secrets: [] };
  try {
    const decoded = shape.decode(value, '', context);
    const count = context.problems.length;
    if (count === 0) return decoded;
    throw new KmsError(
      'ValidationException',
      `${count} validation error${count === 1 ? '' : 's'} detected: ${context.problems.join('; ')}`,
    );
  } catch (error) {
    for (const secret of context.secrets) secret.wipe();
    throw error;
  }
}
