/** What an operator can do about the domain of a running daemon: its keys, and who has them. */

import { commonPaddings } from '../hsm/key-carrying.ts';
import { type KeyStore, KeyStoreError } from '../hsm/key-store.ts';
import { JoinedKeyStore } from '../hsm/members/joined-key-store.ts';
import type { DomainControl } from '../http/domain-routes.ts';
import { assertRequested, type Domain, giveKeys, invite, type Notary } from '../keys/domain/giving.ts';
import {
  DomainFileError,
  domainFileText,
  isRequest,
  joiningKeyId,
  parseDomainFile,
  requestFingerprint,
} from '../keys/domain/invitation.ts';
import type { MembersOnRecord } from '../keys/domain/members-on-record.ts';
import type { KeyView } from '../keys/key-view.ts';
import { type DomainKeys, domainKeyLabel, isInHsm } from '../keys/life/domain-keys.ts';
import { retireDomainKeys, unneededDomainKeys } from '../keys/life/retired-domain-keys.ts';
import { type ListedServiceKey, serviceKeyOutline, serviceKeyPurposes } from '../keys/life/service-keys.ts';
import type { Rewrapping, RewrappingProspect } from '../keys/moves/rewrapping.ts';
import { KmsError } from '../kms/errors.ts';
import type { BackingKeyId } from '../kms/names.ts';
import type { StoreIndexes } from '../store/store-indexes.ts';
import type { Turns } from '../store/turns.ts';
import type { DomainKeyStores } from './domain-key-stores.ts';
import { DomainKeyUses } from './domain-key-uses.ts';
import { domainRotationControl } from './domain-rotation-control.ts';
import { assertNoneDamaged, verifyAll } from './leaving-key-store.ts';
import type { NoSuchKeyStore } from './no-such-key-store.ts';

export interface DomainControlParts {
  readonly regions: readonly { readonly directory: KeyView }[];
  readonly keyStores: ReadonlyMap<string, KeyStore>;
  /** What stands behind one that may be away. */
  readonly attached: (name: string) => KeyStore | undefined;
  readonly domainKeys: DomainKeys;
  readonly domainKeyStores: Pick<DomainKeyStores, 'look'>;
  /** The name of the one that has the service keys. */
  readonly serviceKeyStore: string;
  readonly serviceKeys: readonly ListedServiceKey[];
  readonly members: MembersOnRecord;
  readonly noSuchKeyStore: NoSuchKeyStore;
  readonly turns: Pick<Turns, 'follow'>;
  readonly indexes: Pick<StoreIndexes, 'wrappedUnder' | 'keysUnder'>;
  readonly rewrapping: Pick<Rewrapping, 'prospect'>;
}

export function domainControl(parts: DomainControlParts): DomainControl {
  const { regions, keyStores, domainKeys, domainKeyStores, serviceKeyStore, serviceKeys } = parts;
  const notary = (): Notary => {
    const keyStore = keyStores.get(serviceKeyStore);
    const own = serviceKeys.find(({ purpose }) => purpose === 'metadata-integrity');
    if (keyStore === undefined || own === undefined) throw new TypeError('a daemon that serves has its service keys');
    return { keyStore, backingKeyId: own.backingKeyId };
  };
  /** What every member has. A domain key is made where there is none yet. */
  const domainOf = async (name: string, keyStore: KeyStore): Promise<Domain> => {
    await domainKeys.current(name, keyStore);
    const anySecret = { keySpec: 'SYMMETRIC_DEFAULT', keyUsage: 'ENCRYPT_DECRYPT' } as const;
    const wrapping = domainKeys.of(name).filter(({ state }) => state === 'Active');
    const own = name === serviceKeyStore ? serviceKeys : [];
    return {
      domainId: notary().backingKeyId,
      keyStore: name,
      keys: [
        ...wrapping.map((record) => ({
          backingKeyId: record.backingKeyId,
          label: domainKeyLabel(record),
          ...anySecret,
        })),
        ...serviceKeyPurposes.flatMap((purpose) =>
          own
            .filter((key) => key.purpose === purpose)
            .map(({ backingKeyId }) => ({ backingKeyId, ...serviceKeyOutline(purpose) })),
        ),
      ],
    };
  };
  const anyKeyStore = (name: string): KeyStore => {
    const keyStore = keyStores.get(name);
    if (keyStore !== undefined) return keyStore;
    throw parts.noSuchKeyStore(name);
  };
  const keyStoreOf = (name: string): KeyStore => {
    const keyStore = anyKeyStore(name);
    if (domainKeys.of(name).length > 0) return keyStore;
    throw new KmsError(
      'ValidationException',
      `The key store ${name} has no domain key: none of its keys was ever wrapped.`,
    );
  };
  const uses = new DomainKeyUses(regions, parts.turns);
  const { beginRotation, finishRotation } = domainRotationControl({
    ...parts,
    uses,
    keyStoreOf: anyKeyStore,
    domainId: () => notary().backingKeyId,
  });
  return {
    beginRotation: (name, choices) => toldToOperators(() => beginRotation(name, choices)),
    finishRotation: (name, domainKeyId) => toldToOperators(() => finishRotation(name, domainKeyId)),
    async invite(name) {
      return toldToOperators(async () => {
        const keyStore = anyKeyStore(name);
        const given = { notary: notary(), paddings: commonPaddings(tokensOf(keyStore)) };
        const made = await invite(keyStore, await domainOf(name, keyStore), given);
        return { invitationId: made.invitationId, invitation: domainFileText(made) };
      });
    },
    async accept(name, { request: text, fingerprint: typed }) {
      return toldToOperators(async () => {
        const keyStore = anyKeyStore(name);
        const request = parseDomainFile(text);
        if (!isRequest(request)) throw new DomainFileError('it is no request, which `drawbridge domain join` writes');
        try {
          const domain = await domainOf(name, keyStore);
          await assertRequested(domain, request, { typed, notary: notary(), nowMs: Date.now() });
          const response = await giveKeys(keyStore, request);
          const keys = response.keys.map(({ backingKeyId }) => backingKeyId);
          const { token } = request;
          return { fingerprint: requestFingerprint(request), token, keys, response: domainFileText(response) };
        } finally {
          // Whatever becomes of it, what the security officer trusted for this one request is trusted no more.
          await endTrust(keyStore, joiningKeyId(request.invitation));
        }
      });
    },
    async rotate(name) {
      const others = domainKeys.domainOf(name).filter((other) => other !== name);
      if (others.length > 0)
        throw new KmsError(
          'ConflictException',
          `${others.map((other) => `\`${other}\``).join(', ')} would lack the new domain key: it is given to all key stores of the domain in two steps, as \`drawbridge domain rotate\` does it.`,
        );
      return { domainKeyId: await domainKeys.rotate(name, keyStoreOf(name)) };
    },
    async retire(name) {
      keyStoreOf(name);
      await verifyAll(regions);
      assertNoneDamaged(regions);
      return toldToOperators(async () => {
        using counted = await uses.count();
        // Another key store whose token has joined may have it without a record. It gets one first: what is cut off is finished by a start then.
        await domainKeyStores.look();
        const others = [...keyStores].flatMap(([other, joined]) => (other === name ? [] : [joined]));
        // None goes as long as a copy may be left: nothing is marked while another one does not tell.
        for (const backingKeyId of unneededDomainKeys(domainKeys, name, counted.under))
          for (const other of others) await isInHsm(other, backingKeyId);
        const elsewhere = async (backingKeyId: BackingKeyId): Promise<void> => {
          for (const other of others) await other.destroyKey({ backingKeyId });
        };
        const places = { keyStoreOf: anyKeyStore, elsewhere };
        const retired = await retireDomainKeys(domainKeys, name, places, () => counted.under);
        const needed = domainKeys
          .of(name)
          .filter(({ state }) => state === 'Active')
          .slice(0, -1)
          .map(({ backingKeyId: id }) => ({
            domainKeyId: id,
            backingKeys: counted.under(id),
            keys: keysUnder(parts, id),
          }));
        return { retired, needed };
      });
    },
  };
}

