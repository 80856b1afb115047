/**
 * Values of a policy document as the types they must have, and refusals that say where they have not.
 */

import { KmsError } from '../kms/errors.ts';
import type { JsonObject, JsonValue } from './policy-json.ts';

/** @param place Such as `Statement[0].Action`; statements are counted from 0. */
export function malformed(place: string, reason: string): KmsError {
  return new KmsError('MalformedPolicyDocumentException', `${place}: ${reason}.`);
}

export function objectAt(place: string, value: JsonValue): JsonObject {
  if (value instanceof Map) return value;
  throw malformed(place, 'it must be an object');
}

export function stringAt(place: string, value: JsonValue): string {
  if (typeof value === 'string') return value;
  throw malformed(place, 'it must be a string');
}

/** A string or a list of at least one. */
export function stringsAt(place: string, value: JsonValue): readonly string[] {
  if (typeof value === 'string') return [value];
  if (!Array.isArray(value)) throw malformed(place, 'it must be a string or a list of strings');
  if (value.length === 0) throw malformed(place, 'it must have at least one value');
  return value.map((item: JsonValue, index) => stringAt(`${place}[${index}]`, item));
}
