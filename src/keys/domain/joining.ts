/**
 * The newcomer's half of joining a domain: in an HSM that nobody uses yet, by whoever has its PIN. What is carried is told in `invitation.ts`.
 *
 * All or nothing: `begin` leaves a pair in the HSM, which does nothing but unwrap, and which the next attempt replaces. `finish` tries all keys before it keeps the
 * first; what is cut off while it keeps them can be repeated, because what is there is held to its proof and stays. INVARIANT: the service key by which a
 * member is known is kept last, so an HSM that has it has all of them; and the pair goes after that, so until then there can be another
 * attempt.
 */

import { type CarryingPadding, joiningKeyLabelPrefix, paddingsOf } from '../../hsm/key-carrying.ts';
import { type KeyStore, KeyStoreError } from '../../hsm/key-store.ts';
import { findServiceKeys, serviceKeyOutline } from '../life/service-keys.ts';
import {
  askedFor,
  DomainFileError,
  type Invitation,
  type JoinRequest,
  type JoinResponse,
  joiningKeyId,
  type KeysAskedFor,
  keysOf,
  newRequest,
} from './invitation.ts';

type Newcomer = Pick<KeyStore, 'carrying' | 'capabilities' | 'destroyKey' | 'listKeys'>;

const identity = serviceKeyOutline('metadata-integrity').label;

/**
 * Makes a joining pair; those that earlier attempts left are gone.
 * @param only As later to `finishJoining`.
 * @throws DomainFileError when the HSM is a member already, or of another instance.
 */
export async function beginJoining(
  keyStore: Newcomer,
  invitation: Invitation,
  only?: KeysAskedFor,
): Promise<JoinRequest> {
  const there = new Set((await keyStore.listKeys()).map(({ backingKeyId }) => backingKeyId));
  const { token } = keyStore.capabilities();
  const named = `the token \`${token.label}\`, serial ${token.serial},`;
  if (askedFor(invitation.keys, only).every(({ backingKeyId }) => there.has(backingKeyId)))
    throw new DomainFileError(`${named} has all keys of the domain: it is a member already`);
  await assertOfNoOther(keyStore, invitation);
  const backingKeyId = joiningKeyId(invitation);
  await endJoining(keyStore);
  const padding = commonPadding(keyStore, invitation);
  const label = `${joiningKeyLabelPrefix}${backingKeyId}`;
  const publicKey = await keyStore.carrying.generateJoiningPair({ backingKeyId, label, padding });
  const asked = only === undefined ? {} : { only };
  return newRequest({ invitation, publicKey, padding, ...asked, token: { label: token.label, serial: token.serial } });
}

/**
 * Takes the keys of a response in.
 * @throws DomainFileError when it is for another HSM or lacks keys; KeyStoreError, `ciphertextInvalid` or `materialInvalid`, when it is not what
 * the invitation says. Nothing is kept then.
 */
export async function finishJoining(keyStore: Newcomer, response: JoinResponse, only?: KeysAskedFor): Promise<void> {
  const { invitation, padding } = response;
  const joining = joiningKeyId(invitation);
  const keys = askedFor(keysOf(invitation), only);
  const there = new Set((await keyStore.listKeys()).map(({ backingKeyId }) => backingKeyId));
  if (!there.has(joining)) {
    const isMember = keys.every(({ backingKeyId }) => there.has(backingKeyId));
    if (isMember) return;
    const { label, serial } = keyStore.capabilities().token;
    throw new DomainFileError(
      `the token \`${label}\`, serial ${serial}, has no joining pair for this invitation: the response is for another HSM, or its invitation is not the one with which \`drawbridge domain join\` was begun`,
    );
  }
  await assertOfNoOther(keyStore, invitation);
  const wrapped = new Map(response.keys.map((key) => [key.backingKeyId, key.wrapped]));
  const requests = keys.map((key) => {
    const bytes = wrapped.get(key.backingKeyId);
    if (bytes === undefined) throw new DomainFileError(`the response lacks the key ${key.label}`);
    return { key, joiningKeyId: joining, wrapped: bytes, padding };
  });
  for (const request of requests) await keyStore.carrying.receive({ ...request, keep: false });
  const last = requests.filter(({ key }) => key.label === identity);
  for (const request of [...requests.filter(({ key }) => key.label !== identity), ...last]) {
    await keyStore.carrying.receive({ ...request, keep: true });
  }
  await endJoining(keyStore);
}

/** A token joins one domain at a time: every pair goes. */
async function endJoining(keyStore: Pick<KeyStore, 'listKeys' | 'destroyKey'>): Promise<void> {
  for (const { backingKeyId, label } of await keyStore.listKeys())
    if (label.startsWith(joiningKeyLabelPrefix)) await keyStore.destroyKey({ backingKeyId });
}

/** Keys of two instances in one token would be taken for one another's. */
async function assertOfNoOther(
  keyStore: Pick<KeyStore, 'listKeys' | 'capabilities'>,
  { keys }: Invitation,
): Promise<void> {
  const ours = keys.find(({ label }) => label === identity)?.backingKeyId;
  if (ours === undefined) return;
  const others = (await findServiceKeys(keyStore, 'metadata-integrity')).filter((id) => id !== ours);
  if (others.length === 0) return;
  const { label, serial } = keyStore.capabilities().token;
  throw new DomainFileError(
    `the token \`${label}\`, serial ${serial}, holds the keys of another instance of Drawbridge (its service key: ${others.join(', ')}), ` +
      'which would be mixed with those of this domain; join with a token that has none (`drawbridge init --to-join` makes one), or let this one leave first (`drawbridge domain leave`)',
  );
}

function commonPadding(keyStore: Pick<KeyStore, 'capabilities'>, { paddings }: Invitation): CarryingPadding {
  const common = paddingsOf(keyStore).find((padding) => paddings.includes(padding));
  if (common !== undefined) return common;
  throw new KeyStoreError(
    'unsupported',
    `CKM_RSA_PKCS_OAEP C_UnwrapKey: the member wraps with ${paddings.join(' or ')}, and this token unwraps neither`,
  );
}
