/** What a token's security officer does for a domain: he trusts public keys, with a PIN that no daemon sees. */

import { existsSync } from 'node:fs';
import { constants } from 'node:os';
import { dirname } from 'node:path';
import type { Configuration } from '../../../config/configuration-schema.ts';
import type { JoiningPublicKey } from '../../../hsm/joining-key-trust.ts';
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
 * @throws Error when the PIN's file is open to others, or the token refuses.
 */
export async function withSecurityOfficer<Result>(
  token: OfficersToken,
  soPinFile: string,
  work: (officer: SecurityOfficer) => Promise<Result>,
): Promise<Result> {
  const daemon = await import('../../../daemon/index.ts');
  const { Pin } = await import('../../../secrets/secret-bytes.ts');
  const { bytes, stats } = await readSecretFile(soPinFile, maxPinBytes);
  const log = daemon.createLog('error', token.configuration.budgets.log);
  try {
    if (stats?.isFile() === true) daemon.assertPrivate(soPinFile, stats);
    const end = bytes.findLastIndex((byte) => byte !== 0x0a && byte !== 0x0d) + 1;
    if (end === 0) throw new Error(`\`${soPinFile}\` is empty`);
    const soPin = new Pin(bytes.subarray(0, end));
    const trust = (keys: readonly JoiningPublicKey[]): Promise<void> =>
      asOwnerOf(token.configuration, () => daemon.trustPublicKeys({ ...token, log }, keys, soPin));
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

/** Whatever touches the token does so as the owner of the data folder, as the daemon does. */
export async function asOwnerOf<Result>(
  { dataDir }: Pick<Configuration, 'dataDir'>,
  work: () => Promise<Result>,
): Promise<Result> {
  const { actAsOwner, actAsSelf } = await import('../../../secrets/act-as-owner.ts');
  actAsOwner(nearestFolder(dataDir));
  try {
    return await work();
  } finally {
    actAsSelf();
  }
}

/** Whose the token is. The data folder itself may not be there yet. */
export function nearestFolder(path: string): string {
  return existsSync(path) || dirname(path) === path ? path : nearestFolder(dirname(path));
}
