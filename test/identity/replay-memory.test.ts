import { randomBytes } from 'node:crypto';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import type { PeerOrigin } from '../../src/identity/caller.ts';
import { graceMs, maxSessionsApart, maxSkewMs, ReplayMemory } from '../../src/identity/replay-memory.ts';
import { signerOf } from '../../src/identity/request-verifier.ts';
import { SignatureRing } from '../../src/identity/signature-ring.ts';
import { parsePrincipalArn, rootArn } from '../../src/kms/names.ts';

/** 2026-01-05 08:00:00, a whole second, as the dates of signatures are. */
const startMs = 1_767_600_000_000;
const accessKeyId = 'AKIAIOSFODNN7EXAMPLE';

const taken = (signedAtMs: number, signature = randomBytes(32), key = accessKeyId) => ({
  signer: key,
  signature,
  signedAtMs,
});

describe('a signature', () => {
  test('is taken again as long as a program may honestly make the same request, and then never more', () => {
    const memory = new ReplayMemory(startMs);
    const request = taken(startMs + 1000);
    expect(memory.admit(request, startMs + 1000)).toBe(true);
    expect(memory.admit(request, startMs + 1000)).toBe(true);
    expect(memory.admit(request, startMs + 1000 + graceMs)).toBe(true);
    for (const laterMs of [graceMs + 1, 60_000, maxSkewMs, 2 * maxSkewMs]) {
      expect(memory.admit(request, startMs + 1000 + laterMs)).toBe(false);
    }
  });

  test('that is dated as far ahead as it may is remembered until its date is refused anyway', () => {
    const memory = new ReplayMemory(startMs);
    const request = taken(startMs + maxSkewMs);
    expect(memory.admit(request, startMs)).toBe(true);
    expect(memory.admit(request, startMs + 2 * maxSkewMs)).toBe(false);
  });

  test('from before the start is refused, and one of the second of the start is taken', () => {
    const memory = new ReplayMemory(startMs + 700);
    expect(memory.admit(taken(startMs - 1000), startMs + 800)).toBe(false);
    expect(memory.admit(taken(startMs), startMs + 800)).toBe(true);
  });

  test('differs from every other one in the first bits that are kept of it', () => {
    const memory = new ReplayMemory(startMs);
    const signature = Buffer.alloc(32, 7);
    const other = Buffer.from(signature);
    other.writeUInt8(7 ^ 8, 6);
    expect(memory.admit(taken(startMs, signature), startMs)).toBe(true);
    expect(memory.admit(taken(startMs, other), startMs + graceMs * 2)).toBe(true);
    expect(memory.admit(taken(startMs, signature), startMs + graceMs * 2)).toBe(false);
  });
});

