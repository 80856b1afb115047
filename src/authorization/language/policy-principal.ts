/**
 * The elements `Principal` and `NotPrincipal`: whom a statement is about.
 *
 * `"*"` and `{"AWS": "*"}` are everybody. An account's id and its root's ARN are the same thing: the account, which stands
 * for its root and, in an `Allow`, delegates to the account's identity policies (the decision is in `decide.ts`). Other
 * ARNs name one principal each and are compared exactly; AWS allows no wildcards inside them. Service principals are
 * understood and match nobody, because no AWS service calls this daemon.
 *
 * `NotPrincipal` is everybody but those it names, and stands in a `Deny` only. Whoever is to be excepted has to be named
 * in each way in which he is known: as himself, as the account, and as the role where he is a session of one.
 *
 * Source: IAM user guide, "AWS JSON policy elements: Principal" and "NotPrincipal".
 */

import { type Account, rootArn } from '../../kms/names.ts';
import type { StatementPrincipals, StatementQuestion } from './compiled-statement.ts';
import type { JsonValue } from './policy-json.ts';
import { malformed, objectAt, stringsAt } from './policy-values.ts';

/** @throws KmsError MalformedPolicyDocumentException. */
export function parsePrincipalElement(place: string, value: JsonValue, account: Account): StatementPrincipals {
  if (typeof value === 'string') {
    if (value === '*') return { anyone: true, account: false, named: new Set() };
    throw malformed(place, 'it must be "*" or an object such as {"AWS": "…"}');
  }
  const kinds = objectAt(place, value);
  if (kinds.size === 0) throw malformed(place, 'it must name at least one principal');
  const principals: string[] = [];
  for (const [kind, names] of kinds) {
    switch (kind) {
      case 'AWS':
        principals.push(...stringsAt(`${place}.AWS`, names).map((name) => parseAwsPrincipal(`${place}.AWS`, name)));
        break;
      case 'Service':
        for (const name of stringsAt(`${place}.Service`, names)) assertServicePrincipal(`${place}.Service`, name);
        break;
      default:
        throw malformed(place, `${JSON.stringify(kind)} is not a kind of principal that a policy can name here`);
    }
  }
  return selectPrincipals(principals, account);
}

/** Is the caller one of those whom `NotPrincipal` names, in every way in which he is known? */
export function isExcepted({ anyone, account, named }: StatementPrincipals, question: StatementQuestion): boolean {
  const { principal, role, accountId } = question;
  if (anyone) return true;
  if (!account) return false;
  return (
    principal === rootArn({ account: accountId }) || (named.has(principal) && (role === undefined || named.has(role)))
  );
}

function selectPrincipals(principals: readonly string[], { account }: Account): StatementPrincipals {
  const root: string = rootArn({ account });
  const inThisAccount = (arn: string): boolean => arn.split(':')[4] === account;
  return {
    anyone: principals.includes('*'),
    account: principals.includes(root),
    named: new Set(principals.filter((principal) => principal !== root && inThisAccount(principal))),
  };
}

const accountPattern = /^\d{12}$/;
const iamArnPattern = /^arn:aws:iam::\d{12}:(?:root|(?:user|role)\/(?:[\x21-\x7e]{1,510}\/)?[\w+=,.@-]{1,64})$/;
const sessionArnPattern = /^arn:aws:sts::\d{12}:(?:assumed-role\/[\w+=,.@-]{1,64}|federated-user)\/[\w+=,.@-]{1,64}$/;

/** `*`, or an ARN; an account's id becomes its root's ARN. */
function parseAwsPrincipal(place: string, text: string): string {
  if (text === '*') return text;
  if (accountPattern.test(text)) return rootArn({ account: text });
  if ((iamArnPattern.test(text) || sessionArnPattern.test(text)) && !/[*?]/.test(text)) return text;
  // AWS's words, which name no place; ours are added because a policy can be long.
  throw malformed(place, 'Policy contains a statement with one or more invalid principals');
}

function assertServicePrincipal(place: string, text: string): void {
  if (!/^[a-z0-9-]+(?:\.[a-z0-9-]+)+$/.test(text)) {
    throw malformed(place, 'Policy contains a statement with one or more invalid principals');
  }
}
