/** No two users are called the same, whatever their path: policies tell users apart by `aws:username`. */

import { describe, expect, test } from 'vitest';
import { ContainerNames } from '../../src/identity/container-names.ts';
import { findUnreachable } from '../../src/identity/reachable-principals.ts';
import { resolveUnixCaller, type UnixMapping } from '../../src/identity/unix-caller.ts';
import { UserNames } from '../../src/identity/user-names.ts';
import type { PrincipalArn } from '../../src/kms/names.ts';
import { principal } from '../authorization/policies.ts';

const user = (name: string): PrincipalArn => principal(`arn:aws:iam::000000000000:user/${name}`);
const role = (name: string): PrincipalArn => principal(`arn:aws:iam::000000000000:role/${name}`);
const mapping = (more: Partial<UnixMapping>): UnixMapping => {
  const given = { account: '000000000000', roots: [0], users: {}, groups: {}, ...more };
  return { userNames: new UserNames([...Object.values(given.users), ...Object.values(given.groups)]), ...given };
};
/** Uid 1 is called `daemon`, and uid 2 `bin`, on every Linux. */
const daemon = { kind: 'unix', uid: 1, gid: 1, pid: 1, groups: [], origin: 'machine' } as const;

describe('a user', () => {
  test.each<[string, UnixMapping, string]>([
    ['has his own name', mapping({}), 'daemon'],
    ['has his own name beside users of other names', mapping({ groups: { sys: user('team/app') } }), 'daemon'],
    ['has the name that he is mapped to', mapping({ users: { daemon: user('team/app') } }), 'app'],
    ['may be mapped to his own name', mapping({ users: { daemon: user('team/daemon') } }), 'daemon'],
    ['has another one if somebody is mapped to his', mapping({ users: { bin: user('a/daemon') } }), 'unix=daemon'],
    ['has another one whatever the case', mapping({ groups: { sys: user('Daemon') } }), 'unix=daemon'],
    ['keeps his own beside roles', mapping({ users: { bin: role('daemon') } }), 'daemon'],
  ])('%s', (_, mapped, userName) => {
    expect(resolveUnixCaller(daemon, mapped)).toMatchObject({ userName });
  });

  test('in a container is called like the container, and not like root or like anybody else', () => {
    const inContainer = (uid: number) =>
      resolveUnixCaller({ ...daemon, uid, origin: { container: 'web' } }, mapping({ roots: [0, 7] })).userName;
    expect([inContainer(0), inContainer(7)]).toEqual(['container=web', 'container=web,uid=7']);
  });

  test('has his name back when nobody else has it any more', () => {
    const names = new UserNames();
    names.add(user('ci/daemon'));
    names.add(user('ci/daemon'));
    names.remove(user('ci/daemon'));
    expect(names.nameOf(user('unix/daemon'))).toBe('unix=daemon');
    expect(names.sharedWith(user('daemon'))).toBe(user('ci/daemon'));
    names.remove(user('ci/daemon'));
    expect(names.nameOf(user('unix/daemon'))).toBe('daemon');
    expect([...names.all()]).toEqual([]);
  });
});

describe('who is nobody', () => {
  const mapped = mapping({ users: { bin: user('team/app'), sync: role('jobs/batch') }, groups: { sys: role('ops') } });
  test.each<[PrincipalArn, object | undefined]>([
    [user('team/app'), undefined],
    [role('jobs/batch'), undefined],
    [user('unix/daemon'), undefined],
    [user('unix/uid=54321'), undefined],
    [user('container/web/root'), undefined],
    [user('tem/app'), { why: 'is nobody: nothing maps to it, and it has no access key', didYouMean: user('team/app') }],
    [
      user('daemon'),
      { why: 'is nobody: nothing maps to it, and it has no access key', didYouMean: user('unix/daemon') },
    ],
    [
      user('unix/deamon'),
      {
        why: 'is nobody: no Unix user is called so, or he is root or mapped to another principal',
        didYouMean: user('unix/daemon'),
      },
    ],
    [user('unix/bin'), { why: 'is nobody: no Unix user is called so, or he is root or mapped to another principal' }],
    [user('unix/uid=1'), { why: `is nobody: that user is \`${user('unix/daemon')}\`` }],
    [
      role('batch'),
      { why: 'is a role that nobody is mapped to, and that nobody can assume', didYouMean: role('jobs/batch') },
    ],
    [role('far/away'), { why: 'is a role that nobody is mapped to, and that nobody can assume' }],
  ])('%s: %o', (who, expected) => {
    expect(findUnreachable([who], [], mapped)).toEqual(
      expected === undefined ? [] : [expect.objectContaining({ who, ...expected })],
    );
  });

  test('is told of groups too', () => {
    expect(findUnreachable([], ['daemon', 'deamon'], mapped)).toEqual([
      { who: 'deamon', why: 'is no group of this machine', didYouMean: 'daemon' },
    ]);
  });

  test('is told of containers that the configuration calls otherwise', () => {
    const given = mapping({ containers: new ContainerNames({ '/web.slice': 'web' }) });
    const [web, unnamed, wbe] = ['web', 'unnamed', 'wbe'].map((name) => user(`container/${name}/root`));
    if (web === undefined || unnamed === undefined || wbe === undefined) throw new Error('there are three');
    expect(findUnreachable([web, unnamed, wbe], [], given)).toMatchObject([
      { who: wbe, why: 'is nobody: `identity.containers` calls no container so' },
    ]);
  });

  test('has no access key: one that has, is somebody', () => {
    const names = new UserNames([user('ci')]);
    expect(findUnreachable([user('ci')], [], mapping({ userNames: names }))).toEqual([]);
  });
});
