/**
 * `sts:GetCallerIdentity`: who am I? It is what AWS's tools ask first.
 *
 * STS speaks the query protocol: `POST /` with a form as its body (`Action=GetCallerIdentity&Version=2011-06-15`), or
 * `GET /` with the same in its query, which is what a presigned request looks like; answers are XML. On the loopback
 * listener the signature's scope has to name `sts`. As on AWS, nobody needs a permission to be told who they are, and the
 * answer is on record. No other action of STS is here: `drawbridge credentials` is how one gets short-lived credentials.
 *
 * Source: STS API reference, "GetCallerIdentity"; Smithy, "AWS query protocol".
 */

import type { IncomingMessage, ServerResponse } from 'node:http';
import type { Caller } from '../identity/caller.ts';
import { KmsError } from '../kms/errors.ts';
import { userIdOf } from '../kms/names.ts';
import { xml } from './answers.ts';
import { answer, type Exchange, finish, receive, refuse, type Wire } from './exchange.ts';
import { escapeXml, stsNamespace } from './query-errors.ts';

const apiVersion = '2011-06-15';
const formType = 'application/x-www-form-urlencoded';

/** Does this request for `/` speak the query protocol? (`curl` calls every body a form, but has no target then either.) */
export function isQueryRequest({ headers, url = '' }: IncomingMessage): boolean {
  if (headers['x-amz-target'] !== undefined) return false;
  if (/[?&]Action=/.test(url)) return true;
  return headers['content-type']?.split(';')[0]?.trim().toLowerCase() === formType;
}

/** `POST /` or `GET /` for which `isQueryRequest` is true. */
export function stsRequest(wire: Wire, message: IncomingMessage, response: ServerResponse): void {
  receive(wire, message, response, xml, (exchange, caller, body) => {
    const parameters = new URLSearchParams(body.toString('latin1'));
    body.fill(0);
    const [, query = ''] = message.url?.split('?') ?? [];
    for (const [name, value] of new URLSearchParams(query)) parameters.append(name, value);
    const action = parameters.get('Action') ?? '';
    const version = parameters.get('Version') ?? apiVersion;
    if (action !== 'GetCallerIdentity' || version !== apiVersion) {
      const text = `Could not find operation ${action.slice(0, 64)} for version ${version.slice(0, 64)}`;
      refuse(wire, exchange, { caller, operationName: action }, new KmsError('UnknownOperationException', text));
      return;
    }
    finish(wire, message.socket, tellCaller(wire, exchange, caller));
  });
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
  return (
    `<GetCallerIdentityResponse xmlns="${stsNamespace}"><GetCallerIdentityResult>` +
    `<Arn>${escapeXml(caller.arn)}</Arn><UserId>${escapeXml(userIdOf(caller))}</UserId>` +
    `<Account>${caller.accountId}</Account></GetCallerIdentityResult>` +
    `<ResponseMetadata><RequestId>${escapeXml(requestId)}</RequestId></ResponseMetadata></GetCallerIdentityResponse>`
  );
}
