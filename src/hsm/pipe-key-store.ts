/**
 * The key store that speaks to HSM hosts: turns each call into fields and each reply into a value, and puts together what
 * takes several calls.
 *
 * INVARIANT: once `destroyKey` resolves, no lane of any host uses the key any more. Hosts remember handles and session
 * copies, so it is not enough that one lane destroyed the object: every lane is told to forget the key, a host that is
 * being connected is told before it serves, and a lane that cannot forget is killed with its host.
 */

import { timingSafeEqual } from 'node:crypto';
import type { Logger } from '../kms/logger.ts';
import { CallDispatcher } from './call-dispatcher.ts';
import { inCalls, keyField, keyId, materialFields, packed, u32 } from './call-fields.ts';
import type { CallName } from './calls.ts';
import { capabilityChanges } from './capability-changes.ts';
import { connectionError } from './connection-error.ts';
import { findingsFor } from './former-findings.ts';
import { HostSupervisor, type SupervisorOptions } from './host-supervisor.ts';
import { HostOpenError } from './hsm-host.ts';
import type { KeyCarrying } from './key-carrying.ts';
import { listPages } from './key-listing.ts';
import { type KeyStore, type KeyStoreCapabilities, KeyStoreError, type KeyStoreStatus } from './key-store.ts';
import type { KeyStoreLimits } from './key-store-limits.ts';
import { generationsAtOnce } from './lane-choice.ts';
import { LoginGate } from './login-gate.ts';
import { assertOpenedOnce } from './opened-once.ts';
import { PipeKeyCarrying } from './pipe-key-carrying.ts';
import * as replies from './replies.ts';
import { asEnforced } from './token-protection.ts';
import type { BackingKeyReference } from './wrapped-key.ts';
import { WrappedKeysInUse } from './wrapped-keys-in-use.ts';

export interface PipeKeyStoreOptions
  extends Pick<SupervisorOptions, 'settings' | 'environment' | 'pin' | 'limits' | 'admit' | 'log' | 'isLibraryLogged'> {
  readonly name: string;
  readonly hosts: number;
  /** Are calls faster on several sessions of one host at once? */
  readonly sessionsAreParallel: boolean;
  readonly events?: ConnectionEvents;
  /** Of its token; one of its own unless given. */
  readonly gate?: LoginGate;
}

/** What becomes of the connection to a token. */
export interface ConnectionEvents {
  /** A host is connected; calls are served. */
  connected(): void;
  /** A host was lost, or could not be connected; another attempt follows. */
  failed(): void;
  /** Nothing logs in any more. `message` is for operators. */
  pinRefused(message: string): void;
}

type Requests = {
  [Name in keyof KeyStore]: KeyStore[Name] extends (request: infer Request) => unknown ? Request : never;
};

export class PipeKeyStore implements KeyStore {
  readonly name: string;
  readonly generationsAtOnce: number;
  readonly carrying: KeyCarrying;
  readonly #options: PipeKeyStoreOptions;
  readonly #limits: KeyStoreLimits;
  readonly #log: Logger;
  readonly #dispatcher: CallDispatcher;
  readonly #gate: LoginGate;
  readonly #wrappedInUse = new WrappedKeysInUse();
  readonly #supervisors: readonly HostSupervisor[];
  #capabilities: KeyStoreCapabilities | undefined;
  #restarts = 0;
  #lastFailure: string | null = null;
  #reportedRefusal: HostOpenError | null = null;
  #listing: Promise<unknown> = Promise.resolve();
  #closing: Promise<void> | undefined;

