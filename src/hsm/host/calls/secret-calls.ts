/**
 * The calls of the hot path: random bytes, AES-256-GCM and HMAC with a lane's session.
 *
 * Everything that a call needs is allocated once: mechanism objects, IV and output buffers. What a call returns are views
 * of these buffers, valid until the next call; `wipe` zeroes them once the reply is written. Lengths are checked here, not
 * left to the library, because SoftHSM2 leaves an operation active when it refuses an empty input.
 *
 * Source: NIST SP 800-38D (GCM; 8.2.2, IVs of 96 random bits), PKCS#11 3.1 sections 6.13.4 (GCM) and 6.20 to 6.24 (HMAC).
 */

import { maxMacsAtOnce } from '../../calls.ts';
import { constant, type Mechanism } from '../token/cryptoki.ts';
import { HostFailure } from '../token/failures.ts';
import type { KeyTable } from '../token/key-table.ts';
import type { TokenSession } from '../token/token-session.ts';
import { macAlgorithms } from './signing-mechanisms.ts';

/** KMS plaintexts end at 4,096 bytes; wrapped key material, such as an RSA-4096 private key, may be somewhat longer. */
const maxPlaintextBytes = 8 * 1024;
/** As much as AWS KMS gives at once. */
const maxRandomBytes = 1024;
export const ivBytes = 12;
/** Of HMAC-SHA-512. */
const maxMacBytes = 64;
const tagBytes = 16;

const genericSecret = constant('CKK_GENERIC_SECRET');

/**
 * IVs are drawn from the token in blocks, because a call of `C_GenerateRandom` costs SoftHSM2 4 µs whatever its length. That
 * is as good as drawing each: an IV is no secret, and each byte of a block is used once, in this lane alone; a host that
 * dies takes the rest of its block along.
 */
const ivPoolBytes = ivBytes * 256;

/** The mechanism's parameter is the object that pkcs11js reads at each call: its buffers are set before. */
interface GcmParameter {
  readonly type: number;
  iv: Buffer;
  readonly ivBits: number;
  aad: Buffer;
  readonly tagBits: number;
}

export class SecretCalls {
  readonly #session: TokenSession;
  readonly #keys: KeyTable;
  readonly #output = Buffer.alloc(maxPlaintextBytes + tagBytes);
  readonly #random = Buffer.alloc(maxRandomBytes);
  readonly #macs = Buffer.alloc(maxMacsAtOnce * maxMacBytes);
  readonly #iv = Buffer.alloc(ivBytes);
  readonly #ivPool = Buffer.alloc(ivPoolBytes);
  #ivPoolAt = ivPoolBytes;
  #outputBytes = 0;
  #randomBytes = 0;
  #macsBytes = 0;
  readonly #gcm: GcmParameter;
  readonly #gcmMechanism: Mechanism;

