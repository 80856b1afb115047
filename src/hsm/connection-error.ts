/** How operators are told that a token cannot be connected: the outer cause first, then what to do about it. */

import type { HostSettings } from './calls.ts';
import type { HostOpenError } from './hsm-host.ts';
import { KeyStoreError } from './key-store.ts';

export function connectionError(name: string, settings: HostSettings, error: HostOpenError): KeyStoreError {
  const token = 'label' in settings.token ? settings.token.label : settings.token.serial;
  const isPin = error.kind === 'pinRefused';
  const reason = isPin ? `PIN refused (${error.message})` : error.message;
  const advice = isPin ? '; it is not tried again until an operator reconnects the key store' : '';
  return new KeyStoreError('unavailable', `key store \`${name}\`: cannot open token \`${token}\`: ${reason}${advice}`, {
    cause: error,
  });
}
