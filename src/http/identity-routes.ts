/**
 * Access keys and short-lived credentials, on the Unix socket alone: here the kernel says who asks.
 *
 *     POST   /credentials        short-lived credentials for the caller himself; `{"DurationSeconds": 900}` if he likes
 *     POST   /credentials/role   those of a session of a role, by AssumeRole: its parameters as members
 *     GET    /access-keys        all access keys, without their secrets
 *     POST   /access-keys        makes one: `{"Principal": "arn:aws:iam::…:user/app"}`
 *     DELETE /access-keys/ID     revokes it
 *
 * All but the first two are for the account's root. They are not allowed over the loopback listener, because a stolen secret
 * must not be good for making others, and a session must not renew itself. Everything is on record; secrets are in the
 * answer and nowhere else.
 */

import type { IncomingMessage, ServerResponse } from 'node:http';
import type { FastifyInstance } from 'fastify';
import type { Caller, UnixPeer } from '../identity/caller.ts';
import { sessionSeconds } from '../identity/session-credentials.ts';
import { KmsError } from '../kms/errors.ts';
import { type PrincipalArn, parsePrincipalArn } from '../kms/names.ts';
import type { Act } from '../pipeline/service.ts';
import type { Announcer } from '../store/turns.ts';
import { plainJson } from './answers.ts';
import { type AssumedRole, assumeRole, type Parameters, type RoleSource } from './assume-role.ts';
import { answer, type Exchange, finish, receive, refuse, type Wire } from './exchange.ts';
import { rootOnlyRefusal } from './root-only.ts';

export interface AccessKeyDescription {
  readonly accessKeyId: string;
  readonly principal: PrincipalArn;
  readonly createdAtMs: number;
}

export interface CredentialSource {
  /** @throws KmsError `ValidationException`, `LimitExceededException`. */
  createAccessKey(
    principal: PrincipalArn,
    by?: Announcer,
  ): Promise<AccessKeyDescription & { readonly secretAccessKey: string }>;
  accessKeys(): readonly AccessKeyDescription[];
  /** @throws KmsError `NotFoundException` */
  revokeAccessKey(accessKeyId: string, by?: Announcer): Promise<AccessKeyDescription>;
  issueCredentials(
    peer: UnixPeer,
    lifetimeSeconds: number,
  ): Promise<{
    readonly accessKeyId: string;
    readonly secretAccessKey: string;
    readonly sessionToken: string;
    readonly expiresAtMs: number;
  }>;
}

interface Asked {
  readonly members: Readonly<Record<string, unknown>>;
  readonly peer: UnixPeer;
  /** What the path names. */
  readonly accessKeyId: string;
  /** In whose name something is changed. */
  readonly by: Announcer;
}

/** What one of these routes does: what it is called on record, and what it does and gives back. */
interface IdentityAct {
  readonly operationName: string;
  readonly eventSource: string;
  readonly effect: Act['effect'];
  readonly rootOnly: boolean;
  /** What the request may say. */
  readonly members: readonly string[];
  readonly perform: (
    source: CredentialSource,
    asked: Asked,
  ) => Promise<{ readonly answer: object; readonly record: Readonly<Record<string, unknown>> | null }>;
}

const issueCredentials: IdentityAct = {
  operationName: 'IssueCredentials',
  eventSource: 'sts.amazonaws.com',
  effect: 'uses',
  rootOnly: false,
  members: ['DurationSeconds'],
  async perform(source, { members, peer }) {
    const issued = await source.issueCredentials(peer, parseDuration(members['DurationSeconds']));
    const { accessKeyId, secretAccessKey, sessionToken, expiresAtMs } = issued;
    const Expiration = new Date(expiresAtMs).toISOString();
    return {
      answer: { AccessKeyId: accessKeyId, SecretAccessKey: secretAccessKey, SessionToken: sessionToken, Expiration },
      record: { accessKeyId, expiration: Expiration },
    };
  },
};

const listAccessKeys: IdentityAct = {
  operationName: 'ListAccessKeys',
  eventSource: 'iam.amazonaws.com',
  effect: 'reads',
  rootOnly: true,
  members: [],
  async perform(source) {
    return { answer: { AccessKeys: source.accessKeys().map(describe) }, record: null };
  },
};

