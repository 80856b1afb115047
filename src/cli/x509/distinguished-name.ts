/**
 * A distinguished name, from the text that people write to the structure that certificates carry.
 *
 * The text is RFC 4514's: `CN=www.example.org,O=Example,C=AT`, the most specific part first, `\` before a special
 * character or two hexadecimal digits, `+` between the attributes of one part; a value in quotes is RFC 2253's. The structure
 * has the parts in the reverse order. Attributes are those of the table, by their short names, and any by its dotted object
 * identifier; another name is refused rather than guessed.
 */

import { AsnSerializer } from '@peculiar/asn1-schema';
import { AttributeTypeAndValue, AttributeValue, Name, RelativeDistinguishedName } from '@peculiar/asn1-x509';
import { UsageError } from '../terminal/cli-error.ts';

interface AttributeRow {
  readonly type: string;
  readonly string: 'utf8String' | 'printableString' | 'ia5String';
  readonly maxLength: number;
  /** What a value looks like beyond its string type. */
  readonly pattern?: RegExp;
}

const printable = /^[A-Za-z0-9 '()+,\-./:=?]+$/;
// biome-ignore lint/suspicious/noControlCharactersInRegex: IA5 is ASCII, and control characters have no place in a name.
const ascii = /^[^\x00-\x1f\x7f-\uffff]+$/;

/** RFC 5280 appendix A.1 (types, string types, upper bounds), RFC 4519. */
const attributes = new Map<string, AttributeRow>([
  ['CN', { type: '2.5.4.3', string: 'utf8String', maxLength: 64 }],
  ['SERIALNUMBER', { type: '2.5.4.5', string: 'printableString', maxLength: 64, pattern: printable }],
  ['C', { type: '2.5.4.6', string: 'printableString', maxLength: 2, pattern: /^[A-Za-z]{2}$/ }],
  ['L', { type: '2.5.4.7', string: 'utf8String', maxLength: 128 }],
  ['ST', { type: '2.5.4.8', string: 'utf8String', maxLength: 128 }],
  ['STREET', { type: '2.5.4.9', string: 'utf8String', maxLength: 128 }],
  ['O', { type: '2.5.4.10', string: 'utf8String', maxLength: 64 }],
  ['OU', { type: '2.5.4.11', string: 'utf8String', maxLength: 64 }],
  ['DC', { type: '0.9.2342.19200300.100.1.25', string: 'ia5String', maxLength: 63, pattern: ascii }],
  ['UID', { type: '0.9.2342.19200300.100.1.1', string: 'utf8String', maxLength: 256 }],
  ['SN', { type: '2.5.4.4', string: 'utf8String', maxLength: 32_768 }],
  ['GN', { type: '2.5.4.42', string: 'utf8String', maxLength: 32_768 }],
  ['T', { type: '2.5.4.12', string: 'utf8String', maxLength: 64 }],
  ['EMAILADDRESS', { type: '1.2.840.113549.1.9.1', string: 'ia5String', maxLength: 255, pattern: ascii }],
]);
/** Other names that programs have for some of them. */
const synonyms = new Map([
  ['E', 'EMAILADDRESS'],
  ['S', 'ST'],
  ['SURNAME', 'SN'],
  ['GIVENNAME', 'GN'],
  ['TITLE', 'T'],
]);
const objectIdentifier = /^[0-2](?:\.(?:0|[1-9]\d*))+$/;

function rowOf(name: string): AttributeRow | undefined {
  const short = name.toUpperCase();
  const row = attributes.get(synonyms.get(short) ?? short);
  if (row !== undefined || !objectIdentifier.test(name)) return row;
  const known = [...attributes.values()].find(({ type }) => type === name);
  // RFC 4514 2.4 has the bytes of such a value in hexadecimal; a text is taken for one, as OpenSSL does.
  return known ?? { type: name, string: 'utf8String', maxLength: 32_768 };
}

/** @param text Empty for the empty name. @throws UsageError that names the part that cannot be read. */
export function parseDistinguishedName(text: string): Name {
  if (text.trim() === '') return new Name([]);
  const parts = split(withoutQuotes(text), ',').map(
    (part) =>
      new RelativeDistinguishedName(
        split(part, '+')
          .map((attribute) => parseAttribute(attribute, text))
          .sort(byEncoding),
      ),
  );
  return new Name(parts.reverse());
}

/** X.690 11.6: DER has the elements of a set in the order of their encodings, and the serialiser leaves them as they are. */
function byEncoding(left: AttributeTypeAndValue, right: AttributeTypeAndValue): number {
  return Buffer.compare(Buffer.from(AsnSerializer.serialize(left)), Buffer.from(AsnSerializer.serialize(right)));
}

/** Values in quotes, written with backslashes instead. */
function withoutQuotes(text: string): string {
  return text.replace(/(=\s*)"((?:[^"\\]|\\.)*)"(?=\s*(?:[,+]|$))/gsu, (_, equals: string, value: string) => {
    return `${equals}${value.replace(/\\.|[ #+,;<=>]/gsu, (token) => (token.startsWith('\\') ? token : `\\${token}`))}`;
  });
}

