/**
 * A new domain key for a key store of several members: in every one of them before anything is wrapped under it.
 *
 *     begin     a member makes the key, each of the others a joining pair
 *               (the security officer of the first one trusts these, where its token wants that)
 *     finish    the key goes into each of the others, is held to its proof there, and becomes the one under which what is new is wrapped
 *
 * A member that is away would lack the key, and so every key that is new: rotation is refused while one is, and the operator brings it back or has
 * it leave. All or nothing: until the last step the key's record says that it is being made, and nothing is wrapped under it; what fails destroys
 * it in every member, and what is killed is undone by the next start. Then it can be begun anew. There is one at a time in a key store.
 *
 * A member that *leaves* gets no new key, so what is new is not for it, and no object is made in it from `begin` on. That it has left is put on
 * record with the new key, in one step: from then on it serves nothing. If it is there, it is emptied (`emptied-member.ts`), which can be
 * repeated until it is done, and makes no other key. What it was given before it has until then, and whoever takes it away with its PIN has it for good: what
 * was wrapped under the former domain keys, and the service keys. Several leave together, since none of them would get a key while another is away.
 */

import { type CarryingPadding, commonPaddings, joiningKeyLabelPrefix } from '../hsm/key-carrying.ts';
import { type KeyStore, KeyStoreError } from '../hsm/key-store.ts';
import type { JoinedKeyStore } from '../hsm/members/joined-key-store.ts';
import type { Member } from '../hsm/members/member.ts';
import { withRemedy } from '../keys/domain/giving.ts';
import { proofForRecord, proveKey } from '../keys/domain/key-proofs.ts';
import type { MembersOnRecord } from '../keys/domain/members-on-record.ts';
import { type DomainKeys, domainKeyLabel } from '../keys/life/domain-keys.ts';
import { KmsError } from '../kms/errors.ts';
import { type BackingKeyId, newBackingKeyId } from '../kms/names.ts';
import type { DomainKeyRecord } from '../store/records/records.ts';
import { assertLacks } from './domain-wide-rotation.ts';
import { ofHsm } from './named-hsm.ts';
import { memberNamed, type RotationChoices } from './rotation-choices.ts';

export interface JoiningPair {
  readonly member: string;
  readonly backingKeyId: BackingKeyId;
  /** SubjectPublicKeyInfo, DER. */
  readonly publicKey: Buffer;
}

export interface BegunRotation {
  readonly domainKeyId: BackingKeyId;
  /** Whose security officer trusts the pairs, where its token wants that. */
  readonly member: string;
  readonly pairs: readonly JoiningPair[];
  /** No key is made: those that leave have left already, and are emptied. */
  readonly empties: boolean;
  /** Members that have left before, and get no key either. */
  readonly gone: readonly string[];
}

interface Pending extends BegunRotation {
  /** Of the new key; `undefined` where none is made. */
  readonly made: { readonly record: DomainKeyRecord; readonly padding: CarryingPadding } | undefined;
  readonly choices: RotationChoices;
}

export interface DomainRotationsParts {
  readonly domainKeys: DomainKeys;
  readonly members: Pick<MembersOnRecord, 'leaving'>;
  /** What the domain is called wherever its keys are. */
  readonly domainId: () => string;
  /** @throws KmsError when keys would be lost with the leaver. */
  readonly assertNothingIsLost: (keyStore: JoinedKeyStore, choices: RotationChoices) => void;
}

export class DomainRotations {
  readonly #parts: DomainRotationsParts;
  readonly #pending = new Map<string, Pending>();

  constructor(parts: DomainRotationsParts) {
    this.#parts = parts;
  }

  /** @throws KmsError, with what to do, while a member that stays is away, and for what a token does not do. */
  async begin(keyStore: JoinedKeyStore, choices: RotationChoices): Promise<BegunRotation> {
    const { member: chosen, leavers = [] } = choices;
    const former = this.#pending.get(keyStore.name);
    if (former !== undefined) await this.#abandon(keyStore, former);
    if (this.haveLeft(keyStore, leavers)) return this.#beginToEmpty(keyStore, choices);
    const staying = stayingMembers(keyStore, leavers);
    const giver = chosen === undefined ? staying[0] : memberNamed(keyStore, chosen);
    if (giver === undefined || !staying.includes(giver))
      throw new KmsError(
        'ValidationException',
        `the member \`${chosen ?? leavers[0]}\` makes no key: it is to leave, and nobody else is there`,
      );
    // First this, so that nothing is made in it after it was looked at.
    keyStore.leavers = new Set(leavers);
    try {
      this.#parts.assertNothingIsLost(keyStore, choices);
      return await this.#begin(keyStore, { staying, giver, choices });
    } catch (error) {
      keyStore.leavers = new Set();
      // One that was lost meanwhile is told by its name.
      if (error instanceof KeyStoreError) stayingMembers(keyStore, leavers);
      throw error;
    }
  }

