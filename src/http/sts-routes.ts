/**
 * AWS STS: `GetCallerIdentity` (who am I? It is what AWS's tools ask first) and `AssumeRole`.
 *
 * STS speaks the query protocol: `POST /` with a form as its body (`Action=GetCallerIdentity&Version=2011-06-15`), or
 * `GET /` with the same in its query, which is what a presigned request looks like; answers are XML. On the loopback
 * listener the signature's scope has to name `sts`. As on AWS, nobody needs a permission to be told who they are. Every answer is on
 * record. The other actions of STS are refused by name, also those that come without a signature.
 *
 * Source: STS API reference, "GetCallerIdentity" and "AssumeRole"; Smithy, "AWS query protocol".
 */

import type { IncomingMessage, ServerResponse } from 'node:http';
import type { Caller } from '../identity/caller.ts';
import { queryRequest } from '../kms/budgets.ts';
import { KmsError } from '../kms/errors.ts';
import { userIdOf } from '../kms/names.ts';
import { xml } from './answers.ts';
import { type AssumedRole, assumeRole, type Parameters, type RoleSource } from './assume-role.ts';
import { answer, type Exchange, finish, receiveBody, refuse, targetOf, type Wire, withCaller } from './exchange.ts';
import { escapeXml, stsNamespace } from './query-errors.ts';

const apiVersion = '2011-06-15';
const formType = 'application/x-www-form-urlencoded';

/** What STS has and this version has not, each with what there is instead. */
const unsupported: Readonly<Record<string, string>> = {
  AssumeRoleWithSAML: 'no identity provider vouches for anybody here',
  AssumeRoleWithWebIdentity: 'no identity provider vouches for anybody here',
  AssumeRoot: 'there are no member accounts here',
  DecodeAuthorizationMessage: 'no message is encoded here',
  GetAccessKeyInfo: 'there is one account here',
  GetDelegatedAccessToken: 'nobody delegates access here',
  GetFederationToken: '`drawbridge credentials` gives temporary credentials, and AssumeRole',
  GetSessionToken: '`drawbridge credentials` gives temporary credentials, and AssumeRole',
  GetWebIdentityToken: 'no identity provider is asked here',
};

/** Does this request for `/` speak the query protocol? (`curl` calls every body a form, but has no target then either.) */
export function isQueryRequest({ headers, url = '' }: IncomingMessage): boolean {
  if (headers['x-amz-target'] !== undefined) return false;
  if (/[?&]Action=/.test(url)) return true;
  return headers['content-type']?.split(';')[0]?.trim().toLowerCase() === formType;
}

/** `POST /` or `GET /` for which `isQueryRequest` is true. */
export function stsRequest(wire: Wire, message: IncomingMessage, response: ServerResponse, roles: RoleSource): void {
  receiveBody(wire, message, response, xml, (exchange, body) => {
    const query = readQuery(message, body);
    if (query instanceof KmsError) {
      withCaller(wire, exchange, body, (proven, caller) => {
        body.fill(0);
        refuse(wire, proven, { caller, operationName: targetOf(message) }, query);
      });
      return;
    }
    const { action, version, parameters } = query;
    const refuseUnknown = (caller: Caller | null): void => {
      const why = Object.hasOwn(unsupported, action) ? unsupported[action] : undefined;
      const unknown = `Could not find operation ${action.slice(0, 64)} for version ${version.slice(0, 64)}`;
      const text = why === undefined ? unknown : `${action} is not supported by this version of Drawbridge: ${why}.`;
      refuse(wire, exchange, { caller, operationName: action }, new KmsError('UnknownOperationException', text));
    };
    // It is not signed: a client that is told that a signature is missing would not know what to do.
    if (/^AssumeRoleWith(?:SAML|WebIdentity)$/.test(action)) {
      body.fill(0);
      refuseUnknown(null);
      return;
    }
    withCaller(wire, exchange, body, (proven, caller) => {
      body.fill(0);
      if (version === apiVersion && action === 'GetCallerIdentity') {
        finish(wire, proven, tellCaller(wire, proven, caller));
      } else if (version === apiVersion && action === 'AssumeRole') {
        const write = (assumed: AssumedRole): string => assumedRole(assumed, proven.origin.requestId);
        finish(wire, proven, assumeRole(wire, proven, caller, parameters, roles, write));
      } else {
        refuseUnknown(caller);
      }
    });
  });
}

