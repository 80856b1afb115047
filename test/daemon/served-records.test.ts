/** What a start and a restore say of metadata that is not all of this configuration. */

import { expect, test } from 'vitest';
import { assertRecordsAreServed } from '../../src/daemon/served-records.ts';

type Loaded = Parameters<typeof assertRecordsAreServed>[0];

/** Of records only what is looked at. */
function loaded(keys: readonly string[], keyStores: readonly string[]): Loaded {
  return {
    key: keys.map((region) => ({ region })),
    backingKey: keyStores.map((keyStore) => ({ keyStore })),
  } as unknown as Loaded;
}

const here = { regions: [{ region: 'us-east-1' }], keyStores: new Map([['default', {}]]) };

test.each([
  {
    what: 'one Region that was given another name is set again',
    records: loaded(['eu-central-1'], []),
    message:
      'the metadata has keys of the Region `eu-central-1`, and the configuration serves `us-east-1`; set `region: eu-central-1`',
  },
  {
    what: 'one of several Regions is named beside the one that is served, whose keys would be gone else',
    records: loaded(['us-east-1', 'eu-central-1', 'us-east-1'], ['default']),
    message:
      'the metadata has keys of the Region `eu-central-1`, and the configuration serves `us-east-1`; `region:` is one of those that have keys, and each other one of them stands in `regions:`, with a socket',
  },
  {
    what: 'all Regions that are missing are named at once',
    records: loaded(['eu-west-1', 'eu-central-1'], []),
    message: /^the metadata has keys of the Regions `eu-central-1`, `eu-west-1`, and/,
  },
  {
    what: 'all key stores that are missing are named at once, and that their HSMs need not be there',
    records: loaded(['us-east-1'], ['vault', 'default', 'second', 'vault', 'cks-0123456789abcdef0']),
    message:
      'the metadata has keys in the key stores `second`, `vault`, and the configuration names `default`; a key store that has keys keeps its name, and stands there although its HSM is away',
  },
])('$what', ({ records, message }) => {
  expect(() => assertRecordsAreServed(records, here)).toThrow(message);
});

test('records of Regions and key stores of the configuration are served', () => {
  expect(() => assertRecordsAreServed(loaded(['us-east-1'], ['default', 'cks-0123456789abcdef0']), here)).not.toThrow();
});
