/** Tokens behind p11-kit's modules, which give every caller of C_GetFunctionList a list of his own. */

import { execFileSync } from 'node:child_process';
import { existsSync, rmSync } from 'node:fs';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { KeyStore } from '../../src/hsm/key-store.ts';
import { lookForToken } from '../../src/hsm/token-presence.ts';
import type { BackingKeyId } from '../../src/kms/names.ts';
import { softHsm2, type TestToken } from '../support/tokens.ts';
import { newKey, openTestStore, roundTrip } from './test-store.ts';

const libraries = '/usr/lib/x86_64-linux-gnu';
const proxy = `${libraries}/p11-kit-proxy.so`;
const client = `${libraries}/pkcs11/p11-kit-client.so`;
const hasModule = existsSync('/usr/share/p11-kit/modules/softhsm2.module');

function missingFor(library: string): string | null {
  if (softHsm2.missing !== null) return softHsm2.missing;
  if (!existsSync(library)) return `no ${library}; install p11-kit and p11-kit-modules`;
  return hasModule ? null : 'SoftHSM2 is not among the modules of p11-kit';
}

for (const [name, library] of [
  ['proxy', proxy],
  ['client', client],
] as const) {
  const missing = missingFor(library);
  if (missing !== null) process.stdout.write(`skipped: a token behind p11-kit's ${name}: ${missing}\n`);

  describe.skipIf(missing !== null)(`A token behind p11-kit's ${name}`, () => {
    let token: TestToken;
    let server: { readonly address: string; end(): void } | undefined;
    beforeAll(() => {
      token = softHsm2.create();
      if (name === 'client') server = startServer(token);
    });
    afterAll(() => {
      server?.end();
      token?.remove();
    });

    /** The same token, by another library. */
    function behind(): TestToken {
      const address = server === undefined ? {} : { P11_KIT_SERVER_ADDRESS: server.address };
      return {
        ...token,
        library,
        environment: { ...token.environment, ...address },
        settings: (lanes) => ({ ...token.settings(lanes), library }),
      };
    }

    test('makes keys and uses them, in each of two hosts', async () => {
      const { keyStore } = await openTestStore(behind(), { hosts: 2 });
      // The protocol of p11-kit 0.24 does not carry AES-GCM.
      const kind = name === 'proxy' ? 'SYMMETRIC_DEFAULT' : 'ECC_NIST_P256';
      const backingKeyId = await newKey(keyStore, kind);
      await expect.poll(() => keyStore.status()).toMatchObject({ hosts: 2, lanes: 2, restarts: 0 });
      for (let call = 0; call < 8; call++) await use(keyStore, backingKeyId);
    });

    test('is found', async () => {
      const { library: path, environment, settings } = behind();
      const { libraryParameters, token: wanted } = settings(1);
      expect(await lookForToken({ library: path, libraryParameters, token: wanted }, environment)).toEqual({
        problem: null,
      });
    });

    test('refuses to be opened with several sessions in a host, and says what to set', async () => {
      await expect(openTestStore(behind(), { lanes: 2 })).rejects.toThrow(
        /gives each thread a function list of its own.*set `lanes: 1`/,
      );
    });
  });
}

async function use(keyStore: KeyStore, backingKeyId: BackingKeyId): Promise<void> {
  const { keyType } = await keyStore.describeKey({ backingKeyId });
  if (keyType === 'CKK_AES') return roundTrip(keyStore, backingKeyId);
  const request = { algorithm: 'ECDSA_SHA_256', content: 'DIGEST', message: Buffer.alloc(32) } as const;
  await keyStore.sign({ backingKeyId, ...request });
}

function startServer({ environment, library, folder }: TestToken): { readonly address: string; end(): void } {
  const said = execFileSync('p11-kit', ['server', '--sh', '--provider', library, 'pkcs11:'], {
    env: { ...process.env, ...environment, XDG_RUNTIME_DIR: folder },
    encoding: 'utf8',
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  const [, address = ''] = /P11_KIT_SERVER_ADDRESS=([^;]+);/.exec(said) ?? [];
  const [, pid = ''] = /P11_KIT_SERVER_PID=(\d+);/.exec(said) ?? [];
  return {
    address,
    end() {
      process.kill(Number(pid));
      rmSync(address.replace(/^unix:path=/, ''), { force: true });
    },
  };
}
