/** An instance with HSMs that may become custom key stores: one of SoftHSM2 under two names, whose logins a shim counts, and one of NSS softoken. */

import { mkdirSync, mkdtempSync, readdirSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { CreateCustomKeyStoreCommandInput } from '@aws-sdk/client-kms';
import { expect, vi } from 'vitest';
import { cloudHsmClusterIdOf } from '../../../src/kms/cluster-id.ts';
import { account, InstanceOfStores } from '../../daemon/instance-of-stores.ts';
import { createShim, type Shim } from '../../support/pkcs11-shim.ts';
import { exampleIdentity } from '../../support/tls-identity.ts';
import { nssSoftoken, softHsm2, type TestToken } from '../../support/tokens.ts';

interface ToldConnection {
  readonly ConnectionState: string | undefined;
  readonly ConnectionErrorCode: string | undefined;
}

export interface CustomHsms {
  /** `payments` and `copy` are over `token`, `ledger` is over `nss` and has another certificate, `other.crt` in `folder`. */
  readonly instance: InstanceOfStores;
  readonly folder: string;
  readonly token: TestToken;
  readonly nss: TestToken;
  readonly shim: Shim & { remove(): void };
  /** Of `payments` and `copy`, in PEM. */
  readonly certificate: string;
  /** What makes `payments` a custom key store. */
  wanted(members: Partial<CreateCustomKeyStoreCommandInput>): CreateCustomKeyStoreCommandInput;
  /** What DescribeCustomKeyStores says of the connection of one. */
  told(id: string): Promise<ToldConnection>;
  /** Resolves when it says so. */
  until(id: string, ConnectionState: string, ConnectionErrorCode?: string): Promise<void>;
  /** Notes of passwords that were presented, and of which nobody knows what became. */
  presented(): readonly string[];
  /** While `token` is not there. */
  withoutToken(act: () => Promise<void>): Promise<void>;
  remove(): Promise<void>;
}

/** The daemon runs. */
export async function startCustomHsms(): Promise<CustomHsms> {
  const folder = mkdtempSync(join(tmpdir(), 'drawbridge-anchors-'));
  const [token, nss] = [softHsm2.create(), nssSoftoken.create()];
  const shim = createShim(token.library);
  const [one, other] = [(await exampleIdentity()).authority, (await exampleIdentity()).authority];
  const [anchor, otherAnchor] = [join(folder, 'one.crt'), join(folder, 'other.crt')];
  writeFileSync(anchor, one);
  writeFileSync(otherAnchor, other);
  const shimmed = {
    ...InstanceOfStores.settingsOf(token, undefined),
    library: shim.library,
    environment: { ...token.environment, ...shim.environment },
  };
  const instance = await InstanceOfStores.create({
    payments: { ...shimmed, trustAnchorCertificate: anchor },
    copy: { ...shimmed, trustAnchorCertificate: anchor },
    ledger: { ...InstanceOfStores.settingsOf(nss, undefined), trustAnchorCertificate: otherAnchor },
  });
  await instance.start();
  const told = async (id: string): Promise<ToldConnection> => {
    const { CustomKeyStores = [] } = await instance.kms.describeCustomKeyStores({ CustomKeyStoreId: id });
    const { ConnectionState, ConnectionErrorCode } = CustomKeyStores[0] ?? {};
    return { ConnectionState, ConnectionErrorCode };
  };
  return {
    ...{ instance, folder, token, nss, shim, certificate: one },
    wanted: (members) => ({
      CustomKeyStoreName: 'payments',
      CloudHsmClusterId: cloudHsmClusterIdOf(account, 'payments'),
      TrustAnchorCertificate: one,
      KeyStorePassword: token.pin,
      ...members,
    }),
    told,
    until: (id, ConnectionState, ConnectionErrorCode) =>
      vi.waitFor(async () => expect(await told(id)).toEqual({ ConnectionState, ConnectionErrorCode }), {
        timeout: 170_000,
        interval: 30,
      }),
    presented: () => readdirSync(join(instance.folder, 'data')).filter((name) => name.startsWith('password-')),
    async withoutToken(act) {
      const [tokens, hidden] = ['tokens', 'hidden'].map((name) => join(token.folder, name)) as [string, string];
      renameSync(tokens, hidden);
      mkdirSync(tokens);
      try {
        await act();
      } finally {
        rmSync(tokens, { recursive: true });
        renameSync(hidden, tokens);
      }
    },
    async remove() {
      await instance.remove();
      for (const each of [token, nss, shim]) each.remove();
      rmSync(folder, { recursive: true });
    },
  };
}