  /** Have all of them left before, so that there is nothing to do but empty them? @throws KmsError for one that there is not. */
  haveLeft(keyStore: JoinedKeyStore, leavers: readonly string[]): boolean {
    const leaving = leavers.map((name) => memberNamed(keyStore, name));
    return leaving.length > 0 && leaving.every((member) => keyStore.isGone(member));
  }

  /** Is that what was begun here last in a key store? */
  isBegun(keyStore: string, domainKeyId: string): boolean {
    return this.#pending.get(keyStore)?.domainKeyId === domainKeyId;
  }

  #beginToEmpty(keyStore: JoinedKeyStore, choices: RotationChoices): BegunRotation {
    this.#parts.assertNothingIsLost(keyStore, choices);
    const current = this.#parts.domainKeys.of(keyStore.name).findLast(({ state }) => state === 'Active');
    const giver = keyStore.members.find(({ isServing }) => isServing);
    if (current === undefined || giver === undefined)
      throw new KmsError(
        'ConflictException',
        'no member that stays is there, and nothing is destroyed: bring one back first',
      );
    const begun = {
      domainKeyId: current.backingKeyId,
      member: giver.name,
      pairs: [],
      empties: true,
      gone: goneOf(keyStore),
    };
    this.#pending.set(keyStore.name, { ...begun, made: undefined, choices });
    return begun;
  }

  async #begin(
    keyStore: JoinedKeyStore,
    {
      staying,
      giver,
      choices,
    }: { readonly staying: readonly Member[]; readonly giver: Member; readonly choices: RotationChoices },
  ): Promise<BegunRotation> {
    const { domainKeys } = this.#parts;
    const others = staying.filter((member) => member !== giver);
    const [padding] = commonPaddings(staying.flatMap(({ attached }) => attached ?? []));
    if (padding === undefined)
      throw new KmsError('UnsupportedOperationException', 'CKM_RSA_PKCS_OAEP: no padding that all members have');
    // Nobody else has it before it is given, so that a member which is lost meanwhile keeps nothing of it.
    const maker = {
      generateDomainKey: (request: Parameters<KeyStore['generateDomainKey']>[0]) => {
        // Whoever is lost from now on may have it.
        giver.inventory?.add(request.backingKeyId);
        return ofHsm(
          giver.name,
          giver.call((theirs) => theirs.generateDomainKey(request)),
        );
      },
      destroyKey: (request: { readonly backingKeyId: BackingKeyId }) => destroyIn([giver], request.backingKeyId),
    };
    const record = await domainKeys.begin(keyStore.name, maker);
    const pairs: JoiningPair[] = [];
    try {
      for (const member of others) {
        await ofHsm(member.name, endPairs(member));
        const backingKeyId = newBackingKeyId();
        const label = `${joiningKeyLabelPrefix}${backingKeyId}`;
        const request = { backingKeyId, label, padding };
        const made = member.call((theirs) => theirs.carrying.generateJoiningPair(request));
        const publicKey = await ofHsm(member.name, made);
        pairs.push({ member: member.name, backingKeyId, publicKey });
      }
    } catch (error) {
      await domainKeys.abandon(record, maker);
      throw error;
    }
    const begun = {
      domainKeyId: record.backingKeyId,
      member: giver.name,
      pairs,
      empties: false,
      gone: goneOf(keyStore),
    };
    this.#pending.set(keyStore.name, { ...begun, made: { record, padding }, choices });
    return begun;
  }

  /**
   * @param domainKeyId As `begin` gave it: nobody finishes what somebody else began.
   * @returns As it was begun, and with which choices.
   * @throws KmsError when there is no such rotation, KeyStoreError when a member is in the way. Then there is no new key.
   */
  async finish(
    keyStore: JoinedKeyStore,
    domainKeyId: string,
  ): Promise<BegunRotation & { readonly choices: RotationChoices }> {
    const pending = this.#pending.get(keyStore.name);
    if (pending?.domainKeyId !== domainKeyId)
      throw new KmsError(
        'ConflictException',
        'there is no such rotation: the daemon was restarted, or another one was begun; begin anew',
      );
    if (pending.made === undefined) this.#pending.delete(keyStore.name);
    else await this.#giveToAll(keyStore, pending, pending.made);
    return pending;
  }

  async #giveToAll(
    keyStore: JoinedKeyStore,
    pending: Pending,
    { record, padding }: NonNullable<Pending['made']>,
  ): Promise<void> {
    const { domainKeys, domainId, members } = this.#parts;
    const { pairs, choices } = pending;
    const { leavers = [] } = choices;
    let proof: Buffer;
    try {
      const staying = stayingMembers(keyStore, leavers);
      const had = new Set([pending.member, ...pairs.map(({ member }) => member)]);
      const missing = staying.find(({ name }) => !had.has(name));
      if (missing !== undefined)
        throw new KmsError(
          'ConflictException',
          `the member \`${missing.name}\` was not there when the rotation was begun; begin anew`,
        );
      const giver = memberNamed(keyStore, pending.member);
      const key = await ofHsm(giver.name, proveIn(giver, { record, domainId: domainId() }));
      const computed = giver.call((theirs) => proofForRecord(theirs, record.backingKeyId));
      proof = await ofHsm(giver.name, computed);
      for (const { member: name, backingKeyId: joiningKeyId, publicKey } of pairs) {
        const member = memberNamed(keyStore, name);
        const request = { backingKeyId: record.backingKeyId, publicKey, trustedKeyId: joiningKeyId, padding };
        const wrapped = await giver
          .call((theirs) => theirs.carrying.give(request))
          .catch((error: unknown) => {
            throw withRemedy(error, leavers.length === 0 ? 'rotate' : 'leave');
          });
        const receiving = { key, joiningKeyId, wrapped, padding, keep: true } as const;
        member.inventory?.add(record.backingKeyId);
        const received = member.call((theirs) => theirs.carrying.receive(receiving));
        await ofHsm(member.name, received);
      }
      // What is in it is known anew then.
      for (const member of staying) await ofHsm(member.name, member.relist());
      this.#parts.assertNothingIsLost(keyStore, choices);
      for (const leaver of leavers.map((name) => memberNamed(keyStore, name)))
        if (leaver.isServing) await leaver.call((theirs) => assertLacks(theirs, leaver.name, record.backingKeyId));
      // One may have been lost meanwhile.
      stayingMembers(keyStore, leavers);
    } catch (error) {
      await this.#abandon(keyStore, pending);
      throw error;
    }
    this.#pending.delete(keyStore.name);
    await this.#endPairs(keyStore, pending);
    try {
      const also = () => members.leaving(keyStore.name, leavers, record.ordinal);
      await domainKeys.activate(record, keyStore, { proof, also });
      // Those that are there are found to have left by what is on record now.
      await Promise.all(leavers.map((name) => memberNamed(keyStore, name).reexamine()));
    } finally {
      keyStore.leavers = new Set();
    }
  }

  async #abandon(keyStore: JoinedKeyStore, pending: Pending): Promise<void> {
    this.#pending.delete(keyStore.name);
    keyStore.leavers = new Set();
    await this.#endPairs(keyStore, pending);
    if (pending.made !== undefined) await this.#parts.domainKeys.abandon(pending.made.record, keyStore);
  }

  /**
   * In those that are there. One that fails keeps nothing back: a pair that is left is ended by the next `begin`, and what the security officer
   * trusted by his next command.
   */
  async #endPairs(keyStore: JoinedKeyStore, { pairs, member: giver }: Pending): Promise<void> {
    const isServing = (name: string): boolean => memberNamed(keyStore, name).isServing;
    for (const { member, backingKeyId } of pairs)
      for (const name of [member, giver])
        if (isServing(name)) await destroyIn([memberNamed(keyStore, name)], backingKeyId).catch(() => undefined);
  }
}

