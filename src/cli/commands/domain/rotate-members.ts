/**
 * A new domain key for a key store of several members, in two steps, between which a security officer may have something to do.
 *
 * What he trusts is not what the daemon says: which member's officer he is and which members receive is read from the configuration, and each
 * receiving member is asked for its public key itself. A daemon that was taken over gets no trust for a key of its own.
 */

import { createHash } from 'node:crypto';
import type { Configuration } from '../../../config/configuration-schema.ts';
import type { JoiningPublicKey } from '../../../hsm/joining-key-trust.ts';
import { parseBackingKeyId } from '../../../kms/names.ts';
import { readTrustedConfiguration, type SocketOptions, usualConfiguration } from '../../requests/command-options.ts';
import type { KmsClient, Members } from '../../requests/kms-client.ts';
import { asOwnerOf } from '../../requests/owners-work.ts';
import { UsageError } from '../../terminal/cli-error.ts';
import { note } from '../../terminal/output.ts';
import { withSecurityOfficer } from './security-officer.ts';

export interface MemberRotationOptions extends SocketOptions {
  readonly member?: string;
  readonly soPinFile?: string;
  /** Keys may be lost with leavers that are not there. */
  readonly yes?: true;
}

/** @param leavers The names of members that leave. */
export async function rotateMembers(
  client: KmsClient,
  keyStore: string,
  { member, soPinFile, config, yes }: MemberRotationOptions,
  leavers: readonly string[] = [],
): Promise<Members> {
  const path = `/domains/${encodeURIComponent(keyStore)}/rotation`;
  const begin = (giver: string | undefined) =>
    client.post(path, {
      ...(giver === undefined ? {} : { member: giver }),
      ...(leavers.length === 0 ? {} : { leaver: leavers, ...(yes ? { acceptLoss: true } : {}) }),
    });
  const finish = (begun: Members) => client.post(`${path}/finish`, { domainKeyId: begun['domainKeyId'] });
  if (soPinFile === undefined) return finish(await begin(member));
  const configuration = await readTrustedConfiguration(config ?? usualConfiguration);
  const { giver, receivers } = partsOf(configuration, { keyStore, member, leavers });
  return withSecurityOfficer({ configuration, keyStore, member: giver }, soPinFile, async (officer) => {
    const begun = await begin(giver);
    // They have left already, and are emptied: nothing is given, so nothing is trusted.
    if (begun['empties'] === true) return finish(begun);
    const gone = Array.isArray(begun['gone']) ? begun['gone'].map(String) : [];
    for (const name of gone) note(`\`${name}\` has left before, the daemon says, and gets no key`);
    const staying = receivers.filter((name) => !gone.includes(name));
    const ofOthers = othersOf(configuration, keyStore, [...leavers, ...gone]);
    const pairs = shownPairs(begun['pairs'], { receivers: staying, ofOthers });
    for (const [receiver, pair] of pairs) {
      await assertIsIn({ configuration, ...placeOf(receiver, keyStore) }, pair);
      const digest = createHash('sha256').update(pair.publicKey).digest('base64').replace(/=+$/, '');
      note(`the security officer of \`${giver}\` trusts the public key of \`${receiver}\` meanwhile: SHA256:${digest}`);
    }
    await officer.trust([...pairs.values()]);
    return finish(begun);
  });
}

/** Who gives and who receives, by the configuration. */
function partsOf(
  { keyStores }: Configuration,
  {
    keyStore,
    member,
    leavers,
  }: { readonly keyStore: string; readonly member: string | undefined; readonly leavers: readonly string[] },
): { readonly giver: string; readonly receivers: readonly string[] } {
  const names = keyStores.get(keyStore)?.members.map(({ name }) => name) ?? [];
  const staying = names.filter((name) => !leavers.includes(name));
  const giver = member ?? staying[0];
  if (giver === undefined || !staying.includes(giver))
    throw new UsageError(`the key store \`${keyStore}\` of the configuration has no member \`${giver}\` that stays`);
  return { giver, receivers: staying.filter((name) => name !== giver) };
}

/** An HSM of another key store of the domain is told as `KEY-STORE/MEMBER`. */
function placeOf(receiver: string, keyStore: string): { readonly keyStore: string; readonly member: string } {
  const [first = '', second] = receiver.split('/');
  return second === undefined ? { keyStore, member: first } : { keyStore: first, member: second };
}

/** By key store, all HSMs of the others of the configuration. Which of these are in the domain, it does not say. */
function othersOf(
  { keyStores }: Configuration,
  keyStore: string,
  gone: readonly string[],
): ReadonlyMap<string, readonly string[]> {
  const others = [...keyStores].filter(([name]) => name !== keyStore && !gone.includes(name));
  const paths = (name: string, members: readonly { readonly name: string }[]): readonly string[] =>
    members.map((each) => `${name}/${each.name}`).filter((path) => !gone.includes(path));
  return new Map(others.map(([name, { members }]) => [name, paths(name, members)]));
}

/**
 * The daemon's answer is not believed: one public key for each member that receives, and none for anybody else but the HSMs of other key stores that the
 * configuration names, all or none of a key store. Each is looked for in its HSM before it is trusted.
 */
function shownPairs(
  answer: unknown,
  {
    receivers,
    ofOthers,
  }: { readonly receivers: readonly string[]; readonly ofOthers: ReadonlyMap<string, readonly string[]> },
): ReadonlyMap<string, JoiningPublicKey> {
  const found = new Map<string, JoiningPublicKey>();
  for (const shown of Array.isArray(answer) ? (answer as readonly Members[]) : []) {
    const backingKeyId = parseBackingKeyId(String(shown['backingKeyId']));
    const publicKey = Buffer.from(String(shown['publicKey']), 'base64');
    if (backingKeyId !== undefined) found.set(String(shown['member']), { backingKeyId, publicKey });
  }
  const elsewhere = [...ofOthers.values()].filter((members) => members.some((name) => found.has(name))).flat();
  const all = [...receivers, ...elsewhere];
  if (found.size === all.length && all.every((name) => found.has(name))) return found;
  throw new Error(
    `the daemon has other members than the configuration: it shows keys of ${[...found.keys()].join(', ') || 'nobody'}, and ` +
      `${all.join(', ') || 'nobody'} should receive one; restart it with this configuration, and begin anew`,
  );
}

async function assertIsIn(
  receiver: { readonly configuration: Configuration; readonly keyStore: string; readonly member: string },
  pair: JoiningPublicKey,
): Promise<void> {
  const daemon = await import('../../../daemon/index.ts');
  const log = daemon.createLog('error', receiver.configuration.budgets.log);
  const token = { ...receiver, environment: process.env, log };
  await asOwnerOf(receiver.configuration, () => daemon.assertPairIsIn(token, pair));
}
