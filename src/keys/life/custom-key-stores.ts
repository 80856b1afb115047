/**
 * Custom key stores of one Region: what is on record of them, and what becomes of their connections.
 *
 * ConnectCustomKeyStore and DisconnectCustomKeyStore put on record what is wanted; this is a fold over the records, and does it:
 *
 *     DISCONNECTED ── Connect ──▶ CONNECTING ── the token is open, and ours ──▶ CONNECTED ── the daemon starts again ──▶ tried until it is there
 *          ▲                          └── it is not ──▶ FAILED, with a code       └── another PIN ──▶ FAILED
 *          └──────────────────────────── Disconnect, from each of the others ─────────┘
 *
 * INVARIANT: a password that no token has accepted yet is presented once for each ConnectCustomKeyStore. `CONNECTING` is on record
 * before it is, and a start that finds it there does not know what the token said: that is `FAILED`, not another attempt. One that
 * was refused is not presented again at all before UpdateCustomKeyStore gave another. A token that is gone is not asked anything, so
 * a store that was connected is tried again for as long as it takes. But its PIN may have been changed since: each of its logins is noted
 * before it is made as well (`PresentedPasswords`), and a start that finds one of which nobody knows how it ended makes no other.
 *
 * The password is unsealed anew for each host that logs in, and kept nowhere in between.
 */

import { setTimeout as sleep } from 'node:timers/promises';
import { DetachableKeyStore } from '../../hsm/detachable-key-store.ts';
import { type KeyStore, KeyStoreError } from '../../hsm/key-store.ts';
import { LoginGate, type LoginNotes } from '../../hsm/login-gate.ts';
import type { TokenConnection } from '../../hsm/token-connection.ts';
import type { ConnectionState } from '../../kms/connection-states.ts';
import type { Logger } from '../../kms/logger.ts';
import type { Plaintext } from '../../secrets/secret-bytes.ts';
import { type Change, replaced } from '../../store/records/changes.ts';
import type { CustomKeyStoreRecord } from '../../store/records/records.ts';
import type { Fold, Turns } from '../../store/turns.ts';
import type {
  AttachableHsm,
  CustomKeyStore,
  CustomKeyStoreSource,
  PasswordVault,
  PresentedPasswords,
} from '../custom-key-store.ts';
import { SortedNames } from '../lists/sorted-names.ts';
import { NamesInTurn } from '../names-in-turn.ts';
import { trustAnchorOf } from '../trust-anchor.ts';
import { codeOf, LostHsm, UnknownAnswer } from './connection-failures.ts';
import { GuessedPasswords } from './guessed-passwords.ts';

export interface CustomKeyStoresOptions {
  readonly region: string;
  /** What was loaded, of all Regions. */
  readonly records: readonly CustomKeyStoreRecord[];
  /** Key stores that the configuration names, which are looked for as well. */
  readonly configured: CustomKeyStoreSource['configured'];
  /** By what each is called where AWS has the id of a cluster. */
  readonly hsms: ReadonlyMap<string, AttachableHsm>;
  readonly vault: PasswordVault;
  readonly presented: PresentedPasswords;
  readonly turns: Turns;
  readonly log: Logger;
}

/**
 * Looks at a token before it serves.
 * @throws KeyStoreError when it does not tell, and anything else when it is not the one that it has to be.
 */
export type Examine = (customKeyStoreId: string, keyStore: KeyStore) => Promise<void>;

/** Looks at each later connection to it, as `ConnectionProof`: another token may be in its place. */
export type Prove = (customKeyStoreId: string, connection: TokenConnection) => Promise<void>;

/** One connection, from the moment when it was asked for. */
interface Attempt {
  keyStore: KeyStore | undefined;
}

interface Entry {
  record: CustomKeyStoreRecord;
  readonly place: DetachableKeyStore;
  readonly view: CustomKeyStore;
  attempt: Attempt | undefined;
  /** Until the hosts of a former connection are gone. */
  closing: Promise<void> | undefined;
}

/** Between two attempts to put on record how a connection ended, or to look at a token. */
const retryMs = 2_000;
const pause = (): Promise<void> => sleep(retryMs, undefined, { ref: false });

