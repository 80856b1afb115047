/**
 * Domain keys (`keys/life/domain-keys.ts`), for the account's root alone; on record:
 *
 *     POST /domains/KEY-STORE/rotate    makes another one, under which everything new is wrapped
 *     POST /domains/KEY-STORE/retire    destroys the former ones under which nothing is wrapped, and names those that are needed
 *     POST /domains/KEY-STORE/invite    the invitation with which another HSM may ask for the domain's keys
 *     POST /domains/KEY-STORE/accept    {request, fingerprint}: wraps them for the HSM that asks, whose fingerprint somebody has compared
 *     POST /domains/KEY-STORE/rotation  {member?, leaver?, acceptLoss?}: begins to make a domain key in all members, or all but those that leave
 *     POST /domains/KEY-STORE/rotation/finish  {domainKeyId}: gives it to all of them
 */

import type { FastifyInstance } from 'fastify';
import type { ActResult } from '../pipeline/service.ts';
import type { Wire } from './exchange.ts';
import { membersOf, operatorAct } from './operator-acts.ts';

export interface RotationRequest {
  readonly member?: string;
  readonly leavers?: readonly string[];
  /** That of leavers which are not there; refused with `ConflictException` unless it is accepted. */
  readonly isLossAccepted?: true;
}

export interface LeftOne {
  readonly member: string;
  /** What was ours in it is destroyed by this. */
  readonly isEmpty: boolean;
  /** The token in its place has nothing of ours: it was emptied before, or it is another one. */
  readonly heldNothing?: true;
  readonly inUse?: number;
}

export interface DomainControl {
  /** @throws KmsError for a key store that there is not, that has no domain key, or that is in the way. */
  rotate(keyStore: string): Promise<{ readonly domainKeyId: string }>;
  /** The same; and `ConflictException` while there are keys of which it is not known what they need. */
  retire(keyStore: string): Promise<{
    readonly retired: readonly string[];
    readonly needed: readonly {
      readonly domainKeyId: string;
      readonly backingKeys: number;
      /** The first of the KMS keys that hold it back. */
      readonly keys: readonly object[];
    }[];
  }>;
  /** @returns The text of the file. @throws KmsError, `UnsupportedOperationException` as well for what the token does not do. */
  invite(keyStore: string): Promise<{ readonly invitationId: string; readonly invitation: string }>;
  /** The same; and `ValidationException` for a request that is not what was invited, or a fingerprint that is another one. */
  accept(
    keyStore: string,
    asked: { readonly request: string; readonly fingerprint: string },
  ): Promise<{
    readonly fingerprint: string;
    readonly token: { readonly label: string; readonly serial: string };
    readonly keys: readonly string[];
    readonly response: string;
  }>;
  /**
   * Of a key store of several members. What follows is `finishRotation`, once the security officer of `member` trusts the pairs' public
   * keys (base64 of SubjectPublicKeyInfo), where its token wants that.
   */
  beginRotation(
    keyStore: string,
    choices: RotationRequest,
  ): Promise<{
    readonly domainKeyId: string;
    readonly member: string;
    readonly pairs: readonly { readonly member: string; readonly backingKeyId: string; readonly publicKey: string }[];
    /** No key is made: those that leave have left already, and are emptied. */
    readonly empties: boolean;
    /** Members that have left before, and get no key either. */
    readonly gone: readonly string[];
  }>;
  /** @returns `left` is the first of those that leave, and whether what is ours in it was destroyed: it was there; `allLeft` are all of them. */
  finishRotation(
    keyStore: string,
    domainKeyId: string,
  ): Promise<{
    readonly domainKeyId: string;
    readonly members: readonly string[];
    /** `inUse`, of a key store that was there: how many domain keys of the others something that it serves is wrapped under. */
    readonly left: LeftOne | null;
    readonly allLeft: readonly LeftOne[];
  }>;
}

