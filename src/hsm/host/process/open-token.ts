/**
 * Connecting: load the library, find the token, log in once, see what it can do, enumerate the keys.
 *
 * Only a host's main thread does this, once in its life. It logs in at most once: a refused PIN ends the host
 * (`pinRefused`), and the API process starts no other until a human says so, because three wrong PINs lock a token. The
 * session that logged in stays open, unused, until the process ends: PKCS#11 logs an application out when its last
 * session closes.
 *
 * Accepted: pkcs11js takes the PIN as a JavaScript string, which cannot be wiped. It lives in this process alone, which
 * runs no code but ours and the vendor's, dumps no core and cannot be traced by its own user; the frame that brought
 * the PIN is wiped.
 */

import { existsSync } from 'node:fs';
import { isDeepStrictEqual } from 'node:util';
import type { HostSettings, OpenSettings } from '../../calls.ts';
import type { KeyStoreCapabilities } from '../../key-store.ts';
import { findCapabilities, findImports, findProtection, findWrapping, mechanismNames } from '../probes/capabilities.ts';
import { newChangeLockMemory } from '../token/change-lock.ts';
import { type Cryptoki, constant, type Handle, returnValueOf, type TokenInfo } from '../token/cryptoki.ts';
import { type FailureName, HostFailure } from '../token/failures.ts';
import { KeyTable } from '../token/key-table.ts';
import { loadCryptoki } from '../token/loaded-libraries.ts';
import { openedFiles, openedSince } from '../token/opened-files.ts';
import { ReturnValues, returnValueName } from '../token/return-values.ts';
import { assertRoomForLogin, namedTokenFolder } from '../token/room-for-login.ts';
import { TokenSession } from '../token/token-session.ts';
import type { OpenedToken } from './lane.ts';

/** Throws `HostFailure`: `cannotOpen`, `misconfigured`, `pinRefused`, or what the library answered. `pin` is the caller's to wipe. */
export function openToken(settings: OpenSettings, pin: Buffer): OpenedToken {
  const profile = settings.vendorProfile;
  const returnValues = new ReturnValues(profile);
  const before = openedFiles();
  const cryptoki = loadCryptoki(settings.library);
  initialize(cryptoki, settings);
  const { slot, info } = findToken(cryptoki, settings.token);

  const session = new TokenSession({ cryptoki, slot, returnValues });
  assertRoomForLogin(profile.rewrittenAtLogin);
  logIn(session, info, pin);
  const mechanisms = mechanismNames(session);
  const keys = session.run(() => new KeyTable(session, profile).sweep());
  const probeSession = new TokenSession({ cryptoki, slot, returnValues });
  const roundTripMs = Math.round(Math.min(session.openedInMs, probeSession.openedInMs) * 1000) / 1000;
  const library = libraryOf(cryptoki, settings);
  const token = {
    label: unpadded(info.label),
    serial: unpadded(info.serialNumber),
    manufacturer: unpadded(info.manufacturerID),
    model: unpadded(info.model),
  };
  const formerly = findingsOf(settings, { library, token });
  const probed = formerly?.probed && isDeepStrictEqual(formerly.probed.mechanisms, mechanisms) ? formerly.probed : null;
  const capabilities = probed?.capabilities ?? findCapabilities(probeSession, mechanisms, profile);
  const imports = probed?.imports ?? findImports(probeSession, mechanisms, profile, capabilities);
  const protection = formerly?.protection.length ? formerly.protection : findProtection(probeSession, profile);
  probeSession.close();

  return {
    library: settings.library,
    slot,
    profile,
    keys,
    // A card's library may have files that come and go, none of which is the token.
    files: profile.imports.software ? openedSince(before, settings.libraryParameters) : [],
    changeLock: newChangeLockMemory(),
    capabilities: {
      profile: settings.profile,
      library,
      token,
      mechanisms,
      roundTripMs,
      capabilities,
      imports,
      wrapping: findWrapping(mechanisms, profile, capabilities),
      protection,
    },
  };
}

function libraryOf(cryptoki: Cryptoki, { library: path }: HostSettings): KeyStoreCapabilities['library'] {
  const { libraryDescription, libraryVersion, cryptokiVersion } = cryptoki.C_GetInfo();
  const version = ({ major, minor }: { major: number; minor: number }) => `${major}.${minor}`;
  return {
    path,
    description: unpadded(libraryDescription),
    version: version(libraryVersion),
    cryptoki: version(cryptokiVersion),
  };
}

