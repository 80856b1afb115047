/**
 * The contract between the wire and the operations: a request whose caller is known goes in, a recorded answer comes out.
 */

import type { AuditEvent } from '../audit/audit-log.ts';
import type { Caller } from '../identity/caller.ts';
import type { KmsError } from '../kms/errors.ts';
import type { Payer } from '../kms/payer.ts';
import type { Announcer } from '../store/turns.ts';

/** What is known of every request, even one that is refused before it reaches an operation. */
export interface RequestOrigin {
  /** A UUID; also sent as `x-amzn-RequestId`. */
  readonly requestId: string;
  readonly receivedAtMs: number;
  /** An IP address, or `unix`. */
  readonly sourceIPAddress: string;
  readonly userAgent: string | null;
  /** Who pays for the request: whoever does for its connection, until a signature was verified. */
  readonly payer: Payer;
}

export interface KmsRequest extends RequestOrigin {
  /** As the caller wrote it; the service answers `UnknownOperationException` for what it does not know. */
  readonly operationName: string;
  /** The body's bytes, not parsed. The service wipes them. */
  readonly body: Buffer;
  readonly caller: Caller;
  /** AWS's wire ignores members that it does not know (a newer SDK may send them); `/v1/` refuses them as typing errors. */
  readonly unknownMembers: 'ignore' | 'refuse';
}

export type KmsAnswer =
  | { readonly ok: true /** JSON text; of an act, whatever it gives. */; readonly body: string }
  | { readonly ok: false; readonly error: KmsError };

/** Something that is done for a caller and is no KMS operation: access keys, credentials, who-am-I. */
export interface Act extends RequestOrigin {
  readonly operationName: string;
  /** As CloudTrail names the service: `iam.amazonaws.com`. */
  readonly eventSource: string;
  /** `changes` is begun only while the audit log takes events, and is on disk before its answer. */
  readonly effect: 'reads' | 'uses' | 'changes';
  readonly caller: Caller;
  /** What the request said, as far as it may be on record. */
  readonly parameters: Readonly<Record<string, unknown>> | null;
  /** What is found out on the way: what was decided, about what. Absent: there is nothing to decide. */
  readonly trace?: ActTrace;
}

/** Filled by whoever performs the act. */
export interface ActTrace {
  decision: AuditEvent['decision'];
  readonly resources: string[];
}

export interface ActResult {
  /** The answer's text. */
  readonly body: string;
  /** What of the answer may be on record. */
  readonly record: Readonly<Record<string, unknown>> | null;
}

export interface KmsService {
  /** Runs one operation. Never rejects: whatever goes wrong is an answer, and every answer is on record. */
  run(request: KmsRequest): Promise<KmsAnswer>;
  /**
   * Puts on record a request that the wire itself refuses (no target, wrong content type, too large, bad signature) and
   * gives back the answer to send: the same error, or `KMSInternalException` when it cannot be recorded.
   */
  refuse(
    request: RequestOrigin &
      Pick<Partial<Act>, 'eventSource'> & { readonly operationName: string; readonly caller: Caller | null },
    error: KmsError,
  ): Promise<KmsAnswer>;
  /**
   * Does what is no KMS operation, whose permission the wire has checked. Never rejects, and every answer is on record.
   * @param perform Takes its turns, where it changes something, by the announcer that it is given.
   */
  act(act: Act, perform: (by: Announcer) => Promise<ActResult>): Promise<KmsAnswer>;
}
