/** What a member is made of, and what its connections are begun with. */

import type { Logger } from '../../kms/logger.ts';
import type { LoginGate } from '../login-gate.ts';
import type { BegunToken } from '../open-key-store.ts';
import type { ConnectionEvents } from '../pipe-key-store.ts';
import type { ConnectionProof } from '../token-connection.ts';

/** What a connection to a member is begun with. */
export interface ConnectionTerms {
  readonly events: ConnectionEvents;
  readonly admit: ConnectionProof;
  /** The member's for as long as it lives: what its token has refused is not tried again because it is connected anew. */
  readonly gate: LoginGate;
}

export interface MemberParts {
  /** The name of the key store. */
  readonly keyStore: string;
  readonly name: string;
  /** Begins to connect it; what cannot be begun throws in words for operators. */
  readonly begin: (terms: ConnectionTerms) => BegunToken;
  readonly prove: ConnectionProof;
  /** It serves that did not, or the other way round, or an attempt to connect it has failed. */
  readonly changed: () => void;
  /** It begins to serve. */
  readonly admitted: () => void;
  readonly log: Logger;
}
