/**
 * A policy document in the layout in which AWS KMS gives it back: a member a line with a space on both sides of its colon,
 * lists within a line, `Version` and `Id` first, and of a statement `Sid` and `Effect`. Nothing else changes: it is the same
 * JSON, with strings and numbers as they were written.
 *
 * Source: answers of AWS KMS to GetKeyPolicy, as recorded.
 */

/** What comes first, and in which order; other members follow as they stand. */
const firstMembers = ['Version', 'Id', 'Sid', 'Effect', 'Principal', 'NotPrincipal'];

/** What `JSON.rawJSON` makes: a number that is printed as it was read. TypeScript's library does not have it yet. */
const rawJson = (JSON as unknown as { rawJSON(text: string): object }).rawJSON;
const isRawJson = (JSON as unknown as { isRawJSON(value: unknown): boolean }).isRawJSON;

/** @param document JSON, as a policy is stored: an object. */
export function layOutPolicy(document: string): string {
  const asWritten = (_name: string, value: unknown, context?: { source?: string }): unknown =>
    typeof value === 'number' && context?.source !== undefined ? rawJson(context.source) : value;
  return print(JSON.parse(document, asWritten), '');
}

function print(value: unknown, indent: string): string {
  if (typeof value !== 'object' || value === null || isRawJson(value)) return JSON.stringify(value);
  if (Array.isArray(value))
    return value.length === 0 ? '[ ]' : `[ ${value.map((each) => print(each, indent)).join(', ')} ]`;
  const members = Object.entries(value);
  if (members.length === 0) return '{ }';
  const deeper = `${indent}  `;
  const lines = inOrder(members).map(([name, member]) => `${deeper}${JSON.stringify(name)} : ${print(member, deeper)}`);
  return `{\n${lines.join(',\n')}\n${indent}}`;
}

function inOrder(members: readonly [string, unknown][]): readonly [string, unknown][] {
  const place = ([name]: readonly [string, unknown]): number => {
    const at = firstMembers.indexOf(name);
    return at === -1 ? firstMembers.length : at;
  };
  return members.toSorted((one, other) => place(one) - place(other));
}
