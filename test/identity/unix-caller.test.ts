import { execFileSync } from 'node:child_process';
import { describe, expect, test } from 'vitest';
import { noGroup, type UnixPeer } from '../../src/identity/caller.ts';
import {
  assertUnixMapping,
  defaultUnixMapping,
  findUnixCaller,
  findUnknownNames,
  ReusedUidError,
  resolveUnixCaller,
  type UnixMapping,
  UnixMappingError,
} from '../../src/identity/unix-caller.ts';
import { groupIds, groupsOfUsers, userIds, userNames } from '../../src/identity/user-database.ts';
import { type PrincipalArn, parsePrincipalArn, type Realm, unixUserArn } from '../../src/kms/names.ts';

const realm: Realm = { region: 'us-east-1', account: '000000000000' };
const start = 'arn:aws:iam::000000000000:user/';
const nameless = 54_321;

function arn(text: string): PrincipalArn {
  const parsed = parsePrincipalArn(text);
  if (parsed === undefined) throw new Error(`${text} is not the ARN of a principal`);
  return parsed;
}

const user = (name: string): PrincipalArn => arn(`${start}${name}`);
const peer = (uid: number, gid = uid, ...groups: number[]): UnixPeer => ({
  ...{ kind: 'unix', uid, gid, pid: 7, groups },
  origin: 'machine',
});
const mapping = (changes: Partial<UnixMapping>): UnixMapping => ({ ...defaultUnixMapping(realm), ...changes });

/** Entries of this machine, as `getent` prints them: fields between colons. */
function getent(database: 'passwd' | 'group'): readonly (readonly string[])[] {
  const lines = execFileSync('getent', [database], { encoding: 'utf8' }).split('\n');
  return lines.filter((line) => line !== '').map((line) => line.split(':'));
}

const users = getent('passwd');
const groups = getent('group');
/** A user of this machine with a name and a uid of his own, who is not its root. */
const [someName = '', , someUid = '', ownGid = ''] =
  users.find(
    ([name, , uid]) => uid !== '0' && users.filter((other) => other[0] === name || other[2] === uid).length === 1,
  ) ?? [];
const [someGroup = '', , someGid = ''] = groups.find(([, , gid]) => gid !== '0' && gid !== someUid) ?? [];

describe('the user database', () => {
  test('gives every user of this machine his name and his uid', async () => {
    for (const [name = '', , uid = ''] of users) {
      expect([userIds.now(name), await userIds.later(name)]).toEqual([Number(uid), Number(uid)]);
      // Several names may have one uid; the database then gives the first.
      const first = users.find((other) => other[2] === uid)?.[0];
      expect([userNames.now(Number(uid)), await userNames.later(Number(uid))]).toEqual([first, first]);
    }
  });

  test('gives every group of this machine its gid', async () => {
    for (const [name = '', , gid = ''] of groups) {
      expect([groupIds.now(name), await groupIds.later(name)]).toEqual([Number(gid), Number(gid)]);
    }
  });

  test('gives every user of this machine his groups', async () => {
    for (const [name = ''] of users) {
      const gids = execFileSync('id', ['-G', name], { encoding: 'utf8' }).trim().split(' ').map(Number);
      expect([groupsOfUsers.now(name), await groupsOfUsers.later(name)]).toEqual([gids, gids]);
    }
    expect([groupsOfUsers.now('no-such-name'), await groupsOfUsers.later('no-such-name')]).toEqual([
      undefined,
      undefined,
    ]);
  });

  test('says of what is not there that it is not there', async () => {
    const none = [undefined, undefined];
    expect([userNames.now(nameless), await userNames.later(nameless)]).toEqual(none);
    for (const name of ['', 'no-such-name', 'x'.repeat(100_000), 'a\0b', '../etc']) {
      expect([userIds.now(name), await userIds.later(name)]).toEqual(none);
      expect([groupIds.now(name), await groupIds.later(name)]).toEqual(none);
    }
  });
});

