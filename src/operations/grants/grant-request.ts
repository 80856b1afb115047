/**
 * What a request says of grants: which grant it would make, which one it means, and whether its grant tokens are real.
 *
 * Source: AWS KMS API reference, CreateGrant, RetireGrant, RevokeGrant; developer guide, "Creating grants".
 */

import { makesDataKeyPairs } from '../../keys/custom-key-store.ts';
import type { GrantParameters } from '../../keys/grants/key-grants.ts';
import type { KeyView } from '../../keys/key-view.ts';
import type { KmsKey } from '../../keys/kms-key.ts';
import { KmsError } from '../../kms/errors.ts';
import {
  type GrantConstraints,
  type GrantId,
  type GrantOperation,
  type GrantPrincipal,
  type GrantTerms,
  isOperationOf,
  makesPairs,
  parseGrantId,
  parseGrantPrincipalArn,
  parseServicePrincipal,
} from '../../kms/grant-terms.ts';
import type { GrantRecord, KeyRecord } from '../../store/records/records.ts';

interface PrincipalMembers {
  readonly GranteePrincipal?: string | undefined;
  readonly GranteeServicePrincipal?: string | undefined;
  readonly RetiringPrincipal?: string | undefined;
  readonly RetiringServicePrincipal?: string | undefined;
}

interface TermsMembers {
  readonly Operations: readonly GrantOperation[];
  readonly Constraints?: GrantConstraints | undefined;
}

/** What the grant would allow. */
export function termsOf({ Operations, Constraints }: TermsMembers): GrantTerms {
  return { operations: [...new Set(Operations)], constraints: Constraints ?? {} };
}

/**
 * The grant that a request asks for.
 * @throws KmsError `ValidationException`, `InvalidArnException` and `LimitExceededException` for what AWS refuses.
 */
export function requestedGrant(
  request: PrincipalMembers & TermsMembers & { readonly Name?: string | undefined },
  kmsKey: KmsKey,
  issuingAccount: string,
  { customKeyStores }: Pick<KeyView, 'customKeyStores'>,
): GrantParameters {
  const key = kmsKey.record;
  const terms = termsOf(request);
  const grantee = namedPrincipal('Grantee', request.GranteePrincipal, request.GranteeServicePrincipal);
  if (grantee === null) {
    throw invalid('You must specify either GranteePrincipal or GranteeServicePrincipal.');
  }
  const retiring = namedPrincipal('Retiring', request.RetiringPrincipal, request.RetiringServicePrincipal);
  if (request.GranteeServicePrincipal !== undefined) {
    if (terms.constraints.SourceArn === undefined) {
      throw invalid('A SourceArn grant constraint is required when GranteeServicePrincipal is specified.');
    }
    if (retiring === null) {
      throw invalid(
        'RetiringPrincipal or RetiringServicePrincipal is required when GranteeServicePrincipal is specified.',
      );
    }
  }
  assertFits(terms, key);
  if (!makesDataKeyPairs(kmsKey, customKeyStores)) assertNoPairs(terms, key);
  assertConstraints(terms.constraints, key);
  return {
    region: key.region,
    keyId: key.keyId,
    name: request.Name ?? '',
    grantee,
    retiring,
    issuingAccount,
    ...terms,
  };
}

/** For the filters of the list operations, too. `null`: neither is given. */
export function namedPrincipal(
  role: 'Grantee' | 'Retiring',
  arn: string | undefined,
  service: string | undefined,
): GrantPrincipal | null {
  if (arn !== undefined && service !== undefined) {
    throw invalid(`You can specify either ${role}Principal or ${role}ServicePrincipal, but not both.`);
  }
  if (arn !== undefined) {
    const principal = parseGrantPrincipalArn(arn);
    if (principal === undefined) {
      throw new KmsError('InvalidArnException', `ARN does not refer to a valid principal: ${arn}`);
    }
    return principal;
  }
  if (service === undefined) return null;
  const principal = parseServicePrincipal(service);
  if (principal === undefined) throw invalid(`${service} is not the name of a service principal.`);
  return principal;
}

