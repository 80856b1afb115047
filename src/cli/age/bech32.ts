/**
 * Bech32, in which age writes recipients and identities: a prefix, a separator, data in 32 characters, a checksum.
 *
 * Without the limit of 90 characters, as age has it. Source: BIP 173; C2SP, age-plugin.md.
 */

const alphabet = 'qpzry9x8gf2tvdw0s3jn54khce6mua7l';
const generators = [0x3b6a57b2, 0x26508e6d, 0x1ea119fa, 0x3d4233dd, 0x2a1462b3];
const checksumCharacters = 6;

/** @param prefix In lower case; the text is so, too. */
export function encodeBech32(prefix: string, data: Uint8Array): string {
  const values = regroup(data, 8, 5, true) ?? [];
  const remainder = checksum([...expanded(prefix), ...values, ...Array<number>(checksumCharacters).fill(0)]) ^ 1;
  const check = Array.from({ length: checksumCharacters }, (_, index) => (remainder >>> (5 * (5 - index))) & 31);
  return `${prefix}1${[...values, ...check].map((value) => alphabet[value]).join('')}`;
}

/** @returns `undefined` for what is not Bech32: of another alphabet, of mixed case, with a wrong checksum. */
export function decodeBech32(text: string): { readonly prefix: string; readonly data: Buffer } | undefined {
  const lower = text.toLowerCase();
  if (text !== lower && text !== text.toUpperCase()) return undefined;
  const separator = lower.lastIndexOf('1');
  const prefix = lower.slice(0, separator);
  const values = [...lower.slice(separator + 1)].map((character) => alphabet.indexOf(character));
  if (separator < 1 || values.length < checksumCharacters || values.includes(-1)) return undefined;
  if (checksum([...expanded(prefix), ...values]) !== 1) return undefined;
  const data = regroup(values.slice(0, -checksumCharacters), 5, 8, false);
  return data === undefined ? undefined : { prefix, data: Buffer.from(data) };
}

function expanded(prefix: string): number[] {
  const codes = [...prefix].map((character) => character.charCodeAt(0));
  return [...codes.map((code) => code >>> 5), 0, ...codes.map((code) => code & 31)];
}

function checksum(values: readonly number[]): number {
  let sum = 1;
  for (const value of values) {
    const top = sum >>> 25;
    sum = ((sum & 0x1ffffff) << 5) ^ value;
    for (const [index, generator] of generators.entries()) if (((top >>> index) & 1) === 1) sum ^= generator;
  }
  return sum;
}

/** Bits in other groups. `undefined` where what is left over is no padding. */
function regroup(values: Iterable<number>, from: number, to: number, pads: boolean): number[] | undefined {
  const groups: number[] = [];
  let bits = 0;
  let held = 0;
  for (const value of values) {
    held = (held << from) | value;
    bits += from;
    while (bits >= to) {
      bits -= to;
      groups.push((held >>> bits) & ((1 << to) - 1));
    }
    held &= (1 << bits) - 1;
  }
  if (pads) {
    if (bits > 0) groups.push((held << (to - bits)) & ((1 << to) - 1));
    return groups;
  }
  return bits < from && held === 0 ? groups : undefined;
}