describe('with no configuration', () => {
  test('the operating system’s root is the root of the account', () => {
    expect(resolveUnixCaller(peer(0), mapping({}))).toEqual({
      type: 'Root',
      arn: 'arn:aws:iam::000000000000:root',
      accountId: '000000000000',
      proof: peer(0),
    });
  });

  test('a user of whom nothing is known yet is waited for, once, and is the same as ever', async () => {
    const who = peer(nameless - 1, Number(someGid));
    const given = mapping({ groups: { [someGroup]: user('ops') }, users: { 'no-such-user': user('none') } });
    const found = findUnixCaller(who, given);
    expect(found).toBeInstanceOf(Promise);
    expect(await found).toEqual(resolveUnixCaller(who, given));
    expect(findUnixCaller(who, given)).toEqual(await found);
  });

  test('a user is user/unix/NAME', () => {
    const proof = peer(Number(someUid));
    expect(resolveUnixCaller(proof, mapping({}))).toEqual({
      type: 'IAMUser',
      arn: `${start}unix/${someName}`,
      accountId: '000000000000',
      userName: someName,
      proof: { ...proof, userName: someName },
    });
  });

  test('whoever was identified by another name than his uid has now is nobody', async () => {
    const { proof } = resolveUnixCaller(peer(Number(someUid)), mapping({}));
    expect(resolveUnixCaller(proof as UnixPeer, mapping({})).proof).toEqual(proof);
    for (const userName of ['another', null]) {
      const who = { ...peer(Number(someUid)), userName };
      for (const given of [
        mapping({}),
        mapping({ roots: [Number(someUid)] }),
        mapping({ users: { [someUid]: user('x') } }),
      ]) {
        expect(() => resolveUnixCaller(who, given)).toThrow(ReusedUidError);
        expect(() => findUnixCaller(who, given)).toThrow(ReusedUidError);
      }
    }
    expect(() => resolveUnixCaller({ ...peer(nameless), userName: 'gone' }, mapping({}))).toThrow(ReusedUidError);
  });

  test('a group counts only where the user database has the user in it, if that is demanded', async () => {
    const given = mapping({
      groups: { 4711: user('ops'), [Number(ownGid)]: user('own') },
      demandsDatabaseGroups: true,
    });
    const who = peer(Number(someUid), 4711, Number(ownGid), 4711);
    expect(resolveUnixCaller(who, given)).toMatchObject({
      arn: `${start}own`,
      proof: { gid: noGroup, groups: [Number(ownGid)] },
    });
    expect(await findUnixCaller(who, given)).toEqual(resolveUnixCaller(who, given));
    // Nor does the database's word alone count.
    expect(resolveUnixCaller(peer(Number(someUid), 4711), given)).toMatchObject({ arn: `${start}unix/${someName}` });
    expect(resolveUnixCaller(peer(nameless, 4711, Number(ownGid)), given)).toMatchObject({
      arn: `${start}unix/uid=54321`,
      proof: { gid: noGroup, groups: [] },
    });
  });

  test('a uid without a name is user/unix/uid=NUMBER', () => {
    expect(resolveUnixCaller(peer(nameless), mapping({}))).toMatchObject({
      type: 'IAMUser',
      arn: `${start}unix/uid=54321`,
      userName: 'uid=54321',
    });
  });

  test.each(['a b', 'a/b', '../root', 'a:root', 'é', 'x'.repeat(65), '', 'uid=0', 'a*'])(
    'a name that IAM does not allow, %j, cannot make another principal',
    (name) => {
      expect(unixUserArn(realm, nameless, name)).toBe(`${start}unix/uid=54321`);
    },
  );
});

