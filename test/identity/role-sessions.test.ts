/** Tokens of sessions of roles: what they carry, what they rest on, and what no forger can do. Their keys are made here, as an HSM would. */

import { createHmac, randomBytes } from 'node:crypto';
import fc from 'fast-check';
import { beforeEach, describe, expect, test } from 'vitest';
import type { Caller, UnixPeer } from '../../src/identity/caller.ts';
import { type NewSession, type Role, RoleSessions } from '../../src/identity/role-sessions.ts';
import { SessionCredentials } from '../../src/identity/session-credentials.ts';
import type { SigningKey } from '../../src/identity/signing-key.ts';
import { ReusedUidError } from '../../src/identity/unix-caller.ts';
import { KmsError } from '../../src/kms/errors.ts';
import type { PrincipalArn } from '../../src/kms/names.ts';
import { signsWith } from '../support/signs-with.ts';

const account = '000000000000';
const hourMs = 3_600_000;
const startMs = 490_000 * hourMs + 50 * 60_000;
const alice = 'arn:aws:iam::000000000000:user/alice' as PrincipalArn;
const roleNamed = (name: string, maxSessionSeconds = 43_200, binding = name): Role => ({
  arn: `arn:aws:iam::000000000000:role/${name}` as PrincipalArn,
  maxSessionSeconds,
  binding,
});
const byKey: Caller = {
  type: 'IAMUser',
  arn: alice,
  accountId: account,
  userName: 'alice',
  proof: { kind: 'sigv4', accessKeyId: 'AKIAALICE', sourceIp: '127.0.0.1' },
};
const peer: UnixPeer = { kind: 'unix', uid: 1000, gid: 10, pid: 4711, groups: [10, 20], userName: 'alice' };
const byPeer: Caller = { ...byKey, proof: peer };

const serviceKey = randomBytes(32);
let labels: string[];
let roles: Role[];
let accessKeys: Map<string, PrincipalArn>;
let callerOf: (peer: UnixPeer) => Caller | Promise<Caller>;
let nowMs: number;
let standing: number;

const deriveKey = async (label: Buffer): Promise<Buffer> => {
  labels.push(label.toString());
  return createHmac('sha256', serviceKey).update(label).digest();
};
const open = (): RoleSessions =>
  new RoleSessions({
    account,
    deriveKey,
    callerOf: (who) => callerOf(who),
    principalOfAccessKey: (id) => accessKeys.get(id),
    roles: () => ({
      find: (arn) => roles.find((role) => role.arn === arn),
      isInForce: (binding) => roles.some((role) => role.binding === binding),
    }),
    standing: () => standing,
    clock: () => nowMs,
  });
let sessions: RoleSessions;
const deploy = roleNamed('deploy');
const wanted: NewSession = { role: deploy, sessionName: 'work', lifetimeSeconds: 900 };

beforeEach(() => {
  labels = [];
  roles = [deploy, roleNamed('second')];
  accessKeys = new Map([['AKIAALICE', alice]]);
  callerOf = (who) => ({ ...byPeer, proof: who });
  nowMs = startMs;
  standing = 0;
  sessions = open();
});

const setRoles = (...those: Role[]): void => {
  roles = those;
};

async function found(accessKeyId: string, token: string, by = sessions): Promise<SigningKey | undefined> {
  return by.find(accessKeyId, token);
}

async function errorOf(attempt: () => unknown): Promise<string> {
  try {
    await attempt();
    return 'none';
  } catch (error) {
    if (error instanceof KmsError) return error.name;
    throw error;
  }
}

/** Somebody who signs with it. */
function signed(key: SigningKey, accessKeyId: string): Caller {
  const { issuedTo, session, caller } = key;
  const proof = { kind: 'sigv4', accessKeyId, sourceIp: '127.0.0.1' } as const;
  return {
    ...caller,
    proof: { ...proof, ...(issuedTo === undefined ? {} : { issuedTo }), ...(session === undefined ? {} : { session }) },
  };
}