const createAccessKey: IdentityAct = {
  operationName: 'CreateAccessKey',
  eventSource: 'iam.amazonaws.com',
  effect: 'changes',
  rootOnly: true,
  members: ['Principal'],
  async perform(source, { members, by }) {
    const { secretAccessKey, ...made } = await source.createAccessKey(parsePrincipal(members['Principal']), by);
    const { accessKeyId, principal } = made;
    return { answer: { ...describe(made), SecretAccessKey: secretAccessKey }, record: { accessKeyId, principal } };
  },
};

const revokeAccessKey: IdentityAct = {
  operationName: 'DeleteAccessKey',
  eventSource: 'iam.amazonaws.com',
  effect: 'changes',
  rootOnly: true,
  members: [],
  async perform(source, asked) {
    const { accessKeyId, principal } = await source.revokeAccessKey(asked.accessKeyId, asked.by);
    return { answer: {}, record: { accessKeyId, principal } };
  },
};

export function addIdentityRoutes(app: FastifyInstance, wire: Wire, source: CredentialSource, roles: RoleSource): void {
  const route = (method: 'GET' | 'POST' | 'DELETE', url: string, act: IdentityAct): void => {
    app.route<{ Params: { accessKeyId?: string } }>({
      method,
      url,
      handler(request, reply) {
        reply.hijack();
        identityRequest(wire, source, act, request.raw, reply.raw, request.params.accessKeyId ?? '');
      },
    });
  };
  route('POST', '/credentials', issueCredentials);
  app.post('/credentials/role', (request, reply) => {
    reply.hijack();
    roleRequest(wire, roles, request.raw, reply.raw);
  });
  route('GET', '/access-keys', listAccessKeys);
  route('POST', '/access-keys', createAccessKey);
  route('DELETE', '/access-keys/:accessKeyId', revokeAccessKey);
}

function identityRequest(
  wire: Wire,
  source: CredentialSource,
  act: IdentityAct,
  message: IncomingMessage,
  response: ServerResponse,
  accessKeyId: string,
): void {
  receive(wire, message, response, plainJson, (exchange, caller, body) => {
    const { operationName, eventSource } = act;
    const { proof } = caller;
    const refusal = proof.kind === 'unix' ? refusalOf(act, caller) : notHere(operationName);
    if (refusal !== undefined || proof.kind !== 'unix') {
      refuse(wire, exchange, { caller, operationName, eventSource }, refusal ?? notHere(operationName));
      return;
    }
    if (body.length > maxBodyBytes) {
      refuse(wire, exchange, { caller, operationName, eventSource }, tooLarge());
      return;
    }
    finish(wire, exchange, perform(wire, exchange, { source, act, caller, peer: proof, body, accessKeyId }));
  });
}

function roleRequest(wire: Wire, roles: RoleSource, message: IncomingMessage, response: ServerResponse): void {
  receive(wire, message, response, plainJson, (exchange, caller, body) => {
    const refused = { caller, operationName: 'AssumeRole', eventSource: 'sts.amazonaws.com' };
    let refusal = caller.proof.kind === 'unix' ? undefined : notHere('AssumeRole');
    if (body.length > maxRoleBodyBytes) refusal ??= tooLarge(maxRoleBodyBytes);
    const parameters = refusal === undefined ? roleParameters(body) : refusal;
    body.fill(0);
    if (parameters instanceof KmsError) refuse(wire, exchange, refused, parameters);
    else finish(wire, exchange, assumeRole(wire, exchange, caller, parameters, roles, credentialsOf));
  });
}

/** Texts and numbers, as the query protocol would have them. */
function roleParameters(body: Buffer): Parameters | KmsError {
  try {
    const members = Object.entries(parseMembers(body));
    const wrong = members.find(([, value]) => typeof value !== 'string' && typeof value !== 'number');
    if (wrong === undefined) return new Map(members.map(([name, value]) => [name, [String(value)]]));
    return new KmsError('ValidationException', `${wrong[0].slice(0, 64)} must be a text or a number.`);
  } catch (error) {
    if (error instanceof KmsError) return error;
    throw error;
  }
}

