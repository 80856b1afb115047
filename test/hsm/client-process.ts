/** A process that opens a key store as it is told and tells the pids of its hosts; for tests of what it leaves behind. */

import { setTimeout } from 'node:timers/promises';
import { openKeyStore } from '../../src/hsm/open-key-store.ts';
import { Pin } from '../../src/secrets/secret-bytes.ts';

const none = () => undefined;
const hosts = 2;

process.on('message', async (message) => {
  if (message === 'exit') process.exit(0);
  const token = message as { settings: Parameters<typeof openKeyStore>[0]['settings'] } & {
    environment: Record<string, string>;
    pin: string;
  };
  const keyStore = await openKeyStore({
    name: 'default',
    settings: token.settings,
    hosts,
    pin: async () => {
      const bytes = Buffer.alloc(Buffer.byteLength(token.pin));
      bytes.write(token.pin);
      return new Pin(bytes);
    },
    environment: token.environment,
    log: { debug: none, info: none, warn: none, error: none },
  });
  // The first host serves before the other one is there.
  while (keyStore.status().hosts < hosts) await setTimeout(5);
  process.send?.(keyStore.status().pids);
});
