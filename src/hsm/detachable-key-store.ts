/**
 * A key store that may be away while the daemon serves: it stands for its token whether that is connected or not.
 *
 * Whoever holds it keeps it, across connections: `attach` gives it the one to which calls go, `detach` takes that away. A call while
 * there is none, and one that is lost with its token, fails with `away`. It serves nothing before it is `admitted`: what a token
 * has to be found to be first, whoever attaches it decides.
 */

import { type KeyStore, KeyStoreError, type KeyStoreStatus } from './key-store.ts';
import type { ConnectionEvents } from './pipe-key-store.ts';

type Requests = {
  [Name in keyof KeyStore]: KeyStore[Name] extends (request: infer Request) => unknown ? Request : never;
};

/** For so long a token that was connected may be gone before its keys count as unavailable: calls wait for the next host. */
const patienceMs = 5_000;

export class DetachableKeyStore implements KeyStore {
  readonly name: string;
  #attached: KeyStore | undefined;
  #isAdmitted = false;
  /** Why it was not admitted, or the last attempt to connect it failed. */
  #problem: string | null = null;
  /** Is it left alone, with what is attached, until somebody says otherwise? */
  #isNotOurs = false;
  /** When its last host was lost, by the monotonic clock; `null` while one is connected. */
  #lostAtMs: number | null = null;

  constructor(name: string) {
    this.name = name;
  }

  get generationsAtOnce(): number {
    return this.#attached?.generationsAtOnce ?? 1;
  }