/** What a `credential_process` prints. */
function credentialsOf({ accessKeyId, secretAccessKey, sessionToken, expiresAtMs }: AssumedRole): string {
  const Expiration = new Date(expiresAtMs).toISOString();
  return JSON.stringify({
    AccessKeyId: accessKeyId,
    SecretAccessKey: secretAccessKey,
    SessionToken: sessionToken,
    Expiration,
  });
}

async function perform(
  wire: Wire,
  exchange: Exchange,
  asked: {
    readonly source: CredentialSource;
    readonly act: IdentityAct;
    readonly caller: Caller;
    readonly peer: UnixPeer;
    readonly body: Buffer;
    readonly accessKeyId: string;
  },
): Promise<void> {
  const { source, act, caller, peer, body, accessKeyId } = asked;
  const { operationName, eventSource, effect } = act;
  const parameters = accessKeyId === '' ? null : { accessKeyId };
  const onRecord = { ...exchange.origin, operationName, eventSource, effect, caller, parameters };
  const outcome = await wire.service.act(onRecord, async (by) => {
    const members = parseMembers(body, act.members);
    const { answer: answered, record } = await act.perform(source, { members, peer, accessKeyId, by });
    return { body: JSON.stringify(answered), record };
  });
  answer(wire, exchange, outcome);
}

/**
 * Several times what any of these requests has to say. They wait for their turn with their bodies, of which there can be
 * thousands for each user, and who waits for a KMS operation is counted by the byte.
 */
const maxBodyBytes = 4096;
/** With the longest session policy, each character of it escaped. */
const maxRoleBodyBytes = 16_384;

function tooLarge(maxBytes = maxBodyBytes): KmsError {
  return new KmsError('RequestEntityTooLargeException', `The request body must not be larger than ${maxBytes} bytes.`);
}

function notHere(operationName: string): KmsError {
  return new KmsError(
    'AccessDeniedException',
    `drawbridge:${operationName} is allowed over the Unix socket only, where the kernel says who is calling`,
  );
}

function refusalOf({ rootOnly, operationName }: IdentityAct, caller: Caller): KmsError | undefined {
  return rootOnly ? rootOnlyRefusal(caller, operationName) : undefined;
}

/**
 * The body's members; one that is not known is a typing error. An empty body has none.
 * @param known Absent: whoever takes them says which are.
 */
function parseMembers(body: Buffer, known?: readonly string[]): Readonly<Record<string, unknown>> {
  if (body.length === 0) return {};
  let members: unknown;
  try {
    members = JSON.parse(body.toString('utf8'));
  } catch {
    // The parser's own message quotes the body.
    throw new KmsError('SerializationException', 'The request body is not JSON');
  }
  if (typeof members !== 'object' || members === null || Array.isArray(members)) {
    throw new KmsError('SerializationException', 'The request body is not a JSON object');
  }
  const unknown = known && Object.keys(members).find((name) => !known.includes(name));
  if (unknown !== undefined) {
    throw new KmsError('ValidationException', `\`${unknown.slice(0, 64)}\` is not known here.`);
  }
  // An object that JSON made has strings for names.
  return members as Readonly<Record<string, unknown>>;
}

function parsePrincipal(value: unknown): PrincipalArn {
  const principal = typeof value === 'string' ? parsePrincipalArn(value) : undefined;
  if (principal !== undefined) return principal;
  throw new KmsError('ValidationException', 'Principal must be the ARN of a user or of the account.');
}

function parseDuration(value: unknown): number {
  const { min, max } = sessionSeconds;
  if (value === undefined) return sessionSeconds.default;
  if (typeof value === 'number' && Number.isInteger(value) && value >= min && value <= max) return value;
  throw new KmsError('ValidationException', `DurationSeconds must be a whole number from ${min} to ${max}.`);
}

function describe({ accessKeyId, principal, createdAtMs }: AccessKeyDescription): object {
  return { AccessKeyId: accessKeyId, Principal: principal, CreateDate: new Date(createdAtMs).toISOString() };
}
