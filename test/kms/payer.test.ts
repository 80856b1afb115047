import { expect, test } from 'vitest';
import { isOperator, payerOfAddress, payerOfPrincipal, payerOfUid, unknownPayer } from '../../src/kms/payer.ts';

test.each([
  ['192.0.2.7', 'address 192.0.2.7'],
  ['::ffff:192.0.2.7', 'address 192.0.2.7'],
  ['2001:db8::1', 'address 2001:db8:0:0::/64'],
  ['2001:DB8:0:0:ffff:ffff:ffff:ffff', 'address 2001:db8:0:0::/64'],
  ['2001:db8:0:1::', 'address 2001:db8:0:1::/64'],
  ['64:ff9b::192.0.2.7', 'address 64:ff9b:0:0::/64'],
  ['fe80::1:2:3:4%eth0', 'address fe80:0:0:0::/64'],
  ['127.0.0.1', 'address 127.0.0.1'],
  ['127.255.3.9', 'address 127.0.0.1'],
  ['::ffff:127.0.0.9', 'address 127.0.0.1'],
  ['::1', 'address 127.0.0.1'],
  ['', unknownPayer],
  ['unix', unknownPayer],
])('who calls from `%s` pays as `%s`', (address, payer) => {
  expect(payerOfAddress(address)).toBe(payer);
});

test('payers of different kinds are never one', () => {
  const payers = [payerOfUid(7), payerOfAddress('0.0.0.7'), payerOfPrincipal('7'), unknownPayer];
  expect(new Set(payers).size).toBe(payers.length);
});

test('root and the user that the daemon runs as are operators, and nobody else', () => {
  expect(isOperator(payerOfUid(0))).toBe(true);
  expect(isOperator(payerOfUid(process.getuid?.() ?? 0))).toBe(true);
  for (const payer of [payerOfUid(65_534), payerOfAddress('127.0.0.1'), payerOfPrincipal('root'), unknownPayer])
    expect(isOperator(payer)).toBe(false);
});
