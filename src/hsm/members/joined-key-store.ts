/**
 * A key store of several tokens, its *members*, that hold the same service keys and domain keys: any of them serves, and one that is away
 * is not missed.
 *
 * A wrapped key can be used in each member that has its domain key; a key that is a token object lives in the one that made it,
 * and is away while that is. Which member gets a call, and what becomes of it when that one fails, is `member-calls.ts`'s to say; whether one serves,
 * `member.ts`'s.
 *
 * INVARIANT: once `destroyKey` resolves the object is in no member, and once `forgetWrappedKey` does no lane of any host of any member has
 * the key: each of them was asked, and one that is not there has none of it, or the call fails. What has left the domain is no member.
 */

import { keySpecNames, keySpecRow } from '../../kms/key-specs.ts';
import type { BackingKeyId } from '../../kms/names.ts';
import { failed } from '../call-words.ts';
import type { CallName } from '../calls.ts';
import type { KeyCarrying } from '../key-carrying.ts';
import { type KeyStore, KeyStoreError, type KeyStoreStatus, keyGeneration } from '../key-store.ts';
import { type BackingKeyReference, WrappedKey } from '../wrapped-key.ts';
import type { ListedObject } from './inventory.ts';
import { joinedCapabilities } from './joined-capabilities.ts';
import type { Member } from './member.ts';
import { didNothing, type MemberCall, type MemberCalls, mayHave } from './member-calls.ts';

type Requests = {
  [Name in keyof KeyStore]: KeyStore[Name] extends (request: infer Request) => unknown ? Request : never;
};

export class JoinedKeyStore implements KeyStore {
  readonly name: string;
  readonly members: readonly Member[];
  /** The names of members that are to leave: no object is made in them, which would be lost with them. */
  leavers: ReadonlySet<string> = new Set();
  /** Is it on record that what had this name has left? Whoever has the records says. */
  hasLeft: (name: string) => boolean = () => false;
  readonly #followers: ((member: Member) => void)[] = [];
  readonly #calls: MemberCalls;
  #isClosed = false;

  /** @param calls Of the same members. */
  constructor(name: string, members: readonly Member[], calls: MemberCalls) {
    this.name = name;
    this.members = members;
    this.#calls = calls;
  }

  /** Is told of each member that serves, and of each that begins to. */
  followAdmissions(follower: (member: Member) => void): void {
    this.#followers.push(follower);
    for (const member of this.members) if (member.isServing) follower(member);
  }

