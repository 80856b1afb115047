/**
 * A new domain key for a domain of several key stores: in every HSM of each of them before anything is wrapped under it.
 *
 * The steps are those of a key store of several members (`domain-rotation.ts`), and so is what they promise: it is all or nothing, and an HSM
 * that is away has the rotation refused with its name. Here an HSM is told by its key store and its name in that. Each key store gets a
 * record of the key, all of which say in one turn that it is in force. What leaves is another key store, or members of the one that is named.
 */

import { type CarryingPadding, commonPaddings, joiningKeyLabelPrefix } from '../hsm/key-carrying.ts';
import { type KeyStore, KeyStoreError } from '../hsm/key-store.ts';
import { JoinedKeyStore } from '../hsm/members/joined-key-store.ts';
import type { Member } from '../hsm/members/member.ts';
import { withRemedy } from '../keys/domain/giving.ts';
import { proofForRecord, proveKey } from '../keys/domain/key-proofs.ts';
import type { MembersOnRecord } from '../keys/domain/members-on-record.ts';
import { type DomainKeys, domainKeyLabel, isInHsm } from '../keys/life/domain-keys.ts';
import { KmsError } from '../kms/errors.ts';
import { type BackingKeyId, newBackingKeyId } from '../kms/names.ts';
import type { DomainKeyRecord } from '../store/records/records.ts';
import { ofHsm } from './named-hsm.ts';
import { memberNamed, type RotationChoices } from './rotation-choices.ts';

/** One HSM of the domain. */
interface Holder {
  readonly keyStore: string;
  /** A key store that is one token has that alone, by its own name. */
  readonly member: string;
  /** As it is told to whoever begins: its name, where it is in the key store that he named; else with its key store's. */
  readonly path: string;
  readonly isServing: boolean;
  readonly token: KeyStore;
  /** What is in it is known anew then. */
  relist(): Promise<void>;
  /** If it is lost from now on, it may have this. */
  mayGet(backingKeyId: BackingKeyId): void;
}

interface Pair {
  readonly holder: Holder;
  readonly backingKeyId: BackingKeyId;
  /** SubjectPublicKeyInfo, DER. */
  readonly publicKey: Buffer;
}

interface Pending {
  readonly record: DomainKeyRecord;
  readonly giver: Holder;
  readonly pairs: readonly Pair[];
  readonly padding: CarryingPadding;
  readonly leaving: Leaving;
}

/** What gets no key, and need not be there. */
interface Leaving {
  /** A key store of the domain. */
  readonly leaver: string | undefined;
  /** Of the key store that is named. */
  readonly members: { readonly of: JoinedKeyStore; readonly choices: RotationChoices } | undefined;
}

export interface DomainWideChoices extends RotationChoices {
  /** Another key store of the domain, which gets no key; then no members leave. */
  readonly leaver?: string | undefined;
}

export interface DomainWideRotationParts {
  readonly domainKeys: Pick<DomainKeys, 'domainOf' | 'begin' | 'activate' | 'abandon'>;
  readonly members: Pick<MembersOnRecord, 'leaving'>;
  /** @throws KmsError when keys would be lost with members that leave. */
  readonly assertNothingIsLost: (keyStore: JoinedKeyStore, choices: RotationChoices) => void;
  /** With nothing between it and its token or members. @throws KmsError for one that is not configured. */
  readonly keyStoreOf: (name: string) => KeyStore;
  /** What the domain is called wherever its keys are. */
  readonly domainId: () => string;
}

export interface BegunDomainWideRotation {
  readonly domainKeyId: string;
  /** Of the key store that was named, whose security officer trusts the pairs, where its token wants that. */
  readonly member: string;
  /** `member` is `KEY-STORE/MEMBER` where it is in another key store. */
  readonly pairs: readonly { readonly member: string; readonly backingKeyId: string; readonly publicKey: string }[];
}

export class DomainWideRotation {
  readonly #parts: DomainWideRotationParts;
  /** There is one at a time. */
  #pending: Pending | undefined;

