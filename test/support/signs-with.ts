/** Is what was found for an access key what requests are signed with by whoever has this secret? */

import { signingKeyOf } from '../../src/identity/scoped-keys.ts';
import type { SigningKey } from '../../src/identity/signing-key.ts';
import { Secret } from '../../src/secrets/secret-bytes.ts';

export function signsWith(found: SigningKey | undefined, secretAccessKey: string): boolean {
  const scope = { date: '20260105', region: 'us-east-1', service: 'kms' };
  return found?.keys.keyFor(scope).equals(signingKeyOf(new Secret(Buffer.from(secretAccessKey)), scope)) === true;
}