  constructor(session: TokenSession, keys: KeyTable) {
    this.#session = session;
    this.#keys = keys;
    this.#gcm = {
      type: constant('CK_PARAMS_GCM'),
      iv: this.#iv,
      ivBits: ivBytes * 8,
      aad: Buffer.alloc(0),
      tagBits: tagBytes * 8,
    };
    this.#gcmMechanism = { mechanism: constant('CKM_AES_GCM'), parameter: this.#gcm };
  }

  /** `lengthBytes` from the token's generator. */
  random(lengthBytes: number): Buffer {
    if (lengthBytes < 1 || lengthBytes > maxRandomBytes)
      throw new HostFailure('internal', `random bytes are 1 to ${maxRandomBytes} at once, not ${lengthBytes}`);
    this.#randomBytes = lengthBytes;
    const bytes = this.#random.subarray(0, lengthBytes);
    this.#session.run(() => this.#generateRandom(bytes));
    return bytes;
  }

  /** Ciphertext with the tag at its end, under a fresh IV. */
  encrypt(id: Buffer, aad: Buffer, plaintext: Buffer): { readonly iv: Buffer; readonly ciphertext: Buffer } {
    if (plaintext.length < 1 || plaintext.length > maxPlaintextBytes)
      throw new HostFailure('internal', `a plaintext has 1 to ${maxPlaintextBytes} bytes, not ${plaintext.length}`);
    this.withKey(id, (key) => {
      const { cryptoki, handle: session } = this.#session;
      // A new IV for each attempt: a repeated call must not meet the IV of one that may have been carried out.
      this.#nextIv();
      this.#gcm.iv = this.#iv;
      this.#gcm.aad = aad;
      this.#session.step = 'CKM_AES_GCM C_EncryptInit';
      cryptoki.C_EncryptInit(session, this.#gcmMechanism, key);
      this.#session.step = 'CKM_AES_GCM C_Encrypt';
      this.#outputBytes = cryptoki.C_Encrypt(session, plaintext, this.#output);
    });
    if (this.#outputBytes !== plaintext.length + tagBytes)
      throw new HostFailure('internal', `C_Encrypt: ${this.#outputBytes} bytes for ${plaintext.length}`);
    return { iv: this.#iv, ciphertext: this.#output.subarray(0, this.#outputBytes) };
  }

  /** The plaintext. Throws `HostFailure` (`ciphertextInvalid`) for whatever does not verify. */
  decrypt(id: Buffer, aad: Buffer, iv: Buffer, ciphertext: Buffer): Buffer {
    const plaintextBytes = ciphertext.length - tagBytes;
    if (iv.length !== ivBytes || plaintextBytes < 1 || plaintextBytes > maxPlaintextBytes)
      throw new HostFailure('ciphertextInvalid', 'no ciphertext of ours has these lengths');
    this.withKey(id, (key) => {
      const { cryptoki, handle: session } = this.#session;
      this.#gcm.iv = iv;
      this.#gcm.aad = aad;
      this.#session.step = 'CKM_AES_GCM C_DecryptInit';
      cryptoki.C_DecryptInit(session, this.#gcmMechanism, key);
      this.#session.step = 'CKM_AES_GCM C_Decrypt';
      // A library may have written unverified plaintext before it found the tag wrong; `wipe` clears that as well.
      this.#outputBytes = ciphertext.length;
      this.#outputBytes = cryptoki.C_Decrypt(session, ciphertext, this.#output);
    });
    if (this.#outputBytes !== plaintextBytes)
      throw new HostFailure('internal', `C_Decrypt: ${this.#outputBytes} bytes for ${plaintextBytes}`);
    return this.#output.subarray(0, this.#outputBytes);
  }

  /** The MAC of `data` by one of KMS's algorithms. */
  mac(id: Buffer, algorithm: string, data: Buffer): Buffer {
    const row = macAlgorithms.get(algorithm);
    if (row === undefined) throw new HostFailure('unsupported', `there is no MAC with ${algorithm}`);
    if (data.length < 1) throw new HostFailure('internal', 'a MAC is made of at least one byte');
    this.withKey(id, (key) => {
      const { keyType, usages } = this.#keys.facts(id);
      // NSS softoken 3.87.1 makes MACs with the private halves of pairs.
      if (keyType !== genericSecret || !usages.has('CKA_SIGN'))
        throw new HostFailure('keyUnavailable', 'the key is not one for MACs');
      const { cryptoki, handle: session } = this.#session;
      this.#session.step = row.initStep;
      cryptoki.C_SignInit(session, row.mechanism, key);
      this.#session.step = row.step;
      this.#outputBytes = cryptoki.C_Sign(session, data, this.#output);
    });
    if (this.#outputBytes !== row.macBytes) throw new HostFailure('internal', `C_Sign: ${this.#outputBytes} bytes`);
    return this.#output.subarray(0, row.macBytes);
  }

  /** The MACs of several messages, one behind the other. */
  macs(id: Buffer, algorithm: string, messages: readonly Buffer[]): Buffer {
    for (const message of messages) {
      const mac = this.mac(id, algorithm, message);
      mac.copy(this.#macs, this.#macsBytes);
      this.#macsBytes += mac.length;
    }
    return this.#macs.subarray(0, this.#macsBytes);
  }

  /** Zeroes what the last call left here. */
  wipe(): void {
    this.#output.fill(0, 0, this.#outputBytes);
    this.#outputBytes = 0;
    if (this.#macsBytes > 0) this.#macs.fill(0, 0, this.#macsBytes);
    this.#macsBytes = 0;
    if (this.#randomBytes > 0) this.#random.fill(0, 0, this.#randomBytes);
    this.#randomBytes = 0;
  }

  /**
   * Runs `call` with the handle of a key. Once, a stale handle is looked up again or a dead session replaced, and `call`
   * repeated; `call` therefore leaves nothing behind in the token.
   */
  withKey(id: Buffer, call: (key: Buffer) => void): void {
    const session = this.#session;
    try {
      call(this.#keys.resolve(id));
      return;
    } catch (error) {
      if (error instanceof HostFailure) throw error;
      const meaning = session.meaningOf(error);
      if (meaning === 'resolveAgain') this.#keys.forget(id);
      else if (meaning === 'reopenSession') session.reopen();
      else throw session.failureFrom(error);
    }
    try {
      call(this.#keys.resolve(id));
    } catch (error) {
      throw session.failureFrom(error);
    }
  }

  #nextIv(): void {
    if (this.#ivPoolAt === ivPoolBytes) {
      this.#generateRandom(this.#ivPool);
      this.#ivPoolAt = 0;
    }
    // Byte by byte: for so few of them, to call what copies them takes longer.
    for (let at = 0; at < ivBytes; at++) this.#iv[at] = this.#ivPool[this.#ivPoolAt + at] ?? 0;
    this.#ivPoolAt += ivBytes;
  }

  #generateRandom(output: Buffer): void {
    this.#session.step = 'C_GenerateRandom';
    this.#session.cryptoki.C_GenerateRandom(this.#session.handle, output);
  }
}
