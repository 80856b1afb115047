/** Key stores in the configuration: what is said of one token, of several, and what is wrong with it. */

import { describe, expect, test } from 'vitest';
import { parseConfiguration } from '../../src/config/load.ts';

const head = 'dataDir: data\nsocket:\n  path: kms.sock\nkeyStores:\n  default:\n';
const member = (name: string): string =>
  `{ name: ${name}, profile: softhsm2, token: { label: t }, pin: { file: pin } }`;
const withMembers = (...members: readonly string[]): string =>
  `${head}    members:\n${members.map((each) => `      - ${each}\n`).join('')}`;

const parse = (text: string) => parseConfiguration(text, '/etc/drawbridge/drawbridge.yaml');

describe('a key store of several members', () => {
  test('has paths and deadlines of its own for each', () => {
    const other = '{ name: b, profile: nss, token: { serial: s }, pin: { env: PIN }, deadlines: { callMs: 500 } }';
    const text = `${withMembers(member('a'), other)}    residency: wrapped\n`;
    expect(parse(text).keyStores.get('default')).toMatchObject({
      residency: 'wrapped',
      members: [
        { name: 'a', token: { label: 't' }, pin: { file: '/etc/drawbridge/pin' }, deadlines: { callMs: 10_000 } },
        { name: 'b', profile: 'nss', token: { serial: 's' }, pin: { env: 'PIN' }, deadlines: { callMs: 500 } },
      ],
    });
  });

  test.each([
    [
      'one token under two names',
      withMembers(member('a'), member('b')),
      '8: `keyStores.default.members.1.token`: expected another token than that of the member `a`',
    ],
    [
      'a member that is called as the key store',
      withMembers(member('default')),
      '7: `keyStores.default.members.0.name`: expected another name than that of the key store',
    ],
    [
      'two members of one name',
      withMembers(member('a'), member('a').replace('label: t', 'label: u')),
      '8: `keyStores.default.members.1.name`: expected each name once',
    ],
    [
      'a member without a PIN',
      withMembers('{ name: c, profile: nss, token: { label: t } }'),
      '7: `keyStores.default.members.0.pin` is missing: one of { file: PATH }, { env: NAME } or { credential: NAME }; a PIN itself is never written into the configuration, because backups, editors and version control copy that file',
    ],
    [
      'a token beside members',
      `${withMembers(member('a'))}    profile: softhsm2\n`,
      '8: `keyStores.default.profile`: expected nothing here: with `members`, say it of each member',
    ],
    ...['hosts: 1', 'lanes: 1', 'deadlines: { callMs: 500 }', 'pin: { file: pin }', 'environment: {}'].map(
      (said): [string, string, string] => [
        `\`${said}\` beside members`,
        `${withMembers(member('a'))}    ${said}\n`,
        `8: \`keyStores.default.${said.split(':')[0]}\`: expected nothing here: with \`members\`, say it of each member`,
      ],
    ),
    [
      'the certificate of a custom key store beside members',
      `${withMembers(member('a'))}    trustAnchorCertificate: ca.pem\n`,
      '8: `keyStores.default.trustAnchorCertificate`: expected nothing here: a custom key store is one HSM, without `members`',
    ],
    [
      'what is not known beside members',
      `${withMembers(member('a'))}    hosts: 1\n    host: 1\n`,
      '8: `keyStores.default.hosts`: expected nothing here: with `members`, say it of each member\n/etc/drawbridge/drawbridge.yaml:9: `keyStores.default.host` is not known here; check the spelling',
    ],
    ['no members', `${head}    members: []\n`, '6: `keyStores.default.members`: expected a list of at least one token'],
  ])('%s is refused', (_what, text, message) => {
    expect(() => parse(text)).toThrow(`/etc/drawbridge/drawbridge.yaml:${message}`);
  });
});
