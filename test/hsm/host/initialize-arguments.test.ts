import { expect, test } from 'vitest';
import { initializeArguments } from '../../../src/hsm/host/process/open-token.ts';
import { loadVendorProfile } from '../../../src/hsm/vendor-profile.ts';

const CKF_OS_LOCKING_OK = 2;
const softHsm2 = loadVendorProfile('softhsm2');
const aDevice = { ...softHsm2, imports: { ...softHsm2.imports, software: false } };

test.each([
  { what: 'a software token with one lane is used by one thread', lanes: 1, vendorProfile: softHsm2, flags: 0 },
  { what: 'with two, by two threads', lanes: 2, vendorProfile: softHsm2, flags: CKF_OS_LOCKING_OK },
  { what: 'a device may have threads of its own', lanes: 1, vendorProfile: aDevice, flags: CKF_OS_LOCKING_OK },
])('A library is told whether it needs locks: $what', ({ lanes, vendorProfile, flags }) => {
  expect(initializeArguments({ lanes, vendorProfile, libraryParameters: null })).toEqual({ flags });
  expect(initializeArguments({ lanes, vendorProfile, libraryParameters: 'a=b' })).toEqual({
    flags,
    libraryParameters: 'a=b ',
  });
});
