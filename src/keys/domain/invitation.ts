/**
 * The three files with which an HSM joins a domain, and the fingerprint that a person compares.
 *
 *     a member               somebody carries                    the newcomer
 *     invite  ───────────────  invitation  ────────────────────▶  join: makes a joining pair in the HSM
 *     accept  ◀──────────────  request, with the invitation  ───  and prints the fingerprint
 *       │ compares the fingerprint, has the keys wrapped
 *       └────────────────────  response, with the invitation  ─▶  join: unwraps them, holds each to its proof
 *
 * None of the files is a secret; each of them may be read, changed or replaced on its way. What keeps that from doing harm:
 *
 * - The *fingerprint* is a hash over the purpose, the invitation (and so the domain, its keys and what each of them does) and the request with the
 *   public key. A person reads it where the pair was made and types it where keys are given away: if either file is another one,
 *   the two differ, and nothing is given. It has 200 bits, because whoever replaces both files looks for a collision.
 * - The invitation is under a MAC of the domain's service key, so `accept` needs no memory of it, and knows no other.
 * - The joining pair has its id from the invitation (`joiningKeyId`). So in the newcomer's HSM there is a pair for the invitation whose
 *   fingerprint was compared, and none for another one that is put in its place afterwards.
 * - The keys in the response are wrapped for that pair alone, which is gone when it has taken them; and the newcomer keeps what does what the
 *   invitation says, and nothing else. A response for another HSM, of another domain or of another time does neither.
 */

import { createHash, createPublicKey } from 'node:crypto';
import { z } from 'zod';
import { type CarriedKey, carryingPaddings } from '../../hsm/key-carrying.ts';
import { domainKeyLabelPrefix, serviceKeyLabelPrefix } from '../../hsm/key-store.ts';
import { keySpecNames, keyUsages } from '../../kms/key-specs.ts';
import { type BackingKeyId, parseBackingKeyId } from '../../kms/names.ts';

/** Says what is wrong with a file, for operators. */
export class DomainFileError extends Error {
  override readonly name = 'DomainFileError';
}

const forms = {
  invitation: 'drawbridge/domain-invitation/1',
  request: 'drawbridge/domain-request/1',
  response: 'drawbridge/domain-response/1',
} as const;

/** So long an invitation is good: who finds an old one has to ask for another. */
export const invitationLastsMs = 7 * 24 * 3600 * 1000;
/** Of the fingerprint that is compared. */
const fingerprintBytes = 25;
const groupCharacters = 4;
const maxKeys = 256;

const backingKeyId = z.string().transform((text, context): BackingKeyId => {
  const parsed = parseBackingKeyId(text);
  if (parsed !== undefined) return parsed;
  context.addIssue('not the id of a key');
  return z.NEVER;
});
const bytes = z.base64().transform((text): Buffer => Buffer.from(text, 'base64'));
const short = z.string().max(200);

const carriedKey = z.strictObject({
  backingKeyId,
  label: short.refine((label) => [domainKeyLabelPrefix, serviceKeyLabelPrefix].some((is) => label.startsWith(is))),
  keySpec: z.enum(keySpecNames),
  keyUsage: z.enum(keyUsages),
  proof: bytes,
});
const invitation = z.strictObject({
  form: z.literal(forms.invitation),
  invitationId: backingKeyId,
  domainId: short,
  keyStore: short,
  madeAtMs: z.int(),
  /** Those in which the member can wrap. */
  paddings: z.array(z.enum(carryingPaddings)).min(1),
  keys: z.array(carriedKey).min(1).max(maxKeys),
  /** HMAC-SHA-256 of `invitationText`, by the service key of the records. */
  mac: bytes,
});
const request = z.strictObject({
  form: z.literal(forms.request),
  invitation,
  /** SubjectPublicKeyInfo, DER. */
  publicKey: bytes,
  padding: z.enum(carryingPaddings),
  /** Which of the domain's keys it asks for, if not for all of them. */
  only: z.literal('domain keys').optional(),
  /** Of the newcomer, for people. */
  token: z.strictObject({ label: short, serial: short }),
});
const response = z.strictObject({
  form: z.literal(forms.response),
  invitation,
  padding: z.enum(carryingPaddings),
  keys: z.array(z.strictObject({ backingKeyId, wrapped: bytes })).max(maxKeys),
});

export type Invitation = z.output<typeof invitation>;
export type JoinRequest = z.output<typeof request>;
export type JoinResponse = z.output<typeof response>;
export type DomainFile = Invitation | JoinRequest | JoinResponse;

const anyFile = z.discriminatedUnion('form', [invitation, request, response]);

/** @throws DomainFileError for what is none of the three. */
export function parseDomainFile(text: string): DomainFile {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    throw new DomainFileError('it is no JSON, and none of the files of `drawbridge domain`');
  }
  const parsed = anyFile.safeParse(value);
  if (parsed.success) return parsed.data;
  const [issue] = parsed.error.issues;
  const where = issue === undefined || issue.path.length === 0 ? '' : ` (\`${issue.path.join('.')}\`)`;
  throw new DomainFileError(`it is not a file of \`drawbridge domain\` as this version writes them${where}`);
}

