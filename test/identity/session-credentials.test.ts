import { createHmac, randomBytes } from 'node:crypto';
import fc from 'fast-check';
import { beforeEach, describe, expect, test } from 'vitest';
import { noGroup, type UnixPeer } from '../../src/identity/caller.ts';
import {
  maxGroups,
  SessionCredentials,
  type SessionCredentialsOptions,
  sessionSeconds,
} from '../../src/identity/session-credentials.ts';
import type { SigningKey } from '../../src/identity/signing-key.ts';
import { defaultUnixMapping, resolveUnixCaller, type UnixMapping } from '../../src/identity/unix-caller.ts';
import { rememberedTokens } from '../../src/kms/budgets.ts';
import { KmsError } from '../../src/kms/errors.ts';
import type { PrincipalArn, Realm } from '../../src/kms/names.ts';
import { signsWith } from '../support/signs-with.ts';

const realm: Realm = { region: 'us-east-1', account: '000000000000' };
const hourMs = 3_600_000;
/** Ten minutes before an hour ends. */
const startMs = 490_000 * hourMs + 50 * 60_000;
const peer: UnixPeer = { kind: 'unix', uid: 0, gid: 10, pid: 4711, groups: [10, 20, 4_294_967_294], origin: 'machine' };

/** What an HSM computes with an HMAC key, computed here, so that the tests need no token and can count its calls. */
class Derivation {
  readonly key = randomBytes(32);
  labels: string[] = [];
  failure: Error | undefined;

  readonly deriveKey = async (label: Buffer): Promise<Buffer> => {
    this.labels.push(label.toString());
    if (this.failure !== undefined) throw this.failure;
    return createHmac('sha256', this.key).update(label).digest();
  };
}

let derivation: Derivation;
let nowMs: number;
let mapping: UnixMapping;
let standing: number;
let credentials: SessionCredentials;

function open(callerOf: SessionCredentialsOptions['callerOf'] = (who) => resolveUnixCaller(who, mapping)) {
  return new SessionCredentials({
    deriveKey: derivation.deriveKey,
    callerOf,
    standing: () => standing,
    clock: () => nowMs,
  });
}

beforeEach(() => {
  derivation = new Derivation();
  nowMs = startMs;
  mapping = defaultUnixMapping(realm);
  standing = 0;
  credentials = open();
});

async function found(accessKeyId: string, token: string, by = credentials): Promise<SigningKey | undefined> {
  return by.find(accessKeyId, token);
}

async function refusal(attempt: () => unknown): Promise<{ name: string; message: string }> {
  try {
    await attempt();
  } catch (error) {
    if (error instanceof KmsError) return { name: error.name, message: error.message };
    throw error;
  }
  throw new Error('it was not refused');
}

