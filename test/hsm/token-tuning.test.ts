/** What `doctor --tune` recommends: for a token that is far away, for one that is near, and from numbers alone. */

import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest';
import type { KeyStore } from '../../src/hsm/key-store.ts';
import { recommend, type Tuning, tuneToken } from '../../src/hsm/token-tuning.ts';
import type { KeyStoreShape } from '../../src/hsm/vendor-profile.ts';
import { createShim, missingForShim } from '../support/pkcs11-shim.ts';
import { softHsm2, type TestToken } from '../support/tokens.ts';
import { openStore } from './test-store.ts';

vi.setConfig({ testTimeout: 240_000, hookTimeout: 180_000 });

const missing = softHsm2.missing ?? missingForShim();
if (missing !== null) process.stdout.write(`skipped: what is recommended for a token: ${missing}\n`);

test.each([
  {
    what: 'lanes that give more',
    tried: ['1 1 300 290', '1 2 600 580', '1 4 1190 1160', '1 8 1200 1170'],
    best: '1 4',
  },
  { what: 'hosts that sign faster', tried: ['1 1 30000 1000', '2 1 29000 1950', '4 1 28000 1990'], best: '2 1' },
  {
    what: 'hosts that sign faster, though all else is slower then',
    tried: ['1 1 30000 1000', '2 1 20000 1950'],
    best: '2 1',
  },
  { what: 'two hosts where nothing gives more', tried: ['1 1 100 100', '2 1 101 99'], best: '2 1' },
])('$what are recommended, the least of them', ({ tried, best }) => {
  const shapes = tried.map((text) => {
    const [hosts = 0, lanes = 0, encryptsPerSecond = 0, signsPerSecond = 0] = text.split(' ').map(Number);
    return { hosts, lanes, encryptsPerSecond, signsPerSecond, memoryMb: 0 };
  });
  const { hosts, lanes } = recommend(shapes, { sessionsAreParallel: false });
  expect(`${hosts} ${lanes}`).toBe(best);
});

describe.skipIf(missing !== null)('A token is measured', () => {
  let token: TestToken;
  let shim: ReturnType<typeof createShim>;
  beforeAll(() => {
    token = softHsm2.create();
    shim = createShim(token.library);
  });
  afterAll(() => {
    shim?.remove();
    token?.remove();
  });

  const tune = (sessionsAreParallel: boolean, atMostMs: number): Promise<Tuning> =>
    tuneToken({
      open: ({ hosts, lanes }: KeyStoreShape): Promise<KeyStore> => {
        const environment = { ...token.environment, ...shim.environment };
        const settings = () => ({ ...token.settings(lanes), library: shim.library });
        return openStore({ ...token, environment, settings }, { hosts, lanes, sessionsAreParallel });
      },
      // Measured for so long that four lanes give more also where the machine stands still for a second under them.
      ...{ sessionsAreParallel, cores: 1, atMostMs, measureMs: 800, lanesToTry: [1, 4] },
    });

  test('with more lanes for one that is far away, and nothing of it is left there', async () => {
    for (const name of ['C_OpenSession', 'C_Encrypt', 'C_Sign']) shim.fault(name, 'delay 10');
    const tuning = await tune(true, 160_000);
    shim.healAll();
    expect(tuning.roundTripMs).toBeGreaterThanOrEqual(10);
    expect(tuning.recommended.lanes).toBeGreaterThanOrEqual(4);
    const [one] = tuning.tried;
    expect(one).toMatchObject({ hosts: 1, lanes: 1, memoryMb: expect.any(Number) });
    expect(one?.encryptsPerSecond).toBeLessThanOrEqual(100);
    const keyStore = await openStore(token);
    expect(await keyStore.listKeys()).toEqual([]);
    await keyStore.close();
  });

  test('with one shape alone when the time is over at once, and still two lanes are recommended', async () => {
    const tuning = await tune(false, 1);
    expect(tuning.tried).toHaveLength(1);
    expect(tuning).toMatchObject({ isCutShort: true, recommended: { hosts: 2, lanes: 1 } });
  });
});
