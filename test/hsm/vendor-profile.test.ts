import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { ReturnValues } from '../../src/hsm/host/token/return-values.ts';
import {
  libraryParametersFor,
  loadVendorProfile,
  parseVendorProfile,
  shapeOf,
  VendorProfileError,
} from '../../src/hsm/vendor-profile.ts';

const vendors = new URL('../../native-config/vendors/', import.meta.url);
const names = readdirSync(vendors).map((file) => file.replace(/\.yaml$/, ''));
const nss = readFileSync(new URL('nss.yaml', vendors), 'utf8');
const with1 = (from: string, to: string) => {
  if (!nss.includes(from)) throw new Error(`nss.yaml has no ${from}`);
  return nss.replace(from, () => to);
};

test.each(names)('the profile %s is valid, to its last return value', (name) => {
  const profile = loadVendorProfile(name);
  expect(new ReturnValues(profile).meaning(0xb3, 'C_GenerateRandom')).toBe('reopenSession');
});

test.each(names)('the profile %s is the same to a host, which is told it as JSON', (name) => {
  const profile = loadVendorProfile(name);
  expect(JSON.parse(JSON.stringify(profile))).toStrictEqual(profile);
});

test.each(names)('the profile %s has a lane that never generates, and one that does', (name) => {
  const { hosts, lanes } = loadVendorProfile(name).defaults;
  expect(hosts * lanes).toBeGreaterThanOrEqual(2);
});

test.each([
  { cores: 1, softhsm2: [2, 1], nss: [1, 2] },
  { cores: 2, softhsm2: [2, 1], nss: [1, 2] },
  { cores: 6, softhsm2: [6, 1], nss: [1, 6] },
  { cores: 64, softhsm2: [8, 1], nss: [1, 8] },
])('a software token has as many hosts or lanes as there are cores to use: $cores', ({ cores, ...expected }) => {
  for (const [name, shape] of Object.entries(expected)) {
    const { hosts, lanes } = shapeOf(loadVendorProfile(name), {}, cores);
    expect([hosts, lanes]).toEqual(shape);
  }
});

test('hosts and lanes that are configured are as they are configured, whatever the cores', () => {
  const profile = loadVendorProfile('softhsm2');
  expect(shapeOf(profile, { hosts: 1 }, 64)).toEqual({ hosts: 1, lanes: 1 });
  expect(shapeOf(profile, { lanes: 3 }, 64)).toEqual({ hosts: 2, lanes: 3 });
  expect(shapeOf(profile, { hosts: 12, lanes: 2 }, 2)).toEqual({ hosts: 12, lanes: 2 });
});

test('a profile of a device has no more for more cores', () => {
  const device = parseVendorProfile(with1('perCore: { of: lanes, atMost: 8 }', 'perCore: null'), 'device.yaml');
  expect(shapeOf(device, {}, 64)).toEqual({ hosts: 1, lanes: 2 });
});

