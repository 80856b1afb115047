/**
 * The parts of a host inside of the test's own process, for what a test cannot do from outside: import a key whose value is
 * known, and disturb the session behind the host's back. Only one token of a vendor can be open in a process at a time.
 */

import { KeyCalls } from '../../../src/hsm/host/calls/key-calls.ts';
import { SecretCalls } from '../../../src/hsm/host/calls/secret-calls.ts';
import { openToken } from '../../../src/hsm/host/process/open-token.ts';
import { ChangeLock } from '../../../src/hsm/host/token/change-lock.ts';
import { type Cryptoki, constant, type Handle } from '../../../src/hsm/host/token/cryptoki.ts';
import { KeyTable } from '../../../src/hsm/host/token/key-table.ts';
import { loadCryptoki } from '../../../src/hsm/host/token/loaded-libraries.ts';
import { ReturnValues } from '../../../src/hsm/host/token/return-values.ts';
import { TokenSession } from '../../../src/hsm/host/token/token-session.ts';
import { loadVendorProfile, type VendorProfile } from '../../../src/hsm/vendor-profile.ts';
import type { TestToken } from '../../support/tokens.ts';

export interface InProcessHost {
  readonly cryptoki: Cryptoki;
  readonly session: TokenSession;
  readonly table: KeyTable;
  readonly secrets: SecretCalls;
  readonly keys: KeyCalls;
  readonly profile: VendorProfile;
  /** Another session with the token, that of a stranger. */
  readonly elsewhere: Handle;
  close(): void;
}

export function openInProcess(token: TestToken, maxCopies = 4): InProcessHost {
  Object.assign(process.env, token.environment);
  const settings = token.settings();
  const openSettings = { ...settings, vendorProfile: loadVendorProfile(settings.profile) };
  const { slot, profile, changeLock, capabilities } = openToken(openSettings, Buffer.from(token.pin));
  const cryptoki = loadCryptoki(token.library);
  const session = new TokenSession({ cryptoki, slot, returnValues: new ReturnValues(profile) });
  const table = new KeyTable(session, profile, maxCopies);
  const elsewhere = cryptoki.C_OpenSession(slot, constant('CKF_SERIAL_SESSION') | constant('CKF_RW_SESSION'));
  return {
    cryptoki,
    session,
    table,
    secrets: new SecretCalls(session, table),
    keys: new KeyCalls(
      session,
      table,
      { profile, capabilities: capabilities.capabilities },
      new ChangeLock(changeLock, profile.sessionsAreParallel),
    ),
    profile,
    elsewhere,
    close: () => {
      const finalize: unknown = Reflect.get(cryptoki, 'C_Finalize');
      if (typeof finalize === 'function') finalize.call(cryptoki);
    },
  };
}

/** A session key with a value of the test's choice, entered into the table under `id`. */
export function importKey(
  host: InProcessHost,
  { id, value, keyType, usages }: { id: Buffer; value: Buffer; keyType: string; usages: readonly string[] },
): void {
  const handle = host.cryptoki.C_CreateObject(host.session.handle, [
    { type: constant('CKA_CLASS'), value: constant('CKO_SECRET_KEY') },
    { type: constant('CKA_KEY_TYPE'), value: constant(keyType) },
    { type: constant('CKA_TOKEN'), value: false },
    { type: constant('CKA_PRIVATE'), value: true },
    { type: constant('CKA_SENSITIVE'), value: true },
    { type: constant('CKA_EXTRACTABLE'), value: false },
    { type: constant('CKA_VALUE'), value },
    ...usages.map((name) => ({ type: constant(name), value: true })),
  ]);
  host.table.fill([{ id: id.toString('latin1'), label: 'drawbridge:imported', handle }]);
}
