import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { afterAll, describe, expect, test } from 'vitest';
import { parseDocument } from 'yaml';
import { ConfigurationError, loadConfiguration, parseConfiguration } from '../../src/config/load.ts';
import { renderConfiguration } from '../../src/config/template.ts';
import { defaultBudgets } from '../../src/kms/budgets.ts';

const folder = mkdtempSync(join(tmpdir(), 'drawbridge-config-'));
afterAll(() => rmSync(folder, { recursive: true }));

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

function messageOf(text: string): string {
  try {
    parse(text);
  } catch (error) {
    expect(error).toBeInstanceOf(ConfigurationError);
    return (error as ConfigurationError).message.replaceAll('/etc/drawbridge/drawbridge.yaml', 'FILE');
  }
  throw new Error('the configuration was accepted');
}

describe('a configuration', () => {
  test('needs no more than a data folder, a socket and a token; the rest has defaults', () => {
    expect(parse(minimal)).toEqual({
      account: '000000000000',
      dataDir: '/etc/drawbridge/data',
      regions: [
        {
          region: 'us-east-1',
          socket: { path: '/etc/drawbridge/kms.sock', mode: '0660' },
          loopback: undefined,
          keyStores: ['default'],
          defaultKeyStore: 'default',
          managedKeys: new Map(),
        },
      ],
      keyStores: new Map([
        [
          'default',
          {
            residency: 'token',
            keySpecs: undefined,
            members: [
              {
                name: 'default',
                profile: 'softhsm2',
                library: undefined,
                token: { label: 't' },
                pin: { file: '/etc/drawbridge/pin' },
                environment: {},
                deadlines: { callMs: 10_000, openMs: 60_000 },
              },
            ],
          },
        ],
      ]),
      hsms: new Map(),
      roles: {},
      serviceKeyStore: 'default',
      identity: { root: [0], users: {}, groups: {}, groupsFrom: 'kernel', containers: {} },
      audit: { folder: '/etc/drawbridge/data/audit', sync: 'default' },
      budgets: defaultBudgets,
      log: { level: 'info' },
    });
  });

  test('that init writes is valid in all its forms and says what was chosen', () => {
    const base = {
      region: 'eu-central-1',
      account: '123456789012',
      dataDir: '/srv/a b: c',
      socket: { path: '/run/x # y.sock', mode: '0666' },
      root: [0, 'op'],
    };
    const plain = { profile: 'softhsm2', token: { label: "it's: {x}" }, pinFile: '/p q', environment: {} };
    const full = {
      ...plain,
      library: '/l.so',
      libraryParameters: `configdir='sql:/d' flags=`,
      environment: { SOFTHSM2_CONF: '/a, b' },
    };
    const made = parse(renderConfiguration({ ...base, keyStore: plain }));
    expect(made).toMatchObject({
      account: base.account,
      dataDir: base.dataDir,
      regions: [{ region: base.region, socket: base.socket }],
      identity: { root: [0, 'op'] },
    });
    expect(made.keyStores.get('default')?.members[0]).toMatchObject({
      token: plain.token,
      pin: { file: '/p q' },
      environment: {},
    });
    const grouped = { ...base, socket: { ...base.socket, group: 'kms: users' } };
    const madeInFull = parse(renderConfiguration({ ...grouped, keyStore: full }));
    expect(madeInFull.regions[0].socket).toEqual(grouped.socket);
    expect(madeInFull.keyStores.get('default')?.members[0]).toMatchObject({
      library: '/l.so',
      libraryParameters: full.libraryParameters,
      environment: full.environment,
    });
  });

  test('sets those budgets that it names, and the others keep their defaults', () => {
    const { connections } = defaultBudgets;
    expect(parse(`${minimal}budgets:\n  connections: { perPayer: 8 }\n`).budgets).toEqual({
      ...defaultBudgets,
      connections: { ...connections, perPayer: 8 },
    });
  });

  test('names in its comments every budget that can be set, with its default', () => {
    const commented = renderConfiguration({
      region: 'eu-central-1',
      account: '123456789012',
      dataDir: '/d',
      socket: { path: '/s', mode: '0660' },
      keyStore: { profile: 'softhsm2', token: { label: 't' }, pinFile: '/p', environment: {} },
      root: [0],
    });
    const [, budgets = ''] = /^# budgets:\n((?:# {2}.*\n)+)/m.exec(commented) ?? [];
    const text = `budgets:\n${budgets.replaceAll(/^# /gm, '')}`;
    expect(parseDocument(text).toJS()).toEqual({ budgets: defaultBudgets });
    expect(parse(`${minimal}${text}`).budgets).toEqual(defaultBudgets);
  });

  test('has AWS managed keys for the services that it names', () => {
    const [one, other] = ['arn:aws:iam::000000000000:user/a', 'arn:aws:iam::000000000000:role/b/c'];
    const text = `${minimal}managedKeys:\n  ebs: { principals: ["${one}", "${other}"] }\n`;
    expect(parse(text).regions[0].managedKeys).toEqual(new Map([['ebs', [one, other]]]));
  });

  test.each([
    ['127.0.0.1:4599', { host: '127.0.0.1', port: 4599 }],
    ['127.255.0.1:0', { host: '127.255.0.1', port: 0 }],
    ['localhost:65535', { host: 'localhost', port: 65_535 }],
    ["'[::1]:80'", { host: '::1', port: 80 }],
  ])('listens on %s', (address, expected) => {
    expect(parse(`${minimal}listen:\n  tcp: ${address}\n`).regions[0].loopback).toEqual(expected);
  });

  test.each([
    '0.0.0.0:4599',
    '10.0.0.1:4599',
    '127.0.0.256:80',
    '127.0.0.1',
    '127.0.0.1:65536',
    "'127.0.0.1:'",
    '4599',
    "':4599'",
    "'[::]:80'",
    '127.0.0.1.example.com:80',
    'kms.example.com:80',
    "'127.0.0.1:80 '",
  ])('never listens on %s, where others could hear it', (address) => {
    expect(messageOf(`${minimal}listen:\n  tcp: ${address}\n`)).toBe(
      'FILE:10: `listen.tcp`: expected a loopback address and a port, such as 127.0.0.1:4599; the listener is plain HTTP and never on a network',
    );
  });

  const mistakes: [name: string, text: string, message: string][] = [
    ['an unknown member', `${minimal}socker: {}\n`, 'FILE:9: `socker` is not known here; check the spelling'],
    [
      'an unknown member inside',
      minimal.replace('path: kms.sock', 'path: kms.sock\n  mod: "0600"'),
      'FILE:4: `socket.mod` is not known here; check the spelling',
    ],
    [
      'a budget that is none',
      `${minimal}budgets:\n  connections: { perPayer: 0 }\n`,
      'FILE:10: `budgets.connections.perPayer`: expected a whole number from 1 to 65536',
    ],
    [
      'a service that cannot be called so',
      `${minimal}managedKeys:\n  E_BS: { principals: ["arn:aws:iam::000000000000:user/a"] }\n`,
      'FILE:10: `managedKeys.E_BS`: expected the name of a service, such as `ebs`: lower-case letters, digits and `-`, at most 63',
    ],
    [
      'a service that is nobody',
      `${minimal}managedKeys:\n  ebs: { principals: [] }\n`,
      'FILE:10: `managedKeys.ebs.principals`: expected the ARN of at least one user or role',
    ],
    [
      'a service that is the account',
      `${minimal}managedKeys:\n  ebs: { principals: ["arn:aws:iam::000000000000:root"] }\n`,
      'FILE:10: `managedKeys.ebs.principals.0`: expected the ARN of a user or role, such as "arn:aws:iam::000000000000:user/app"',
    ],
    [
      'a principal that is two services',
      `${minimal}managedKeys:\n  ebs: { principals: ["arn:aws:iam::000000000000:user/a"] }\n  s3: { principals: ["arn:aws:iam::000000000000:user/a"] }\n`,
      'FILE:11: `managedKeys.s3.principals.0`: expected each principal once: `arn:aws:iam::000000000000:user/a` is `ebs` already',
    ],
    [
      'a service of another account',
      `${minimal}managedKeys:\n  ebs: { principals: ["arn:aws:iam::999999999999:user/a"] }\n`,
      'FILE:10: `managedKeys.ebs.principals.0`: expected a principal of the account 000000000000, and not `arn:aws:iam::999999999999:user/a`',
    ],
    ['a missing member', minimal.replace('dataDir: data\n', ''), 'FILE:1: `dataDir` is missing: a text'],
    [
      'a missing member inside',
      minimal.replace('    profile: softhsm2\n', ''),
      'FILE:5: `keyStores.default.profile` is missing: a text',
    ],
    [
      'an account id without quotes',
      `account: 012345678901\n${minimal}`,
      'FILE:1: `account`: expected an account id of 12 digits in quotes, such as "000000000000"',
    ],
    [
      'a mode without quotes',
      minimal.replace('path: kms.sock', 'path: kms.sock\n  mode: 0660'),
      'FILE:4: `socket.mode`: expected a file mode of four octal digits in quotes, such as "0660"',
    ],
    [
      'too many lanes',
      `${minimal}    lanes: 1000\n`,
      'FILE:9: `keyStores.default.lanes`: expected a whole number from 1 to 64',
    ],
    [
      'a slot number',
      minimal.replace('{ label: t }', '{ slot: 0 }'),
      'FILE:7: `keyStores.default.token`: expected either { label: TEXT } or { serial: TEXT }; a token is never named by its slot number, which changes',
    ],
    [
      'a container by something that is no cgroup',
      `${minimal}identity:\n  containers:\n    docker-1.scope: web\n`,
      'FILE:11: `identity.containers.docker-1.scope`: expected a cgroup such as `/system.slice/docker-*.scope`, as the last field of a line in /proc/PID/cgroup has it',
    ],
    [
      'a container that is called as those without a name',
      `${minimal}identity:\n  containers:\n    /web.slice: unnamed\n`,
      'FILE:11: `identity.containers./web.slice`: expected a name of letters, digits and `+=,.@-_`, other than `unnamed`',
    ],
    [
      'a session as the principal of a user',
      `${minimal}identity:\n  users:\n    app: arn:aws:sts::000000000000:assumed-role/app/x\n`,
      'FILE:11: `identity.users.app`: expected the ARN of a user or role, such as "arn:aws:iam::000000000000:user/app"',
    ],
    [
      'two roles of one name under different paths',
      `${minimal}identity:\n  users:\n    one: arn:aws:iam::000000000000:role/a/app\n  groups:\n    two: arn:aws:iam::000000000000:role/b/App\n`,
      'FILE:13: `identity.groups.two`: expected a role whose name no other role has: `arn:aws:iam::000000000000:role/b/App` is called like `arn:aws:iam::000000000000:role/a/app` (`identity.users.one`), and the ARNs of their sessions would not tell them apart',
    ],
    [
      'two users of one name under different paths',
      `${minimal}identity:\n  users:\n    one: arn:aws:iam::000000000000:user/a/app\nmanagedKeys:\n  ebs: { principals: ["arn:aws:iam::000000000000:user/App"] }\n`,
      'FILE:13: `managedKeys.ebs.principals.0`: expected a user whose name no other user has: `arn:aws:iam::000000000000:user/App` is called like `arn:aws:iam::000000000000:user/a/app` (`identity.users.one`), and `aws:username` would not tell them apart',
    ],
    [
      'a user who is called as only users of the operating system are',
      `${minimal}identity:\n  groups:\n    one: arn:aws:iam::000000000000:user/a/unix=app\n`,
      'FILE:11: `identity.groups.one`: expected another name for `arn:aws:iam::000000000000:user/a/unix=app`: `unix=…` and `container=…` are kept for users of the operating system',
    ],
    [
      'two key stores',
      `${minimal}${minimal.slice(minimal.indexOf('  default:')).replace('default', 'vault')}`,
      'FILE:1: `defaultKeyStore` is missing: the name of the key store that has the service keys and the keys of whoever names none; one of `default`, `vault`',
    ],
    [
      'a default key store that is none',
      `${minimal}defaultKeyStore: vault\n`,
      'FILE:9: `defaultKeyStore`: expected the name of the key store that has the service keys and the keys of whoever names none; one of `default`',
    ],
    [
      'the kinds of keys of the default key store',
      `${minimal}    keySpecs: all\n`,
      'FILE:9: `keyStores.default.keySpecs`: expected nothing here: the default key store takes all keys',
    ],
    [
      'an HSM for a custom key store that is everything there is',
      minimal.replace('pin: { file: pin }', 'trustAnchorCertificate: ca.crt'),
      'FILE:4: `keyStores`: expected a key store with a `pin` under a name, such as `default`',
    ],
    [
      'a certificate beside a PIN',
      `${minimal}    trustAnchorCertificate: ca.crt\n`,
      'FILE:9: `keyStores.default.trustAnchorCertificate`: expected nothing here: an HSM with a `pin` is for no custom key store',
    ],
    [
      'the kinds of keys one by one',
      `${minimal}    keySpecs: [RSA_2048]\n`,
      'FILE:9: `keyStores.default.keySpecs`: expected `all`; or leave it out, for symmetric encryption keys alone',
    ],
    [
      'no key store',
      `${minimal.slice(0, minimal.indexOf('keyStores:'))}keyStores: {}\n`,
      'FILE:4: `keyStores`: expected a key store with a `pin` under a name, such as `default`',
    ],
    [
      'a key store without a name',
      `${minimal.slice(0, minimal.indexOf('keyStores:'))}keyStores: { profile: softhsm2 }\n`,
      'FILE:4: `keyStores.profile`: expected a mapping with members',
    ],
    ...['1st', '-a', 'a b', 'a/b', '__proto__x', 'cks-1', `a${'b'.repeat(64)}`, '""'].map(
      (name): [string, string, string] => [
        `a key store called ${name}`,
        minimal.replace('default', name),
        `FILE:5: \`keyStores.${name.replaceAll('"', '')}\`: expected a name that begins with a letter, not with \`cks-\`, and has at most 64 letters, digits, \`-\` and \`_\``,
      ],
    ),
    ['a number for a path', minimal.replace('data\n', '5\n'), 'FILE:1: `dataDir`: expected a text'],
    ['a member twice', `${minimal}dataDir: b\n`, 'FILE:9: Map keys must be unique'],
    ['what is no mapping', '- a\n', 'FILE:1: the configuration: expected a mapping with members'],
  ];
  test('may map many to one role, and to a user of the same name as the role', () => {
    const [role, user] = ['role/a/app', 'user/app'].map((name) => `arn:aws:iam::000000000000:${name}`);
    const identity = { root: [0], users: { one: role, two: user }, groups: { three: role } };
    expect(parse(`${minimal}identity: ${JSON.stringify(identity)}\n`)).toMatchObject({ identity });
  });

  test.each(['vault', 'V-2_x', 'constructor', 'a', `a${'b'.repeat(63)}`])(
    'calls its key store %s, and everything that is in one is in that one',
    (name) => {
      const { keyStores, regions, serviceKeyStore } = parse(minimal.replace('default', name));
      expect([...keyStores.keys()]).toEqual([name]);
      expect(regions).toMatchObject([{ keyStores: [name], defaultKeyStore: name }]);
      expect(serviceKeyStore).toBe(name);
    },
  );

  test.each(mistakes)('with %s is refused with its line', (_name, text, message) => {
    expect(messageOf(text)).toBe(message);
  });

  test('with a PIN in it is refused, and the PIN is not repeated', () => {
    const message = messageOf(minimal.replace('{ file: pin }', '"998877"'));
    expect(message).toMatch(/^FILE:8: `keyStores\.default\.pin`: expected one of \{ file: PATH \}/);
    expect(message).toContain('a PIN itself is never written into the configuration');
    expect(message).not.toContain('998877');
  });

  test('with several mistakes is refused with all of them, in order', () => {
    const text = `${minimal}    hosts: 0\nlog: { level: loud }\nx: 1\n`;
    expect(messageOf(text).split('\n')).toEqual([
      'FILE:9: `keyStores.default.hosts`: expected a whole number from 1 to 16',
      'FILE:10: `log.level`: expected one of `debug`, `info`, `warn`, `error`',
      'FILE:11: `x` is not known here; check the spelling',
    ]);
  });

  test('is refused with a ConfigurationError and nothing else, whatever the text', () => {
    fc.assert(
      fc.property(fc.oneof(fc.string({ unit: 'binary' }), fc.json()), (text) => {
        expect(() => parse(text)).toThrow(ConfigurationError);
      }),
    );
    const bomb = ['a: &a [x,x,x,x,x,x,x,x,x]', 'b: &b [*a,*a,*a,*a,*a,*a,*a,*a,*a]', 'c: [*b,*b,*b,*b,*b,*b,*b]'];
    expect(() => parse(bomb.join('\n'))).toThrow(ConfigurationError);
  });

  test('that is not there is refused with what to do', async () => {
    await expect(loadConfiguration('/nonexistent/drawbridge.yaml')).rejects.toThrow(
      'cannot read the configuration `/nonexistent/drawbridge.yaml`: there is no such file (ENOENT); `drawbridge init` writes one, `--config` names another',
    );
  });

  test('that is a folder, or may not be read, is refused with what to do', async () => {
    const folder = mkdtempSync(join(tmpdir(), 'drawbridge-unread-'));
    const path = join(folder, 'drawbridge.yaml');
    writeFileSync(path, '', { mode: 0 });
    try {
      await expect(loadConfiguration(folder)).rejects.toThrow(
        `cannot read the configuration \`${folder}\`: it is a folder (EISDIR), and \`--config\` wants the file in it`,
      );
      if (process.getuid?.() === 0) return; // Who may read everything.
      await expect(loadConfiguration(path)).rejects.toThrow(
        `cannot read the configuration \`${path}\`: this user may not read it (EACCES); run this as a user who may read it: root, or the daemon's own`,
      );
    } finally {
      rmSync(folder, { recursive: true });
    }
  });

  test('that never ends is refused in bounded memory', async () => {
    await expect(loadConfiguration('/dev/zero')).rejects.toThrow(
      '`/dev/zero` is larger than 1048576 bytes: not a configuration',
    );
  });

  test('resolves its paths against its own folder', async () => {
    const path = join(folder, 'drawbridge.yaml');
    writeFileSync(path, minimal);
    expect((await loadConfiguration(path)).dataDir).toBe(join(folder, 'data'));
  });
});
