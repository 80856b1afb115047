/**
 * What a connection to an agent is for, as `ssh` says and a server has signed: `session-bind@openssh.com`.
 *
 * A client binds a connection to the session in which it will be used: to log in there, or to forward the agent to that host.
 * The host's signature over the session's identifier is verified, so that it cannot be made up. A connection that was bound for
 * logging in signs for no other session, and is bound no further.
 *
 * Source: OpenSSH, PROTOCOL.agent section 1; RFC 4252 section 7 for what is signed to log in.
 */

import { SshReader } from '../ssh/ssh-encoding.ts';
import { readSshKey } from '../ssh/ssh-public-key.ts';
import { isSshSignature } from '../ssh/ssh-signature.ts';

/** As many hops as OpenSSH's agent remembers. */
const maxBindings = 16;
/** `SSH_MSG_USERAUTH_REQUEST` of RFC 4252. */
const userauthRequest = 50;

interface Binding {
  readonly sessionId: Buffer;
  readonly hostKey: Buffer;
  readonly isForwarding: boolean;
}

export class SessionBindings {
  readonly #bindings: Binding[] = [];

  /** @returns Why the connection is not bound; `undefined` when it is. @throws SshFormatError */
  bind(contents: SshReader): string | undefined {
    const hostKey = readSshKey(contents.string());
    const sessionId = contents.string();
    const signature = contents.string();
    const isForwarding = contents.boolean();
    contents.end();
    if (!isSshSignature(hostKey, sessionId, signature)) return 'the host did not sign this session';
    if (this.#bindings.some((binding) => !binding.isForwarding))
      return 'the connection is bound for logging in already';
    const same = this.#bindings.find((binding) => binding.sessionId.equals(sessionId));
    if (same !== undefined) return same.hostKey.equals(hostKey.blob) ? undefined : 'another host has this session';
    if (this.#bindings.length >= maxBindings) return `it was forwarded over ${maxBindings} hosts already`;
    this.#bindings.push({ sessionId: Buffer.from(sessionId), hostKey: hostKey.blob, isForwarding });
    return undefined;
  }

  /** Whether the connection may have this signed. */
  allows(data: Buffer): boolean {
    const last = this.#bindings.at(-1);
    if (last === undefined || last.isForwarding) return true;
    const reader = new SshReader(data);
    try {
      return reader.string().equals(last.sessionId) && reader.byte() === userauthRequest;
    } catch {
      return false; // It is no request to log in.
    }
  }
}
