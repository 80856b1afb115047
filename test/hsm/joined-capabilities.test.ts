/** What a key store of mixed members can do is what each of them can, and what one of them lacks is refused by its name. */

import { expect, test } from 'vitest';
import type { Capability, KeyStoreCapabilities } from '../../src/hsm/key-store.ts';
import { joinedCapabilities } from '../../src/hsm/members/joined-capabilities.ts';
import { assertTokenCanHold } from '../../src/keys/token-capabilities.ts';

const row = (algorithm: string, reason: string | null): Capability => ({
  keySpec: 'ECC_SECG_P256K1',
  keyUsage: 'SIGN_VERIFY',
  algorithm,
  works: reason === null,
  evidence: 'probed',
  reason,
});
const report = (name: string, lacks: string | null): KeyStoreCapabilities => ({
  profile: name,
  library: { path: `/lib/${name}.so`, description: name, version: '1', cryptoki: '2.40' },
  token: { label: name, serial: name, manufacturer: name, model: name },
  mechanisms: ['CKM_ECDSA', ...(lacks === null ? ['CKM_EDDSA'] : [])],
  roundTripMs: lacks === null ? 1 : 2,
  capabilities: [row('KEY_GENERATION', lacks), row('ECDSA_SHA_256', lacks)],
  imports: [{ subject: 'ECC_SECG_P256K1', works: lacks === null, evidence: 'probed', reason: lacks }],
  wrapping: [{ keySpec: 'ECC_SECG_P256K1', works: lacks === null, reason: lacks }],
  protection: [
    { attempt: 'wrap a key', isPromised: true, isHeld: lacks === null, answer: lacks ?? 'CKR_KEY_UNEXTRACTABLE' },
  ],
});
const held = { keySpec: 'ECC_SECG_P256K1', keyUsage: 'SIGN_VERIFY', residency: 'wrapped' } as const;
const all = [
  { member: 'soft', capabilities: report('soft', null) },
  { member: 'other', capabilities: report('other', 'no such curve') },
] as const;
const holderOf = (capabilities: KeyStoreCapabilities) => ({ capabilities: () => capabilities });

test('a key that one member lacks is refused with its name, whichever of them comes first', () => {
  for (const some of [all, [all[1], all[0]] as const]) {
    const joined = joinedCapabilities(some);
    expect(joined.mechanisms).toEqual(['CKM_ECDSA']);
    expect(joined.roundTripMs).toBe(2);
    expect(joined.imports).toMatchObject([{ works: false, reason: 'member other: no such curve' }]);
    expect(joined.protection).toMatchObject([{ isHeld: false, answer: 'other: no such curve' }]);
    expect(() => assertTokenCanHold(holderOf(joined), held)).toThrow(
      'A wrapped key of KeySpec ECC_SECG_P256K1 is not supported by the HSM: member other: no such curve.',
    );
    expect(() => assertTokenCanHold(holderOf(joined), { ...held, residency: 'token' })).toThrow('member other');
  }
});

test('what all members can do is what each of them says', () => {
  const joined = joinedCapabilities([all[0], { member: 'twin', capabilities: report('twin', null) }]);
  expect(() => assertTokenCanHold(holderOf(joined), held)).not.toThrow();
  expect(joinedCapabilities([all[0]])).toBe(all[0].capabilities);
});
