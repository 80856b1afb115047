/** Key stores for tests: opened on a test's token, with their log at hand, closed when the test ends. */

import { expect, onTestFinished, vi } from 'vitest';
import { type KeyStore, KeyStoreError } from '../../src/hsm/key-store.ts';
import type { KeyStoreLimits } from '../../src/hsm/key-store-limits.ts';
import { openKeyStore } from '../../src/hsm/open-key-store.ts';
import { loadVendorProfile } from '../../src/hsm/vendor-profile.ts';
import type { Logger } from '../../src/kms/logger.ts';
import { type BackingKeyId, newBackingKeyId } from '../../src/kms/names.ts';
import { Pin, Plaintext } from '../../src/secrets/secret-bytes.ts';
import type { TestToken } from '../support/tokens.ts';

export interface LogLine {
  readonly level: keyof Logger;
  readonly message: string;
  readonly fields: Readonly<Record<string, unknown>>;
}

export interface TestStoreOptions {
  readonly hosts?: number;
  readonly lanes?: number;
  /** What the token's vendor profile says, unless given. */
  readonly sessionsAreParallel?: boolean;
  readonly limits?: Partial<KeyStoreLimits>;
  /** The token's, unless given; asked at each connection. */
  readonly pin?: () => string;
}

export interface TestStore {
  readonly keyStore: KeyStore;
  readonly log: readonly LogLine[];
}

/**
 * Pauses that a test can wait for, and more patience than a busy machine needs to start a host or to answer: a test that is about
 * how long callers wait says how long that is.
 */
export const limitsOfTests: Partial<KeyStoreLimits> = {
  ...{ firstPauseMs: 20, maxPauseMs: 200 },
  ...{ reconnectWaitMs: 60_000, callDeadlineMs: 60_000 },
};

/** Opens a key store that is closed when the test ends. `log` is filled even when it cannot be opened. */
export async function openTestStore(
  token: TestToken,
  options: TestStoreOptions = {},
  log: LogLine[] = [],
): Promise<TestStore> {
  const keyStore = await openStore(token, options, log);
  onTestFinished(() => keyStore.close());
  return { keyStore, log };
}

/** Opens a key store for several tests; whoever opens it closes it. */
export async function openStore(
  token: TestToken,
  options: TestStoreOptions = {},
  log: LogLine[] = [],
): Promise<KeyStore> {
  const { hosts = 1 } = options;
  const line = (level: keyof Logger) => (fields: object, message: string) => {
    log.push({ level, message, fields: { ...fields } });
  };
  const keyStore = await openKeyStore({
    name: 'default',
    settings: token.settings(options.lanes ?? 1),
    hosts,
    sessionsAreParallel: options.sessionsAreParallel ?? loadVendorProfile(token.profile).sessionsAreParallel,
    pin: async () => pinOf(options.pin?.() ?? token.pin),
    environment: token.environment,
    limits: { ...limitsOfTests, ...options.limits },
    log: { debug: line('debug'), info: line('info'), warn: line('warn'), error: line('error') },
  });
  // The first host serves before the others are there; the tests are about all of them.
  await vi.waitUntil(() => keyStore.status().hosts === hosts, { timeout: 170_000, interval: 5 });
  return keyStore;
}

function pinOf(text: string): Pin {
  const bytes = Buffer.alloc(Buffer.byteLength(text));
  bytes.write(text);
  return new Pin(bytes);
}

const usageOfKind = {
  SYMMETRIC_DEFAULT: 'ENCRYPT_DECRYPT',
  HMAC_256: 'GENERATE_VERIFY_MAC',
  ECC_NIST_P256: 'SIGN_VERIFY',
} as const;

export async function newKey(
  keyStore: KeyStore,
  kind: keyof typeof usageOfKind = 'SYMMETRIC_DEFAULT',
): Promise<BackingKeyId> {
  const backingKeyId = newBackingKeyId();
  const keyUsage = usageOfKind[kind];
  await keyStore.generateKey({ backingKeyId, label: 'drawbridge:test:1', keySpec: kind, keyUsage });
  return backingKeyId;
}

export function plaintextOf(content: string | Buffer): Plaintext {
  const bytes = Buffer.alloc(Buffer.byteLength(content));
  bytes.set(Buffer.from(content));
  return new Plaintext(bytes);
}

export const aad = Buffer.from('additional authenticated data');

/** Encrypts and decrypts, and checks that what went in comes out. */
export async function roundTrip(
  keyStore: KeyStore,
  backingKeyId: BackingKeyId,
  content = 'a plaintext',
): Promise<void> {
  const plaintext = plaintextOf(content);
  const encrypted = await keyStore.encrypt({ backingKeyId, aad, plaintext });
  const decrypted = await keyStore.decrypt({ backingKeyId, aad, ...encrypted });
  expect(decrypted.reveal().toString()).toBe(content);
}

/** Name, failure and message of the error that a call ends with; throws what is no `KeyStoreError`. */
export async function failureOf(call: Promise<unknown>): Promise<{ failure: string; message: string }> {
  try {
    await call;
  } catch (error) {
    if (!(error instanceof KeyStoreError)) throw error;
    expect(error.name).toBe('KeyStoreError');
    return { failure: error.failure, message: error.message };
  }
  return { failure: 'none', message: 'the call succeeded' };
}

/** Waits until `condition` holds; the test's own timeout is the bound. */
export async function until(condition: () => boolean): Promise<void> {
  while (!condition()) await new Promise((resolve) => setTimeout(resolve, 10));
}
