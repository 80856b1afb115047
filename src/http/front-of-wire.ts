/** What the front asks of the wire (`front/front.ts`), so that it answers, refuses and records as every route does. */

import { operationAnswer } from './answers.ts';
import { endsConnection, fail, refuseConnection, unproven, type Wire } from './exchange.ts';
import type { FrontParts } from './front/front-parts.ts';
import { kmsRequestOf } from './kms-request.ts';
import { toWireError } from './wire-errors.ts';

/** @param handOver Gives a connection to `node:http`, with what was read of it. */
export function frontParts(wire: Wire, handOver: FrontParts['handOver']): FrontParts {
  const { service, authentication, connections, limits } = wire;
  return {
    service,
    run(request, caller) {
      const { operationName, body } = request;
      return service.run(kmsRequestOf(request, { operationName, body, caller, unknownMembers: 'ignore' }));
    },
    authentication,
    connections,
    limits,
    answerText(requestId, outcome, close) {
      const { statusCode, body } = outcome.ok
        ? { statusCode: 200 as const, body: outcome.body }
        : toWireError(outcome.error);
      return operationAnswer(statusCode, { requestId, body, close }, limits.keepAliveTimeoutMs);
    },
    endsConnection: (connection, isLast) => endsConnection(wire, connection, isLast),
    unproven: (connection, error) => unproven(wire, connection, error),
    refuse: (connection, error) => refuseConnection(wire, connection, error),
    failed: (connection, error) => fail(wire, connection.socket, error),
    handOver,
  };
}