/** What an earlier host found; `undefined` where none did, or with another token or library. */
function findingsOf(
  { formerly }: OpenSettings,
  now: Pick<KeyStoreCapabilities, 'library' | 'token'>,
): OpenSettings['formerly'] {
  if (formerly === undefined) return undefined;
  const { library, token } = formerly;
  return isDeepStrictEqual({ library, token }, now) ? formerly : undefined;
}

function initialize(cryptoki: Cryptoki, settings: OpenSettings): void {
  const wanted = initializeArguments(settings);
  try {
    try {
      cryptoki.C_Initialize(wanted);
    } catch (error) {
      // Some always lock, whoever needs it, and by nothing but what the system has (p11-kit's client, whatever token is behind it).
      if (returnValueOf(error) !== constant('CKR_CANT_LOCK')) throw error;
      cryptoki.C_Initialize({ ...wanted, flags: constant('CKF_OS_LOCKING_OK') });
    }
  } catch (error) {
    throw cannotOpen(`cannot initialise the PKCS#11 library \`${settings.library}\`${whatIsNotThere(settings)}`, error);
  }
}

/** Variables that say nothing to a library and whose folders may be missing. */
const ofTheSystem: ReadonlySet<string> = new Set(['HOME', 'TMPDIR', 'NODE_COMPILE_CACHE']);

