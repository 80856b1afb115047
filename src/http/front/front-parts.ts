/** What the front asks of the wire: whatever it does as the routes behind it do. */

import type { Caller } from '../../identity/caller.ts';
import type { ServiceName } from '../../identity/sigv4.ts';
import type { KmsError } from '../../kms/errors.ts';
import type { KmsAnswer, KmsService } from '../../pipeline/service.ts';
import type { Connection } from '../connections/connection.ts';
import type { Connections } from '../connections/connections.ts';
import type { FrontRequest } from './front-request.ts';

export interface FrontParts {
  readonly service: Pick<KmsService, 'refuse'>;
  /** Has the service run it for whoever is proven to have sent it. */
  run(request: FrontRequest, caller: Caller): Promise<KmsAnswer>;
  readonly authentication: {
    /** Are requests signed, so that all of their headers matter? */
    readonly readsHeaders: boolean;
    callerOf(request: FrontRequest, body: Buffer, service: ServiceName): Caller | Promise<Caller>;
    sourceOf(socket: Connection['socket']): string;
  };
  readonly connections: Connections;
  readonly limits: FrontLimits;
  /** The whole of it, as the back would write it. */
  answerText(requestId: string, outcome: KmsAnswer, close: boolean): string;
  /** Is the answer in hand the last one? @param isLast Is there nothing of a request behind it? */
  endsConnection(connection: Connection, isLast: boolean): boolean;
  /** What to answer whom `callerOf` did not know. */
  unproven(connection: Connection, error: unknown): KmsError;
  /** Refuses, after all answers, what is no request, and closes. */
  refuse(connection: Connection, error: KmsError): void;
  /** What is never to fail did: the connection ends without an answer, and nothing more begins on it. */
  failed(connection: Connection, error: unknown): void;
  /** Gives the connection to the back. @param bytes What was read of it. */
  handOver(connection: Connection, bytes: Buffer): void;
}

export interface FrontLimits {
  readonly maxBodyBytes: number;
  readonly maxHeaderBytes: number;
  readonly headersTimeoutMs: number;
  readonly requestTimeoutMs: number;
  readonly keepAliveTimeoutMs: number;
  readonly stalledTimeoutMs: number;
}