  constructor(parts: DomainWideRotationParts) {
    this.#parts = parts;
  }

  /** Are there key stores beside this one that would lack the key? */
  isNeeded(name: string): boolean {
    return this.#parts.domainKeys.domainOf(name).length > 1;
  }

  /** Is it one that was begun here? */
  isPending(domainKeyId: string): boolean {
    return this.#pending?.record.backingKeyId === domainKeyId;
  }

  /**
   * @param choices.member Of the key store, the one that makes the key; its first one if not given.
   * @throws KmsError, with what to do, while one of the HSMs is away, and for what a token does not do.
   */
  async begin(name: string, choices: DomainWideChoices): Promise<BegunDomainWideRotation> {
    if (this.#pending !== undefined) await this.#abandon(this.#pending);
    const leaving = this.#leaving(name, choices);
    const { members } = leaving;
    // First this, so that nothing is made in one that leaves after it was looked at.
    if (members !== undefined) members.of.leavers = new Set(members.choices.leavers);
    try {
      if (members !== undefined) this.#parts.assertNothingIsLost(members.of, members.choices);
      return await this.#begin(name, choices.member, leaving);
    } catch (error) {
      stayAll(leaving);
      // One that was lost meanwhile is told by its name.
      if (error instanceof KeyStoreError) this.#holders(name, leaving);
      throw error;
    }
  }

  #leaving(name: string, { leaver, leavers = [], isLossAccepted }: DomainWideChoices): Leaving {
    if (leaver !== undefined || leavers.length === 0) return { leaver, members: undefined };
    const of = this.#parts.keyStoreOf(name);
    if (!(of instanceof JoinedKeyStore)) throw new TypeError(`the key store \`${name}\` has no members`);
    return { leaver, members: { of, choices: { leavers, isLossAccepted } } };
  }