/** Of those that hold a domain key back; the others are counted. */
const maxNamedKeys = 100;

/** KMS keys with material under a domain key, the first of them, each with what is in the way of its going. */
function keysUnder(
  { regions, indexes, rewrapping }: Pick<DomainControlParts, 'regions' | 'indexes' | 'rewrapping'>,
  domainKeyId: BackingKeyId,
) {
  const found: {
    readonly region: string;
    readonly keyId: string;
    readonly backingKeys: number;
    readonly imported: boolean;
    readonly keyUsage: string;
    readonly rewrapping: RewrappingProspect;
  }[] = [];
  const suffix = ` ${domainKeyId}`;
  const places = [...indexes.wrappedUnder().keys()].filter((name) => name.endsWith(suffix));
  const keyIds = new Set(
    places.flatMap((name) => indexes.keysUnder(name.slice(0, -suffix.length), domainKeyId, maxNamedKeys)),
  );
  for (const { directory } of regions)
    for (const key of [...keyIds].flatMap((keyId) => directory.findSoundKey(keyId) ?? [])) {
      const under = key.materials.filter((each) => each.domainKeyId === domainKeyId && each.wrappedKey !== null);
      if (under.length === 0) continue;
      const { region, keyId, origin, keyUsage } = key.record;
      const prospects = under.map((each) => rewrapping.prospect(each));
      // All of it has to go.
      const worst = (['never', 'failed'] as const).find((each) => prospects.includes(each)) ?? 'coming';
      const imported = origin === 'EXTERNAL';
      found.push({ region, keyId, backingKeys: under.length, imported, keyUsage, rewrapping: worst });
      if (found.length === maxNamedKeys) return found;
    }
  return found;
}

/** Whoever may ask is the operator, who needs to know what the token said. */
async function toldToOperators<Result>(work: () => Promise<Result>): Promise<Result> {
  try {
    return await work();
  } catch (error) {
    if (error instanceof DomainFileError) throw new KmsError('ValidationException', error.message, error);
    if (!(error instanceof KeyStoreError)) throw error;
    const name = error.failure === 'unsupported' ? 'UnsupportedOperationException' : 'KeyUnavailableException';
    throw new KmsError(name, error.message, error);
  }
}

/** In every member that is there: what is trusted in another one serves nobody until it is back, and is replaced by the next trust. */
async function endTrust(keyStore: KeyStore, backingKeyId: BackingKeyId): Promise<void> {
  if (!(keyStore instanceof JoinedKeyStore)) return keyStore.destroyKey({ backingKeyId });
  const serving = keyStore.members.filter(({ isServing }) => isServing);
  for (const member of serving) await member.call((theirs) => theirs.destroyKey({ backingKeyId }));
}

/** Those of a key store that are there. */
function tokensOf(keyStore: KeyStore): readonly Pick<KeyStore, 'capabilities'>[] {
  if (!(keyStore instanceof JoinedKeyStore)) return [keyStore];
  return keyStore.members.flatMap(({ isServing, attached }) => (isServing && attached !== undefined ? [attached] : []));
}