describe('a session of a role', () => {
  test('is known by its token alone, in another process too, however many there are', async () => {
    const policy = JSON.stringify({ Version: '2012-10-17', Statement: [] });
    const issued = await Promise.all(
      Array.from({ length: 10_000 }, (_, index) =>
        sessions.issue(byKey, { ...wanted, sessionName: `s-${index}`, policy }),
      ),
    );
    expect(new Set(issued.map(({ accessKeyId }) => accessKeyId)).size).toBe(10_000);
    const other = open();
    labels = [];
    for (const [index, { accessKeyId, secretAccessKey, sessionToken }] of issued.entries()) {
      const key = await found(accessKeyId, sessionToken, other);
      expect(key?.caller.arn).toBe(`arn:aws:sts::000000000000:assumed-role/deploy/s-${index}`);
      if (index % 100 === 0) expect(key && signsWith(key, secretAccessKey)).toBe(true);
    }
    expect(labels).toHaveLength(2);
  });

  test('carries who assumed it, its policy and its source identity, and goes on paying as he does', async () => {
    const { accessKeyId, sessionToken } = await sessions.issue(byPeer, {
      ...wanted,
      policy: '{"é": "\\u0000"}',
      sourceIdentity: 'me',
    });
    const key = await found(accessKeyId, sessionToken);
    expect(key?.issuedTo).toEqual({ ...peer, issuedAtMs: startMs });
    expect(key?.session).toEqual({
      ...{ issuedAtMs: startMs, by: alice, chain: ['deploy'] },
      ...{ policy: '{"é": "\\u0000"}', sourceIdentity: 'me' },
    });
  });

  test('is good for twelve hours where its role is, and not a second longer', async () => {
    const { accessKeyId, sessionToken } = await sessions.issue(byKey, { ...wanted, lifetimeSeconds: 43_200 });
    nowMs = startMs + 43_200_000 - 1;
    expect(await found(accessKeyId, sessionToken)).toBeDefined();
    expect(await found(accessKeyId, sessionToken, open())).toBeDefined();
    nowMs = startMs + 43_200_000;
    expect(await errorOf(() => found(accessKeyId, sessionToken))).toBe('ExpiredTokenException');
    nowMs = startMs;
    roles = [roleNamed('deploy', 3600)];
    expect(await found(accessKeyId, sessionToken)).toBeDefined();
    nowMs = startMs + 3_600_000;
    expect(await errorOf(() => found(accessKeyId, sessionToken))).toBe('ExpiredTokenException');
  });

  test.each<[string, () => void]>([
    ['the role is gone', () => setRoles(roleNamed('second'))],
    ['the role trusts others', () => setRoles(roleNamed('deploy', 43_200, 'other'))],
    ['the access key is revoked', () => accessKeys.clear()],
    ['the access key is somebody else’s', () => accessKeys.set('AKIAALICE', `${alice}2` as PrincipalArn)],
  ])('is over when %s, also for a request that waits', async (_, change) => {
    const { accessKeyId, sessionToken } = await sessions.issue(byKey, wanted);
    const key = await found(accessKeyId, sessionToken);
    expect(key?.isRevoked?.()).toBe(false);
    change();
    expect(key?.isRevoked?.()).toBe(true);
    expect(await found(accessKeyId, sessionToken)).toBeUndefined();
  });

  test.each<[string, () => Caller | Promise<Caller>]>([
    ['is called otherwise', () => ({ ...byPeer, arn: 'arn:aws:iam::000000000000:user/ops' as PrincipalArn })],
    ['is another', () => Promise.reject(new ReusedUidError(1000))],
    [
      'was another at once',
      () => {
        throw new ReusedUidError(1000);
      },
    ],
  ])('is over when the uid of whoever assumed it %s', async (_, now) => {
    const { accessKeyId, sessionToken } = await sessions.issue(byPeer, wanted);
    expect(await found(accessKeyId, sessionToken)).toBeDefined();
    callerOf = now;
    standing++;
    expect(await found(accessKeyId, sessionToken)).toBeUndefined();
  });

  test('in a chain rests on all the roles before it, each counted once', async () => {
    const second = roleNamed('second');
    let issued = await sessions.issue(byKey, wanted);
    for (let hop = 0; hop < 40; hop++) {
      const key = await found(issued.accessKeyId, issued.sessionToken);
      if (key === undefined) throw new Error('it is known');
      issued = await sessions.issue(signed(key, issued.accessKeyId), { ...wanted, role: hop % 2 ? deploy : second });
    }
    const last = await found(issued.accessKeyId, issued.sessionToken);
    expect(last?.session).toMatchObject({ chain: ['deploy', 'second'], by: alice, accessKeyId: 'AKIAALICE' });
    roles = [deploy];
    expect(await found(issued.accessKeyId, issued.sessionToken)).toBeUndefined();
    roles = [deploy, second];
    accessKeys.clear();
    expect(await found(issued.accessKeyId, issued.sessionToken)).toBeUndefined();
  });

  test('has no longer token than headers have room for', async () => {
    const groups = Array.from({ length: 512 }, (_, index) => 4_294_900_000 + index);
    const longest = {
      ...wanted,
      sessionName: 'x'.repeat(64),
      policy: '"'.repeat(2048),
      sourceIdentity: 'y'.repeat(64),
    };
    const many = await errorOf(() => sessions.issue({ ...byPeer, proof: { ...peer, groups } }, longest));
    expect(many).toBe('PackedPolicyTooLargeException');
    const few = { ...byPeer, proof: { ...peer, groups: groups.slice(0, 256) } };
    const { accessKeyId, sessionToken } = await sessions.issue(few, longest);
    expect(sessionToken.length).toBeLessThan(11_000);
    expect(await found(accessKeyId, sessionToken)).toBeDefined();
  });
});