describe('the memory', () => {
  test('forgets what is out of date, with the access keys that nobody uses any more', () => {
    const memory = new ReplayMemory(startMs);
    for (let key = 0; key < 50; key++) memory.admit(taken(startMs, randomBytes(32), `ASIA${key}`), startMs);
    expect(memory.size()).toBe(50);
    const laterMs = startMs + 2 * maxSkewMs + 1;
    memory.admit(taken(laterMs), laterMs);
    expect(memory.size()).toBe(1);
  });

  test('refuses what is as old as what it had to forget, when one access key fills it', () => {
    const memory = new ReplayMemory(startMs, 100);
    const first = taken(startMs);
    expect(memory.admit(first, startMs)).toBe(true);
    for (let count = 1; count <= 100; count++) {
      expect(memory.admit(taken(startMs + count * 1000), startMs + count * 1000)).toBe(true);
    }
    const nowMs = startMs + 101_000;
    expect(memory.size()).toBe(100);
    expect(memory.admit(first, nowMs)).toBe(false);
    expect(memory.admit(taken(startMs), nowMs)).toBe(false);
    expect(memory.admit(taken(nowMs), nowMs)).toBe(true);
  });

  test('lets one access key that fills it do nothing to another', () => {
    const memory = new ReplayMemory(startMs, 10);
    for (let count = 0; count < 1000; count++) memory.admit(taken(startMs + maxSkewMs), startMs);
    expect(memory.admit(taken(startMs, randomBytes(32), 'AKIAOTHER'), startMs)).toBe(true);
  });

  test('finds each signature and none that it has not, in whatever order they came and went', () => {
    const step = fc.record({ print: fc.oneof(fc.nat(60), fc.maxSafeNat()), removals: fc.nat(3) });
    fc.assert(
      fc.property(fc.array(step, { minLength: 50, maxLength: 400, size: 'max' }), (steps) => {
        const ring = new SignatureRing();
        const known = new Map<number, number>();
        for (const [time, { print, removals }] of steps.entries()) {
          expect(ring.firstSeenMs(print)).toBe(known.get(print));
          if (!known.has(print)) {
            ring.add(print, time * 1000, time);
            known.set(print, time);
          }
          for (let count = removals - 1; count > 0 && known.size > 0; count--) {
            const [oldest = 0, seen] = known.entries().next().value ?? [];
            expect([ring.oldestFirstSeenMs, ring.oldestSignedAtMs]).toEqual([seen, Number(seen) * 1000]);
            ring.removeOldest();
            known.delete(oldest);
            expect(ring.firstSeenMs(oldest)).toBeUndefined();
          }
          expect(ring.size).toBe(known.size);
        }
        for (const [print, seen] of known) expect(ring.firstSeenMs(print)).toBe(seen);
      }),
    );
  });

  test('is one for all short-lived credentials of a Unix user, and one for each access key', () => {
    const caller = {};
    const own = process.getuid?.() ?? 0; // That of a daemon's own user is trusted as root's is.
    const [one, another] = [own + 1000, own + 1001];
    const ofUser = (uid: number, origin?: PeerOrigin) => ({
      caller,
      issuedTo: { kind: 'unix', uid, gid: 1, pid: 1, groups: [], ...(origin === undefined ? {} : { origin }) } as const,
    });
    const signers = [
      signerOf(ofUser(one), 'ASIAONE'),
      signerOf(ofUser(one), 'ASIATWO'),
      signerOf(ofUser(another), 'ASIATHREE'),
      signerOf({ caller }, 'AKIAONE'),
      signerOf({ caller }, 'AKIATWO'),
    ];
    expect(signers).toEqual([`uid ${one}`, `uid ${one}`, `uid ${another}`, 'AKIAONE', 'AKIATWO']);
    const roots = [ofUser(0, 'machine'), ofUser(0, { container: 'web' }), ofUser(0)];
    expect(roots.map((root) => signerOf(root, 'ASIA'))).toEqual(['uid 0', 'container web', 'container unnamed']);
  });

  test('is one for all sessions of a role that were assumed with one access key, and not that of the key', () => {
    const by = rootArn({ account: '000000000000' });
    const [a, b] = ['a', 'b'].map((name) => {
      const role = parsePrincipalArn(`arn:aws:iam::000000000000:role/${name}`) ?? by;
      const session = { by, accessKeyId, chain: [] };
      const [one, other] = ['ASIAONE', 'ASIATWO'].map((id) => signerOf({ session, caller: { role } }, id));
      expect(other).toBe(one);
      return one;
    });
    expect(new Set([a, b, signerOf({ caller: {} }, accessKeyId)]).size).toBe(3);
  });

  test('never takes a signature twice that are further apart than the grace, whatever comes in between', () => {
    const step = fc.record({
      signature: fc.nat(40),
      key: fc.nat(2),
      skewSeconds: fc.integer({ min: -300, max: 300 }),
      waitMs: fc.nat(20_000),
    });
    fc.assert(
      fc.property(
        fc.array(step, { maxLength: 200, size: 'max' }),
        fc.integer({ min: 1, max: 30 }),
        (steps, capacity) => {
          const memory = new ReplayMemory(startMs, capacity);
          const firstTakenMs = new Map<string, number>();
          const datedMs = new Map<string, number>();
          let nowMs = startMs + 400_000;
          for (const { signature, key, skewSeconds, waitMs } of steps) {
            nowMs += waitMs;
            const name = `${key} ${signature}`;
            const signedAtMs = datedMs.get(name) ?? Math.floor(nowMs / 1000) * 1000 + skewSeconds * 1000;
            datedMs.set(name, signedAtMs);
            // What the date alone refuses never gets here.
            if (Math.abs(nowMs - signedAtMs) > maxSkewMs) continue;
            const bytes = Buffer.alloc(32);
            bytes.writeUInt32BE(signature);
            if (!memory.admit(taken(signedAtMs, bytes, `key ${key}`), nowMs)) continue;
            const first = firstTakenMs.get(name) ?? nowMs;
            firstTakenMs.set(name, first);
            expect(nowMs - first).toBeLessThanOrEqual(graceMs);
          }
        },
      ),
    );
  });
});

