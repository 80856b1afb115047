/** What tokens answer to a PIN, by numbers of their own, and how often they are asked. */

import { expect, test, vi } from 'vitest';
import { describeEachShimmedToken } from '../support/pkcs11-shim.ts';
import { openTestStore } from './test-store.ts';

describeEachShimmedToken('a login', (token) => {
  const patience = { timeout: 30_000, interval: 20 };

  /** A host that logs in anew, to a token that answers so. */
  async function answered(value: number) {
    const { keyStore } = await openTestStore(token());
    const logins = token().counting('C_Login');
    token().fault('C_Login', `return ${value}`);
    for (const pid of keyStore.status().pids) process.kill(pid, 'SIGKILL');
    return { keyStore, logins };
  }

  test.each([
    { what: "a number of the vendor's own", value: 0x8000_0011 },
    { what: 'CKR_ARGUMENTS_BAD', value: 0x07 },
    { what: 'CKR_USER_TYPE_INVALID', value: 0x103 },
  ])('that is answered by $what is not tried again before an operator says so', async ({ value }) => {
    const { keyStore, logins } = await answered(value);
    await vi.waitFor(() => expect(keyStore.status().state).toBe('pinRefused'), patience);
    await new Promise((resolve) => setTimeout(resolve, 1_000));
    expect(logins()).toBe(1);
    token().healAll();
    await keyStore.reconnect();
    expect(keyStore.status().state).toBe('connected');
  });

  test.each([
    { what: 'CKR_DEVICE_ERROR', value: 0x30 },
    { what: 'CKR_TOKEN_NOT_PRESENT', value: 0xe0 },
  ])('that is answered by $what is tried until it succeeds', async ({ value }) => {
    const { keyStore, logins } = await answered(value);
    await vi.waitFor(() => expect(logins()).toBeGreaterThan(1), patience);
    token().healAll();
    await vi.waitFor(() => expect(keyStore.status().state).toBe('connected'), patience);
  });
});
