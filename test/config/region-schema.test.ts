import { describe, expect, test } from 'vitest';
import { parseConfiguration } from '../../src/config/load.ts';

const minimal = `dataDir: data
socket:
  path: kms.sock
keyStores:
  default:
    profile: softhsm2
    token: { label: t }
    pin: { file: pin }
`;
const parse = (text: string) => parseConfiguration(text, '/etc/drawbridge/drawbridge.yaml');

describe('a configuration of several Regions', () => {
  test('has further Regions, each with a socket, listeners and key stores of its own', () => {
    const text = `${minimal}  annex:
    profile: softhsm2
    token: { label: a }
    pin: { file: pin }
defaultKeyStore: default
regions:
  - region: eu-central-1
    socket: { path: eu.sock, mode: '0600' }
    listen: { tcp: 127.0.0.1:4601 }
    keyStores: [annex]
  - region: eu-west-1
    socket: { path: west.sock }
`;
    expect(parse(text).regions).toMatchObject([
      { region: 'us-east-1', keyStores: ['default', 'annex'], defaultKeyStore: 'default' },
      {
        ...{ region: 'eu-central-1', keyStores: ['annex'], defaultKeyStore: 'annex' },
        socket: { path: '/etc/drawbridge/eu.sock', mode: '0600' },
        loopback: { host: '127.0.0.1', port: 4601 },
      },
      { region: 'eu-west-1', keyStores: ['default', 'annex'], defaultKeyStore: 'default', loopback: undefined },
    ]);
  });

  test.each([
    ['the first one again', 'region: us-east-1', 'region'],
    ['a key store that is not there', 'region: eu-west-1, keyStores: [none]', 'keyStores'],
    ['no key store', 'region: eu-west-1, keyStores: []', 'keyStores'],
    ['a default that is none of its key stores', 'region: eu-west-1, defaultKeyStore: none', 'defaultKeyStore'],
    ['what is no Region', 'region: nowhere', 'region'],
  ])('is refused with a further Region that is %s', (_what, members, named) => {
    const text = `${minimal}regions:\n  - { ${members}, socket: { path: other.sock } }\n`;
    expect(() => parse(text)).toThrow(`regions.0.${named}`);
  });
});