interface Query {
  readonly action: string;
  readonly version: string;
  /** Without those, and without what a signature adds to a query. */
  readonly parameters: Parameters;
}

/** Anybody may send one: its cost is bounded, and grows with its length alone. A form comes before a query. */
function readQuery({ url }: IncomingMessage, body: Buffer): Query | KmsError {
  const { maxFormBytes, maxParameters } = queryRequest;
  if (body.length > maxFormBytes) return tooMuch(`The request body must not be larger than ${maxFormBytes} bytes.`);
  const [, query = ''] = url?.split('?') ?? [];
  const parameters = new Map<string, string[]>();
  let action: string | undefined;
  let version: string | undefined;
  let count = 0;
  for (const text of [body.toString('latin1'), query]) {
    for (const [name, value] of new URLSearchParams(text)) {
      if (++count > maxParameters) return tooMuch(`A request must not have more than ${maxParameters} parameters.`);
      if (name === 'Action') action ??= value;
      else if (name === 'Version') version ??= value;
      else if (!name.startsWith('X-Amz-')) {
        const values = parameters.get(name);
        if (values === undefined) parameters.set(name, [value]);
        else values.push(value);
      }
    }
  }
  return { action: action ?? '', version: version ?? apiVersion, parameters };
}

function tooMuch(message: string): KmsError {
  return new KmsError('ValidationException', message);
}

async function tellCaller(wire: Wire, exchange: Exchange, caller: Caller): Promise<void> {
  const act = {
    operationName: 'GetCallerIdentity',
    eventSource: 'sts.amazonaws.com',
    effect: 'reads',
    caller,
  } as const;
  const outcome = await wire.service.act({ ...exchange.origin, ...act, parameters: null }, async () => ({
    body: callerIdentity(caller, exchange.origin.requestId),
    record: null,
  }));
  answer(wire, exchange, outcome);
}

function callerIdentity(caller: Caller, requestId: string): string {
  return responseOf('GetCallerIdentity', requestId, [
    element('Arn', caller.arn),
    element('UserId', userIdOf(caller)),
    element('Account', caller.accountId),
  ]);
}

function assumedRole(assumed: AssumedRole, requestId: string): string {
  const { accessKeyId, secretAccessKey, sessionToken, expiresAtMs, arn, assumedRoleId } = assumed;
  const { packedPolicySizePercent, sourceIdentity } = assumed;
  const user = element('Arn', arn) + element('AssumedRoleId', assumedRoleId);
  const credentials =
    element('AccessKeyId', accessKeyId) +
    element('SecretAccessKey', secretAccessKey) +
    element('SessionToken', sessionToken) +
    element('Expiration', new Date(expiresAtMs).toISOString().replace('.000Z', 'Z'));
  return responseOf('AssumeRole', requestId, [
    ...(sourceIdentity === undefined ? [] : [element('SourceIdentity', sourceIdentity)]),
    `<AssumedRoleUser>${user}</AssumedRoleUser>`,
    `<Credentials>${credentials}</Credentials>`,
    ...(packedPolicySizePercent === undefined ? [] : [element('PackedPolicySize', String(packedPolicySizePercent))]),
  ]);
}

function responseOf(action: string, requestId: string, members: readonly string[]): string {
  return (
    `<${action}Response xmlns="${stsNamespace}"><${action}Result>${members.join('')}</${action}Result>` +
    `<ResponseMetadata>${element('RequestId', requestId)}</ResponseMetadata></${action}Response>`
  );
}

function element(name: string, text: string): string {
  return `<${name}>${escapeXml(text)}</${name}>`;
}
