import { createRequire } from 'node:module';
import { expect, test } from 'vitest';
import { constant } from '../../../src/hsm/host/token/cryptoki.ts';
import { type HostKeySpec, hostKeySpecs } from '../../../src/hsm/host/token/pkcs11-key-specs.ts';
import { ReturnValues, returnValueName } from '../../../src/hsm/host/token/return-values.ts';
import { loadVendorProfile } from '../../../src/hsm/vendor-profile.ts';
import { keySpecNames, keySpecRow } from '../../../src/kms/key-specs.ts';

const pkcs11js: Record<string, unknown> = createRequire(import.meta.url)('pkcs11js');

test('the HSM side of the KeySpecs has the usages and algorithms of the KMS side', () => {
  for (const keySpec of keySpecNames) {
    const row: HostKeySpec = hostKeySpecs[keySpec];
    const algorithms = Object.entries(row.usages).map(([usage, { algorithms }]) => [
      usage,
      Object.keys(algorithms).sort(),
    ]);
    const expected = Object.entries(keySpecRow(keySpec).usages).map(([usage, names]) => [usage, [...names].sort()]);
    expect({ keySpec, algorithms }).toEqual({ keySpec, algorithms: expected });
  }
});

test('every name in the table of KeySpecs is one that PKCS#11 has', () => {
  for (const row of Object.values<HostKeySpec>(hostKeySpecs)) {
    const usages = Object.values(row.usages);
    const names = [
      row.objectClass,
      row.keyType,
      row.generation,
      row.parameterSet?.name ?? null,
      ...usages.flatMap((usage) => [
        ...usage.attributes,
        ...usage.publicAttributes,
        ...Object.values(usage.algorithms),
      ]),
    ];
    for (const name of names) if (name !== null) expect(constant(name)).toBeTypeOf('number');
  }
  expect(() => constant('CKM_ROT13')).toThrow('PKCS#11 has no constant CKM_ROT13');
});

test('return values have the names that pkcs11js knows them by, and each of those has a meaning', () => {
  const known = Object.entries(pkcs11js).filter(([name]) => name.startsWith('CKR_'));
  const unknown = known.filter(([name, code]) => typeof code !== 'number' || returnValueName(code) !== name);
  expect(unknown.map(([name]) => name)).toEqual(['CKR_OK']);
  expect(returnValueName(0x80000001)).toBe('return value 0x80000001');
});

test('a meaning is that of the vendor, else that of the mechanism, else that of the table, else internal', () => {
  const soft = new ReturnValues(loadVendorProfile('softhsm2'));
  const nss = new ReturnValues(loadVendorProfile('nss'));
  const general = 0x05;
  expect(soft.meaning(general, 'CKM_AES_GCM C_Decrypt')).toBe('callersFault');
  expect(soft.meaning(general, 'CKM_AES_GCM C_DecryptInit')).toBe('restartHost');
  expect(nss.meaning(general, 'CKM_AES_GCM C_Decrypt')).toBe('restartHost');
  expect(nss.meaning(0x21, 'CKM_AES_GCM C_Decrypt')).toBe('callersFault');
  expect(nss.meaning(0x21, 'CKM_AES_GCM C_Encrypt')).toBe('internal');
  expect(nss.meaning(0x80000001, 'C_Login')).toBe('internal');
});
