/**
 * One connection to the agent: each request is answered before the next is read.
 *
 * What the agent cannot do (keys are added and removed in the HSM, not here) is answered with a failure, as the protocol wants.
 * A client is told no reason: it has no place for one. The agent's log has it.
 */

import type { KmsClient } from '../requests/kms-client.ts';
import { SshReader } from '../ssh/ssh-encoding.ts';
import { readSshKey, type SshSigning } from '../ssh/ssh-public-key.ts';
import { sshSignature } from '../ssh/ssh-signature.ts';
import { describeError } from '../terminal/cli-error.ts';
import type { AgentKey, AgentKeys } from './agent-keys.ts';
import type { AgentLock } from './agent-lock.ts';
import {
  extensionAnswer,
  extensionFailure,
  failure,
  identitiesAnswer,
  requests,
  signatureAnswer,
  signFlags,
  success,
} from './agent-messages.ts';
import { SessionBindings } from './session-bindings.ts';

const sessionBind = 'session-bind@openssh.com';
/** As the answer to `query` names them. */
const extensions = ['query', sessionBind];

export interface Agent {
  readonly client: KmsClient;
  readonly keys: AgentKeys;
  readonly lock: AgentLock;
  /** The log that the user sees. */
  readonly say: (text: string) => void;
}

export class AgentConnection {
  readonly #agent: Agent;
  readonly #bindings = new SessionBindings();

  constructor(agent: Agent) {
    this.#agent = agent;
  }

  /** The answer to one message. Whatever goes wrong is a failure, with a line in the log. */
  async answer(message: Buffer): Promise<Buffer> {
    try {
      return await this.#answer(new SshReader(message));
    } catch (error) {
      this.#agent.say(describeError(error));
      return failure;
    }
  }

  async #answer(request: SshReader): Promise<Buffer> {
    const { lock, keys } = this.#agent;
    switch (request.byte()) {
      case requests.identities:
        return identitiesAnswer(lock.isLocked ? [] : await keys.list());
      case requests.sign:
        return this.#sign(request);
      case requests.lock:
        return withPassphrase(request, (passphrase) => lock.lock(passphrase));
      case requests.unlock:
        return withPassphrase(request, (passphrase) => lock.unlock(passphrase));
      case requests.extension:
        return this.#extension(request);
      default:
        return failure;
    }
  }

  async #sign(request: SshReader): Promise<Buffer> {
    const { blob } = readSshKey(request.string());
    const data = request.string();
    const flags = request.uint32();
    request.end();
    const { client, keys, lock, say } = this.#agent;
    if (lock.isLocked) return this.#refuse('the agent is locked; `ssh-add -X` unlocks it');
    const key = await keys.find(blob);
    if (key === undefined) return this.#refuse('a signature was asked for by a key that is not offered here');
    if (!this.#bindings.allows(data))
      return this.#refuse(`${key.comment}: the connection is for logging in to another session`);
    const signing = signingFor(key, flags);
    if (signing === undefined)
      return this.#refuse(`${key.comment}: RSA with SHA-1 was asked for, which is not secure any more`);
    try {
      return signatureAnswer(await sshSignature(client, key.keyArn, key, signing, data));
    } catch (error) {
      say(`${key.comment}: ${describeError(error)}`);
      return failure;
    }
  }

  #refuse(why: string): Buffer {
    this.#agent.say(why);
    return failure;
  }

  #extension(request: SshReader): Buffer {
    const name = request.text();
    if (name === 'query') return extensionAnswer(name, extensions);
    if (name !== sessionBind) return failure;
    const problem = this.#bindings.bind(request);
    if (problem === undefined) return success;
    this.#agent.say(`a session was not bound: ${problem}`);
    return extensionFailure;
  }
}

/** Of an RSA key it goes by the flags, SHA-256 first, as OpenSSH's agent reads them; others make one kind of signature. */
function signingFor({ type: { name, signings } }: AgentKey, flags: number): SshSigning | undefined {
  if (name !== 'ssh-rsa') return signings[0];
  if ((flags & signFlags.rsaSha256) !== 0) return signings.find((signing) => signing.name === 'rsa-sha2-256');
  if ((flags & signFlags.rsaSha512) !== 0) return signings.find((signing) => signing.name === 'rsa-sha2-512');
  return undefined;
}

async function withPassphrase(request: SshReader, use: (passphrase: Buffer) => Promise<boolean>): Promise<Buffer> {
  const passphrase = request.string();
  try {
    request.end();
    return (await use(passphrase)) ? success : failure;
  } finally {
    passphrase.fill(0);
  }
}
