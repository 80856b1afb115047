/** What a token's security officer does for a domain: he trusts public keys, with a PIN that no daemon sees. */

import { constants } from 'node:os';
import type { Configuration } from '../../../config/configuration-schema.ts';
import type { JoiningPublicKey } from '../../../hsm/joining-key-trust.ts';
import { asOwnerOf } from '../../requests/owners-work.ts';
import { readSecretFile } from '../../terminal/secret-file.ts';

/** PKCS#11 leaves the length to the token; no token takes more. */
const maxPinBytes = 256;

export interface OfficersToken {
  readonly configuration: Configuration;
  readonly keyStore: string;
  readonly member?: string | undefined;
}

export interface SecurityOfficer {
  /** He trusts these from now on, and no others. */
  trust(keys: readonly JoiningPublicKey[]): Promise<void>;
}

/** Whoever ends a command does not end what the officer trusts: that has to be done first. */
const endings = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const;

/**
 * What he trusts is trusted until `work` ends, however it ends. Before it begins, what was left by a command that was killed is trusted no more; so is a PIN known to
 * be right before anything is done that needs it, and a wrong one was tried once.
 * @throws Error when the PIN's file is open to others, when others than root and this user can change the libraries, which get the PIN, or the
 * profiles, which say what is looked at in a key; or when the token refuses.
 */
export async function withSecurityOfficer<Result>(
  token: OfficersToken,
  soPinFile: string,
  work: (officer: SecurityOfficer) => Promise<Result>,
): Promise<Result> {
  const daemon = await import('../../../daemon/index.ts');
  const { Pin } = await import('../../../secrets/secret-bytes.ts');
  const { configuration } = token;
  await daemon.assertLibrariesAreOurs(configuration);
  // Not again when his trust ends: nothing keeps that from ending.
  await asOwnerOf(configuration, () => daemon.assertPathsAreOurs(configuration));
  const { bytes, stats } = await readSecretFile(soPinFile, maxPinBytes);
  const log = daemon.createLog('error', configuration.budgets.log);
  try {
    if (stats?.isFile() === true) daemon.assertPrivate(soPinFile, stats);
    const end = bytes.findLastIndex((byte) => byte !== 0x0a && byte !== 0x0d) + 1;
    if (end === 0) throw new Error(`\`${soPinFile}\` is empty`);
    const soPin = new Pin(bytes.subarray(0, end));
    const trust = (keys: readonly JoiningPublicKey[]): Promise<void> =>
      asOwnerOf(configuration, () => daemon.trustPublicKeys({ ...token, log }, keys, soPin));
    await trust([]);
    const interruption = Promise.withResolvers<never>();
    let interruptedBy: NodeJS.Signals | undefined;
    const interrupt = (signal: NodeJS.Signals): void => {
      interruptedBy = signal;
      interruption.reject(new Error(`interrupted by ${signal}`));
    };
    for (const signal of endings) process.on(signal, interrupt);
    try {
      return await Promise.race([work({ trust }), interruption.promise]);
    } finally {
      await trust([]).finally(() => {
        for (const signal of endings) process.off(signal, interrupt);
      });
      // Nobody waits for a daemon that does not answer.
      if (interruptedBy !== undefined) process.exit(128 + constants.signals[interruptedBy]);
    }
  } finally {
    bytes.fill(0);
  }
}