export class CustomKeyStores implements CustomKeyStoreSource, Fold {
  readonly ids = new SortedNames<string>();
  readonly allIds = new SortedNames<string>();
  readonly creations = new NamesInTurn();
  readonly configured: CustomKeyStoreSource['configured'];
  readonly #options: CustomKeyStoresOptions;
  readonly #entries = new Map<string, Entry>();
  /** Of all Regions: an HSM is for one custom key store. */
  readonly #all = new Map<string, CustomKeyStoreRecord>();
  readonly #guesses = new GuessedPasswords();
  #examine: Examine | undefined;
  #prove: Prove | undefined;
  #isClosed = false;

  constructor(options: CustomKeyStoresOptions) {
    this.#options = options;
    this.configured = options.configured;
    for (const name of this.configured.keys()) this.allIds.add(name);
    for (const record of options.records) {
      this.#all.set(record.customKeyStoreId, record);
      if (record.region === options.region) this.#show(record);
    }
  }

  find(customKeyStoreId: string): CustomKeyStore | undefined {
    return this.#entries.get(customKeyStoreId)?.view ?? this.configured.get(customKeyStoreId);
  }

  keyStore(customKeyStoreId: string): KeyStore | undefined {
    return this.#entries.get(customKeyStoreId)?.place;
  }

  record(customKeyStoreId: string): CustomKeyStoreRecord | undefined {
    return this.#entries.get(customKeyStoreId)?.record;
  }