/** Of what the library was told, by variables such as SOFTHSM2_CONF too: it answers that with CKR_GENERAL_ERROR, or a number, and no more. */
function whatIsNotThere({ libraryParameters, vendorProfile }: OpenSettings): string {
  const variables = Object.entries(process.env)
    .filter(([name, path = '']) => !ofTheSystem.has(name) && !path.includes(':'))
    .map(([name, path = '']) => ({ name, path }));
  const parameters = [...(libraryParameters?.matchAll(/(?<=^|['"=:\s])\/[^'"\s]+/g) ?? [])].map(([path]) => ({
    name: '`libraryParameters`',
    path,
  }));
  const rewritten = vendorProfile.rewrittenAtLogin;
  const tokens = rewritten === null ? undefined : namedTokenFolder(rewritten);
  const settings =
    tokens === undefined ? [] : [{ name: `\`${rewritten?.setting}\` in \`${tokens.file}\``, path: tokens.folder }];
  return [...variables, ...parameters, ...settings]
    .filter(({ path }) => path.startsWith('/') && !existsSync(path))
    .map(({ name, path }) => ` (${name} names \`${path}\`, which is not there)`)
    .join('');
}

/**
 * A library that has all it does in this process, and one thread to do it for, needs no locks, and SoftHSM2 2.6.1 takes hundreds of
 * them for a call: 2 of the 45 µs in which it unwraps a key, encrypts and destroys another. One that goes to a device may have threads
 * of its own that count on them.
 */
export function initializeArguments({
  lanes,
  libraryParameters,
  vendorProfile,
}: Pick<OpenSettings, 'lanes' | 'libraryParameters' | 'vendorProfile'>): Parameters<Cryptoki['C_Initialize']>[0] {
  const flags = lanes === 1 && vendorProfile.imports.software ? 0 : constant('CKF_OS_LOCKING_OK');
  // pkcs11js 2.1.7 loses the last character of the parameters; the blank is there to be lost.
  return libraryParameters === null ? { flags } : { flags, libraryParameters: `${libraryParameters} ` };
}

/** The one token with this label or serial number. Slot numbers change when devices do, so they are not asked for. */
function findToken(cryptoki: Cryptoki, wanted: HostSettings['token']): { slot: Handle; info: TokenInfo } {
  const what = 'label' in wanted ? `label \`${wanted.label}\`` : `serial number \`${wanted.serial}\``;
  let present: { slot: Handle; info: TokenInfo }[];
  try {
    present = cryptoki.C_GetSlotList(true).flatMap((slot) => {
      const info = tokenInfo(cryptoki, slot);
      return info === undefined ? [] : [{ slot, info }];
    });
  } catch (error) {
    throw cannotOpen('cannot list the tokens', error);
  }
  const matching = present.filter(({ info }) =>
    'label' in wanted ? unpadded(info.label) === wanted.label : unpadded(info.serialNumber) === wanted.serial,
  );
  const first = matching[0];
  if (first !== undefined && matching.length === 1) return first;
  if (first !== undefined) throw new HostFailure('misconfigured', `${matching.length} tokens have the ${what}`);
  // What is not initialised has no label: SoftHSM2 always has such a slot.
  const others = present.flatMap(({ info: { label, serialNumber } }) => {
    return unpadded(label) === '' ? [] : [`\`${unpadded(label)}\` (serial ${unpadded(serialNumber)})`];
  });
  throw new HostFailure('cannotOpen', `no token has the ${what}; there are: ${others.join(', ') || 'none'}`);
}

/** `undefined` for a token that was taken out meanwhile or that the library cannot read: it is not the wanted one. */
function tokenInfo(cryptoki: Cryptoki, slot: Handle): TokenInfo | undefined {
  try {
    return cryptoki.C_GetTokenInfo(slot);
  } catch (error) {
    if (returnValueOf(error) === undefined) throw error;
    return undefined;
  }
}

function logIn(session: TokenSession, info: TokenInfo, pin: Buffer): void {
  assertInitialized(info);
  assertNotLastTry(info);
  session.step = 'C_Login';
  try {
    session.cryptoki.C_Login(session.handle, constant('CKU_USER'), pin.toString('utf8'));
  } catch (error) {
    if (returnValueOf(error) === constant('CKR_USER_ALREADY_LOGGED_IN')) return;
    const failure = session.failureFrom(error);
    if (!(failure instanceof HostFailure)) throw failure;
    const name = passing.has(failure.failure) ? failure.failure : 'pinRefused';
    throw new HostFailure(name, `token \`${unpadded(info.label)}\`: ${failure.message}`, { cause: error });
  }
}

/**
 * One that is neither initialised nor has a user PIN refuses nobody's: there is no token (yet). NSS softoken shows such a one where its
 * folder is empty, which it is where what is mounted there was taken out.
 */
function assertInitialized({ label, flags }: TokenInfo): void {
  const isOne = ['CKF_TOKEN_INITIALIZED', 'CKF_USER_PIN_INITIALIZED'].some((name) => (flags & constant(name)) !== 0);
  if (!isOne)
    throw new HostFailure('cannotOpen', `token \`${unpadded(label)}\` is not initialised; no PIN was presented`);
}

/**
 * The last try that a token has before it locks itself is nobody's here: neither many starts nor a person who is sure can use it up. A
 * login that succeeds gives the token all its tries back. One that has a single try at all says so before anybody was wrong.
 *
 * Source: PKCS#11 3.1, CK_TOKEN_INFO, CKF_USER_PIN_COUNT_LOW and CKF_USER_PIN_FINAL_TRY, which a token may also never set.
 */
function assertNotLastTry({ label, flags }: TokenInfo): void {
  const isLast = ['CKF_USER_PIN_COUNT_LOW', 'CKF_USER_PIN_FINAL_TRY'].every((name) => (flags & constant(name)) !== 0);
  if (isLast)
    throw new HostFailure(
      'pinRefused',
      `token \`${unpadded(label)}\`: not presented, because the token was given wrong ones and locks itself at the next (CKF_USER_PIN_FINAL_TRY); ` +
        "log in to it with the right one by the vendor's tool, which gives it its tries back",
    );
}

/**
 * What a login may fail for and succeed after, with the same PIN. Whatever else a token answers, it answers to the PIN, as far as
 * anybody knows: vendors have numbers of their own for one that is wrong, and a token that is asked again for each of these locks
 * itself.
 */
const passing: ReadonlySet<FailureName> = new Set(['tokenGone', 'busy', 'tokenFull']);

function cannotOpen(what: string, error: unknown): unknown {
  const code = returnValueOf(error);
  return code === undefined
    ? error
    : new HostFailure('cannotOpen', `${what}: ${returnValueName(code)}`, { cause: error });
}

/** Fixed-size texts of PKCS#11 are padded with blanks, by some vendors with zero bytes. */
function unpadded(text: string): string {
  return text.replace(/[\0 ]+$/, '');
}
