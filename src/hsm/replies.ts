/**
 * What the replies of an HSM host say, checked and copied out of the pipe's buffers.
 *
 * Each function takes the fields of a successful reply, as many as `calls.ts` lists, and what was asked. Whatever does
 * not fit the question is a `BadReplyError`: a host that answers 31 bytes when asked for 32 is broken, and its answer
 * reaches nobody. Plaintexts are copied into memory of their own (`secretMemory`), never into the shared pool.
 */

import { z } from 'zod';
import type { MacAlgorithm } from '../kms/algorithms.ts';
import { keySpecNames, keyUsages } from '../kms/key-specs.ts';
import { type BackingKeyId, parseBackingKeyId } from '../kms/names.ts';
import { Plaintext } from '../secrets/secret-bytes.ts';
import { secretMemory } from '../secrets/secret-memory.ts';
import { ecdsaSigValue } from './ecdsa-signature.ts';
import {
  type BackingKeyAttributes,
  type GeneratedKey,
  type KeyStoreCapabilities,
  wrappingAlgorithms,
} from './key-store.ts';
import { BadReplyError } from './pending-call.ts';
import type { NewWrappedKey } from './wrapped-key.ts';

const ivBytes = 12;
/** A SHA-256. */
const fingerprintBytes = 32;
export const tagBytes = 16;
/** The longest are those of ML-DSA-87 (FIPS 204, table 2): a public key of 2,592 bytes, with room for its DER, and the signature. */
const maxPublicKeyBytes = 3072;
const maxSignatureBytes = 4627;
/** The longest private key is that of RSA with 4,096 bits: 2,376 bytes of PKCS#8. */
const maxPrivateBytes = 4096;
/** A private key in PKCS#8, with what wrapping adds. */
const maxBlobBytes = maxPrivateBytes + 64;
/** RSA-4096. */
const maxModulusBytes = 512;
const macBytesOf: ReadonlyMap<string, number> = new Map(
  Object.entries({
    HMAC_SHA_224: 28,
    HMAC_SHA_256: 32,
    HMAC_SHA_384: 48,
    HMAC_SHA_512: 64,
  } satisfies Record<MacAlgorithm, number>),
);

type Fields = readonly Buffer[];

export function nothing(_fields: Fields): void {}

export function plaintext(field: Buffer | undefined, lengthBytes: number): Plaintext {
  const view = sized(field, lengthBytes, 'a plaintext');
  const own = secretMemory(lengthBytes);
  view.copy(own);
  return new Plaintext(own);
}

/** A copy of a field that is not secret. */
export function bytes(field: Buffer | undefined, lengthBytes: number, what: string): Buffer {
  return Buffer.from(sized(field, lengthBytes, what));
}

export interface Encrypted {
  readonly iv: Buffer;
  readonly ciphertext: Buffer;
}

export function encrypted(fields: Fields, plaintextBytes: number): Encrypted {
  return {
    iv: bytes(fields[0], ivBytes, 'an IV'),
    ciphertext: bytes(fields[1], plaintextBytes + tagBytes, 'a ciphertext'),
  };
}

export function attributes(fields: Fields, asked: BackingKeyId): BackingKeyAttributes {
  const result = json(fields[0], attributesSchema, 'attributes');
  if (result.backingKeyId !== asked) throw new BadReplyError('the attributes are of another key');
  return result;
}

export function generatedKey(fields: Fields, asked: BackingKeyId): GeneratedKey {
  return { ...attributes(fields, asked), publicKey: fields[1]?.length === 0 ? null : publicKey(fields[1]) };
}

export interface ExaminedImport {
  readonly fingerprint: Buffer;
  readonly publicKey: Buffer | null;
}

export function examinedImport(fields: Fields): ExaminedImport {
  const isSecret = fields[1]?.length === 0;
  return {
    fingerprint: bytes(fields[0], fingerprintBytes, 'a fingerprint'),
    publicKey: isSecret ? null : publicKey(fields[1]),
  };
}

export function publicKey(field: Buffer | undefined): Buffer {
  return Buffer.from(atMost(field, maxPublicKeyBytes, 'a public key'));
}

/** OAEP's ciphertext, as long as the modulus. */
export function carriedKey(field: Buffer | undefined): Buffer {
  return Buffer.from(atMost(field, maxModulusBytes, 'a carried key'));
}

export function newWrappedKey(fields: Fields): NewWrappedKey {
  const isSecret = fields[1]?.length === 0;
  return {
    blob: keptLong(atMost(fields[0], maxBlobBytes, 'a wrapped key')),
    publicKey: isSecret ? null : publicKey(fields[1]),
  };
}

/** In memory of its own: what is kept for years would keep all of the pool that it is a part of. */
function keptLong(view: Buffer): Buffer {
  const own = secretMemory(view.length);
  view.copy(own);
  return own;
}

export interface DataKeyPair extends Encrypted {
  readonly publicKey: Buffer;
  readonly plaintext: Plaintext | null;
}

export function dataKeyPair(fields: Fields, withPlaintext: boolean): DataKeyPair {
  const ciphertext = atMost(fields[2], maxPrivateBytes + tagBytes, 'an encrypted private key');
  const privateKeyBytes = ciphertext.length - tagBytes;
  return {
    publicKey: publicKey(fields[0]),
    ...encrypted(fields.slice(1), privateKeyBytes),
    plaintext: withPlaintext ? plaintext(fields[3], privateKeyBytes) : none(fields[3]),
  };
}

export function mac(field: Buffer | undefined, algorithm: string): Buffer {
  return bytes(field, macBytesOf.get(algorithm) ?? 0, 'a MAC');
}