/** Only AWS services may list by the name of a service (AWS KMS API reference), and no caller here is one. */
export function assertNoServiceFilter(member: string, service: string | undefined): void {
  if (service !== undefined) {
    throw new KmsError('AccessDeniedException', `${member} can be used only by callers in a service principal.`);
  }
}

function assertFits({ operations }: GrantTerms, { keySpec, keyUsage }: KeyRecord): void {
  const unfit = operations.filter((operation) => !isOperationOf(operation, { keySpec, keyUsage }));
  if (unfit.length > 0) {
    throw invalid(
      `Operations [${unfit.join(', ')}] are not valid for a KMS key with key spec ${keySpec} and key usage ${keyUsage}.`,
    );
  }
}

/** Source: AWS KMS API reference, CreateGrant: "the operation must be supported on the KMS key". */
function assertNoPairs({ operations }: GrantTerms, { origin }: KeyRecord): void {
  const unfit = operations.filter(makesPairs);
  if (unfit.length > 0)
    throw invalid(`Operations [${unfit.join(', ')}] are not valid for a KMS key with origin ${origin}.`);
}

const maxContextPairs = 8;
const maxContextValueCharacters = 384;

function assertConstraints(constraints: GrantConstraints, { keySpec }: KeyRecord): void {
  const { EncryptionContextEquals: exact, EncryptionContextSubset: some, SourceArn } = constraints;
  if (SourceArn !== undefined && !/^arn:[\w-]+:[\w-]+:[\w-]*:\d*:.+$/.test(SourceArn)) {
    throw new KmsError('InvalidArnException', `${SourceArn} is not a valid ARN`);
  }
  if (exact !== undefined && some !== undefined) {
    throw invalid('You can specify either EncryptionContextEquals or EncryptionContextSubset, but not both.');
  }
  const pairs = exact ?? some;
  if (pairs === undefined) return;
  if (keySpec !== 'SYMMETRIC_DEFAULT') {
    throw invalid('Encryption context grant constraints are valid only for symmetric encryption KMS keys.');
  }
  const values = Object.values(pairs);
  if (values.length > maxContextPairs) {
    throw new KmsError(
      'LimitExceededException',
      `A grant constraint can have at most ${maxContextPairs} encryption context pairs.`,
    );
  }
  if (values.some((value) => value.length > maxContextValueCharacters)) {
    throw new KmsError(
      'LimitExceededException',
      `An encryption context value in a grant constraint can have at most ${maxContextValueCharacters} characters.`,
    );
  }
}

/** @throws KmsError `InvalidGrantIdException`. */
export function validGrantId(text: string): GrantId {
  const grantId = parseGrantId(text);
  if (grantId === undefined) throw new KmsError('InvalidGrantIdException', 'The grant ID is not valid.');
  return grantId;
}

/**
 * The grant of that id on that key.
 * @throws KmsError `InvalidGrantIdException`, `NotFoundException`.
 */
export function grantOfKey(directory: KeyView, { keyId }: KeyRecord, text: string): GrantRecord {
  const grant = directory.grants.find(validGrantId(text));
  if (grant?.keyId !== keyId) throw new KmsError('NotFoundException', `Grant ${text} is not found.`);
  return grant;
}

/** @throws KmsError `InvalidGrantTokenException` for what names no grant. */
export function grantOfToken(directory: KeyView, token: string): GrantRecord {
  const grant = directory.grants.findByToken(token);
  if (grant === undefined) throw invalidGrantToken();
  return grant;
}

/**
 * Each grant token must be one that CreateGrant gave for a grant that there still is. They change no decision: see
 * `keys/grants/grant-tokens.ts`.
 */
export function assertGrantTokens(
  request: { readonly GrantTokens?: unknown },
  keys: readonly KmsKey[],
  directory: KeyView,
): void {
  // Safe: every operation that has this member declares it with the schema `grantTokens`.
  for (const token of (request.GrantTokens ?? []) as readonly string[]) {
    const { keyId } = grantOfToken(directory, token);
    if (!keys.some(({ record }) => record.keyId === keyId)) throw invalidGrantToken();
  }
}

function invalidGrantToken(): KmsError {
  return new KmsError('InvalidGrantTokenException', 'The grant token is not valid.');
}

function invalid(message: string): KmsError {
  return new KmsError('ValidationException', message);
}
