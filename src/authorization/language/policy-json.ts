/**
 * Strict JSON, for documents that decide about access.
 *
 * `JSON.parse` takes the last of two members with one name without a word, so a document could say one thing to the
 * reader who looks at the first and another to the daemon; and its objects answer to `__proto__`. This parser takes
 * exactly what RFC 8259 calls JSON, minus duplicate names and deep nesting, and gives objects as maps. It runs in one
 * pass; every refusal says line and column.
 *
 * Source: RFC 8259; on duplicate names its section 4.
 */

import { KmsError } from '../../kms/errors.ts';

export type JsonValue = string | number | boolean | null | readonly JsonValue[] | JsonObject;
export type JsonObject = ReadonlyMap<string, JsonValue>;

/** A policy with every element is seven levels deep: document, statements, statement, condition, operator, key, value. */
const maxDepth = 16;

interface Reader {
  readonly text: string;
  at: number;
}

/** @throws KmsError MalformedPolicyDocumentException. */
export function parsePolicyJson(text: string): JsonValue {
  const reader: Reader = { text, at: 0 };
  // Nobody sees it in an editor, so that "expected a value" before what looks like one would be a riddle.
  if (text.startsWith('\ufeff')) throw invalidJson(reader, 'a byte order mark is no JSON; save the file without it');
  const value = readValue(reader, 1);
  skipSpace(reader);
  if (reader.at < text.length) throw invalidJson(reader, 'nothing may follow the document');
  return value;
}

function readValue(reader: Reader, depth: number): JsonValue {
  if (depth > maxDepth) throw invalidJson(reader, `it is nested deeper than ${maxDepth} levels`);
  skipSpace(reader);
  switch (reader.text[reader.at]) {
    case '{':
      return readObject(reader, depth);
    case '[':
      return readArray(reader, depth);
    case '"':
      return readString(reader);
    default:
      return readScalar(reader);
  }
}

function readObject(reader: Reader, depth: number): JsonObject {
  const members = new Map<string, JsonValue>();
  reader.at++;
  if (skipIf(reader, '}')) return members;
  do {
    skipSpace(reader);
    if (reader.text[reader.at] !== '"') throw invalidJson(reader, 'expected the name of a member');
    const nameReader: Reader = { text: reader.text, at: reader.at };
    const name = readString(reader);
    if (members.has(name)) throw invalidJson(nameReader, `the member ${JSON.stringify(name)} is there twice`);
    if (!skipIf(reader, ':')) throw invalidJson(reader, 'expected ":"');
    members.set(name, readValue(reader, depth + 1));
  } while (skipIf(reader, ','));
  if (!skipIf(reader, '}')) throw invalidJson(reader, 'expected "," or "}"');
  return members;
}

function readArray(reader: Reader, depth: number): readonly JsonValue[] {
  const values: JsonValue[] = [];
  reader.at++;
  if (skipIf(reader, ']')) return values;
  do values.push(readValue(reader, depth + 1));
  while (skipIf(reader, ','));
  if (!skipIf(reader, ']')) throw invalidJson(reader, 'expected "," or "]"');
  return values;
}

/** Finds the closing quote; what stands between is left to `JSON.parse`, which knows the escapes. */
function readString(reader: Reader): string {
  const { text, at: start } = reader;
  let end = start + 1;
  while (end < text.length && text[end] !== '"') end += text[end] === '\\' ? 2 : 1;
  if (end >= text.length) throw invalidJson(reader, 'this string has no end');
  try {
    // Safe: the text of a JSON string parses to a string or not at all.
    const value = JSON.parse(text.slice(start, end + 1)) as string;
    reader.at = end + 1;
    return value;
  } catch {
    // The parser's own message counts from the start of this string, which would mislead.
    throw invalidJson(reader, 'this string has an invalid escape or a control character');
  }
}

const scalar = /-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d+)?|true|false|null/y;

function readScalar(reader: Reader): number | boolean | null {
  scalar.lastIndex = reader.at;
  const token = scalar.exec(reader.text)?.[0];
  if (token === undefined) throw invalidJson(reader, 'expected a value');
  reader.at += token.length;
  // Safe: the pattern matches numbers, `true`, `false` and `null` only.
  return JSON.parse(token) as number | boolean | null;
}

function skipSpace(reader: Reader): void {
  const { text } = reader;
  while (reader.at < text.length && ' \t\n\r'.includes(text.charAt(reader.at))) reader.at++;
}

function skipIf(reader: Reader, character: string): boolean {
  skipSpace(reader);
  if (reader.text[reader.at] !== character) return false;
  reader.at++;
  return true;
}

function invalidJson({ text, at }: Reader, reason: string): KmsError {
  const before = text.slice(0, at);
  const line = before.split('\n').length;
  const column = at - before.lastIndexOf('\n');
  return new KmsError(
    'MalformedPolicyDocumentException',
    `This policy contains invalid Json: line ${line}, column ${column}: ${reason}.`,
  );
}