  async #begin(name: string, chosen: string | undefined, leaving: Leaving): Promise<BegunDomainWideRotation> {
    const { domainKeys } = this.#parts;
    const { leaver } = leaving;
    const holders = this.#holders(name, leaving);
    const giver = holders.find(({ keyStore, member }) => keyStore === name && (chosen ?? member) === member);
    if (giver === undefined)
      throw new KmsError('NotFoundException', `The key store ${name} has no member of the name ${chosen} that stays.`);
    const [padding] = commonPaddings(holders.map(({ token }) => token));
    if (padding === undefined)
      throw new KmsError('UnsupportedOperationException', 'CKM_RSA_PKCS_OAEP: no padding that all HSMs have');
    // Nobody else has it before it is given, so that an HSM which is lost meanwhile keeps nothing of it.
    const maker = {
      generateDomainKey: (request: Parameters<KeyStore['generateDomainKey']>[0]) => {
        giver.mayGet(request.backingKeyId);
        return ofHsm(giver.path, giver.token.generateDomainKey(request));
      },
      destroyKey: (request: { readonly backingKeyId: BackingKeyId }) => destroyIn([giver], request.backingKeyId),
    };
    const others = domainKeys.domainOf(name).filter((other) => other !== name && other !== leaver);
    const record = await domainKeys.begin(name, maker, others);
    const pairs: Pair[] = [];
    try {
      for (const holder of holders) {
        if (holder === giver) continue;
        await ofHsm(holder.path, endPairsIn(holder.token));
        const backingKeyId = newBackingKeyId();
        const label = `${joiningKeyLabelPrefix}${backingKeyId}`;
        const made = holder.token.carrying.generateJoiningPair({ backingKeyId, label, padding });
        const publicKey = await ofHsm(holder.path, made);
        pairs.push({ holder, backingKeyId, publicKey });
      }
    } catch (error) {
      await domainKeys.abandon(record, maker);
      throw error;
    }
    this.#pending = { record, giver, pairs, padding, leaving };
    const shown = pairs.map(({ holder, backingKeyId, publicKey }) => {
      return { member: holder.path, backingKeyId, publicKey: publicKey.toString('base64') };
    });
    return { domainKeyId: record.backingKeyId, member: giver.member, pairs: shown };
  }

  /**
   * @param domainKeyId As `begin` gave it.
   * @returns The HSMs that have it, as `begin` told of them.
   * @throws KmsError when there is no such rotation, KeyStoreError when an HSM is in the way. Then there is no new key.
   */
  async finish(
    name: string,
    domainKeyId: string,
  ): Promise<{
    readonly members: readonly string[];
    readonly leaver: string | undefined;
    readonly leavers: RotationChoices['leavers'];
  }> {
    const { domainKeys, domainId, members: onRecord, assertNothingIsLost } = this.#parts;
    const pending = this.#pending;
    if (pending?.record.backingKeyId !== domainKeyId || pending.record.keyStore !== name)
      throw new KmsError(
        'ConflictException',
        'there is no such rotation: the daemon was restarted, or another one was begun; begin anew',
      );
    const { record, giver, pairs, padding, leaving } = pending;
    const { leaver, members } = leaving;
    const { leavers = [] } = members?.choices ?? {};
    const { backingKeyId } = record;
    const had = [giver, ...pairs.map(({ holder }) => holder)];
    let proof: Buffer;
    try {
      const missing = this.#holders(name, leaving).find(({ path }) => !had.some((each) => each.path === path));
      if (missing !== undefined)
        throw new KmsError(
          'ConflictException',
          `\`${missing.path}\` was not there when the rotation was begun; begin anew`,
        );
      const label = domainKeyLabel(record);
      const anySecret = { keySpec: 'SYMMETRIC_DEFAULT', keyUsage: 'ENCRYPT_DECRYPT' } as const;
      const proven = proveKey(giver.token, { backingKeyId, label, domainId: domainId(), ...anySecret });
      const key = await ofHsm(giver.path, proven);
      proof = await ofHsm(giver.path, proofForRecord(giver.token, backingKeyId));
      for (const { holder, backingKeyId: joiningKeyId, publicKey } of pairs) {
        const request = { backingKeyId, publicKey, trustedKeyId: joiningKeyId, padding };
        const wrapped = await giver.token.carrying.give(request).catch((error: unknown) => {
          throw withRemedy(error, leaver === undefined && members === undefined ? 'rotate' : 'leave');
        });
        holder.mayGet(backingKeyId);
        const received = holder.token.carrying.receive({ key, joiningKeyId, wrapped, padding, keep: true });
        await ofHsm(holder.path, received);
      }
      for (const holder of had) await ofHsm(holder.path, holder.relist());
      if (leaver !== undefined)
        for (const { isServing, token, path } of holdersIn(leaver, this.#parts.keyStoreOf(leaver), leaver))
          if (isServing) await assertLacks(token, path, backingKeyId);
      if (members !== undefined) assertNothingIsLost(members.of, members.choices);
      for (const left of leaversAmong(leaving))
        if (left.isServing) await left.call((theirs) => assertLacks(theirs, left.name, backingKeyId));
      // One may have been lost meanwhile.
      this.#holders(name, leaving);
    } catch (error) {
      await this.#abandon(pending);
      throw error;
    }
    this.#pending = undefined;
    await this.#endPairs(pending);
    const holders = {
      destroyKey: (request: { readonly backingKeyId: BackingKeyId }) => destroyIn(had, request.backingKeyId),
    };
    try {
      const also = () => onRecord.leaving(name, leavers, record.ordinal);
      await domainKeys.activate(record, holders, { proof, also });
      // Those that are there are found to have left by what is on record now.
      for (const left of leaversAmong(leaving)) await left.reexamine();
    } finally {
      stayAll(leaving);
    }
    return { members: had.map(({ path }) => path), leaver, leavers };
  }

  /** @throws KmsError `ConflictException` while one of them is away. */
  #holders(named: string, { leaver, members }: Leaving): readonly Holder[] {
    const { domainKeys, keyStoreOf } = this.#parts;
    const staying = domainKeys.domainOf(named).filter((name) => name !== leaver);
    const leavers = members?.choices.leavers ?? [];
    const isLeaver = ({ keyStore, member }: Holder): boolean => keyStore === named && leavers.includes(member);
    const holders = staying
      .flatMap((name) => holdersIn(name, keyStoreOf(name), named))
      .filter((each) => !isLeaver(each));
    const away = holders.filter(({ isServing }) => !isServing).map(({ path }) => `\`${path}\``);
    if (away.length === 0) return holders;
    throw new KmsError(
      'ConflictException',
      `${away.join(', ')} of the domain of the key store \`${named}\` would lack the new domain key, and with it every key that is made from now on: ` +
        'bring it back first (`drawbridge status` tells what is wrong with it), or have it or its key store leave (`drawbridge domain leave`)',
    );
  }

  async #abandon(pending: Pending): Promise<void> {
    const { record, giver, pairs } = pending;
    this.#pending = undefined;
    stayAll(pending.leaving);
    await this.#endPairs(pending);
    const had = [giver, ...pairs.map(({ holder }) => holder)];
    await this.#parts.domainKeys.abandon(record, { destroyKey: ({ backingKeyId }) => destroyIn(had, backingKeyId) });
  }

  /** In those that are there: a pair that is left is ended by the next `begin`, and what the security officer trusted by his next command. */
  async #endPairs({ giver, pairs }: Pending): Promise<void> {
    for (const { holder, backingKeyId } of pairs)
      for (const each of [holder, giver])
        if (each.isServing) await destroyIn([each], backingKeyId).catch(() => undefined);
  }
}

