/** On whose account a request is on record: its payer's, for what its operation does. */

import type { LineAccount, LinePurpose } from '../audit/audit-log.ts';
import type { Caller } from '../identity/caller.ts';
import { type Payer, payerOfUid } from '../kms/payer.ts';
import type { AnyOperation } from '../operations/declaration/operation.ts';

/** What of an operation, or of an act, says what its lines are for. */
export interface LineTraits {
  readonly effect: AnyOperation['effect'];
  readonly revokes?: boolean;
}

const ownUid = process.getuid?.() ?? 0;
/** The daemon's own user, where he is another one than root. Root is who the account's root is, and not whoever has uid 0 in a container. */
const ownUser = ownUid === 0 ? undefined : payerOfUid(ownUid);

/**
 * @param caller Of a request, as far as he is known.
 * @param traits Absent: of what is refused, whatever it was to be.
 */
export function lineAccountOf(payer: Payer, caller: Pick<Caller, 'type'> | null, traits?: LineTraits): LineAccount {
  const isOperators = caller?.type === 'Root' || payer === ownUser;
  return { payer, isOperator: isOperators, purpose: purposeOf(traits, isOperators) };
}

/** What an operator is refused tells of an attempt to act, and there is room for it as for what he looks at. */
function purposeOf(traits: LineTraits | undefined, isOperators: boolean): LinePurpose {
  if (traits === undefined) return isOperators ? 'look' : 'request';
  switch (traits.effect) {
    case 'uses':
      return 'request';
    case 'reads':
      return 'look';
    case 'changes':
      return traits.revokes === true ? 'revocation' : 'change';
    default:
      return traits.effect satisfies never;
  }
}