  /** For whoever connects it: what keeps this up to date with the token. */
  readonly events: Pick<ConnectionEvents, 'connected' | 'failed'> = {
    connected: () => {
      this.#lostAtMs = null;
    },
    failed: () => {
      if (this.#attached?.status().state !== 'connected') this.#lostAtMs ??= performance.now();
    },
  };

  /** Calls go there from when it is admitted. */
  attach(keyStore: KeyStore): void {
    this.#attached = keyStore;
    this.#isAdmitted = false;
    this.#isNotOurs = false;
    this.#problem = null;
    this.#lostAtMs = null;
  }

  /** What serves behind it; `undefined` while nothing does. */
  get served(): KeyStore | undefined {
    return this.#isAdmitted ? this.#attached : undefined;
  }

  get isAdmitted(): boolean {
    return this.#isAdmitted;
  }

  /** The token is the one that it has to be. */
  admit(): void {
    this.#isAdmitted = true;
    this.#isNotOurs = false;
    this.#problem = null;
  }

  /**
   * @param problem In words for operators.
   * @param isNotOurs Does it not become another one by being asked again?
   */
  refuse(problem: string, isNotOurs = false): void {
    this.#isNotOurs = isNotOurs;
    this.#problem = problem;
  }

  /** @returns What was attached; it is closed by whoever attached it. */
  detach(): KeyStore | undefined {
    const attached = this.#attached;
    this.#attached = undefined;
    this.#isAdmitted = false;
    return attached;
  }

  /** Are its keys unavailable? A host that is just being replaced is no reason. */
  get isAway(): boolean {
    if (this.#attached === undefined || !this.#isAdmitted) return true;
    const { state, lanes } = this.#attached.status();
    if (state === 'connected' || lanes > 0) return false;
    return state !== 'reconnecting' || performance.now() - (this.#lostAtMs ?? 0) > patienceMs;
  }

  isKeyAway(key: Requests['isKeyAway']): boolean {
    return this.isAway || this.#attached?.isKeyAway(key) === true;
  }

  status(): KeyStoreStatus {
    const status = this.#attached?.status();
    if (status === undefined) {
      const none = { hosts: 0, hostsAway: 0, lanes: 0, restarts: 0, inFlight: 0, pids: [] };
      return { name: this.name, state: 'closed', ...none, lastFailure: this.#problem };
    }
    const looked = this.#isNotOurs ? 'notOurs' : 'connecting';
    const state = status.state === 'connected' && !this.#isAdmitted ? looked : status.state;
    return { ...status, name: this.name, state, lastFailure: this.#problem ?? status.lastFailure };
  }

  get carrying() {
    return this.#served().carrying;
  }

  capabilities() {
    return this.#served().capabilities();
  }

  async reconnect(): Promise<void> {
    await this.#there().reconnect();
  }

  random(request: Requests['random']) {
    return this.#call((keyStore) => keyStore.random(request));
  }

  generateKey(request: Requests['generateKey']) {
    return this.#call((keyStore) => keyStore.generateKey(request));
  }

  destroyKey(request: Requests['destroyKey']) {
    return this.#call((keyStore) => keyStore.destroyKey(request));
  }

  generateWrappingKey(request: Requests['generateWrappingKey']) {
    return this.#call((keyStore) => keyStore.generateWrappingKey(request));
  }

  examineImport(request: Requests['examineImport']) {
    return this.#call((keyStore) => keyStore.examineImport(request));
  }

  importKey(request: Requests['importKey']) {
    return this.#call((keyStore) => keyStore.importKey(request));
  }

  describeKey(request: Requests['describeKey']) {
    return this.#call((keyStore) => keyStore.describeKey(request));
  }

  generateDomainKey(request: Requests['generateDomainKey']) {
    return this.#call((keyStore) => keyStore.generateDomainKey(request));
  }

  generateWrappedKey(request: Requests['generateWrappedKey']) {
    return this.#call((keyStore) => keyStore.generateWrappedKey(request));
  }

  importWrappedKey(request: Requests['importWrappedKey']) {
    return this.#call((keyStore) => keyStore.importWrappedKey(request));
  }

  wrapKey(request: Requests['wrapKey']) {
    return this.#call((keyStore) => keyStore.wrapKey(request));
  }

  keepWrappedKey(request: Requests['keepWrappedKey']) {
    return this.#call((keyStore) => keyStore.keepWrappedKey(request));
  }

  /** What is away is asked when the key is used. */
  async assertOpens(wrapped: Requests['assertOpens']): Promise<void> {
    await this.served?.assertOpens(wrapped);
  }

  /** With no token there is none that has unwrapped it, and calls that were under way are over. */
  async forgetWrappedKey(request: Requests['forgetWrappedKey']): Promise<void> {
    await this.#attached?.forgetWrappedKey(request);
  }

  listKeys() {
    return this.#call((keyStore) => keyStore.listKeys());
  }

  encrypt(request: Requests['encrypt']) {
    return this.#call((keyStore) => keyStore.encrypt(request));
  }

  decrypt(request: Requests['decrypt']) {
    return this.#call((keyStore) => keyStore.decrypt(request));
  }

  generateDataKey(request: Requests['generateDataKey']) {
    return this.#call((keyStore) => keyStore.generateDataKey(request));
  }

  generateDataKeyWithoutPlaintext(request: Requests['generateDataKeyWithoutPlaintext']) {
    return this.#call((keyStore) => keyStore.generateDataKeyWithoutPlaintext(request));
  }

  generateDataKeyPair(request: Requests['generateDataKeyPair']) {
    return this.#call((keyStore) => keyStore.generateDataKeyPair(request));
  }

  mac(request: Requests['mac']) {
    return this.#call((keyStore) => keyStore.mac(request));
  }

  macs(request: Requests['macs']) {
    return this.#call((keyStore) => keyStore.macs(request));
  }

  verifyMac(request: Requests['verifyMac']) {
    return this.#call((keyStore) => keyStore.verifyMac(request));
  }

  sign(request: Requests['sign']) {
    return this.#call((keyStore) => keyStore.sign(request));
  }

  decryptAsymmetric(request: Requests['decryptAsymmetric']) {
    return this.#call((keyStore) => keyStore.decryptAsymmetric(request));
  }

  deriveSharedSecret(request: Requests['deriveSharedSecret']) {
    return this.#call((keyStore) => keyStore.deriveSharedSecret(request));
  }

  stopGenerating(because: string): void {
    this.#attached?.stopGenerating(because);
  }

  async close(): Promise<void> {
    await this.detach()?.close();
  }

  async #call<Result>(make: (keyStore: KeyStore) => Promise<Result>): Promise<Result> {
    try {
      return await make(this.#served());
    } catch (error) {
      if (!(error instanceof KeyStoreError && error.failure === 'unavailable')) throw error;
      throw new KeyStoreError('away', error.message, { cause: error });
    }
  }

  #served(): KeyStore {
    const attached = this.#there();
    if (this.#isAdmitted) return attached;
    const { state, lastFailure } = attached.status();
    const waitsFor = state === 'connected' || lastFailure === null ? 'its token is being looked at' : lastFailure;
    throw new KeyStoreError('away', `key store \`${this.name}\`: ${this.#problem ?? waitsFor}`);
  }

  #there(): KeyStore {
    if (this.#attached !== undefined) return this.#attached;
    throw new KeyStoreError('away', `key store \`${this.name}\` is not connected`);
  }
}