  recordNamed(name: string): CustomKeyStoreRecord | undefined {
    return [...this.#entries.values()].find(({ record }) => record.name === name)?.record;
  }

  recordOfHsm(isMeant: (cloudHsmClusterId: string) => boolean): CustomKeyStoreRecord | undefined {
    for (const record of this.#all.values()) if (isMeant(record.cloudHsmClusterId)) return record;
    return undefined;
  }

  hsm(cloudHsmClusterId: string): AttachableHsm | undefined {
    return this.#options.hsms.get(cloudHsmClusterId);
  }

  trustAnchorOf({ trustAnchorCertificate }: Pick<CustomKeyStoreRecord, 'trustAnchorCertificate'>): string | undefined {
    return trustAnchorOf(trustAnchorCertificate);
  }

  seal(password: Plaintext, customKeyStoreId: string): Promise<Buffer> {
    return this.#options.vault.seal(password, customKeyStoreId);
  }

  async isPasswordOf(record: CustomKeyStoreRecord, password: Plaintext): Promise<boolean> {
    try {
      return await this.#options.vault.isSame(password, record);
    } catch (error) {
      // What cannot be opened is nothing that anybody gave.
      if (error instanceof KeyStoreError && error.failure === 'ciphertextInvalid') return false;
      throw error;
    }
  }

  isRepeated(record: CustomKeyStoreRecord, password: Plaintext): Promise<boolean> {
    return this.#guesses.isRight(record, () => this.isPasswordOf(record, password));
  }

  connectionState(customKeyStoreId: string): ConnectionState {
    const entry = this.#entries.get(customKeyStoreId);
    return entry === undefined ? 'DISCONNECTED' : stateOf(entry);
  }

  /** Resolves when the hosts of a connection that was ended are gone. */
  async closed(customKeyStoreId: string): Promise<void> {
    await this.#entries.get(customKeyStoreId)?.closing;
  }

  /** From now on stores are connected: those that were, before the daemon was stopped, at once. */
  serve(examine: Examine, prove: Prove): void {
    this.#examine = examine;
    this.#prove = prove;
    for (const entry of this.#entries.values()) {
      const { connection } = entry.record;
      if (connection === 'CONNECTED') void this.#connect(entry, true);
      if (connection === 'CONNECTING') void this.#giveUp(entry);
    }
  }

  apply(changes: readonly Change[]): void {
    for (const change of changes) {
      if ('put' in change) {
        if (change.put !== 'customKeyStore') continue;
        this.#all.set(change.record.customKeyStoreId, change.record);
        if (change.record.region === this.#options.region) this.#put(change.record);
      } else if (change.remove === 'customKeyStore') {
        this.#all.delete(change.record.customKeyStoreId);
        this.#hide(change.record);
      }
    }
  }

  /** Ends all connections; what is on record of them stays. */
  async close(): Promise<void> {
    this.#isClosed = true;
    await Promise.all([...this.#entries.values()].map((entry) => this.#end(entry)));
  }

  #put(record: CustomKeyStoreRecord): void {
    const entry = this.#entries.get(record.customKeyStoreId);
    if (entry === undefined) {
      this.#show(record);
      return;
    }
    const before = entry.record;
    entry.record = record;
    if (!record.sealedPassword.equals(before.sealedPassword)) void this.#forgetPresented(before);
    if (record.connection === before.connection) return;
    if (record.connection === 'CONNECTING') void this.#connect(entry, false);
    if (record.connection === 'DISCONNECTED') void this.#end(entry);
  }

  #show(record: CustomKeyStoreRecord): void {
    const { customKeyStoreId } = record;
    const place = new DetachableKeyStore(customKeyStoreId);
    const entry: Entry = {
      record,
      place,
      view: {
        customKeyStoreId,
        get cloudHsmClusterId() {
          return entry.record.cloudHsmClusterId;
        },
        keySpecs: 'symmetric',
        get isConnected() {
          return stateOf(entry) === 'CONNECTED' && place.status().state === 'connected';
        },
        get isAway() {
          return place.isAway;
        },
      },
      attempt: undefined,
      closing: undefined,
    };
    this.#entries.set(customKeyStoreId, entry);
    for (const list of [this.ids, this.allIds]) list.add(customKeyStoreId);
  }

  #hide({ customKeyStoreId, region }: CustomKeyStoreRecord): void {
    const entry = this.#entries.get(customKeyStoreId);
    if (entry === undefined || region !== this.#options.region) return;
    this.#entries.delete(customKeyStoreId);
    for (const list of [this.ids, this.allIds]) list.remove(customKeyStoreId);
    void this.#end(entry).then(() => this.#forgetPresented(entry.record));
  }

  /**
   * Never rejects: how it ends is on record.
   * @param isPatient The password was good: a token that is not there is waited for.
   */
  async #connect(entry: Entry, isPatient: boolean): Promise<void> {
    const attempt: Attempt = { keyStore: undefined };
    entry.attempt = attempt;
    const isCurrent = (): boolean => entry.attempt === attempt && !this.#isClosed;
    // Of a further host, while the first one is looked at: it was another password in between.
    let refusal: KeyStoreError | undefined;
    const assertNotRefused = (): void => {
      if (refusal !== undefined) throw refusal;
    };
    const { hsms, vault, presented } = this.#options;
    const { place, record } = entry;
    try {
      const hsm = hsms.get(record.cloudHsmClusterId);
      if (hsm?.trustAnchor === undefined) throw new LostHsm(record.cloudHsmClusterId);
      if (isPatient && (await presented.has(record))) throw new UnknownAnswer();
      if (!isCurrent()) return;
      const { keyStore, connected } = hsm.open(
        () => vault.unseal(record),
        () => isPatient && isCurrent(),
        {
          connected: () => place.events.connected(),
          failed: () => place.events.failed(),
          pinRefused: (message) => {
            refusal = new KeyStoreError('unavailable', message);
            if (isCurrent() && place.isAdmitted) void this.#fail(entry, attempt, refusal);
          },
        },
        async (connection) => {
          if (place.isAdmitted) await this.#prove?.(record.customKeyStoreId, connection);
        },
        new LoginGate(this.#notesOf(record, isCurrent)),
      );
      attempt.keyStore = keyStore;
      place.attach(keyStore);
      await connected;
      await this.#look(entry, keyStore, isPatient, () => isCurrent() && refusal === undefined);
      assertNotRefused();
      await this.#settle(entry, attempt, { connection: 'CONNECTED', connectionErrorCode: null });
      if (!isCurrent()) return;
      assertNotRefused();
      place.admit();
      this.#options.log.info(aboutOf(entry), 'a custom key store is connected');
    } catch (error) {
      if (isCurrent()) await this.#fail(entry, attempt, error);
    }
  }

  #notesOf(record: CustomKeyStoreRecord, isCurrent: () => boolean): LoginNotes {
    return {
      about: async () => {
        if (!isCurrent()) throw new Error('nobody wants it to be connected any more');
        await this.#options.presented.add(record);
      },
      settled: () => this.#forgetPresented(record),
    };
  }

  /** Never rejects: whoever begins next has its password presented by nobody but who says that it is right. */
  async #forgetPresented(record: CustomKeyStoreRecord): Promise<void> {
    const { presented, log } = this.#options;
    const { customKeyStoreId } = record;
    await presented.remove(record).catch((error: unknown) => {
      log.error({ customKeyStoreId, err: error }, 'that a password is not refused cannot be noted');
    });
  }

  /** Whoever is patient looks again while the token does not tell. */
  async #look(entry: Entry, keyStore: KeyStore, isPatient: boolean, isCurrent: () => boolean): Promise<void> {
    for (;;) {
      try {
        await this.#examine?.(entry.record.customKeyStoreId, keyStore);
        return;
      } catch (error) {
        if (!(isPatient && isCurrent() && error instanceof KeyStoreError)) throw error;
      }
      await pause();
    }
  }

