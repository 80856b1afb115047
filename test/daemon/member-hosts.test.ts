/** Members of a key store that have several hosts: what one of their connections showed says nothing about another one. */

import { execFileSync } from 'node:child_process';
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest';
import { present } from '../end-to-end/support/daemon.ts';
import { refusal } from '../end-to-end/support/refusals.ts';
import { openStore } from '../hsm/test-store.ts';
import { softHsm2 } from '../support/tokens.ts';
import { InstanceOfMembers, type MemberFolder } from './instance-of-members.ts';

if (softHsm2.missing !== null) process.stdout.write(`skipped: members with several hosts: ${softHsm2.missing}\n`);

describe.skipIf(softHsm2.missing !== null)('Two members with two hosts each', () => {
  let instance: InstanceOfMembers;
  let a: MemberFolder;
  let b: MemberFolder;
  let ofBoth: string;

  beforeAll(async () => {
    instance = await InstanceOfMembers.create({
      ...{ names: ['a', 'b'], residency: 'token', settings: { hosts: 2 } },
      async prepare(kms) {
        ofBoth = present((await kms.createKey({})).KeyMetadata?.KeyId);
      },
    });
    [a, b] = [instance.member('a'), instance.member('b')];
    await instance.start();
    await untilServed();
  });
  afterAll(() => instance?.remove());

  const until = ({ name }: MemberFolder, what: object) =>
    vi.waitFor(async () => expect(await instance.statusOf(name)).toMatchObject(what), {
      timeout: 40_000,
      interval: 50,
    });
  const untilServed = async () => {
    for (const member of [a, b]) await until(member, { state: 'connected', hosts: 2 });
  };
  const killHosts = async ({ name }: MemberFolder, from = 0) => {
    for (const pid of (await instance.statusOf(name)).pids.slice(from)) process.kill(pid, 'SIGKILL');
  };
  const unplug = async (member: MemberFolder) => {
    member.pull();
    await killHosts(member);
    await until(member, { hosts: 0 });
  };
  const newKey = async () => present((await instance.kms.createKey({})).KeyMetadata?.KeyId);
  const encrypt = (KeyId: string) => instance.kms.encrypt({ KeyId, Plaintext: Buffer.from('x') });

  /** Another token of the same label and PIN in the place of a member's, for the hosts that come. */
  function exchange(member: MemberFolder) {
    const conf = member.environment.SOFTHSM2_CONF;
    const former = readFileSync(conf, 'utf8');
    const foreign = join(member.folder, 'foreign');
    mkdirSync(foreign);
    writeFileSync(conf, former.replace(member.tokens, foreign));
    const { label, pin, library } = instance.token;
    const which = ['--module', library, '--init-token', '--free', '--label', label];
    execFileSync('softhsm2-util', [...which, '--so-pin', '12345678', '--pin', pin], {
      env: { ...process.env, ...member.environment },
      stdio: 'ignore',
    });
    return {
      putBack: () => writeFileSync(conf, former),
      async keys() {
        const foreignConf = join(member.folder, 'foreign.conf');
        writeFileSync(foreignConf, former.replace(member.tokens, foreign));
        const store = await openStore({ ...instance.token, environment: { SOFTHSM2_CONF: foreignConf } });
        try {
          return await store.listKeys();
        } finally {
          await store.close();
        }
      },
    };
  }

  /** Key material that is being made in `a`, the only one that makes any, when that is lost. */
  async function hasUnfinishedKeyUndone(): Promise<void> {
    const patience = { timeout: 170_000, interval: 20 };
    const said = (what: string) => instance.logged.filter((line) => line.includes(what)).length;
    const inFlight = async () => (await instance.statusOf('a')).inFlight;
    const { pids } = await instance.statusOf('a');
    for (const pid of pids) process.kill(pid, 'SIGSTOP');
    // While a call of its is overdue it gets none that another one can have.
    await vi.waitFor(async () => {
      await Promise.all(Array.from({ length: 4 }, () => encrypt(ofBoth)));
      expect(await inFlight()).toBeGreaterThan(0);
    }, patience);
    const overdue = await inFlight();
    const making = refusal(newKey());
    await vi.waitFor(async () => expect(await inFlight()).toBeGreaterThan(overdue), patience);
    a.pull();
    for (const pid of pids) process.kill(pid, 'SIGKILL');
    expect(await making).toMatchObject({ name: 'KMSInternalException' });
    expect(said('is undone when its HSM is back')).toBe(1);
    a.plug();
    await until(a, { state: 'connected', hosts: 2 });
    await vi.waitFor(() => expect(said('undid an unfinished key creation')).toBe(1), patience);
  }

  test('have nothing made in a foreign token that a further host of one finds in its place', async () => {
    await unplug(a);
    const key = await newKey();
    const foreign = exchange(b);
    await killHosts(b, 1); // The one that generates. The other one has what it needs open.
    await until(b, { hosts: 1 });
    const pending = newKey();
    await until(b, {
      ...{ state: 'connected', hosts: 1, hostsAway: 1, lanes: 1 },
      lastFailure: expect.stringMatching(/does not hold the service key of the records/),
    });
    await encrypt(key);
    foreign.putBack();
    await encrypt(await pending);
    expect(await foreign.keys()).toEqual([]);
    a.plug();
    await untilServed();
    for (const member of [a, b]) await until(member, { hostsAway: 0 });
  });

  test('log in no more where a PIN was refused, and have what is new made in the other one', async () => {
    const refusals = () => instance.logged.filter((line) => line.includes('the PIN was refused')).length;
    const right = readFileSync(b.pinFile);
    writeFileSync(b.pinFile, 'not-the-pin\n');
    await killHosts(b, 1);
    await until(b, { state: 'pinRefused', hosts: 1, command: 'drawbridge reconnect default b' });
    // The host that is left never generates.
    await Promise.all(Array.from({ length: 4 }, newKey));
    await unplug(a);
    expect(await refusal(newKey())).toMatchObject({ name: 'KMSInternalException' });
    a.plug();
    await until(a, { state: 'connected', hosts: 2 });
    await hasUnfinishedKeyUndone();
    // What it finds when its keys are gone is that it has to connect anew.
    b.pull();
    const inBoth = () => Promise.all(Array.from({ length: 4 }, () => encrypt(ofBoth)));
    await vi.waitFor(
      async () => {
        await inBoth();
        expect((await instance.statusOf('b')).hosts).toBe(0);
      },
      { timeout: 170_000, interval: 50 },
    );
    expect(await instance.statusOf('b')).toMatchObject({
      state: 'pinRefused',
      lastFailure: expect.stringMatching(/PIN refused/),
    });
    b.plug();
    expect(refusals()).toBe(1);
    expect(await instance.reconnect('default/members/b')).not.toMatchObject({ status: 200 });
    expect(refusals()).toBe(2);
    writeFileSync(b.pinFile, right);
    expect(await instance.reconnect('default/members/b')).toMatchObject({ status: 200 });
    await untilServed();
  });
});
