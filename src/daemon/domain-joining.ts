/**
 * What of joining a domain is done beside a daemon, by whoever has the PIN: in the newcomer, which nobody uses yet, and as a member's security officer, as
 * whom no daemon ever logs in.
 */

import type { Configuration, MemberConfiguration } from '../config/configuration-schema.ts';
import { ConfigurationError } from '../config/load.ts';
import { assertPinIsPrivate, pinReader } from '../config/secrets.ts';
import { type JoiningPublicKey, readJoiningPair, trustJoiningKeys } from '../hsm/joining-key-trust.ts';
import type { KeyStore } from '../hsm/key-store.ts';
import type { Logger } from '../kms/logger.ts';
import type { Pin } from '../secrets/secret-bytes.ts';
import { memberPath, openConfiguredMember, tokenOptions } from './configured-key-stores.ts';

export interface ConfiguredToken {
  readonly configuration: Configuration;
  /** The name of its key store. */
  readonly keyStore: string;
  /** Of a key store of several members; the only one, or the first one, if not given. */
  readonly member?: string | undefined;
  readonly log: Logger;
}

/** Opens one token that is configured, for as long as the work takes. @throws ConfigurationError, KeyStoreError. */
export async function withConfiguredToken<Result>(
  token: ConfiguredToken & { readonly environment: NodeJS.ProcessEnv },
  work: (keyStore: KeyStore) => Promise<Result>,
): Promise<Result> {
  const { environment, log } = token;
  const member = memberOf(token);
  await assertPinIsPrivate(member.pin, environment);
  const keyStore = await openConfiguredMember(
    memberPath(token.keyStore, member),
    { ...member, hosts: 1 },
    environment,
    log,
  );
  try {
    return await work(keyStore);
  } finally {
    await keyStore.close();
  }
}

/**
 * The security officer trusts these public halves of joining pairs, and no others: what somebody left that he trusted before goes. One login.
 * @param keys None: his trust ends.
 * @throws ConfigurationError when the token refuses.
 */
export async function trustPublicKeys(
  token: ConfiguredToken,
  keys: readonly JoiningPublicKey[],
  soPin: Pin,
): Promise<void> {
  const member = memberOf(token);
  const path = memberPath(token.keyStore, member);
  const { settings } = tokenOptions(path, member, token.log);
  const problem = await trustJoiningKeys(settings, { keys, soPin }, member.environment);
  if (problem === null) return;
  if (/\bCKR_PIN_(INCORRECT|LEN_RANGE|INVALID)\b/.test(problem))
    throw new ConfigurationError(
      `the token of \`${path}\` refuses the PIN of its security officer (${problem}): it may be that of another token. It was presented once; ` +
        'after some that are wrong a token locks itself',
    );
  throw new ConfigurationError(
    `the token of \`${path}\` does not let its security officer trust public keys: ${problem}`,
  );
}

/**
 * Looks in a member that is to receive keys, and not where somebody says what is in it. One login with its PIN.
 * @param shown What the daemon says that the public half of its joining pair is.
 * @throws ConfigurationError unless that pair was generated in this HSM, only takes keys in, and has this public half.
 */
export async function assertPairIsIn(
  token: ConfiguredToken & { readonly environment: NodeJS.ProcessEnv },
  shown: JoiningPublicKey,
): Promise<void> {
  const { environment, log } = token;
  const member = memberOf(token);
  const path = memberPath(token.keyStore, member);
  const { settings } = tokenOptions(path, member, log);
  const pin = await pinReader(member.pin, environment)();
  try {
    const { backingKeyId } = shown;
    const read = await readJoiningPair(settings, { backingKeyId, pin }, member.environment);
    const problem = 'problem' in read ? read.problem : read.publicKey.equals(shown.publicKey) ? null : 'it is another';
    if (problem === null) return;
    throw new ConfigurationError(
      `the daemon shows a public key that is not that of a joining pair in the token of \`${path}\` (${problem}); the security officer trusts nothing. ` +
        'Either something else changes that token, then begin anew; or the daemon was taken over',
    );
  } finally {
    pin.wipe();
  }
}

function memberOf({ configuration, keyStore: name, member }: ConfiguredToken): MemberConfiguration {
  const members = configuration.keyStores.get(name)?.members;
  if (members === undefined) throw new ConfigurationError(`the key store \`${name}\` is not configured`);
  const found = member === undefined ? members[0] : members.find((each) => each.name === member);
  if (found !== undefined) return found;
  const names = members.map((each) => `\`${each.name}\``).join(', ');
  throw new ConfigurationError(`the key store \`${name}\` has no member \`${member}\`; it has ${names}`);
}