test.each([
  [
    'a wrong type',
    with1('nonModifiable: true', 'nonModifiable: 1'),
    /:\d+: `attributes.nonModifiable`: expected true or false$/,
  ],
  ['an unknown member', with1('name: NSS softoken', 'name: x\ncolour: red'), /:5: `colour`: there is no such member$/],
  [
    'a member of a prototype',
    with1('name: NSS softoken', 'name: x\nconstructor: 1'),
    /:5: `constructor`: there is no such member$/,
  ],
  [
    'an unknown member inside',
    with1('  nonModifiable', '  fips: 1\n  nonModifiable'),
    /:\d+: `attributes.fips`: there is no such member$/,
  ],
  ['a missing member', with1('name: NSS softoken', ''), /:1: `name`: is missing; expected text$/],
  ['a member twice', `${nss}\nname: y\n`, /:\d+: not YAML: Map keys must be unique/],
  ['too many lanes', with1('lanes: 2', 'lanes: 65'), /:\d+: `defaults.lanes`: expected a number from 1 to 64$/],
  [
    'something else per core',
    with1('of: lanes', 'of: slots'),
    /:\d+: `defaults.perCore.of`: expected one of hosts, lanes$/,
  ],
  ['half a lane', with1('lanes: 2', 'lanes: 0.5'), /:\d+: `defaults.lanes`: expected a number from 1 to 64$/],
  [
    'a way of its sessions that is none',
    with1('sessionsAreParallel: true', 'sessionsAreParallel: 4'),
    /:\d+: `sessionsAreParallel`: expected true or false$/,
  ],
  [
    'a name of the wrong kind',
    with1('[CKA_LOCAL]', '[LOCAL]'),
    /:\d+: `attributes.notReadBack.0`: expected a name CKA_…$/,
  ],
  ...['CKA_SENSITIVE', 'CKA_EXTRACTABLE', 'CKA_PRIVATE', 'CKA_TOKEN'].map((name): [string, string, RegExp] => [
    `${name} among what is not read back`,
    with1('[CKA_LOCAL]', `[CKA_LOCAL, ${name}]`),
    new RegExp(`:\\d+: \`attributes.notReadBack.1\`: ${name} is always read back: without it a key that .*$`),
  ]),
  ['an unknown KeySpec', with1('ECC_SECG_P256K1', 'ECC_P1'), /:\d+: `cannot.0.keySpec`: expected one of RSA_2048, /],
  [
    'an unknown meaning',
    with1('returnValues:\n', 'returnValues:\n  - {mechanism: CKM_X, function: C_Sign, values: {CKR_OK: fine}}\n'),
    /:\d+: `returnValues.0.values.CKR_OK`: expected one of callersFault, /,
  ],
  [
    'a function that is none',
    with1('returnValues:\n', 'returnValues:\n  - {mechanism: CKM_X, function: Sign, values: {}}\n'),
    /:\d+: `returnValues.0.function`: expected the name of a PKCS#11 function, C_…$/,
  ],
  ['no list', with1('paddedOutside: []', 'paddedOutside: 1'), /:\d+: `paddedOutside`: expected a list$/],
  ['an empty file', '', /:1: expected members$/],
  ['no YAML', '- [', /:\d+: not YAML: /],
])('a profile with %s is refused with file, line and member', (_what, source, message) => {
  const parse = () => parseVendorProfile(source, '/etc/drawbridge/hsm.yaml');
  expect(parse).toThrow(VendorProfileError);
  expect(parse).toThrow(message);
  expect(parse).toThrow(/^\/etc\/drawbridge\/hsm\.yaml:/);
});

test('a return value that PKCS#11 does not have is refused by name', () => {
  const source = with1(
    'returnValues:\n',
    'returnValues:\n  - {mechanism: CKM_AES_GCM, function: C_Decrypt, values: {CKR_BAD_LUCK: busy}}\n',
  );
  expect(() => new ReturnValues(parseVendorProfile(source, 'x'))).toThrow(
    '`CKR_BAD_LUCK` in the vendor profile is not a PKCS#11 return value',
  );
});

test('a profile is found by its name or by an absolute path, and nothing else', () => {
  const folder = mkdtempSync(join(tmpdir(), 'drawbridge-profile-'));
  try {
    const path = join(folder, 'own.yaml');
    writeFileSync(path, nss);
    expect(loadVendorProfile(path)).toEqual(loadVendorProfile('nss'));
    expect(() => loadVendorProfile(join(folder, 'none.yaml'))).toThrow(
      /^cannot read vendor profile `.*none.yaml` .*: there is no such file \(ENOENT\)$/,
    );
    expect(() => loadVendorProfile('softhsm3')).toThrow(
      /: there is no such file \(ENOENT\); there are `nss`, `softhsm2`, and files/,
    );
    for (const wrong of ['', '../nss', 'nss.yaml', 'NSS', 'own/nss', '.'])
      expect(() => loadVendorProfile(wrong)).toThrow(
        new VendorProfileError(`\`${wrong}\` is neither the name of a vendor profile nor an absolute path`),
      );
  } finally {
    rmSync(folder, { recursive: true });
  }
});

test('library parameters name the folder of the token, whatever characters it has', () => {
  const profile = loadVendorProfile('nss');
  expect(libraryParametersFor(profile, '/var/lib/$& db')).toBe(
    "configdir='sql:/var/lib/$& db' certPrefix='' keyPrefix='' secmod='secmod.db' flags=",
  );
  expect(libraryParametersFor(loadVendorProfile('softhsm2'), '/anywhere')).toBeNull();
});