  admitted(member: Member): void {
    for (const follower of this.#followers) follower(member);
  }

  /** Has it left, as far as that can be told while it is away? */
  isGone(member: Member): boolean {
    return !member.isServing && (member.hasLeft || this.hasLeft(member.name));
  }

  get generationsAtOnce(): number {
    return this.members.reduce((sum, { attached }) => sum + (attached?.generationsAtOnce ?? 0), 0);
  }

  status(): KeyStoreStatus {
    const domainKeys = new Set(this.members.flatMap(({ inventory }) => [...(inventory?.domainKeys ?? [])]));
    const members = this.members.map((member) => ({ ...member.status(domainKeys), hasLeft: this.isGone(member) }));
    const sumOf = (name: 'hosts' | 'hostsAway' | 'lanes' | 'restarts' | 'inFlight'): number =>
      members.reduce((sum, member) => sum + member[name], 0);
    const told = members.find(({ state, lastFailure }) => state !== 'connected' && lastFailure !== null);
    return {
      name: this.name,
      state: this.#stateOf(members.map(({ state }) => state)),
      hosts: sumOf('hosts'),
      hostsAway: sumOf('hostsAway'),
      lanes: sumOf('lanes'),
      restarts: sumOf('restarts'),
      inFlight: sumOf('inFlight'),
      lastFailure: told === undefined ? null : `member \`${told.name}\`: ${told.lastFailure}`,
      pids: members.flatMap(({ pids }) => pids),
      members,
    };
  }

  /** What all members can do that were connected at least once. */
  capabilities() {
    const [first, ...others] = this.members.flatMap((member) => {
      const capabilities = member.capabilities();
      return capabilities === null ? [] : [{ member: member.name, capabilities }];
    });
    if (first !== undefined) return joinedCapabilities([first, ...others]);
    throw new KeyStoreError('unavailable', `key store \`${this.name}\`: no member has been connected yet`);
  }

  isKeyAway(key: Requests['isKeyAway']): boolean {
    return this.#calls.isAway(neededBy(key));
  }

  /** Of all members that do not come back by themselves, and have not left. */
  async reconnect(): Promise<void> {
    const out = this.members.filter((member) => member.isOut && !member.hasLeft);
    const attempts = await Promise.allSettled(out.map((member) => member.reconnect()));
    for (const attempt of attempts) if (attempt.status === 'rejected') throw attempt.reason;
  }

  /** Of any member that has the key and lets it go. What a newcomer does, it does itself: it is no member yet. */
  readonly carrying: KeyCarrying = {
    give: (request) => this.#with('giveKey', [request.backingKeyId], (keyStore) => keyStore.carrying.give(request)),
    generateJoiningPair: () => Promise.reject(this.#severalMembers('a joining pair is made in the one that joins')),
    receive: () => Promise.reject(this.#severalMembers('what joins receives its keys itself')),
  };

  random(request: Requests['random']) {
    return this.#calls.call({ name: 'random', needs: [], make: (keyStore) => keyStore.random(request) });
  }

  async generateKey(request: Requests['generateKey']) {
    const { backingKeyId, keySpec, keyUsage } = request;
    const suits = (member: Member): boolean =>
      member.capabilities()?.capabilities.some((row) => {
        return row.keySpec === keySpec && row.keyUsage === keyUsage && row.algorithm === keyGeneration && row.works;
      }) === true;
    return this.#create('generateKey', backingKeyId, (keyStore) => keyStore.generateKey(request), { suits });
  }

  /** In a member that lacks no domain key while there is one: it alone can wrap what it opens by the pair under the newest. */
  generateWrappingKey(request: Requests['generateWrappingKey']) {
    const make = (keyStore: KeyStore) => keyStore.generateWrappingKey(request);
    const suits = (member: Member): boolean => {
      const whole = this.#withAllDomainKeys();
      return whole.length === 0 || whole.includes(member);
    };
    return this.#create('generateWrappingKey', request.backingKeyId, make, { suits });
  }

  async destroyKey({ backingKeyId }: Requests['destroyKey']): Promise<void> {
    const away = this.members.filter((member) => !member.isServing && !this.isGone(member));
    const unsure = away.filter((member) => mayHave(member, [backingKeyId]));
    const serving = this.members.filter((member) => member.isServing);
    // What is in one member alone is in no other: only service keys and domain keys are in several.
    const known = serving.filter(({ inventory }) => inventory?.has(backingKeyId));
    const isElsewhere = unsure.filter(
      ({ inventory }) => inventory !== undefined || known.length !== 1 || this.#isDomainKey(backingKeyId),
    );
    for (const member of serving) {
      await member.call((keyStore) => keyStore.destroyKey({ backingKeyId }));
      member.inventory?.remove(backingKeyId);
    }
    if (isElsewhere.length === 0) return;
    const names = isElsewhere.map((member) => `\`${member.name}\``).join(', ');
    throw new KeyStoreError(
      serving.length === 0 ? 'unavailable' : 'away',
      failed('destroyKey', `key store \`${this.name}\`: ${names} may have it, and is not there`),
    );
  }

  examineImport(request: Requests['examineImport']) {
    return this.#with('examineImport', [request.wrappingKeyId], (keyStore) => keyStore.examineImport(request));
  }

  importKey(request: Requests['importKey']) {
    const { backingKeyId, wrappingKeyId } = request;
    const make = async (keyStore: KeyStore) => {
      const imported = await keyStore.importKey(request);
      this.members.find(({ attached }) => attached === keyStore)?.inventory?.add(backingKeyId);
      return imported;
    };
    return this.#calls.call({
      name: 'importKey',
      needs: [wrappingKeyId],
      suits: (member) => this.#stays(member),
      make,
    });
  }

  describeKey(request: Requests['describeKey']) {
    return this.#use('describeKey', request, (keyStore) => keyStore.describeKey(request));
  }

  /** What is made in one member would be missing in the others; one that is none of ours yet takes it in when it joins. */
  async generateDomainKey({ backingKeyId, label }: Requests['generateDomainKey']) {
    const ours = this.members.filter((member) => !member.isStranger && !this.isGone(member));
    if (ours.length === 1) {
      const make = (keyStore: KeyStore) => keyStore.generateDomainKey({ backingKeyId, label });
      return this.#create('generateDomainKey', backingKeyId, make);
    }
    throw this.#severalMembers('a domain key has to be in all of them; `drawbridge domain rotate` makes one');
  }

  generateWrappedKey(request: Requests['generateWrappedKey']) {
    const make = (keyStore: KeyStore) => keyStore.generateWrappedKey(request);
    return this.#with('generateWrappedKey', [request.domainKeyId], make, !isLongGenerated(request.keySpec));
  }

  importWrappedKey(request: Requests['importWrappedKey']) {
    const make = (keyStore: KeyStore) => keyStore.importWrappedKey(request);
    return this.#with('importWrappedKey', [request.wrappingKeyId, request.domainKeyId], make);
  }

  /** A blob is given back when the other members that are there have opened it: not each token reads what another vendor's writes. */
  async wrapKey(request: Requests['wrapKey']) {
    const { backingKeyId, wrapped, domainKeyId, keySpec, keyUsage, publicKey } = request;
    const needs = [wrapped?.domainKeyId ?? backingKeyId, domainKeyId];
    const made = await this.#with('wrapKey', needs, (keyStore) => keyStore.wrapKey(request));
    await this.assertOpens(new WrappedKey({ domainKeyId, keySpec, keyUsage, publicKey, blob: made.blob }));
    return made;
  }

  async assertOpens(wrapped: Requests['assertOpens']): Promise<void> {
    const asked = this.members.filter(({ isServing, inventory }) => isServing && inventory?.has(wrapped.domainKeyId));
    await Promise.all(asked.map((member) => assertOpens(member, wrapped)));
  }

  keepWrappedKey(request: Requests['keepWrappedKey']) {
    const { backingKeyId, wrapped } = request;
    const make = (keyStore: KeyStore) => keyStore.keepWrappedKey(request);
    return this.#create('keepWrappedKey', backingKeyId, make, { needs: [wrapped.domainKeyId] });
  }

  async forgetWrappedKey({ backingKeyId }: Requests['forgetWrappedKey']): Promise<void> {
    await Promise.all(this.members.map((member) => member.forgetWrappedKey(backingKeyId)));
  }

  /** Of the members that serve: of others it is not known what is in them. What several have is listed once. */
  async listKeys(): Promise<readonly ListedObject[]> {
    const serving = this.members.filter((member) => member.isServing);
    if (serving.length === 0)
      throw new KeyStoreError(
        'unavailable',
        failed('listKeys', `no member of the key store \`${this.name}\` is connected`),
      );
    const lists = await Promise.all(serving.map((member) => member.call((keyStore) => keyStore.listKeys())));
    return [...new Map(lists.flat().map((listed) => [listed.backingKeyId, listed])).values()];
  }

  encrypt(request: Requests['encrypt']) {
    return this.#use('encrypt', request, (keyStore) => keyStore.encrypt(request));
  }

  decrypt(request: Requests['decrypt']) {
    return this.#use('decrypt', request, (keyStore) => keyStore.decrypt(request));
  }

  generateDataKey(request: Requests['generateDataKey']) {
    return this.#use('generateDataKey', request, (keyStore) => keyStore.generateDataKey(request));
  }

  generateDataKeyWithoutPlaintext(request: Requests['generateDataKeyWithoutPlaintext']) {
    const make = (keyStore: KeyStore) => keyStore.generateDataKeyWithoutPlaintext(request);
    return this.#use('generateDataKeyWithoutPlaintext', request, make);
  }

  generateDataKeyPair(request: Requests['generateDataKeyPair']) {
    const make = (keyStore: KeyStore) => keyStore.generateDataKeyPair(request);
    return this.#with('generateDataKeyPair', neededBy(request), make, !isLongGenerated(request.keyPairSpec));
  }

  mac(request: Requests['mac']) {
    return this.#use('mac', request, (keyStore) => keyStore.mac(request));
  }

  macs(request: Requests['macs']) {
    return this.#use('macs', request, (keyStore) => keyStore.macs(request));
  }

  verifyMac(request: Requests['verifyMac']) {
    return this.#use('mac', request, (keyStore) => keyStore.verifyMac(request));
  }

  sign(request: Requests['sign']) {
    return this.#use('sign', request, (keyStore) => keyStore.sign(request));
  }

  decryptAsymmetric(request: Requests['decryptAsymmetric']) {
    return this.#use('decryptAsymmetric', request, (keyStore) => keyStore.decryptAsymmetric(request));
  }

  deriveSharedSecret(request: Requests['deriveSharedSecret']) {
    return this.#use('deriveSharedSecret', request, (keyStore) => keyStore.deriveSharedSecret(request));
  }

  stopGenerating(because: string): void {
    for (const member of this.members) member.stopGenerating(because);
  }

  async close(): Promise<void> {
    this.#isClosed = true;
    await Promise.all(this.members.map((member) => member.close()));
  }

  #use<Result>(
    name: CallName,
    key: BackingKeyReference,
    make: (keyStore: KeyStore) => Promise<Result>,
  ): Promise<Result> {
    return this.#with(name, neededBy(key), make);
  }