export function isInvitation(file: DomainFile): file is Invitation {
  return file.form === forms.invitation;
}

export function isRequest(file: DomainFile): file is JoinRequest {
  return file.form === forms.request;
}

export function isResponse(file: DomainFile): file is JoinResponse {
  return file.form === forms.response;
}

/** Which keys of a domain somebody asks for: `domain keys`, to use what is wrapped, or absent all of them, to verify records alone, too. */
export type KeysAskedFor = JoinRequest['only'];

/** Those that are asked for. */
export function askedFor<Key extends { readonly label: string }>(keys: readonly Key[], only: KeysAskedFor): Key[] {
  return keys.filter(({ label }) => only === undefined || label.startsWith(domainKeyLabelPrefix));
}

/** As it is written to a file; bytes in base64. */
export function domainFileText(file: DomainFile): string {
  return `${JSON.stringify(file, (_, value: unknown) => (isBufferJson(value) ? Buffer.from(value.data).toString('base64') : value), 2)}\n`;
}

function isBufferJson(value: unknown): value is { readonly data: readonly number[] } {
  return typeof value === 'object' && value !== null && 'type' in value && value.type === 'Buffer' && 'data' in value;
}

export const invitationForm = forms.invitation;

export function newRequest(of: Omit<JoinRequest, 'form'>): JoinRequest {
  return { form: forms.request, ...of };
}

export function newResponse(of: Omit<JoinResponse, 'form'>): JoinResponse {
  return { form: forms.response, ...of };
}

/** What an invitation's MAC is over: begins like nothing else that the service key computes. */
export function invitationText(file: Omit<Invitation, 'mac'>): Buffer {
  const { invitationId, domainId, keyStore, madeAtMs, paddings, keys } = file;
  const told = keys.map((key) => [
    key.backingKeyId,
    key.label,
    key.keySpec,
    key.keyUsage,
    key.proof.toString('base64'),
  ]);
  return Buffer.from(JSON.stringify([forms.invitation, invitationId, domainId, keyStore, madeAtMs, paddings, told]));
}

/** The `CKA_ID` of the joining pair for an invitation, and of what a security officer trusts of it. */
export function joiningKeyId(file: Invitation): BackingKeyId {
  const digest = createHash('sha256')
    .update('drawbridge/joining-pair/1\0')
    .update(invitationText(file))
    .update(file.mac);
  // Sixteen bytes in hexadecimal digits are what the id of a key is.
  return digest.digest('hex').slice(0, 32) as BackingKeyId;
}

/** In groups, as it is shown and compared. */
export function requestFingerprint(file: JoinRequest): string {
  const { invitation: of, publicKey, padding, token, only = 'all' } = file;
  const told = [forms.request, joiningKeyId(of), of.domainId, padding, token.label, token.serial, only];
  const digest = createHash('sha256')
    .update(JSON.stringify(told))
    .update('\0')
    .update(createHash('sha256').update(invitationText(of)).update(of.mac).digest())
    .update(publicKey)
    .digest();
  const text = base32(digest.subarray(0, fingerprintBytes));
  return (text.match(new RegExp(`.{${groupCharacters}}`, 'g')) ?? []).join(' ');
}

/** Is what somebody typed the fingerprint? Blanks, dashes and capitals do not matter. */
export function isFingerprint(typed: string, fingerprint: string): boolean {
  const bare = (text: string) => text.toLowerCase().replaceAll(/[\s-]/g, '');
  return bare(typed) === bare(fingerprint);
}

/** The keys of an invitation, as an HSM is given them. */
export function keysOf({ keys, domainId }: Invitation): readonly CarriedKey[] {
  return keys.map((key) => ({ ...key, domainId }));
}

/** @throws DomainFileError for what is no RSA key of the size that joining pairs have. */
export function assertJoiningPublicKey(publicKey: Buffer): void {
  let bits: number | undefined;
  try {
    const key = createPublicKey({ key: publicKey, format: 'der', type: 'spki' });
    if (key.asymmetricKeyType === 'rsa') bits = key.asymmetricKeyDetails?.modulusLength;
  } catch {
    // What cannot be read is no such key either.
  }
  if (bits === 3072) return;
  throw new DomainFileError('its public key is none of a joining pair (RSA, 3,072 bits)');
}

/** RFC 4648, section 6, in small letters. */
function base32(input: Buffer): string {
  const alphabet = 'abcdefghijklmnopqrstuvwxyz234567';
  let [text, bits, value] = ['', 0, 0];
  for (const byte of input) {
    value = ((value << 8) | byte) & 0xfff;
    for (bits += 8; bits >= 5; bits -= 5) text += alphabet[(value >> (bits - 5)) & 31];
  }
  return text;
}