describe('sessions of one role that one signer assumed', () => {
  const limit = 1000;
  const ofSession = (session: string, signedAtMs: number, signature = randomBytes(32)) => ({
    ...taken(signedAtMs, signature),
    session,
  });

  test('keep nothing from each other: who fills the memory with dates ahead loses his own', () => {
    const memory = new ReplayMemory(startMs, limit);
    const victims = Array.from({ length: 3 }, () => ofSession('victim', startMs));
    for (const victim of victims) expect(memory.admit(victim, startMs)).toBe(true);
    const flooded = ofSession('flooder', startMs + 1);
    expect(memory.admit(flooded, startMs)).toBe(true);
    for (let count = 0; count < 3 * limit; count++)
      memory.admit(ofSession('flooder', startMs + maxSkewMs - count), startMs + graceMs);
    expect(memory.size()).toBe(limit);
    const nowMs = startMs + 2 * graceMs;
    expect(memory.admit(ofSession('flooder', nowMs), nowMs)).toBe(false);
    expect(memory.admit(flooded, nowMs)).toBe(false);
    expect(memory.admit(ofSession('victim', nowMs), nowMs)).toBe(true);
    expect(memory.admit(ofSession('newcomer', nowMs), nowMs)).toBe(true);
    // And nothing of theirs is forgotten.
    for (const victim of victims) expect(memory.admit(victim, nowMs)).toBe(false);
  });

  test('are never taken twice, however many there are and whichever are kept apart', () => {
    const signatures = fc.record({
      session: fc.integer({ min: 0, max: maxSessionsApart + 5 }),
      passesMs: fc.integer({ min: 0, max: 120_000 }),
      aheadMs: fc.integer({ min: -maxSkewMs, max: maxSkewMs }),
    });
    fc.assert(
      fc.property(fc.array(signatures, { maxLength: 200, size: 'max' }), (all) => {
        const memory = new ReplayMemory(startMs, 50);
        let nowMs = startMs;
        for (let session = 0; session < maxSessionsApart - 2; session++)
          memory.admit(ofSession(`early ${session}`, startMs), nowMs);
        const admitted: { readonly request: ReturnType<typeof ofSession>; readonly atMs: number }[] = [];
        for (const { session, passesMs, aheadMs } of all) {
          nowMs += passesMs;
          const request = ofSession(`session ${session}`, nowMs + aheadMs);
          if (memory.admit(request, nowMs)) admitted.push({ request, atMs: nowMs });
          for (const { request: known, atMs } of admitted) {
            // A verifier refuses the others for their date.
            const isInTime = Math.abs(known.signedAtMs - nowMs) <= maxSkewMs;
            if (isInTime && nowMs - atMs > graceMs) expect(memory.admit(known, nowMs)).toBe(false);
          }
        }
      }),
      { numRuns: 60 },
    );
  });
});
