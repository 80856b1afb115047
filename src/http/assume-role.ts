/**
 * AssumeRole as the wire sees it: parameters go in, credentials come out, and the act is on record with what was decided.
 *
 * STS's own query protocol (`sts-routes.ts`) and the command line's JSON (`POST /credentials/role`, on the Unix socket) differ in what
 * they write around it. Secrets and tokens are in the answer and nowhere else.
 */

import type { Caller } from '../identity/caller.ts';
import type { AssumeRoleRequest } from '../pipeline/assume-role-request.ts';
import { parseAssumeRole, recordOf } from '../pipeline/assume-role-request.ts';
import type { ActTrace, RequestOrigin } from '../pipeline/service.ts';
import { answer, type Exchange, type Wire } from './exchange.ts';

/** Each parameter with all its values. */
export type Parameters = ReadonlyMap<string, readonly string[]>;

export interface AssumedRole {
  readonly accessKeyId: string;
  readonly secretAccessKey: string;
  readonly sessionToken: string;
  readonly expiresAtMs: number;
  /** `arn:aws:sts::ACCOUNT:assumed-role/ROLE/SESSION` */
  readonly arn: string;
  /** `ROLE-ID:SESSION` */
  readonly assumedRoleId: string;
  readonly sourceIdentity?: string | undefined;
  /** Of a session policy, how much of what it may have it has; absent: there is none. */
  readonly packedPolicySizePercent?: number | undefined;
}

export interface RoleSource {
  /** @throws KmsError (or rejects with one) as STS refuses. */
  assumeRole(request: AssumeRoleRequest, caller: Caller, origin: RequestOrigin, trace: ActTrace): Promise<AssumedRole>;
}

/** @param write The answer's body. */
export async function assumeRole(
  wire: Wire,
  exchange: Exchange,
  caller: Caller,
  parameters: Parameters,
  source: RoleSource,
  write: (assumed: AssumedRole) => string,
): Promise<void> {
  const trace: ActTrace = { decision: null, resources: [] };
  const act = {
    ...exchange.origin,
    operationName: 'AssumeRole',
    eventSource: 'sts.amazonaws.com',
    effect: 'uses',
    caller,
    parameters: recordOf(parameters),
    trace,
  } as const;
  const outcome = await wire.service.act(act, async () => {
    const assumed = await source.assumeRole(parseAssumeRole(parameters), caller, exchange.origin, trace);
    return { body: write(assumed), record: describe(assumed) };
  });
  answer(wire, exchange, outcome);
}

/** As CloudTrail has it, without the session token. */
function describe(assumed: AssumedRole): Readonly<Record<string, unknown>> {
  const { accessKeyId, expiresAtMs, arn, assumedRoleId, packedPolicySizePercent, sourceIdentity } = assumed;
  return {
    credentials: { accessKeyId, expiration: new Date(expiresAtMs).toISOString() },
    assumedRoleUser: { assumedRoleId, arn },
    ...(packedPolicySizePercent === undefined ? {} : { packedPolicySize: packedPolicySizePercent }),
    ...(sourceIdentity === undefined ? {} : { sourceIdentity }),
  };
}