  /** The hosts end first: from now on nothing logs in. Never rejects. */
  async #fail(entry: Entry, attempt: Attempt, error: unknown): Promise<void> {
    const code = codeOf(error);
    const reason = String(error instanceof Error ? error.message : error);
    this.#options.log.error({ ...aboutOf(entry), code, reason }, 'a custom key store could not be connected');
    entry.place.detach();
    entry.place.refuse(reason);
    await attempt.keyStore?.close();
    await this.#settle(entry, attempt, { connection: 'FAILED', connectionErrorCode: code });
  }

  /** An earlier run was connecting it when it ended: nobody knows what the token said to the password. */
  async #giveUp(entry: Entry): Promise<void> {
    const attempt: Attempt = { keyStore: undefined };
    entry.attempt = attempt;
    await this.#fail(entry, attempt, new Error('the daemon ended while it was being connected'));
  }

  /** Puts on record how an attempt ended, unless somebody wants something else by now. Never rejects. */
  async #settle(
    entry: Entry,
    attempt: Attempt,
    members: Pick<CustomKeyStoreRecord, 'connection' | 'connectionErrorCode'>,
  ): Promise<void> {
    const { turns, log } = this.#options;
    while (entry.attempt === attempt && !this.#isClosed) {
      try {
        await turns.take(() => {
          const isDone = entry.attempt !== attempt || entry.record.connection === members.connection;
          const changes = isDone ? [] : [replaced('customKeyStore', entry.record, members)];
          return { changes, response: undefined };
        });
        return;
      } catch (error) {
        log.error({ ...aboutOf(entry), err: error }, 'how a custom key store was connected is not on record yet');
      }
      await pause();
    }
  }

  /** Ends the connection that there is. Never rejects. */
  #end(entry: Entry): Promise<void> {
    const keyStore = entry.place.detach() ?? entry.attempt?.keyStore;
    entry.attempt = undefined;
    if (keyStore === undefined) return entry.closing ?? Promise.resolve();
    const closing = keyStore
      .close()
      .catch((error: unknown) => this.#options.log.error({ ...aboutOf(entry), err: error }, 'hosts did not end'))
      .finally(() => {
        if (entry.closing === closing) entry.closing = undefined;
      });
    entry.closing = closing;
    return closing;
  }
}

function stateOf({ record, place, closing }: Entry): ConnectionState {
  switch (record.connection) {
    case 'DISCONNECTED':
      return closing === undefined ? 'DISCONNECTED' : 'DISCONNECTING';
    case 'CONNECTED':
      return place.isAdmitted ? 'CONNECTED' : 'CONNECTING';
    case 'CONNECTING':
    case 'FAILED':
      return record.connection;
    default:
      throw new TypeError(`${record.connection satisfies never} is no state`);
  }
}

function aboutOf({ record: { customKeyStoreId, name, cloudHsmClusterId } }: Entry) {
  return { customKeyStoreId, customKeyStoreName: name, cloudHsmClusterId };
}