function goneOf(keyStore: JoinedKeyStore): readonly string[] {
  return keyStore.members.filter((member) => keyStore.isGone(member)).map(({ name }) => name);
}

/** Those that stay, but for what has left already. @throws KmsError `ConflictException` while one of them is away. */
function stayingMembers(keyStore: JoinedKeyStore, leavers: readonly string[]): readonly Member[] {
  const staying = keyStore.members.filter((member) => !leavers.includes(member.name) && !keyStore.isGone(member));
  const away = staying.filter(({ isServing }) => !isServing).map(({ name }) => `\`${name}\``);
  if (away.length === 0) return staying;
  throw new KmsError(
    'ConflictException',
    `${away.join(', ')} of the key store \`${keyStore.name}\` would lack the new domain key, and with it every key that is made from now on: ` +
      'bring it back first (`drawbridge status` tells what is wrong with it), or have it leave (`drawbridge domain leave`; several leave by one command)',
  );
}

async function destroyIn(members: readonly Member[], backingKeyId: BackingKeyId): Promise<void> {
  for (const member of members) {
    await member.call((theirs) => theirs.destroyKey({ backingKeyId }));
    member.inventory?.remove(backingKeyId);
  }
}

/** Pairs that an attempt left which was killed. */
async function endPairs(member: Member): Promise<void> {
  for (const { backingKeyId, label } of await member.call((theirs) => theirs.listKeys()))
    if (label.startsWith(joiningKeyLabelPrefix)) await destroyIn([member], backingKeyId);
}

function proveIn(giver: Member, { record, domainId }: { readonly record: DomainKeyRecord; readonly domainId: string }) {
  const { backingKeyId } = record;
  const anySecret = { keySpec: 'SYMMETRIC_DEFAULT', keyUsage: 'ENCRYPT_DECRYPT' } as const;
  return giver.call((theirs: KeyStore) =>
    proveKey(theirs, { backingKeyId, label: domainKeyLabel(record), domainId, ...anySecret }),
  );
}
