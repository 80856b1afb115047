/**
 * Questions about access, from JSON to the reports of `access/access-reports.ts` and back.
 *
 * A question says who, what and under which circumstances:
 *
 *     {"Operation": "Decrypt", "Request": {"KeyId": "…", "EncryptionContext": {…}},
 *      "Principal": "arn:…" | "UnixUser": "app", "Groups": ["operators"],
 *      "At": "2030-01-31T12:00:00Z", "Transport": "unix" | "tcp" | "tls", "SourceIp": "127.0.0.1", …}
 *
 * What it does not say is as it would be for a request over the Unix socket at this moment. Over tcp a request is signed with
 * credentials that were issued to the Unix user, unless `"Credentials": "accessKey"` says that it is with an access key.
 */

import {
  type Candidate,
  type CandidateReport,
  compare,
  listCandidates,
  maxGrantees,
  reportAccess,
  reportCandidate,
} from '../access/access-reports.ts';
import type { Documents, SupposedRequest } from '../access/supposed-request.ts';
import type { IdentityPolicies } from '../authorization/identity-policies.ts';
import { IdentityPolicyError, parseIdentityPolicies } from '../authorization/identity-policies.ts';
import type { CompiledPolicy } from '../authorization/language/policy-document.ts';
import { parsePolicyDocument } from '../authorization/language/policy-document.ts';
import { type SupposedCaller, SuppositionError, supposeCaller } from '../identity/supposed-caller.ts';
import type { UnixMapping } from '../identity/unix-caller.ts';
import { idOfGroup } from '../identity/unix-names.ts';
import { findReferencedKey } from '../keys/key-reference.ts';
import type { KeyView } from '../keys/key-view.ts';
import { KmsError } from '../kms/errors.ts';
import { type KeyId, parsePrincipalArn, rootArn } from '../kms/names.ts';
import {
  decodeRequest,
  enumeration,
  type Infer,
  integer,
  list,
  object,
  optional,
  type Shape,
  string,
} from '../operations/declaration/schema.ts';
import { conditionVocabulary } from '../pipeline/condition-key-table.ts';
import type { AccessSource } from './access-routes.ts';
import { maxSimulatedRequests } from './wire-limits.ts';

/** What the questions are asked of. */
export interface AccessParts {
  readonly directory: KeyView;
  readonly mapping: UnixMapping;
  readonly identityPolicies: () => IdentityPolicies;
}

const text = string({ min: 1, max: 2048 });
/** The members of a KMS request; they are decoded where the operation is known. */
const members: Shape<Readonly<Record<string, unknown>>> = {
  decode(value) {
    if (typeof value === 'object' && value !== null && !Array.isArray(value)) return { ...value };
    throw new KmsError('SerializationException', 'Request must be an object');
  },
  encode: (value) => JSON.stringify(value),
  wipe: () => undefined,
};

const circumstances = {
  Operation: string({ min: 1, max: 64 }),
  Request: optional(members),
  At: optional(text),
  Transport: optional(enumeration(['unix', 'tcp', 'tls'])),
  SourceIp: optional(text),
  UserAgent: optional(text),
  Executable: optional(text),
  SystemdUnit: optional(text),
} as const;
const who = {
  Principal: optional(text),
  UnixUser: optional(text),
  Uid: optional(integer({ min: 0 })),
  Credentials: optional(enumeration(['issued', 'accessKey'])),
  IssuedAt: optional(text),
  SessionPolicy: optional(text),
  Groups: optional(list(text, { max: 1024 })),
} as const;

const explainQuestion = object({ ...circumstances, ...who });
const whoCanQuestion = object(circumstances);
type Question = Infer<typeof explainQuestion>;

const simulateQuestion = object({
  KeyPolicies: optional(list(object({ KeyId: text, Policy: string() }), { max: 1000 })),
  IdentityPolicies: optional(list(object({ Name: text, Text: string() }), { max: 10_000 })),
  Requests: list(object({ ...circumstances, ...who, Resources: list(text, { max: 8 }) }), {
    max: maxSimulatedRequests,
  }),
});

export function accessSource(parts: AccessParts): AccessSource {
  return {
    explain: (question) => explainAccess(parts, question),
    whoCan: (question) => whoCan(parts, question),
    simulate: (question) => simulateChanges(parts, question),
  };
}

/** Why one principal may or may not. */
function explainAccess(source: AccessParts, value: unknown): object {
  const question = decodeRequest(explainQuestion, value, 'refuse');
  const supposed = suppose(source, question);
  return { principal: supposed.caller.arn, ...reportAccess(supposed, documentsOf(source)) };
}

/** Everybody whom a document or a grant names, and what they may. */
function whoCan(source: AccessParts, value: unknown): object {
  const question = decodeRequest(whoCanQuestion, value, 'refuse');
  const documents = documentsOf(source);
  const root = { ...question, Principal: rootArn(source.directory.realm) };
  const { candidates, isComplete } = listCandidates(suppose(source, root), documents);
  const described = candidates.flatMap((candidate) => {
    try {
      const supposed = suppose(source, { ...question, ...identityOf(candidate, source) });
      const report = reportCandidate(candidate, supposed, documents);
      return report === undefined ? [] : describeCandidate(report);
    } catch (error) {
      // A document can name a group that this machine does not have, and other kinds of principals than call here.
      if (!(error instanceof KmsError && error.cause instanceof SuppositionError)) throw error;
      return { who: nameOf(candidate), allowed: false, because: error.cause.message, unmet: [] };
    }
  });
  return { candidates: described, ...(isComplete ? {} : { firstGranteesOnly: maxGrantees }) };
}