  constructor(options: PipeKeyStoreOptions) {
    const { name, hosts, limits, log } = options;
    this.name = name;
    this.generationsAtOnce = generationsAtOnce({ hosts, lanes: options.settings.lanes });
    this.#options = options;
    this.#gate = options.gate ?? new LoginGate();
    this.#limits = limits;
    this.#log = log;
    this.#dispatcher = new CallDispatcher(limits, {
      laneCount: hosts * options.settings.lanes,
      sessionsAreParallel: options.sessionsAreParallel,
    });
    this.carrying = new PipeKeyCarrying(this.#dispatcher);
    const events: SupervisorOptions['events'] = {
      connected: (capabilities) => this.#connected(capabilities),
      failed: (reason) => this.#failed(reason),
      pinRefused: (refusal) => this.#pinRefused(refusal),
    };
    const [dispatcher, gate] = [this.#dispatcher, this.#gate];
    const formerly = () => findingsFor(this.#capabilities, { isServing: dispatcher.laneCount > 0 });
    const shared = { ...options, keyStore: name, dispatcher, gate, formerly, events };
    this.#supervisors = Array.from({ length: hosts }, (_, index) => {
      const hasPromptLane = options.settings.lanes > 1 || (hosts > 1 && index === 0);
      return new HostSupervisor({ ...shared, hasPromptLane });
    });
  }

  /**
   * The first connection. The first host goes ahead, and the others have not tried before it is connected. When it is, calls are
   * served, and the others join it as soon as they are ready.
   * @param isWaitedFor Is asked when an attempt has failed and another may succeed: shall there be another?
   * Rejects with the `HostOpenError` of the last attempt, the circle of attempts going on until `close`.
   */
  async connect(isWaitedFor: (error: HostOpenError) => boolean): Promise<void> {
    const [first, ...others] = this.#supervisors;
    for (let attempt = first?.start(); ; attempt = first?.nextAttempt()) {
      try {
        await attempt;
        break;
      } catch (error) {
        const mayPass = error instanceof HostOpenError && error.kind === 'failed' && this.#closing === undefined;
        if (!mayPass || !isWaitedFor(error)) throw error;
      }
    }
    // Why one cannot be connected is told by its events, and it is tried again.
    for (const supervisor of others) supervisor.start().catch(() => undefined);
  }

  status(): KeyStoreStatus {
    const pids = this.#supervisors.flatMap(({ pid }) => (pid === undefined ? [] : [pid]));
    return {
      name: this.name,
      state: this.#state(),
      hosts: this.#supervisors.filter(({ connectedHost }) => connectedHost !== undefined).length,
      hostsAway: this.#supervisors.filter(({ isAway }) => isAway).length,
      lanes: this.#dispatcher.laneCount,
      restarts: this.#restarts,
      lastFailure: this.#lastFailure,
      inFlight: this.#dispatcher.inFlight,
      pids,
    };
  }

  capabilities(): KeyStoreCapabilities {
    if (this.#capabilities !== undefined) return this.#capabilities;
    throw new KeyStoreError('unavailable', `key store \`${this.name}\` has not been connected yet`);
  }

  async reconnect(): Promise<void> {
    this.#gate.reset();
    this.#dispatcher.block(null);
    const attempts = await Promise.allSettled(this.#supervisors.map((supervisor) => supervisor.wake()));
    const failed = attempts.find((attempt) => attempt.status === 'rejected');
    if (failed === undefined || attempts.some((attempt) => attempt.status === 'fulfilled')) return;
    throw failed.reason instanceof HostOpenError
      ? connectionError(this.name, this.#options.settings, failed.reason)
      : failed.reason;
  }

  /** Asks over each connection that serves whether the token is ours. Rejects as `admit` does. */
  async proveAgain(): Promise<void> {
    await Promise.all(this.#supervisors.map((supervisor) => supervisor.proveAgain()));
  }

  /** It has them all or none. */
  isKeyAway(): boolean {
    return false;
  }

  stopGenerating(because: string): void {
    this.#dispatcher.stopGenerating(because);
  }

  random({ lengthBytes }: Requests['random']) {
    return this.#dispatcher.call('random', [u32(lengthBytes)], ([bytes]) => replies.plaintext(bytes, lengthBytes));
  }

  generateKey({ backingKeyId, label, keySpec, keyUsage }: Requests['generateKey']) {
    const fields = [keyId(backingKeyId), Buffer.from(label), Buffer.from(keySpec), Buffer.from(keyUsage)];
    return this.#dispatcher.call('generateKey', fields, (reply) => replies.generatedKey(reply, backingKeyId));
  }

  async destroyKey({ backingKeyId }: Requests['destroyKey']): Promise<void> {
    const id = keyId(backingKeyId);
    await this.#dispatcher.call('destroyKey', [id], replies.nothing);
    await this.#forget(id);
  }

  generateWrappingKey({ backingKeyId, label, wrappingKeySpec }: Requests['generateWrappingKey']) {
    const fields = [keyId(backingKeyId), Buffer.from(label), Buffer.from(wrappingKeySpec)];
    const decode = ([publicKey]: readonly Buffer[]) => ({ publicKey: replies.publicKey(publicKey) });
    return this.#dispatcher.call('generateWrappingKey', fields, decode);
  }

  async examineImport(request: Requests['examineImport']) {
    return await this.#dispatcher.call(
      'examineImport',
      materialFields('examineImport', request),
      replies.examinedImport,
    );
  }

  async importKey(request: Requests['importKey']) {
    const { backingKeyId, label, fingerprint } = request;
    const fields = [...materialFields('importKey', request), keyId(backingKeyId), Buffer.from(label), fingerprint];
    return await this.#dispatcher.call('importKey', fields, (reply) => replies.generatedKey(reply, backingKeyId));
  }

  async describeKey(key: Requests['describeKey']) {
    const told = await this.#use('describeKey', key, [], (reply) => replies.attributes(reply, key.backingKeyId));
    return asEnforced(told, this.capabilities().protection);
  }

  generateDomainKey({ backingKeyId, label }: Requests['generateDomainKey']) {
    const fields = [keyId(backingKeyId), Buffer.from(label)];
    return this.#dispatcher.call('generateDomainKey', fields, (reply) => replies.attributes(reply, backingKeyId));
  }

  generateWrappedKey({ domainKeyId, keySpec, keyUsage }: Requests['generateWrappedKey']) {
    const fields = [keyId(domainKeyId), Buffer.from(keySpec), Buffer.from(keyUsage)];
    return this.#dispatcher.call('generateWrappedKey', fields, replies.newWrappedKey);
  }

  async importWrappedKey(request: Requests['importWrappedKey']) {
    const fields = [...materialFields('importWrappedKey', request), keyId(request.domainKeyId), request.fingerprint];
    return await this.#dispatcher.call('importWrappedKey', fields, replies.newWrappedKey);
  }

  wrapKey({ domainKeyId, keySpec, keyUsage, publicKey, ...key }: Requests['wrapKey']) {
    const fields = [keyId(domainKeyId), Buffer.from(keySpec), Buffer.from(keyUsage), publicKey ?? Buffer.alloc(0)];
    return this.#use('wrapKey', key, fields, replies.newWrappedKey);
  }

  keepWrappedKey({ label, ...key }: Requests['keepWrappedKey']) {
    return this.#use('keepWrappedKey', key, [Buffer.from(label)], replies.nothing);
  }

  assertOpens(wrapped: Requests['assertOpens']) {
    return assertOpenedOnce(this, wrapped);
  }

  async forgetWrappedKey({ backingKeyId }: Requests['forgetWrappedKey']): Promise<void> {
    await this.#wrappedInUse.idle(backingKeyId);
    await this.#forget(keyId(backingKeyId));
  }

  /** One listing at a time, because a lane keeps one list for all its pages. Begins anew, once, when its lane is lost. */
  listKeys(): Promise<readonly replies.ListedKey[]> {
    const listing = this.#listing.then(async () => {
      try {
        return await listPages(this.#dispatcher);
      } catch (error) {
        if (!(error instanceof KeyStoreError && error.failure === 'unavailable')) throw error;
        return await listPages(this.#dispatcher);
      }
    });
    this.#listing = listing.catch(() => undefined); // The next one's turn comes however this one ended.
    return listing;
  }

  encrypt(key: Requests['encrypt']) {
    const fields = [key.aad, key.plaintext.reveal()];
    return this.#use('encrypt', key, fields, (reply) => replies.encrypted(reply, key.plaintext.lengthBytes));
  }

  decrypt(key: Requests['decrypt']) {
    const fields = [key.aad, key.iv, key.ciphertext];
    const lengthBytes = key.ciphertext.length - replies.tagBytes;
    return this.#use('decrypt', key, fields, ([bytes]) => replies.plaintext(bytes, lengthBytes));
  }

  generateDataKey(key: Requests['generateDataKey']) {
    const fields = [key.aad, u32(key.lengthBytes)];
    return this.#use('generateDataKey', key, fields, (reply) => ({
      ...replies.encrypted(reply, key.lengthBytes),
      plaintext: replies.plaintext(reply[2], key.lengthBytes),
    }));
  }

  generateDataKeyWithoutPlaintext(key: Requests['generateDataKeyWithoutPlaintext']) {
    const fields = [key.aad, u32(key.lengthBytes)];
    const decode = (reply: readonly Buffer[]) => replies.encrypted(reply, key.lengthBytes);
    return this.#use('generateDataKeyWithoutPlaintext', key, fields, decode);
  }

  generateDataKeyPair(key: Requests['generateDataKeyPair']) {
    const fields = [key.aad, Buffer.from(key.keyPairSpec), u32(key.withPlaintext ? 1 : 0)];
    return this.#use('generateDataKeyPair', key, fields, (reply) => replies.dataKeyPair(reply, key.withPlaintext));
  }

  mac(key: Requests['mac']) {
    const fields = [Buffer.from(key.algorithm), key.data];
    return this.#use('mac', key, fields, ([mac]) => replies.mac(mac, key.algorithm));
  }

  async macs(key: Requests['macs']): Promise<readonly Buffer[]> {
    const { algorithm, messages } = key;
    const macs = inCalls(messages).map((some) => {
      const fields = [keyField(key), Buffer.from(algorithm), packed(some)];
      const decode = ([field]: readonly Buffer[]) => replies.macs(field, algorithm, some.length);
      return this.#dispatcher.call('macs', fields, decode, { isPrompt: true });
    });
    return (await Promise.all(macs)).flat();
  }

  /**
   * Compares here, in constant time, instead of asking the token: how a token's C_Verify compares is not known, MACs cut
   * short would need another mechanism, and keys need not be allowed CKA_VERIFY.
   */
  async verifyMac({ mac, ...request }: Requests['verifyMac']): Promise<boolean> {
    const right = await this.mac(request);
    const isAsLong = mac.length === right.length;
    return timingSafeEqual(isAsLong ? mac : Buffer.alloc(right.length), right) && isAsLong;
  }

  sign(key: Requests['sign']) {
    const fields = [Buffer.from(key.algorithm), Buffer.from(key.content), key.message];
    return this.#use('sign', key, fields, ([signature]) => replies.signature(signature, key.algorithm));
  }

  decryptAsymmetric(key: Requests['decryptAsymmetric']) {
    const fields = [Buffer.from(key.algorithm), key.ciphertext];
    const decode = ([bytes]: readonly Buffer[]) => replies.shortPlaintext(bytes, key.ciphertext.length);
    return this.#use('decryptAsymmetric', key, fields, decode);
  }

  deriveSharedSecret(key: Requests['deriveSharedSecret']) {
    const fields = [key.publicKey];
    return this.#use('deriveSharedSecret', key, fields, ([secret]) => replies.sharedSecret(secret));
  }

  /** A call that uses a key. */
  #use<Result>(
    name: CallName,
    key: BackingKeyReference,
    fields: readonly Uint8Array[],
    decode: (fields: readonly Buffer[]) => Result,
  ): Promise<Result> {
    if (key.wrapped === undefined) return this.#dispatcher.call(name, [keyId(key.backingKeyId), ...fields], decode);
    try {
      const call = this.#dispatcher.call(name, [keyField(key), ...fields], decode);
      return this.#wrappedInUse.follow(key.backingKeyId, call);
    } catch (error) {
      return Promise.reject(error);
    }
  }

  async #forget(id: Buffer): Promise<void> {
    this.#dispatcher.forgot(id);
    await Promise.all(this.#supervisors.map((supervisor) => supervisor.keyDestroyed(id)));
  }

  close(): Promise<void> {
    this.#closing ??= this.#close();
    return this.#closing;
  }

  async #close(): Promise<void> {
    this.#dispatcher.refuseNew('the key store was closed');
    await this.#dispatcher.idle(this.#limits.closeDeadlineMs);
    this.#dispatcher.block('the key store was closed');
    await Promise.all(this.#supervisors.map((supervisor) => supervisor.stop()));
    this.#dispatcher.stop();
  }

  #state(): KeyStoreStatus['state'] {
    if (this.#closing !== undefined) return 'closed';
    if (this.#gate.refusal !== null) return 'pinRefused';
    if (this.#dispatcher.laneCount > 0) return 'connected';
    return this.#restarts === 0 ? 'connecting' : 'reconnecting';
  }

  #connected(capabilities: KeyStoreCapabilities): void {
    const former = this.#capabilities;
    this.#capabilities = capabilities;
    const { token, library } = capabilities;
    this.#log.info({ keyStore: this.name, token, library }, 'an HSM host is connected');
    this.#options.events?.connected();
    if (former === undefined) return;
    const changes = capabilityChanges(former, capabilities);
    if (changes.length > 0)
      this.#log.warn({ keyStore: this.name, changes }, 'the token is not what it was at the last connection');
  }

  #failed(reason: string): void {
    this.#restarts++;
    // What becomes of hosts that served on after a refused PIN is no news beside that.
    if (this.#gate.refusal === null) this.#lastFailure = reason;
    this.#log.warn({ keyStore: this.name, reason }, 'an HSM host is being replaced');
    this.#options.events?.failed();
  }

  #pinRefused(refusal: HostOpenError): void {
    // Every supervisor that comes to the closed gate reports the one refusal.
    if (this.#reportedRefusal === refusal) return;
    this.#reportedRefusal = refusal;
    const error = connectionError(this.name, this.#options.settings, refusal);
    this.#lastFailure = error.message;
    this.#dispatcher.block(error.message);
    const isNews = this.#gate.isNews(refusal);
    if (isNews) this.#log.error({ keyStore: this.name, reason: error.message }, 'the PIN was refused');
    this.#options.events?.pinRefused(error.message);
  }
}
