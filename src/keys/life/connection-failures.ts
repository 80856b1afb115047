/** Why a custom key store could not be connected to its HSM, in words for operators and as AWS's code. */

import { openFailureOf } from '../../hsm/open-failure.ts';
import type { ConnectionErrorCode } from '../../kms/connection-states.ts';

/** The HSM is not in the configuration any more, or has a PIN of its own by now. */
export class LostHsm extends Error {
  constructor(cloudHsmClusterId: string) {
    super(`no HSM of the configuration that has no \`pin\` has the id ${cloudHsmClusterId}; see \`drawbridge doctor\``);
  }
}

/** An earlier run presented the password, and ended before it knew, or before it was on record, what the token said. */
export class UnknownAnswer extends Error {
  constructor() {
    super(
      'its password was presented before, and nobody knows whether it was taken; if it is the right one, disconnect the custom key store and connect it again',
    );
  }
}

const codes = {
  pinLocked: 'USER_LOCKED_OUT',
  pinNotInitialized: 'USER_NOT_FOUND',
  pinRefused: 'INVALID_CREDENTIALS',
  tokenAbsent: 'INSUFFICIENT_CLOUDHSM_HSMS',
  noAnswer: 'NETWORK_ERRORS',
  other: 'INTERNAL_ERROR',
} as const satisfies Record<ReturnType<typeof openFailureOf>, ConnectionErrorCode>;

export function codeOf(error: unknown): ConnectionErrorCode {
  return error instanceof LostHsm ? 'CLUSTER_NOT_FOUND' : codes[openFailureOf(error)];
}