describe('a mapping', () => {
  const app = user('app');
  const ops = user('team/ops');
  const first = user('first');
  const second = user('second');
  const root = arn('arn:aws:iam::000000000000:root');

  test.each([
    ['a user by name', mapping({ users: { [someName]: app } }), peer(Number(someUid)), app],
    ['a user by uid', mapping({ users: { [someUid]: app } }), peer(Number(someUid)), app],
    ['another user not', mapping({ users: { [someName]: app } }), peer(nameless), user('unix/uid=54321')],
    [
      'a group by name, as the own group',
      mapping({ groups: { [someGroup]: ops } }),
      peer(nameless, Number(someGid)),
      ops,
    ],
    [
      'a group by name, as a supplementary one',
      mapping({ groups: { [someGroup]: ops } }),
      peer(nameless, 1, 2, Number(someGid)),
      ops,
    ],
    ['a group by gid', mapping({ groups: { 4711: ops } }), peer(nameless, 1, 4711), ops],
    [
      'a user before his groups',
      mapping({ users: { [nameless]: app }, groups: { 4711: ops } }),
      peer(nameless, 4711),
      app,
    ],
    ['the first of several groups', mapping({ groups: { 20: first, 30: second } }), peer(nameless, 30, 20), first],
    [
      'the first of several groups by name',
      mapping({ groups: { [someGroup]: second, 'no-such-group': first } }),
      peer(nameless, Number(someGid)),
      second,
    ],
    [
      'a root before everything',
      mapping({ roots: [someName], users: { [someName]: app } }),
      peer(Number(someUid)),
      root,
    ],
    ['a root by uid', mapping({ roots: [nameless] }), peer(nameless), root],
    ['a root by uid in quotes', mapping({ roots: ['54321'] }), peer(nameless), root],
    [
      'a root that is not the operating system’s, who then is a user',
      mapping({ roots: [nameless] }),
      peer(0),
      user('unix/root'),
    ],
    ['nobody as root', mapping({ roots: [] }), peer(0), user('unix/root')],
    ['a root who is mapped to a user', mapping({ roots: [], users: { root: app } }), peer(0), app],
    ['a uid that is not a gid', mapping({ groups: { [nameless]: ops } }), peer(nameless, 1), user('unix/uid=54321')],
    ['a member of the root’s group, who is not root', mapping({}), peer(nameless, 0, 0), user('unix/uid=54321')],
    [
      'names that nobody has',
      mapping({ users: { 'no-such-user': app }, roots: ['no-such-root'] }),
      peer(nameless),
      user('unix/uid=54321'),
    ],
    [
      'names of an object’s own members',
      mapping({ users: { constructor: app } }),
      peer(nameless),
      user('unix/uid=54321'),
    ],
  ])('takes %s', (_, given, who, expected) => {
    expect(resolveUnixCaller(who, given).arn).toBe(expected);
  });

  test('gives the caller the name of the principal, without its path', () => {
    expect(resolveUnixCaller(peer(nameless), mapping({ users: { [nameless]: ops } })).userName).toBe('ops');
  });

  test.each([
    'arn:aws:iam::111122223333:role/batch',
    'arn:aws:iam::000000000000:root',
    'arn:aws:iam::111122223333:user/app',
    'arn:aws:sts::000000000000:assumed-role/batch/session',
  ])('to %s is refused when it is read and when it is used', (text) => {
    const refusal = (who: string) =>
      new UnixMappingError(
        `${who} is mapped to \`${text}\`, which is neither a user nor a role of this account; write \`${start}NAME\``,
      );
    const ofUser = mapping({ users: { app: arn(text) } });
    const ofGroup = mapping({ groups: { 4711: arn(text) } });
    expect(() => assertUnixMapping(ofUser)).toThrow(refusal('user `app`'));
    expect(() => assertUnixMapping(ofGroup)).toThrow(refusal('group `4711`'));
    expect(() => resolveUnixCaller(peer(nameless, 4711), ofGroup)).toThrow(refusal('uid 54321'));
  });

  test.each([
    ['to a role of a user', mapping({ users: { [nameless]: arn('arn:aws:iam::000000000000:role/ops/batch') } })],
    ['to a role of a group', mapping({ groups: { 4711: arn('arn:aws:iam::000000000000:role/ops/batch') } })],
  ])('%s is a session of the role under his own name', (_, given) => {
    expect(() => assertUnixMapping(given)).not.toThrow();
    const who = peer(nameless, 4711);
    expect(resolveUnixCaller(who, given)).toEqual({
      type: 'AssumedRole',
      arn: 'arn:aws:sts::000000000000:assumed-role/batch/uid=54321',
      role: 'arn:aws:iam::000000000000:role/ops/batch',
      accountId: '000000000000',
      proof: { ...who, userName: null },
    });
  });

  test('names what nobody is called', () => {
    const given = mapping({
      roots: [0, 'root', 'no-such-root'],
      users: { [someName]: app, 'no-such-user': app, 4711: app },
      groups: { [someGroup]: ops, 'no-such-group': ops },
    });
    expect(findUnknownNames(given)).toEqual(['user `no-such-root`', 'user `no-such-user`', 'group `no-such-group`']);
    expect(() => assertUnixMapping(given)).not.toThrow();
  });
});