export function macs(field: Buffer | undefined, algorithm: string, count: number): readonly Buffer[] {
  const lengthBytes = macBytesOf.get(algorithm) ?? 0;
  const all = bytes(field, lengthBytes * count, `${count} MACs`);
  return Array.from({ length: count }, (_, index) => all.subarray(index * lengthBytes, (index + 1) * lengthBytes));
}

export function signature(field: Buffer | undefined, algorithm: string): Buffer {
  const made = Buffer.from(atMost(field, maxSignatureBytes, 'a signature'));
  if (!algorithm.startsWith('ECDSA_')) return made;
  const encoded = ecdsaSigValue(made);
  if (encoded !== undefined) return encoded;
  throw new BadReplyError(`no ECDSA signature has ${made.length} bytes`);
}

/** A plaintext whose length the padding tells: shorter than the modulus, possibly empty. */
export function shortPlaintext(field: Buffer | undefined, ciphertextBytes: number): Plaintext {
  if (field?.length === 0) return new Plaintext(Buffer.alloc(0));
  return plaintext(field, atMost(field, ciphertextBytes, 'a plaintext').length);
}

/** The x coordinate of a point on a NIST curve. */
export function sharedSecret(field: Buffer | undefined): Plaintext {
  const lengthBytes = [32, 48, 66].find((length) => field?.length === length);
  return plaintext(field, lengthBytes ?? 32);
}

export interface ListedKey {
  readonly backingKeyId: BackingKeyId;
  readonly label: string;
}

export interface ListedPage {
  /** How many entries of the host's list this page has: the offset of the next one counts them. */
  readonly entries: number;
  /** Those that are backing keys; an object that has our label and another kind of `CKA_ID` is none. */
  readonly keys: readonly ListedKey[];
}

export function listedPage(fields: Fields): ListedPage {
  const page = json(fields[0], listedPageSchema, 'a page of keys');
  const keys = page.flatMap(({ backingKeyId, label }) => {
    const parsed = parseBackingKeyId(backingKeyId);
    return parsed === undefined ? [] : [{ backingKeyId: parsed, label }];
  });
  return { entries: page.length, keys };
}

export function capabilities(fields: Fields): KeyStoreCapabilities {
  return json(fields[0], capabilitiesSchema, 'capabilities');
}

const attributesSchema = z.object({
  backingKeyId: z.string().transform((text, context): BackingKeyId => {
    const parsed = parseBackingKeyId(text);
    if (parsed !== undefined) return parsed;
    context.addIssue('not the id of a backing key');
    return z.NEVER;
  }),
  label: z.string(),
  objectClass: z.string(),
  keyType: z.string(),
  keyBits: z.number().nullable(),
  token: z.boolean(),
  private: z.boolean(),
  sensitive: z.boolean(),
  alwaysSensitive: z.boolean(),
  extractable: z.boolean(),
  neverExtractable: z.boolean(),
  wrapWithTrusted: z.boolean(),
  modifiable: z.boolean(),
  local: z.boolean(),
  usages: z.array(z.string()),
}) satisfies z.ZodType<BackingKeyAttributes>;

const listedPageSchema = z.array(z.object({ backingKeyId: z.string(), label: z.string() }));

const capabilitiesSchema = z.object({
  profile: z.string(),
  library: z.object({ path: z.string(), description: z.string(), version: z.string(), cryptoki: z.string() }),
  token: z.object({ label: z.string(), serial: z.string(), manufacturer: z.string(), model: z.string() }),
  mechanisms: z.array(z.string()),
  roundTripMs: z.number().min(0),
  capabilities: z.array(
    z.object({
      keySpec: z.enum(keySpecNames),
      keyUsage: z.enum(keyUsages),
      algorithm: z.string(),
      works: z.boolean(),
      evidence: z.enum(['probed', 'reported']),
      reason: z.string().nullable(),
    }),
  ),
  imports: z.array(
    z.object({
      subject: z.enum([...wrappingAlgorithms, ...keySpecNames]),
      works: z.boolean(),
      evidence: z.enum(['probed', 'reported']),
      reason: z.string().nullable(),
    }),
  ),
  wrapping: z.array(z.object({ keySpec: z.enum(keySpecNames), works: z.boolean(), reason: z.string().nullable() })),
  protection: z.array(
    z.object({ attempt: z.string(), isHeld: z.boolean(), isPromised: z.boolean(), answer: z.string() }),
  ),
}) satisfies z.ZodType<KeyStoreCapabilities>;

function json<Value>(field: Buffer | undefined, schema: z.ZodType<Value>, what: string): Value {
  let parsed: unknown;
  try {
    parsed = JSON.parse(field?.toString('utf8') ?? '');
  } catch {
    // The text is not quoted: it came from a process that is out of its mind.
    throw new BadReplyError(`${what} are not JSON`);
  }
  const result = schema.safeParse(parsed);
  if (result.success) return result.data;
  const issue = result.error.issues[0];
  throw new BadReplyError(`${what}: \`${issue?.path.join('.')}\`: ${issue?.message}`);
}

function none(field: Buffer | undefined): null {
  sized(field, 0, 'a plaintext that was not asked for');
  return null;
}

function atMost(field: Buffer | undefined, maxBytes: number, what: string): Buffer {
  if (field !== undefined && field.length > 0 && field.length <= maxBytes) return field;
  throw new BadReplyError(`${what} has 1 to ${maxBytes} bytes, not ${field?.length}`);
}

function sized(field: Buffer | undefined, lengthBytes: number, what: string): Buffer {
  if (field?.length === lengthBytes) return field;
  throw new BadReplyError(`${what} has ${lengthBytes} bytes, not ${field?.length}`);
}
