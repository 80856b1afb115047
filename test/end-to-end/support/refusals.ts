/**
 * How a caller sees a refusal, and the wordings that AWS uses for more than one operation.
 *
 * Wordings come from AWS's documentation and from answers of the real service that users have published; where neither
 * tells the words, the tests hold only the name.
 */

export interface Refusal {
  readonly name: string;
  readonly message: string;
}

/** What the SDK says where the service sends an error without a message. */
const sdkTextForNoMessage = 'UnknownError';

/** Waits for a request to be refused; fails when it is answered. */
export async function refusal(request: Promise<unknown>): Promise<Refusal> {
  try {
    await request;
  } catch (error) {
    if (!(error instanceof Error)) throw error;
    return { name: error.name, message: error.message === sdkTextForNoMessage ? '' : error.message };
  }
  throw new Error('the request was answered instead of refused');
}

/** Requests that are under way together, for who hears of one after the other: one that is refused before its turn has been heard of. */
export function heard<Request extends Promise<unknown>>(requests: readonly Request[]): readonly Request[] {
  for (const request of requests) request.catch(() => undefined);
  return requests;
}

export const refused = (name: string, message: string): Refusal => ({ name, message });

export const invalid = (...problems: readonly string[]): Refusal =>
  refused(
    'ValidationException',
    `${problems.length} validation error${problems.length === 1 ? '' : 's'} detected: ${problems.join('; ')}`,
  );

const atLeast = (what: 'length' | 'value', limit: number): string =>
  `Member must have ${what} greater than or equal to ${limit}`;
const atMost = (what: 'length' | 'value', limit: number): string =>
  `Member must have ${what} less than or equal to ${limit}`;

/** AWS repeats a value whole; here a very long one is cut, so that no caller can fill the log with it. */
const quoted = (value: string): string => (value.length > 8448 ? `${value.slice(0, 256)}…` : value);

export const problem = {
  missing: (path: string): string => `Value null at '${path}' failed to satisfy constraint: Member must not be null`,
  tooSmall: (value: number, path: string, limit: number): string =>
    `Value '${value}' at '${path}' failed to satisfy constraint: ${atLeast('value', limit)}`,
  tooLarge: (value: number, path: string, limit: number): string =>
    `Value '${value}' at '${path}' failed to satisfy constraint: ${atMost('value', limit)}`,
  tooShort: (value: string, path: string, limit: number): string =>
    `Value '${value}' at '${path}' failed to satisfy constraint: ${atLeast('length', limit)}`,
  tooLong: (value: string, path: string, limit: number): string =>
    `Value '${quoted(value)}' at '${path}' failed to satisfy constraint: ${atMost('length', limit)}`,
  blobTooShort: (path: string, limit: number): string =>
    `Value at '${path}' failed to satisfy constraint: ${atLeast('length', limit)}`,
  blobTooLong: (path: string, limit: number): string =>
    `Value at '${path}' failed to satisfy constraint: ${atMost('length', limit)}`,
};

export const dryRunSucceeded = refused(
  'DryRunOperationException',
  'The request would have succeeded, but the DryRun option is set.',
);
/** By their names alone, as AWS sends them: why a ciphertext, a signature or a MAC is refused is nobody's business. */
export const invalidCiphertext = refused('InvalidCiphertextException', '');
export const invalidSignature = refused('KMSInvalidSignatureException', '');
export const invalidMac = refused('KMSInvalidMacException', '');
export const wrongUsage = (keyArn: string, usage: string, operation: string): Refusal =>
  refused('InvalidKeyUsageException', `${keyArn} key usage is ${usage} which is not valid for ${operation}.`);
export const wrongAlgorithm = (algorithm: string, keySpec: string): Refusal =>
  refused('InvalidKeyUsageException', `Algorithm ${algorithm} is incompatible with key spec ${keySpec}.`);
export const incorrectKey = refused(
  'IncorrectKeyException',
  'The key ID in the request does not identify a CMK that can perform this operation.',
);
export const lockedOut = refused(
  'MalformedPolicyDocumentException',
  'The new key policy will not allow you to update the key policy in the future.',
);
export const aliasOfAlias = refused('ValidationException', 'Aliases must refer to keys. Not aliases');
export const aliasesNotSupported = refused('InvalidArnException', 'Key Aliases are not supported for this operation.');

export const keyNotFound = (keyArn: string): Refusal => refused('NotFoundException', `Key '${keyArn}' does not exist`);
export const aliasNotFound = (aliasArn: string): Refusal =>
  refused('NotFoundException', `Alias ${aliasArn} is not found.`);
export const invalidKeyId = (keyId: string): Refusal => refused('NotFoundException', `Invalid keyId '${keyId}'`);

type Because = 'not-allowed' | 'denied';

/** The text of a denial by a key policy, which clients match. */
export function accessDenied(principal: string, operation: string, resource: string, because: Because): Refusal {
  const reason =
    because === 'denied'
      ? 'with an explicit deny in a resource-based policy'
      : `because no resource-based policy allows the kms:${operation} action`;
  return refused(
    'AccessDeniedException',
    `User: ${principal} is not authorized to perform: kms:${operation} on resource: ${resource} ${reason}`,
  );
}

/** The text of a denial where only identity policies could have allowed. */
export function identityDenied(principal: string, operation: string, resource: string): Refusal {
  return refused(
    'AccessDeniedException',
    `User: ${principal} is not authorized to perform: kms:${operation} on resource: ${resource} because no identity-based policy allows the kms:${operation} action`,
  );
}

/** The same where the request names no key and the ciphertext does: which key it is, AWS does not say. */
export function deniedByCiphertext(
  principal: string,
  operation: string,
  because: 'key policy' | 'identity policies',
): Refusal {
  const reason =
    because === 'key policy'
      ? 'the resource does not exist in this Region, no resource-based policies allow access, or a resource-based policy explicitly denies access'
      : `no identity-based policy allows the kms:${operation} action`;
  return refused(
    'AccessDeniedException',
    `User: ${principal} is not authorized to perform: kms:${operation} on the resource associated with this ciphertext because ${reason}`,
  );
}
