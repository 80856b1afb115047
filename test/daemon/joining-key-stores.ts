/** Key stores of one daemon that become one domain, in this process, as the four commands have them do it. */

import { loadConfiguration } from '../../src/config/load.ts';
import { trustPublicKeys, withConfiguredToken } from '../../src/daemon/domain-joining.ts';
import type { KeyStore } from '../../src/hsm/key-store.ts';
import {
  domainFileText,
  isInvitation,
  isResponse,
  joiningKeyId,
  parseDomainFile,
  requestFingerprint,
} from '../../src/keys/domain/invitation.ts';
import { beginJoining, finishJoining } from '../../src/keys/domain/joining.ts';
import type { BackingKeyId } from '../../src/kms/names.ts';
import { Pin } from '../../src/secrets/secret-bytes.ts';
import { present } from '../end-to-end/support/daemon.ts';
import { send } from '../end-to-end/support/wire.ts';
import type { InstanceOfStores } from './instance-of-stores.ts';

const log = { debug() {}, info() {}, warn() {}, error() {} };

/** Asks the daemon as its root: `POST` with a body, `GET` without. */
export async function askOf(socket: string, path: string, body?: object) {
  const request = body === undefined ? {} : { body: JSON.stringify(body) };
  return JSON.parse((await send(socket, { method: body === undefined ? 'GET' : 'POST', path, ...request })).body);
}

/** One configured token, without the daemon. */
export async function inTokenOf<Result>(
  { configurationFile }: InstanceOfStores,
  keyStore: string,
  work: (opened: KeyStore) => Promise<Result>,
): Promise<Result> {
  const configuration = await loadConfiguration(configurationFile);
  return withConfiguredToken({ configuration, environment: {}, keyStore, log }, work);
}

/** The token of one key store joins the domain of another; the daemon does not know yet. */
export async function joinDomain(instance: InstanceOfStores, of: string, newcomer: string): Promise<void> {
  const ask = (path: string, body: object) => askOf(instance.socket, path, body);
  const invitation = parseDomainFile((await ask(`/domains/${of}/invite`, {})).invitation);
  if (!isInvitation(invitation)) throw new Error('it is no invitation');
  await inTokenOf(instance, newcomer, async (keyStore) => {
    // As the command asks for it: the service keys are for the key store that has them.
    const only = newcomer === 'default' ? undefined : 'domain keys';
    const request = await beginJoining(keyStore, invitation, only);
    const publicKey = request.publicKey.toString('base64');
    if (of === 'default') await trust(instance, [{ backingKeyId: joiningKeyId(invitation), publicKey }]);
    const accepted = { request: domainFileText(request), fingerprint: requestFingerprint(request) };
    const response = parseDomainFile((await ask(`/domains/${of}/accept`, accepted)).response);
    if (!isResponse(response)) throw new Error('it is no response');
    await finishJoining(keyStore, response, only);
  });
}

/** All key stores of a domain get a new domain key, as `drawbridge domain rotate` has them get it. @returns What the daemon answers. */
export async function rotateDomain(instance: InstanceOfStores, of: string, choices: object = {}) {
  const ask = (path: string, body: object) => askOf(instance.socket, path, body);
  const begun = await ask(`/domains/${of}/rotation`, choices);
  if (begun.pairs === undefined) return begun;
  if (of === 'default') await trust(instance, begun.pairs);
  return ask(`/domains/${of}/rotation/finish`, { domainKeyId: begun.domainKeyId });
}

/** The security officer of `default`, whose token wants his trust. */
async function trust(
  { configurationFile, token }: InstanceOfStores,
  pairs: readonly { readonly backingKeyId: BackingKeyId; readonly publicKey: string }[],
): Promise<void> {
  const configuration = await loadConfiguration(configurationFile);
  const keys = pairs.map(({ backingKeyId, publicKey }) => {
    return { backingKeyId, publicKey: Buffer.from(publicKey, 'base64') };
  });
  const soPin = new Pin(Buffer.from(present(token.soPin)));
  await trustPublicKeys({ configuration, keyStore: 'default', log }, keys, soPin);
}
