/** The host's tables are of one mind with each other, with the KMS side, and with what PKCS#11 has. */

import { createRequire } from 'node:module';
import { expect, test } from 'vitest';
import * as host from '../../../src/hsm/host/calls/signing-mechanisms.ts';
import { constant } from '../../../src/hsm/host/token/cryptoki.ts';
import { type HostKeySpec, hostKeySpecs, unbuiltAlgorithms } from '../../../src/hsm/host/token/pkcs11-key-specs.ts';
import { ReturnValues, returnValueName } from '../../../src/hsm/host/token/return-values.ts';
import { mac, sharedSecret, signature } from '../../../src/hsm/replies.ts';
import { loadVendorProfile } from '../../../src/hsm/vendor-profile.ts';
import { signingAlgorithmRow } from '../../../src/keys/use/signing-algorithms.ts';
import { macAlgorithms, signingAlgorithms } from '../../../src/kms/algorithms.ts';
import { type KeyUsage, keySpecNames, keySpecRow } from '../../../src/kms/key-specs.ts';

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

/** What the host makes keys for: each KeySpec with each algorithm of a usage. */
const asked = (usage: KeyUsage) =>
  keySpecNames.flatMap((keySpec) => {
    const row: HostKeySpec = hostKeySpecs[keySpec];
    const mechanisms = row.unbuilt === null ? Object.entries(row.usages[usage]?.algorithms ?? {}) : [];
    return mechanisms
      .filter(([algorithm]) => !unbuiltAlgorithms.has(algorithm))
      .map(([algorithm, mechanism]) => ({ keySpec, row, algorithm, mechanism }));
  });
const hostTable = 'src/hsm/host/calls/signing-mechanisms.ts';

test('every KeySpec that signs has a row for its algorithms in the tables of the host', () => {
  for (const { keySpec, row, algorithm, mechanism } of asked('SIGN_VERIFY')) {
    const mechanismRow = host.signingAlgorithms.get(algorithm);
    expect(
      mechanismRow,
      `${keySpec} signs by ${algorithm}: add its row to signingAlgorithms of ${hostTable}, or its reason to unbuiltAlgorithms`,
    ).toMatchObject({ keyType: row.keyType, mechanismName: mechanism });
  }
});

test('every KeySpec that makes MACs has a row for its algorithm in the tables of the host', () => {
  for (const { keySpec, algorithm, mechanism } of asked('GENERATE_VERIFY_MAC')) {
    const mechanismRow = host.macAlgorithms.get(algorithm);
    expect(mechanismRow?.step, `${keySpec} is for ${algorithm}: add its row to macAlgorithms of ${hostTable}`).toBe(
      `${mechanism} C_Sign`,
    );
  }
});

test('the host has a row of each algorithm of the KMS side and of no other, but for those that no key here has', () => {
  const made = (usage: KeyUsage) => [...new Set(asked(usage).map(({ algorithm }) => algorithm))].sort();
  expect([...host.signingAlgorithms.keys()].sort()).toEqual(made('SIGN_VERIFY'));
  expect([...host.macAlgorithms.keys()].sort()).toEqual(made('GENERATE_VERIFY_MAC'));
  const unmade = signingAlgorithms.filter((algorithm) => !host.signingAlgorithms.has(algorithm));
  expect(unmade).toEqual(['SM2DSA', 'ED25519_PH_SHA_512']);
  expect(macAlgorithms.filter((algorithm) => !host.macAlgorithms.has(algorithm))).toEqual([]);
});

test.each(signingAlgorithms.filter((algorithm) => host.signingAlgorithms.has(algorithm)))(
  '%s signs a digest of the same size in the host as in keys/use, or the message itself in both',
  (algorithm) => {
    const { content, digestBytes } = host.signingAlgorithms.get(algorithm) ?? {};
    const { hash, messageTypes } = signingAlgorithmRow(algorithm);
    const where = `the row of ${algorithm} in src/keys/use/signing-algorithms.ts and that of ${hostTable}`;
    expect({ digestBytes, content }, where).toEqual({
      digestBytes: hash?.lengthBytes ?? null,
      content: hash === null ? 'RAW' : 'DIGEST',
    });
    expect(messageTypes.includes('DIGEST'), where).toBe(hash !== null);
  },
);

test('what the host answers is as long as the replies may be, for every KeySpec', () => {
  const replies = 'src/hsm/replies.ts';
  for (const { keySpec, row, algorithm } of asked('SIGN_VERIFY')) {
    const ofKey = row.parameterSet?.signatureBytes ?? Math.ceil(row.keyBits / 8);
    const made = Buffer.alloc(host.signingAlgorithms.get(algorithm)?.signatureBytes ?? ofKey, 1);
    expect(() => signature(made, algorithm), `signature of ${replies}, ${keySpec} by ${algorithm}`).not.toThrow();
  }
  for (const algorithm of macAlgorithms) {
    const made = Buffer.alloc(host.macAlgorithms.get(algorithm)?.macBytes ?? 0, 1);
    expect(() => mac(made, algorithm), `macBytesOf of ${replies}, ${algorithm}`).not.toThrow();
  }
  for (const { keySpec, row } of asked('KEY_AGREEMENT')) {
    const made = Buffer.alloc(Math.ceil(row.keyBits / 8), 1);
    expect(() => sharedSecret(made), `sharedSecret of ${replies}, ${keySpec}`).not.toThrow();
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