/** Names come from callers: what is none of a key store is cut to this in the audit log. */
const maxNameCharacters = 64;

export function addDomainRoutes(app: FastifyInstance, wire: Wire, control: DomainControl): void {
  const acts = [
    ['rotate', 'RotateDomainKey'],
    ['retire', 'RetireDomainKeys'],
  ] as const;
  for (const [act, operationName] of acts) {
    app.post<{ Params: { name: string } }>(`/domains/:name/${act}`, (request, reply) => {
      const { name } = request.params;
      operatorAct(wire, request, reply, {
        operationName,
        effect: 'changes',
        parameters: () => ({ keyStore: name.slice(0, maxNameCharacters) }),
        async perform(): Promise<ActResult> {
          const done = await control[act](name);
          return { body: JSON.stringify(done), record: { ...done } };
        },
      });
    });
  }
  const named = (name: string) => ({ keyStore: name.slice(0, maxNameCharacters) });
  app.post<{ Params: { name: string } }>('/domains/:name/invite', (request, reply) => {
    const { name } = request.params;
    operatorAct(wire, request, reply, {
      operationName: 'InviteToDomain',
      effect: 'uses',
      parameters: () => named(name),
      async perform(): Promise<ActResult> {
        const made = await control.invite(name);
        return { body: JSON.stringify(made), record: { invitationId: made.invitationId } };
      },
    });
  });
  app.post<{ Params: { name: string } }>('/domains/:name/accept', (request, reply) => {
    const { name } = request.params;
    operatorAct(wire, request, reply, {
      operationName: 'AcceptIntoDomain',
      effect: 'uses',
      parameters: () => named(name),
      async perform(body): Promise<ActResult> {
        const { request: text, fingerprint } = membersOf(body) ?? {};
        const asked = { request: String(text ?? ''), fingerprint: String(fingerprint ?? '') };
        const { response, ...record } = await control.accept(name, asked);
        return { body: JSON.stringify({ ...record, response }), record };
      },
    });
  });
  app.post<{ Params: { name: string } }>('/domains/:name/rotation', (request, reply) => {
    const { name } = request.params;
    operatorAct(wire, request, reply, {
      operationName: 'BeginDomainKeyRotation',
      effect: 'changes',
      parameters: (body) => ({ ...named(name), ...choicesIn(body) }),
      async perform(body): Promise<ActResult> {
        const begun = await control.beginRotation(name, choicesIn(body));
        const { domainKeyId, member, empties } = begun;
        return { body: JSON.stringify(begun), record: { domainKeyId, member, ...(empties ? { empties } : {}) } };
      },
    });
  });
  app.post<{ Params: { name: string } }>('/domains/:name/rotation/finish', (request, reply) => {
    const { name } = request.params;
    operatorAct(wire, request, reply, {
      operationName: 'FinishDomainKeyRotation',
      effect: 'changes',
      parameters: () => named(name),
      async perform(body): Promise<ActResult> {
        const done = await control.finishRotation(name, String(membersOf(body)?.['domainKeyId'] ?? ''));
        return { body: JSON.stringify(done), record: { ...done } };
      },
    });
  });
}

/** As many as a key store can have members. */
const maxLeavers = 16;

/** Members by their names, cut like those of key stores. `leaver` is one name or several. */
function choicesIn(body: Buffer): RotationRequest {
  const { member, leaver, acceptLoss } = membersOf(body) ?? {};
  const cut = (text: unknown): readonly string[] =>
    typeof text === 'string' ? [text.slice(0, maxNameCharacters)] : [];
  const [chosen] = cut(member);
  const leavers = (Array.isArray(leaver) ? leaver.slice(0, maxLeavers) : [leaver]).flatMap(cut);
  return {
    ...(chosen === undefined ? {} : { member: chosen }),
    ...(leavers.length === 0 ? {} : { leavers: [...new Set(leavers)] }),
    ...(acceptLoss === true ? { isLossAccepted: true } : {}),
  };
}