/** Objects are made in them again. */
function stayAll({ members }: Leaving): void {
  if (members !== undefined) members.of.leavers = new Set();
}

function leaversAmong({ members }: Leaving): readonly Member[] {
  return members === undefined ? [] : (members.choices.leavers ?? []).map((name) => memberNamed(members.of, name));
}

/**
 * Before one that leaves is emptied: the newest domain key is in those that stay and in no other HSM. What has it is one of these, by another
 * name of the configuration, and to empty it would be the end of all keys.
 * @throws KmsError `ConflictException`
 */
export async function assertLacks(
  leaver: Pick<KeyStore, 'describeKey'>,
  name: string,
  newest: BackingKeyId,
): Promise<void> {
  if (!(await isInHsm(leaver, newest))) return;
  throw new KmsError(
    'ConflictException',
    `\`${name}\` is an HSM that stays, by another name: it has the domain key that those that stay have alone. Nothing was destroyed in it; ` +
      'name another token for it in the configuration',
  );
}

function holdersIn(keyStore: string, opened: KeyStore, named: string): readonly Holder[] {
  const pathOf = (member: string): string => (keyStore === named ? member : `${keyStore}/${member}`);
  if (opened instanceof JoinedKeyStore)
    return opened.members
      .filter((member) => !opened.isGone(member))
      .map((member) => ({
        ...{ keyStore, member: member.name, path: pathOf(member.name) },
        get isServing() {
          return member.isServing;
        },
        get token() {
          if (member.attached !== undefined) return member.attached;
          throw new KmsError('ConflictException', `\`${pathOf(member.name)}\` is not there`);
        },
        relist: () => member.relist(),
        mayGet: (backingKeyId) => void member.inventory?.add(backingKeyId),
      }));
  return [
    {
      ...{ keyStore, member: keyStore, path: pathOf(keyStore), token: opened },
      relist: async () => undefined,
      mayGet: () => undefined,
      get isServing() {
        return opened.status().state === 'connected';
      },
    },
  ];
}

async function destroyIn(holders: readonly Holder[], backingKeyId: BackingKeyId): Promise<void> {
  for (const { token } of holders) await token.destroyKey({ backingKeyId });
}

/** Pairs that an attempt left which was killed. */
export async function endPairsIn(token: Pick<KeyStore, 'listKeys' | 'destroyKey'>): Promise<void> {
  for (const { backingKeyId, label } of await token.listKeys())
    if (label.startsWith(joiningKeyLabelPrefix)) await token.destroyKey({ backingKeyId });
}