/** Cuts at a separator that no backslash precedes; the pieces keep their backslashes. */
function split(text: string, separator: ',' | '+'): string[] {
  const pieces = [''];
  for (const [token] of text.matchAll(/\\.|[^\\]|\\$/gsu)) {
    if (token === separator) pieces.push('');
    else pieces[pieces.length - 1] += token;
  }
  return pieces;
}

function parseAttribute(attribute: string, text: string): AttributeTypeAndValue {
  const refuse = (why: string): UsageError => new UsageError(`cannot read the name \`${text}\`: ${why}`);
  const [, name = '', escaped = ''] = /^\s*([A-Za-z]+|[0-9.]+)\s*=\s*(.*)$/s.exec(attribute) ?? [];
  if (name === '') throw refuse(`\`${attribute}\` is not NAME=VALUE; a comma within a value is written \`\\,\``);
  const row = rowOf(name);
  if (row === undefined)
    throw refuse(`\`${name}\` is none of ${[...attributes.keys()].join(', ')}, and no dotted object identifier`);
  const value = unescaped(escaped);
  if (value === undefined)
    throw refuse(`in \`${attribute}\` a backslash precedes neither a special character nor two digits`);
  if (value === '') throw refuse(`\`${name}\` has no value`);
  if ([...value].length > row.maxLength) throw refuse(`\`${name}\` is longer than ${row.maxLength} characters`);
  if (row.pattern?.test(value) === false) throw refuse(`\`${name}\` cannot be \`${value}\``);
  return new AttributeTypeAndValue({ type: row.type, value: new AttributeValue({ [row.string]: value }) });
}

/** RFC 4514, section 3. Unescaped white space around a value is not part of it. */
function unescaped(escaped: string): string | undefined {
  const bytes: Buffer[] = [];
  let trailingSpaces = 0;
  for (const [token] of escaped.matchAll(/\\[0-9A-Fa-f]{2}|\\.|[^\\]|\\$/gsu)) {
    trailingSpaces = token === ' ' ? trailingSpaces + 1 : 0;
    if (!token.startsWith('\\')) bytes.push(Buffer.from(token));
    else if (token.length === 3) bytes.push(Buffer.from(token.slice(1), 'hex'));
    else if (/^\\[ "#+,;<=>\\]$/.test(token)) bytes.push(Buffer.from(token.slice(1)));
    else return undefined;
  }
  const value = Buffer.concat(bytes);
  const text = value.subarray(0, value.length - trailingSpaces).toString();
  // Escaped bytes that are no UTF-8 would come out as replacement characters.
  return text.includes('\ufffd') ? undefined : text;
}
