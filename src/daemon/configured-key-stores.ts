/** From the configuration of a key store to an open one: the profile's defaults, the PIN's place, the deadlines. */

import { availableParallelism } from 'node:os';
import { setTimeout } from 'node:timers/promises';
import type { Configuration, MemberConfiguration, TokenConfiguration } from '../config/configuration-schema.ts';
import { pinReader } from '../config/secrets.ts';
import type { KeyStore, KeyStoreError } from '../hsm/key-store.ts';
import type { ConnectionTerms } from '../hsm/members/member-parts.ts';
import { beginJoinedKeyStore, callsWaitNot } from '../hsm/members/open-joined-key-store.ts';
import {
  type BegunKeyStore,
  type BegunToken,
  beginKeyStore,
  type OpenKeyStoreOptions,
  openKeyStore,
} from '../hsm/open-key-store.ts';
import type { ConnectionEvents } from '../hsm/pipe-key-store.ts';
import type { ConnectionProof, TokenConnection } from '../hsm/token-connection.ts';
import { type Tuning, type TuningOptions, tuneToken } from '../hsm/token-tuning.ts';
import { findLibrary, type KeyStoreShape, loadVendorProfile, shapeOf } from '../hsm/vendor-profile.ts';
import type { Logger } from '../kms/logger.ts';

/** The configured library, or the first of the profile's places where there is one. Throws when there is none. */
export function libraryOf(configuration: Pick<TokenConfiguration, 'profile' | 'library'>): string {
  if (configuration.library !== undefined) return configuration.library;
  const profile = loadVendorProfile(configuration.profile);
  const library = findLibrary(profile);
  if (library !== undefined) return library;
  const places = profile.libraries.map((path) => `\`${path}\``).join(', ') || 'no place that the profile knows';
  throw new Error(
    `${profile.name}: no PKCS#11 library at ${places}; install it or set \`library\` in the configuration`,
  );
}

/**
 * @param name One of `keyStores`.
 * @throws KeyStoreError or an error for operators when the token cannot be used as configured.
 */
export async function openConfiguredKeyStore(
  name: string,
  keyStores: Configuration['keyStores'],
  environment: NodeJS.ProcessEnv,
  log: Logger,
): Promise<KeyStore> {
  const { keyStore, connected } = beginConfiguredKeyStore(name, { keyStores, environment, log }, () => false);
  try {
    await connected;
    return keyStore;
  } catch (error) {
    await keyStore.close();
    throw error;
  }
}

/**
 * One member alone, or the only token of a key store: what it is and has, whatever the others do.
 * @param name For logs and errors.
 * @throws as `openConfiguredKeyStore`.
 */
export async function openConfiguredMember(
  name: string,
  member: MemberConfiguration,
  environment: NodeJS.ProcessEnv,
  log: Logger,
): Promise<KeyStore> {
  return openKeyStore(memberOptions(name, member, environment, log));
}

/** The names of those without which there is no start. */
export function requiredKeyStores({ serviceKeyStore, regions }: Configuration): ReadonlySet<string> {
  return new Set([serviceKeyStore, ...regions.map(({ defaultKeyStore }) => defaultKeyStore)]);
}

export interface KeyStoreSettings {
  readonly keyStores: Configuration['keyStores'];
  readonly environment: NodeJS.ProcessEnv;
  /** Is one of several members ours? Absent: each is taken, and serves the keys that it has. */
  readonly prove?: ((connection: TokenConnection, member: string) => Promise<void>) | undefined;
  /** The same of the only token of a key store. */
  readonly proveOnly?: ConnectionProof | undefined;
  readonly log: Logger;
}

/**
 * Measures what a token gives with so many hosts and lanes, whatever is configured.
 * @param name For logs and errors.
 * @throws as `openConfiguredKeyStore`.
 */
export async function tuneConfiguredKeyStore(
  name: string,
  member: MemberConfiguration,
  environment: NodeJS.ProcessEnv,
  log: Logger,
  how: Pick<TuningOptions, 'atMostMs' | 'measureMs' | 'signal' | 'progress'>,
): Promise<Tuning> {
  const options = memberOptions(name, member, environment, log);
  const open = async ({ hosts, lanes }: KeyStoreShape): Promise<KeyStore> => {
    const keyStore = await openKeyStore({ ...options, hosts, settings: { ...options.settings, lanes } });
    // Further hosts join the first one when they are ready, or are not to be had.
    const untilMs = performance.now() + member.deadlines.openMs;
    while (keyStore.status().hosts < hosts && performance.now() < untilMs) await setTimeout(20);
    return keyStore;
  };
  const { sessionsAreParallel = true } = options;
  return tuneToken({ ...how, open, sessionsAreParallel, cores: availableParallelism() });
}

/**
 * As `openConfiguredKeyStore`, begun: `beginKeyStore` says what it gives back and what is waited for.
 * @throws an error for operators when the configuration names what is not there.
 */
export function beginConfiguredKeyStore(
  name: string,
  { keyStores, environment, prove, proveOnly, log }: KeyStoreSettings,
  isWaitedFor: (reason: KeyStoreError) => boolean,
  events?: ConnectionEvents,
): BegunKeyStore {
  const configuration = keyStores.get(name);
  if (configuration === undefined) throw new TypeError(`key store \`${name}\` is not configured`);
  const [first, ...others] = configuration.members;
  if (others.length === 0) {
    const options = memberOptions(name, first, environment, log);
    const admit = proveOnly === undefined ? {} : { admit: proveOnly };
    return beginKeyStore({ ...options, ...admit, ...(events === undefined ? {} : { events }) }, isWaitedFor);
  }
  const members = configuration.members.map((member) => ({
    name: member.name,
    begin: (terms: ConnectionTerms): BegunToken => {
      const options = memberOptions(memberPath(name, member), member, environment, log);
      const limits = { ...options.limits, ...callsWaitNot };
      return beginKeyStore({ ...options, limits, ...terms }, () => true);
    },
  }));
  return beginJoinedKeyStore({ name, members, prove: prove ?? takeAll, events, log }, isWaitedFor);
}

const takeAll = (): Promise<void> => Promise.resolve();

/** How a member is called in logs and errors. The only token of a key store is called as that is. */
export function memberPath(keyStore: string, { name }: Pick<MemberConfiguration, 'name'>): string {
  return name === keyStore ? keyStore : `${keyStore}/${name}`;
}

/** @param name For logs, errors and `status()`. */
function memberOptions(
  name: string,
  member: MemberConfiguration,
  environment: NodeJS.ProcessEnv,
  log: Logger,
): OpenKeyStoreOptions {
  return { ...tokenOptions(name, member, log), pin: pinReader(member.pin, environment) };
}

/** All but the PIN. */
export function tokenOptions(
  name: string,
  configuration: TokenConfiguration,
  log: Logger,
): Omit<OpenKeyStoreOptions, 'pin'> {
  const profile = loadVendorProfile(configuration.profile);
  const { hosts, lanes } = shapeOf(profile, configuration, availableParallelism());
  return {
    name,
    settings: {
      library: libraryOf(configuration),
      token: configuration.token,
      profile: configuration.profile,
      libraryParameters: configuration.libraryParameters ?? null,
      lanes,
    },
    hosts,
    sessionsAreParallel: profile.sessionsAreParallel,
    environment: configuration.environment,
    isLibraryLogged: configuration.logLibraryOutput === true,
    limits: { callDeadlineMs: configuration.deadlines.callMs, openDeadlineMs: configuration.deadlines.openMs },
    log,
  };
}
