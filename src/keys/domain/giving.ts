/**
 * A member's half: what it says of the domain's keys in an invitation, and what it gives to whom was accepted. What is carried is told in
 * `invitation.ts`.
 *
 * Nothing is remembered between the two: an invitation is known again by its MAC. What is given is what the domain has when it is given; an
 * invitation of before a rotation is refused, because the newcomer would lack a key.
 */

import type { CarryingPadding } from '../../hsm/key-carrying.ts';
import { type KeyStore, KeyStoreError } from '../../hsm/key-store.ts';
import type { KeySpec, KeyUsage } from '../../kms/key-specs.ts';
import { type BackingKeyId, newBackingKeyId } from '../../kms/names.ts';
import {
  askedFor,
  assertJoiningPublicKey,
  DomainFileError,
  type Invitation,
  invitationForm,
  invitationLastsMs,
  invitationText,
  isFingerprint,
  type JoinRequest,
  type JoinResponse,
  joiningKeyId,
  newResponse,
  requestFingerprint,
} from './invitation.ts';
import { proveKey } from './key-proofs.ts';

/** A key that every member of the domain has. */
export interface DomainMemberKey {
  readonly backingKeyId: BackingKeyId;
  readonly label: string;
  readonly keySpec: KeySpec;
  readonly keyUsage: KeyUsage;
}

export interface Domain {
  /** What the domain is called wherever its keys are. */
  readonly domainId: string;
  readonly keyStore: string;
  readonly keys: readonly DomainMemberKey[];
}

/** The HSM that has the service key of the records, and that key. */
export interface Notary {
  readonly keyStore: Pick<KeyStore, 'macs' | 'verifyMac'>;
  readonly backingKeyId: BackingKeyId;
}

const algorithm = 'HMAC_SHA_256';

/**
 * @param paddings In which the member can wrap: those of all that may be asked.
 * @throws KeyStoreError when the member cannot use a key of the domain, or wraps in no way that is built.
 */
export async function invite(
  member: Pick<KeyStore, 'mac' | 'encrypt' | 'generateWrappedKey' | 'forgetWrappedKey'>,
  { domainId, keyStore, keys }: Domain,
  { notary, paddings }: { readonly notary: Notary; readonly paddings: readonly CarryingPadding[] },
): Promise<Invitation> {
  const proven = [];
  for (const key of keys) {
    const { domainId: _, ...told } = await proveKey(member, { ...key, domainId });
    proven.push(told);
  }
  const told = { form: invitationForm, invitationId: newBackingKeyId(), domainId, keyStore };
  if (paddings.length === 0)
    throw new KeyStoreError('unsupported', 'CKM_RSA_PKCS_OAEP C_WrapKey: the token wraps no keys so');
  const unsigned = { ...told, madeAtMs: Date.now(), paddings: [...paddings], keys: proven };
  const { backingKeyId } = notary;
  const [mac] = await notary.keyStore.macs({ backingKeyId, algorithm, messages: [invitationText(unsigned)] });
  return { ...unsigned, mac: mac as Buffer }; // There is one MAC for one message.
}

/**
 * Is the request one for an invitation of ours, and was its fingerprint compared?
 * @param typed What the person has read where the pair was made.
 * @throws DomainFileError with what to do.
 */
export async function assertRequested(
  { domainId, keyStore, keys }: Domain,
  request: JoinRequest,
  { typed, notary, nowMs }: { readonly typed: string; readonly notary: Notary; readonly nowMs: number },
): Promise<void> {
  const { invitation, publicKey } = request;
  const again = 'make another invitation (`drawbridge domain invite`) and begin anew';
  const { backingKeyId } = notary;
  const signed = { backingKeyId, algorithm, data: invitationText(invitation), mac: invitation.mac };
  if (invitation.domainId !== domainId || !(await notary.keyStore.verifyMac(signed)))
    throw new DomainFileError(`the invitation in the request is none of this domain, or it was changed; ${again}`);
  if (invitation.keyStore !== keyStore)
    throw new DomainFileError(`the invitation in the request is for the key store \`${invitation.keyStore}\``);
  if (nowMs - invitation.madeAtMs > invitationLastsMs)
    throw new DomainFileError(`the invitation in the request is older than 7 days; ${again}`);
  const invited = new Set<string>(invitation.keys.map((key) => key.backingKeyId));
  if (invited.size !== keys.length || keys.some((key) => !invited.has(key.backingKeyId)))
    throw new DomainFileError(`the domain has other keys than when the invitation was made; ${again}`);
  assertJoiningPublicKey(publicKey);
  if (!isFingerprint(typed, requestFingerprint(request)))
    throw new DomainFileError(
      'the fingerprint is not that of this request: the request or the invitation was changed on its way, or it is another one; nothing was given away. ' +
        'Look at the fingerprint where `drawbridge domain join` printed it, and do not go on unless it is the same',
    );
}

/**
 * Wraps the keys for whoever was accepted.
 * @param member The one in which the security officer trusted its public key, where that matters.
 * @throws KeyStoreError `unsupported` when the token lets its keys go to nobody, or not to this one.
 */
export async function giveKeys(member: Pick<KeyStore, 'carrying'>, request: JoinRequest): Promise<JoinResponse> {
  const { invitation, publicKey, padding } = request;
  const trustedKeyId = joiningKeyId(invitation);
  const keys: JoinResponse['keys'] = [];
  for (const { backingKeyId } of askedFor(invitation.keys, request.only)) {
    const wrapped = await giveOne(member, { backingKeyId, publicKey, trustedKeyId, padding });
    keys.push({ backingKeyId, wrapped });
  }
  return newResponse({ invitation, padding, keys });
}

async function giveOne(
  member: Pick<KeyStore, 'carrying'>,
  request: {
    readonly backingKeyId: BackingKeyId;
    readonly publicKey: Buffer;
    readonly trustedKeyId: BackingKeyId;
    readonly padding: CarryingPadding;
  },
): Promise<Buffer> {
  try {
    return await member.carrying.give(request);
  } catch (error) {
    throw withRemedy(error, 'accept');
  }
}

/**
 * What to do when a token does not give a key.
 * @param command Of `drawbridge domain`, the one that has it given.
 * @returns What to throw instead.
 */
export function withRemedy(error: unknown, command: 'accept' | 'rotate' | 'leave'): unknown {
  if (!(error instanceof KeyStoreError) || error.failure !== 'unsupported') return error;
  const remedy = error.message.includes('CKA_TRUSTED')
    ? `let its security officer trust it: \`drawbridge domain ${command} … --so-pin-file FILE --config FILE\``
    : 'keys that this token made so, or that a former version of Drawbridge made in it, stay in it';
  return new KeyStoreError('unsupported', `${error.message}; ${remedy}`, { cause: error });
}