/** What requests of the past would be told under other documents. */
function simulateChanges(source: AccessParts, value: unknown): object {
  const question = decodeRequest(simulateQuestion, value, 'refuse');
  const before = documentsOf(source);
  const after = changedDocuments(source, question);
  const results = question.Requests.map((request) => {
    try {
      return compare({ supposed: suppose(source, request), resources: request.Resources }, before, after);
    } catch (error) {
      if (!(error instanceof KmsError)) throw error;
      return { judged: false, reason: error.message };
    }
  });
  return { results };
}

function documentsOf({ directory, identityPolicies }: AccessParts): Documents {
  return { directory, identityPolicies: identityPolicies() };
}

function changedDocuments(source: AccessParts, changes: Infer<typeof simulateQuestion>): Documents {
  const { directory } = source;
  const { realm } = directory;
  const keyPolicies = new Map<KeyId, CompiledPolicy>();
  for (const { KeyId, Policy } of changes.KeyPolicies ?? []) {
    const { record } = findReferencedKey(directory, KeyId, 'keyOrAlias');
    keyPolicies.set(record.keyId, parsePolicyDocument(Policy, realm, conditionVocabulary));
  }
  const documents = documentsOf(source);
  const files = changes.IdentityPolicies?.map(({ Name, Text }) => ({ name: Name, text: Text }));
  if (files === undefined) return { ...documents, keyPolicies };
  try {
    const options = { realm, vocabulary: conditionVocabulary, idOfGroup };
    return { ...documents, keyPolicies, identityPolicies: parseIdentityPolicies(files, options) };
  } catch (error) {
    if (!(error instanceof IdentityPolicyError)) throw error;
    throw new KmsError('MalformedPolicyDocumentException', error.message, error);
  }
}

function suppose({ mapping }: AccessParts, question: Question): SupposedRequest {
  const { Operation, Request, At, SourceIp = '127.0.0.1', UserAgent } = question;
  const supposed = callerOf(mapping, question);
  return {
    operationName: Operation,
    members: Request ?? {},
    receivedAtMs: At === undefined ? Date.now() : timeOf('At', At),
    sourceIPAddress: supposed.caller.proof.kind === 'unix' ? 'unix' : SourceIp,
    userAgent: UserAgent ?? null,
    ...supposed,
  };
}

function callerOf(mapping: UnixMapping, question: Question): SupposedCaller {
  const { Principal, UnixUser, Uid, Groups: groups = [], Transport = 'unix', SourceIp = '127.0.0.1' } = question;
  if ((Principal === undefined) === (UnixUser === undefined)) {
    throw new KmsError('ValidationException', 'Either Principal or UnixUser must say who asks.');
  }
  if (UnixUser !== undefined && question.Credentials === 'accessKey') {
    throw new KmsError('ValidationException', 'An access key is of a Principal, and of no UnixUser.');
  }
  const principal = Principal === undefined ? undefined : parsePrincipalArn(Principal);
  if (Principal !== undefined && principal === undefined) {
    throw new KmsError(
      'ValidationException',
      'Principal must be the ARN of a user, a role, a session or the account.',
      new SuppositionError(`\`${Principal}\` is no user, role or session`),
    );
  }
  const asking = principal === undefined ? { unixUser: UnixUser ?? '' } : { principal, uid: Uid };
  const { Executable: executable, SystemdUnit: systemdUnit, Credentials: credentials = 'issued', IssuedAt } = question;
  const issuedAtMs = IssuedAt === undefined ? undefined : timeOf('IssuedAt', IssuedAt);
  const { SessionPolicy: sessionPolicy } = question;
  const signed = { sourceIp: SourceIp, credentials, issuedAtMs, sessionPolicy };
  try {
    return supposeCaller({ who: asking, groups, transport: Transport, ...signed, executable, systemdUnit }, mapping);
  } catch (error) {
    if (!(error instanceof SuppositionError)) throw error;
    throw new KmsError('ValidationException', error.message, error);
  }
}

function timeOf(member: string, at: string): number {
  const time = /^\d{4}-\d\d-\d\d(?:T\d\d:\d\d(?::\d\d(?:\.\d{1,9})?)?(?:Z|[+-]\d\d:\d\d))?$/.test(at)
    ? Date.parse(at)
    : Number.NaN;
  if (Number.isNaN(time))
    throw new KmsError('ValidationException', `${member} must be a time such as 2030-01-31T12:00:00Z.`);
  return time;
}

/** Nobody is called so: neither a user of an operating system nor one of a policy has an `=` in his name. */
const nobody = 'user/somebody=else';

function identityOf(candidate: Candidate, { directory }: AccessParts): Pick<Question, 'Principal' | 'Groups'> {
  switch (candidate.kind) {
    case 'principal':
      return { Principal: candidate.principal };
    case 'group':
      return { Principal: `arn:aws:iam::${directory.realm.account}:${nobody}`, Groups: [candidate.group] };
    case 'anybody else':
      return { Principal: `arn:aws:iam::${directory.realm.account}:${nobody}` };
    default:
      return candidate satisfies never;
  }
}

function describeCandidate({ candidate, decision, unmet }: CandidateReport): object {
  return { who: nameOf(candidate), allowed: decision.allowed, because: decision.because, unmet };
}

function nameOf(candidate: Candidate): string {
  switch (candidate.kind) {
    case 'principal':
      return candidate.principal;
    case 'group':
      return `group:${candidate.group}`;
    case 'anybody else':
      return candidate.kind;
    default:
      return candidate satisfies never;
  }
}
