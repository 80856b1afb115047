/**
 * One real Drawbridge per test file, and the unmodified AWS SDK talking to it over its Unix socket.
 *
 * The tests of this folder are written from AWS's documentation and know nothing of the sources, but for which operations
 * there are (`examples.ts`): whatever they need is on the wire, in the instance's folder or in the process table. Each file starts its own instance over a throw-away
 * token, SoftHSM2's if nothing else is said, and stops it; machines without that token skip with a line that says so.
 */

import type { KeySpec, KeyUsageType, KMS } from '@aws-sdk/client-kms';
import { afterAll, beforeAll, describe } from 'vitest';
import { type Instance, type InstanceOptions, startInstance } from '../../support/instance.ts';
import { nssSoftoken, softHsm2 } from '../../support/tokens.ts';
import { kmsOver } from './connect.ts';

export interface Daemon {
  readonly instance: Instance;
  readonly socket: string;
  /** The SDK's client with one method per operation. */
  readonly kms: KMS;
}

/** Boots, which creates a token and a data folder, and every hook that waits for it. */
export const bootTimeoutMs = 180_000;

export type TokenName = 'softhsm2' | 'nss';
const tokens = { softhsm2: softHsm2, nss: nssSoftoken } as const satisfies Record<
  TokenName,
  { missing: string | null }
>;

/** The tests of `define` over one instance, which exists inside of tests and hooks only. */
export function describeDaemon(
  name: string,
  define: (daemon: () => Daemon) => void,
  token: TokenName = 'softhsm2',
  more: Pick<InstanceOptions, 'regions' | 'tcp' | 'policies'> = {},
): void {
  const { missing } = tokens[token];
  if (missing !== null) process.stdout.write(`skipped: ${name}: ${missing}\n`);
  describe.skipIf(missing !== null)(name, () => {
    let daemon: Daemon | undefined;
    beforeAll(async () => {
      const instance = await startInstance({ token, ...more });
      daemon = { instance, socket: instance.socket, kms: kmsOver(instance.socket) };
    }, bootTimeoutMs);
    afterAll(async () => {
      daemon?.kms.destroy();
      await daemon?.instance.stop();
    }, bootTimeoutMs);
    define(() => {
      if (daemon === undefined) throw new Error('the daemon exists inside of tests and hooks only');
      return daemon;
    });
  });
}

/** Makes a key and gives its id and ARN. */
export async function newKey(kms: KMS, policy?: string): Promise<{ readonly id: string; readonly arn: string }> {
  const { KeyMetadata } = await kms.createKey(
    policy === undefined ? {} : { Policy: policy, BypassPolicyLockoutSafetyCheck: true },
  );
  return { id: present(KeyMetadata?.KeyId), arn: present(KeyMetadata?.Arn) };
}

/** A key of any kind: its id and ARN, and a policy if it needs one of its own. */
export async function newKeyOf(
  kms: KMS,
  KeySpec: KeySpec,
  KeyUsage: KeyUsageType,
  policy?: string,
): Promise<{ readonly id: string; readonly arn: string }> {
  const own = policy === undefined ? {} : { Policy: policy, BypassPolicyLockoutSafetyCheck: true };
  const { KeyMetadata } = await kms.createKey({ KeySpec, KeyUsage, ...own });
  return { id: present(KeyMetadata?.KeyId), arn: present(KeyMetadata?.Arn) };
}

/** The SDK types every member of an answer as optional; the tests say where one must be there. */
export function present<T>(value: T | undefined | null): T {
  if (value === undefined || value === null) throw new Error('a member is missing from the answer');
  return value;
}
