/**
 * The contract between the wire and the operations: a request whose caller is known goes in, a recorded answer comes out.
 */

import type { Caller } from '../identity/caller.ts';
import type { KmsError } from '../kms/errors.ts';

/** What is known of every request, even one that is refused before it reaches an operation. */
export interface RequestOrigin {
  /** A UUID; also sent as `x-amzn-RequestId`. */
  readonly requestId: string;
  readonly receivedAtMs: number;
  /** An IP address, or `unix`. */
  readonly sourceIPAddress: string;
  readonly userAgent: string | null;
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
  | { readonly ok: true /** JSON text. */; readonly body: string }
  | { readonly ok: false; readonly error: KmsError };

export interface KmsService {
  /** Runs one operation. Never rejects: whatever goes wrong is an answer, and every answer is on record. */
  run(request: KmsRequest): Promise<KmsAnswer>;
  /**
   * Puts on record a request that the wire itself refuses (no target, wrong content type, too large, bad signature) and
   * gives back the answer to send: the same error, or `KMSInternalException` when it cannot be recorded.
   */
  refuse(
    request: RequestOrigin & { readonly operationName: string; readonly caller: Caller | null },
    error: KmsError,
  ): Promise<KmsAnswer>;
}