  #with<Result>(
    name: CallName,
    needs: readonly BackingKeyId[],
    make: (keyStore: KeyStore) => Promise<Result>,
    generatesQuickly?: boolean,
  ): Promise<Result> {
    return this.#calls.call({ name, needs, make, generatesQuickly });
  }

  /** Where it is not known whether a member made it, that member is the one that may have it. */
  #create<Result>(
    name: CallName,
    backingKeyId: BackingKeyId,
    make: (keyStore: KeyStore) => Promise<Result>,
    { needs = [], suits }: Partial<Pick<MemberCall<Result>, 'needs' | 'suits'>> = {},
  ): Promise<Result> {
    const makeAndNote = async (keyStore: KeyStore): Promise<Result> => {
      const inventory = this.members.find(({ attached }) => attached === keyStore)?.inventory;
      inventory?.add(backingKeyId);
      try {
        return await make(keyStore);
      } catch (error) {
        if (error instanceof KeyStoreError && didNothing(error.failure)) inventory?.remove(backingKeyId);
        throw error;
      }
    };
    const staysAndSuits = (member: Member): boolean => this.#stays(member) && (suits?.(member) ?? true);
    return this.#calls.call({ name, needs, suits: staysAndSuits, isRepeated: false, make: makeAndNote });
  }

  #stays({ name }: Member): boolean {
    return !this.leavers.has(name);
  }

  /** Of those that serve and stay, the ones that have each domain key which another one of them has. */
  #withAllDomainKeys(): readonly Member[] {
    const those = this.members.filter((member) => member.isServing && this.#stays(member));
    const all = new Set(those.flatMap(({ inventory }) => [...(inventory?.domainKeys ?? [])]));
    return those.filter(({ inventory }) => [...all].every((id) => inventory?.domainKeys.has(id)));
  }

  #severalMembers(why: string): KeyStoreError {
    return new KeyStoreError(
      'unsupported',
      `the key store \`${this.name}\` has ${this.members.length} members: ${why}`,
    );
  }

  #isDomainKey(backingKeyId: BackingKeyId): boolean {
    return this.members.some(({ inventory }) => inventory?.domainKeys.has(backingKeyId));
  }

  /** It is connected when any member serves; when none will come by itself, somebody has to act. */
  #stateOf(states: readonly KeyStoreStatus['state'][]): KeyStoreStatus['state'] {
    if (this.#isClosed) return 'closed';
    for (const state of ['connected', 'reconnecting', 'connecting', 'pinRefused', 'notOurs', 'left'] as const)
      if (states.includes(state)) return state;
    return 'closed';
  }
}

/** Of a token object its own id is needed, of a wrapped key that of what it is wrapped under. */
function neededBy({ backingKeyId, wrapped }: BackingKeyReference): readonly BackingKeyId[] {
  return [wrapped?.domainKeyId ?? backingKeyId];
}

/** Of a name that is no KeySpec nothing is known: so it may be. */
function isLongGenerated(name: string): boolean {
  const keySpec = keySpecNames.find((spec) => spec === name);
  return keySpec === undefined || keySpecRow(keySpec).isLongGenerated === true;
}

/** @throws KeyStoreError `keyUnavailable` when it says that it cannot. */
async function assertOpens(member: Member, wrapped: WrappedKey): Promise<void> {
  try {
    await member.call((keyStore) => keyStore.assertOpens(wrapped));
  } catch (error) {
    if (!(error instanceof KeyStoreError)) throw error;
    if (error.failure !== 'keyUnavailable') return;
    throw new KeyStoreError(
      'keyUnavailable',
      `the member \`${member.name}\` does not open what another one has wrapped: ${error.message}`,
      { cause: error },
    );
  }
}