describe('credentials that were issued', () => {
  test('look as those of AWS do', async () => {
    const issued = await credentials.issue(peer, 900);
    expect(issued.accessKeyId).toMatch(/^ASIA[A-Z2-7]{16}$/);
    expect(issued.secretAccessKey).toMatch(/^[A-Za-z0-9+/]{40}$/);
    expect(issued.expiresAtMs).toBe(startMs + 900_000);
  });

  test('are known by their token, with the secret that was told and the word of the kernel', async () => {
    const { accessKeyId, secretAccessKey, sessionToken } = await credentials.issue(peer, 900);
    const key = await found(accessKeyId, sessionToken);
    expect(signsWith(key, secretAccessKey)).toBe(true);
    expect(key?.issuedTo).toEqual({ ...peer, issuedAtMs: startMs });
    expect(key?.caller).toEqual({ type: 'Root', arn: 'arn:aws:iam::000000000000:root', accountId: '000000000000' });
  });

  test('are known after a restart, and need two calls to the HSM in an hour', async () => {
    const issued = await credentials.issue(peer, 900);
    const restarted = open();
    derivation.labels = [];
    for (let count = 0; count < 5; count++) {
      expect(await found(issued.accessKeyId, issued.sessionToken, restarted)).toBeDefined();
    }
    expect(derivation.labels).toEqual([
      'drawbridge/session-credentials/1/token/490000',
      'drawbridge/session-credentials/1/secret/490000',
    ]);
  });

  test('are never the same twice', async () => {
    const all = await Promise.all(Array.from({ length: 100 }, () => credentials.issue(peer, 900)));
    expect(new Set(all.map(({ accessKeyId }) => accessKeyId)).size).toBe(100);
    expect(new Set(all.map(({ secretAccessKey }) => secretAccessKey)).size).toBe(100);
  });

  test('are good over the end of an hour and until their end, to the second', async () => {
    const { accessKeyId, sessionToken } = await credentials.issue(peer, sessionSeconds.max);
    expect(await found(accessKeyId, sessionToken)).toBeDefined();
    nowMs = startMs + sessionSeconds.max * 1000 - 1;
    expect(await found(accessKeyId, sessionToken)).toBeDefined();
    nowMs = startMs + sessionSeconds.max * 1000;
    const expired = {
      name: 'ExpiredTokenException',
      message: 'The security token included in the request is expired',
    };
    expect(await refusal(() => found(accessKeyId, sessionToken))).toEqual(expired);
    nowMs += 1000 * hourMs;
    expect(await refusal(() => found(accessKeyId, sessionToken))).toEqual(expired);
  });

  test('stand for whoever the mapping that is in force makes of the user', async () => {
    const { accessKeyId, sessionToken } = await credentials.issue(peer, 900);
    mapping = { ...mapping, roots: [], users: { 0: 'arn:aws:iam::000000000000:user/ops' as PrincipalArn } };
    expect((await found(accessKeyId, sessionToken))?.caller).toMatchObject({
      type: 'IAMUser',
      arn: 'arn:aws:iam::000000000000:user/ops',
    });
  });

  test.each([[{ container: 'web' }], [{ container: 'x'.repeat(64) }], [undefined]])(
    'of a root who is not shown to be the machine’s (%j) are nobody’s root either',
    async (origin) => {
      const { origin: _, ...elsewhere } = peer;
      const who = { ...elsewhere, ...(origin === undefined ? {} : { origin }) };
      const { accessKeyId, sessionToken } = await credentials.issue(who, 900);
      const key = await found(accessKeyId, sessionToken);
      expect(key?.issuedTo).toEqual({ ...who, gid: noGroup, groups: [], issuedAtMs: startMs });
      expect(key?.caller).toMatchObject({ type: 'IAMUser', userName: expect.stringMatching(/^container=/) });
      expect(key?.caller.arn).toBe(`arn:aws:iam::000000000000:user/container/${origin?.container ?? 'unnamed'}/root`);
    },
  );

  test.each([['alice'], ['é'.repeat(128)], [null]])('know what the uid was called (%j)', async (userName) => {
    const who = { ...peer, uid: 54_321, userName };
    const { accessKeyId, sessionToken } = await credentials.issue(who, 900);
    let asked: UnixPeer | undefined;
    const callerOf = (given: UnixPeer) => {
      asked = given;
      return resolveUnixCaller(peer, mapping);
    };
    await found(accessKeyId, sessionToken, open(callerOf));
    expect(asked).toEqual(who);
  });

  test('are not for users whose names are longer than any', async () => {
    expect(await refusal(() => credentials.issue({ ...peer, userName: 'x'.repeat(257) }, 900))).toEqual({
      name: 'LimitExceededException',
      message: 'Credentials are issued to users with a name of at most 256 bytes.',
    });
  });

  test('of somebody whose uid is another’s by now are nobody’s', async () => {
    const who = { ...peer, uid: 54_321, userName: 'alice' };
    const { accessKeyId, sessionToken } = await credentials.issue(who, 900);
    expect(await found(accessKeyId, sessionToken)).toBeUndefined();
    const later = open(async (given) => resolveUnixCaller(given, mapping));
    expect(await found(accessKeyId, sessionToken, later)).toBeUndefined();
  });

  test('are asked about again when somebody may be another one than he was, and only then', async () => {
    const who = { ...peer, uid: 54_321, userName: null };
    const { accessKeyId, sessionToken } = await credentials.issue(who, 900);
    let askedCount = 0;
    let isReused = false;
    const by = open((given) => {
      askedCount++;
      return resolveUnixCaller(isReused ? { ...given, userName: 'alice' } : given, mapping);
    });
    const first = await found(accessKeyId, sessionToken, by);
    expect(await found(accessKeyId, sessionToken, by)).toBe(first);
    expect(askedCount).toBe(1);
    mapping = { ...mapping, users: { 54321: 'arn:aws:iam::000000000000:user/ops' as PrincipalArn } };
    standing++;
    expect((await found(accessKeyId, sessionToken, by))?.caller.arn).toBe('arn:aws:iam::000000000000:user/ops');
    isReused = true;
    standing++;
    expect(await found(accessKeyId, sessionToken, by)).toBeUndefined();
    // What was said of him once does not come back.
    expect(await found(accessKeyId, sessionToken, by)).toBeUndefined();
  });

  test('are asked about again when that changed while the user database was being asked', async () => {
    const { accessKeyId, sessionToken } = await credentials.issue(peer, 900);
    let answer: (() => void) | undefined;
    let askedCount = 0;
    const by = open(async (given) => {
      askedCount++;
      await new Promise<void>((go) => {
        answer = go;
      });
      return resolveUnixCaller(given, mapping);
    });
    const ask = async (): Promise<void> => {
      const asked = found(accessKeyId, sessionToken, by);
      while (answer === undefined) await new Promise((go) => setImmediate(go));
      standing++;
      answer();
      answer = undefined;
      expect(await asked).toBeDefined();
    };
    await ask();
    await ask();
    expect(askedCount).toBe(2);
  });

  test('are taken, also of more users than are remembered', async () => {
    const all = await Promise.all(Array.from({ length: rememberedTokens + 2 }, () => credentials.issue(peer, 900)));
    for (const { accessKeyId, sessionToken } of [...all, ...all]) {
      expect(await found(accessKeyId, sessionToken)).toBeDefined();
    }
  });

  test('stand for the principal of a supplementary group', async () => {
    mapping = { ...mapping, roots: [], groups: { 20: 'arn:aws:iam::000000000000:user/team' as PrincipalArn } };
    const { accessKeyId, sessionToken } = await credentials.issue(peer, 900);
    expect((await found(accessKeyId, sessionToken))?.caller.arn).toBe('arn:aws:iam::000000000000:user/team');
  });
});

