/** The HSMs of the configuration as custom key stores know them: by what each is called where AWS has the id of a cluster. */

import { readFile } from 'node:fs/promises';
import type { Configuration } from '../config/configuration-schema.ts';
import { ConfigurationError } from '../config/load.ts';
import { beginKeyStore } from '../hsm/open-key-store.ts';
import { lookForToken } from '../hsm/token-presence.ts';
import type { AttachableHsm } from '../keys/custom-key-store.ts';
import { trustAnchorOf } from '../keys/trust-anchor.ts';
import { cloudHsmClusterIdOf } from '../kms/cluster-id.ts';
import type { Logger } from '../kms/logger.ts';
import { fileProblem } from '../secrets/file-problem.ts';
import { tokenOptions } from './configured-key-stores.ts';

/** @throws ConfigurationError when the certificate of one cannot be read, or is none. */
export async function attachableHsms(
  { account, keyStores, hsms }: Configuration,
  log: Logger,
): Promise<ReadonlyMap<string, AttachableHsm>> {
  const found = new Map<string, AttachableHsm>();
  for (const name of keyStores.keys()) {
    const refuse = (): never => {
      throw new TypeError(`\`${name}\` is for no custom key store`);
    };
    found.set(cloudHsmClusterIdOf(account, name), { name, trustAnchor: undefined, problem: refuse, open: refuse });
  }
  for (const [name, configuration] of hsms ?? []) {
    found.set(cloudHsmClusterIdOf(account, name), {
      name,
      trustAnchor: await readTrustAnchor(name, configuration.trustAnchorCertificate),
      problem: oneAtATime(async () => {
        try {
          const { settings, environment } = tokenOptions(name, configuration, log);
          return (await lookForToken(settings, environment)).problem;
        } catch (error) {
          return String(error instanceof Error ? error.message : error);
        }
      }),
      open: (pin, isWaitedFor, events, admit, gate) =>
        beginKeyStore({ ...tokenOptions(name, configuration, log), pin, events, admit, gate }, isWaitedFor),
    });
  }
  return found;
}

/** It takes a process, of which callers could have a hundred at once: whoever asks while it is found out is told the same. */
function oneAtATime<Result>(find: () => Promise<Result>): () => Promise<Result> {
  let finding: Promise<Result> | undefined;
  return () => {
    finding ??= find().finally(() => {
      finding = undefined;
    });
    return finding;
  };
}

async function readTrustAnchor(name: string, path: string): Promise<string> {
  let text: string;
  try {
    text = await readFile(path, 'utf8');
  } catch (error) {
    const why = fileProblem(error, 'read', 'this user');
    throw new ConfigurationError(`cannot read \`trustAnchorCertificate\` of the HSM \`${name}\`: ${why}`, {
      cause: error,
    });
  }
  const anchor = trustAnchorOf(text);
  if (anchor !== undefined) return anchor;
  throw new ConfigurationError(
    `\`${path}\`, \`trustAnchorCertificate\` of the HSM \`${name}\`, is no certificate in PEM`,
  );
}
