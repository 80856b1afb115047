/**
 * Reads the fields that name wrapped keys, of which most say the same as the one before.
 *
 * What stands before the blob of a secret key, its id aside, is what thousands of others have too: the domain key, the KeySpec and the
 * KeyUsage. It is taken apart once and compared afterwards, so that no strings and views of it are made for each key that is unwrapped, and
 * tables find what they look for by strings that they have seen.
 */

import { parseWrappedKeyField, type WrappedKeyFields } from '../../wrapped-key.ts';

const idBytes = 16;

/** What a field says, and the id of the domain key once more: a character for each byte. */
export interface ReadWrappedKey extends WrappedKeyFields {
  readonly domainKeyName: string;
}

export class WrappedKeyReader {
  /** Of the last secret key, what is between its id and its blob. */
  #head: Buffer = Buffer.alloc(0);
  /** What that says, in memory of its own. */
  #said: Omit<ReadWrappedKey, 'blob'> | undefined;

  /** @returns `undefined` for what is no such field. The blob and a public key are views of it. */
  read(field: Buffer): ReadWrappedKey | undefined {
    const said = this.#said;
    if (said !== undefined && this.#isAlike(field)) {
      const { domainKeyId, domainKeyName, keySpec, keyUsage, publicKey } = said;
      const blob = field.subarray(idBytes + this.#head.length);
      return { domainKeyId, domainKeyName, keySpec, keyUsage, publicKey, blob };
    }
    const fields = parseWrappedKeyField(field);
    if (fields === undefined) return undefined;
    const { keySpec, keyUsage, publicKey, blob } = fields;
    const domainKeyId = Buffer.from(fields.domainKeyId);
    const domainKeyName = domainKeyId.toString('latin1');
    if (publicKey.length === 0) {
      this.#head = Buffer.from(field.subarray(idBytes, field.length - blob.length));
      this.#said = { domainKeyId, domainKeyName, keySpec, keyUsage, publicKey };
    }
    return { domainKeyId, domainKeyName, keySpec, keyUsage, publicKey, blob };
  }

  /** All lengths that say where the blob begins are in the head: where that is the same, the blob begins at the same place. */
  #isAlike(field: Buffer): boolean {
    const head = this.#head;
    const headBytes = head.length;
    if (field.length <= idBytes + headBytes) return false;
    // Byte by byte: for so few of them, to call what compares them takes longer.
    for (let at = 0; at < headBytes; at++) if (field[idBytes + at] !== head[at]) return false;
    return true;
  }
}