describe('a forger', () => {
  test('who changes a bit of a token, or of its body for another one, has nothing', async () => {
    const { accessKeyId, sessionToken } = await sessions.issue(byKey, wanted);
    const bytes = Buffer.from(sessionToken, 'base64');
    await fc.assert(
      fc.asyncProperty(fc.integer({ min: 0, max: bytes.length * 8 - 1 }), async (bit) => {
        const forged = Buffer.from(bytes);
        forged.writeUInt8(forged.readUInt8(bit >> 3) ^ (1 << (bit & 7)), bit >> 3);
        // The time to come, and the id, are looked at before the MAC.
        const outcome = await errorOf(async () => {
          if ((await found(accessKeyId, forged.toString('base64'))) !== undefined) throw new Error('it was taken');
        });
        expect(['none', 'ExpiredTokenException']).toContain(outcome);
      }),
      { numRuns: 300 },
    );
    const other = Buffer.from(
      (await sessions.issue(byKey, { ...wanted, sessionName: 'other' })).sessionToken,
      'base64',
    );
    const mixed = Buffer.concat([bytes.subarray(0, -32), other.subarray(-32)]).toString('base64');
    expect(await found(accessKeyId, mixed)).toBeUndefined();
  });

  test('cannot spell a token otherwise, or use it with another id', async () => {
    const { accessKeyId, sessionToken } = await sessions.issue(byKey, wanted);
    for (const token of [
      `${sessionToken} `,
      ` ${sessionToken}`,
      sessionToken.replaceAll('=', ''),
      `${sessionToken}AAAA`,
    ]) {
      if (token !== sessionToken) expect(await found(accessKeyId, token)).toBeUndefined();
    }
    expect(await found('ASIAAAAAAAAAAAAAAAAA', sessionToken)).toBeUndefined();
  });

  test('gets no session of a role out of credentials of a Unix user, or the other way round', async () => {
    const own = new SessionCredentials({
      deriveKey,
      callerOf: (who) => callerOf(who),
      standing: () => 0,
      clock: () => nowMs,
    });
    const mine = await own.issue(peer, 900);
    const role = await sessions.issue(byPeer, wanted);
    expect([sessions.isOwn(mine.sessionToken), sessions.isOwn(role.sessionToken)]).toEqual([false, true]);
    expect(await found(mine.accessKeyId, mine.sessionToken)).toBeUndefined();
    expect(await own.find(role.accessKeyId, role.sessionToken)).toBeUndefined();
    const relabelled = (token: string, version: number): string => {
      const bytes = Buffer.from(token, 'base64');
      bytes.writeUInt8(version, 0);
      return bytes.toString('base64');
    };
    expect(await found(mine.accessKeyId, relabelled(mine.sessionToken, 5))).toBeUndefined();
    expect(await own.find(role.accessKeyId, relabelled(role.sessionToken, 4))).toBeUndefined();
  });

  test('has the HSM asked for no hour twice, and for none that no session can be of', async () => {
    const { accessKeyId, sessionToken } = await sessions.issue(byKey, wanted);
    labels = [];
    for (let hours = -30; hours <= 30; hours++) {
      const bytes = Buffer.from(sessionToken, 'base64');
      bytes.writeUInt32BE(startMs / 1000 + hours * 3600, 1);
      bytes.writeUInt32BE(0xffff_ffff, 5);
      for (let again = 0; again < 3; again++)
        expect(await found(accessKeyId, bytes.toString('base64'))).toBeUndefined();
    }
    // Twelve hours before this one, whose keys are there.
    expect(labels).toHaveLength(24);
  });
});