describe('credentials are not taken', () => {
  test('with the access key id of others', async () => {
    const [one, other] = await Promise.all([credentials.issue(peer, 900), credentials.issue(peer, 900)]);
    expect(await found(other.accessKeyId, other.sessionToken)).toBeDefined();
    expect(await found(one.accessKeyId, other.sessionToken)).toBeUndefined();
  });

  test('of another service key', async () => {
    const { accessKeyId, sessionToken } = await credentials.issue(peer, 900);
    derivation = new Derivation();
    expect(await found(accessKeyId, sessionToken, open())).toBeUndefined();
  });

  test('when any bit of their token is another one', async () => {
    const { accessKeyId, sessionToken } = await credentials.issue(peer, 900);
    const bytes = Buffer.from(sessionToken, 'base64');
    expect(await found(accessKeyId, sessionToken)).toBeDefined();
    await fc.assert(
      fc.asyncProperty(fc.nat(bytes.length - 1), fc.nat(7), async (at, bit) => {
        const changed = Buffer.from(bytes);
        changed.writeUInt8(changed.readUInt8(at) ^ (1 << bit), at);
        const answer = await found(accessKeyId, changed.toString('base64')).catch((error: unknown) => error);
        expect(answer === undefined || (answer instanceof KmsError && answer.name === 'ExpiredTokenException')).toBe(
          true,
        );
      }),
      { numRuns: 1000 },
    );
  });

  test.each<[string, (token: string) => string]>([
    ['an empty token', () => ''],
    ['a token without its last character', (token) => token.slice(0, -1)],
    ['a token with a space before it', (token) => ` ${token}`],
    ['a token with a line end after it', (token) => `${token}\n`],
    ['a token in the other alphabet of base64', (token) => `${token.replaceAll('/', '_').replaceAll('+', '-')}_`],
    ['a token twice', (token) => token + token],
    ['a token of a megabyte', () => 'A'.repeat(1024 * 1024)],
  ])('with %s', async (_, change) => {
    const { accessKeyId, sessionToken } = await credentials.issue(peer, 900);
    expect(await found(accessKeyId, change(sessionToken))).toBeUndefined();
  });

  test('with any text as their token, and no such text makes the HSM work', async () => {
    const { accessKeyId } = await credentials.issue(peer, 900);
    derivation.labels = [];
    await fc.assert(
      fc.asyncProperty(fc.oneof(fc.string(), fc.base64String()), async (token) => {
        expect(await found(accessKeyId, token)).toBeUndefined();
      }),
    );
    expect(derivation.labels).toEqual([]);
  });
});

describe('issuing', () => {
  test('refuses a user of more groups than a token holds, and leaves none out', async () => {
    const groups = Array.from({ length: maxGroups + 1 }, (_, gid) => gid);
    expect(await refusal(() => credentials.issue({ ...peer, groups }, 900))).toEqual({
      name: 'LimitExceededException',
      message: 'Credentials are issued to users of at most 512 groups.',
    });
    const most = { ...peer, groups: groups.slice(1) };
    const { accessKeyId, sessionToken } = await credentials.issue(most, 900);
    expect((await found(accessKeyId, sessionToken))?.issuedTo).toMatchObject(most);
    expect(sessionToken.length).toBeLessThan(4096);
  });

  test('works again after the HSM failed', async () => {
    derivation.failure = new Error('the HSM is away');
    await expect(credentials.issue(peer, 900)).rejects.toThrow('the HSM is away');
    derivation.failure = undefined;
    const { accessKeyId, sessionToken } = await credentials.issue(peer, 900);
    expect(await found(accessKeyId, sessionToken)).toBeDefined();
  });
});
