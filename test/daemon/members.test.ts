/** A key store of several members through its socket: what a stranger does to one, and to two at once, under load. */

import { execFileSync } from 'node:child_process';
import { mkdirSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { setTimeout } from 'node:timers/promises';
import type { KMS } from '@aws-sdk/client-kms';
import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest';
import { present } from '../end-to-end/support/daemon.ts';
import { send } from '../end-to-end/support/wire.ts';
import { softHsm2 } from '../support/tokens.ts';
import { InstanceOfMembers, type MemberFolder } from './instance-of-members.ts';

if (softHsm2.missing !== null) process.stdout.write(`skipped: a key store of several members: ${softHsm2.missing}\n`);

/** What somebody does to a member, and how it is then; `undo` puts right what does not come right by itself. */
interface Fault {
  readonly name: string;
  readonly strike: (member: MemberFolder, instance: InstanceOfMembers) => Promise<void> | void;
  /** Until the member serves again. */
  readonly undo?: (member: MemberFolder, instance: InstanceOfMembers) => Promise<void> | void;
  /** Nothing but an operator's word brings it back. */
  readonly staysOut?: 'pinRefused' | 'notOurs';
}

const pidsOf = async (instance: InstanceOfMembers, { name }: MemberFolder) => (await instance.statusOf(name)).pids;
const signalHosts = async (instance: InstanceOfMembers, member: MemberFolder, signal: NodeJS.Signals) => {
  for (const pid of await pidsOf(instance, member)) {
    try {
      process.kill(pid, signal);
    } catch (error) {
      // One that has noticed what became of its token ends by itself.
      if ((error as NodeJS.ErrnoException).code !== 'ESRCH') throw error;
    }
  }
};

/** By a host that serves; one that hung does not answer. */
async function untilReplaced(member: MemberFolder, instance: InstanceOfMembers): Promise<void> {
  await vi.waitFor(
    async () => {
      const { restarts } = await instance.statusOf(member.name);
      expect(restarts).toBeGreaterThan(instance.restartsBefore.get(member.name) ?? 0);
    },
    { timeout: 170_000, interval: 100 },
  );
}

const faults = {
  killed: {
    name: 'killed',
    strike: (member, instance) => signalHosts(instance, member, 'SIGKILL'),
    undo: untilReplaced,
  },
  hung: {
    name: 'hung',
    strike: (member, instance) => signalHosts(instance, member, 'SIGSTOP'),
    async undo(member, instance) {
      // What it has was answered by others long before it is given up.
      expect((await instance.statusOf(member.name)).restarts).toBe(instance.restartsBefore.get(member.name));
      await signalHosts(instance, member, 'SIGCONT');
    },
  },
  unplugged: {
    name: 'unplugged',
    async strike(member, instance) {
      member.pull();
      await signalHosts(instance, member, 'SIGKILL'); // A host that has what it needs in its memory serves on.
    },
    undo: (member) => member.plug(),
  },
  pinChanged: {
    name: 'given another PIN',
    async strike(member, instance) {
      writeFileSync(member.pinFile, 'not-the-pin\n');
      await signalHosts(instance, member, 'SIGKILL');
    },
    undo: (member, instance) => writeFileSync(member.pinFile, `${instance.token.pin}\n`),
    staysOut: 'pinRefused',
  },
  reinitialised: {
    name: 'initialised anew',
    async strike(member, instance) {
      const { label, pin, library } = instance.token;
      renameSync(member.tokens, `${member.tokens}.kept`);
      mkdirSync(member.tokens);
      const which = ['--module', library, '--init-token', '--free', '--label', label];
      execFileSync('softhsm2-util', [...which, '--so-pin', '12345678', '--pin', pin], {
        env: { ...process.env, ...member.environment },
        stdio: 'ignore',
      });
      await signalHosts(instance, member, 'SIGKILL');
    },
    undo(member) {
      rmSync(member.tokens, { recursive: true });
      renameSync(`${member.tokens}.kept`, member.tokens);
    },
    staysOut: 'notOurs',
  },
  swapped: {
    name: 'swapped for another member',
    async strike(member, instance) {
      const other = present(instance.members.at(-1));
      renameSync(member.tokens, `${member.tokens}.swapped`);
      renameSync(other.tokens, member.tokens);
      renameSync(`${member.tokens}.swapped`, other.tokens);
      for (const each of [member, other]) await signalHosts(instance, each, 'SIGKILL');
    },
  },
} as const satisfies Record<string, Fault>;

/** Between two rounds of a client: hosts start meanwhile, and that is what a fault takes. */
const paceMs = 40;

/** Clients that ask and ask, and never twice, until they are told to end. */
class Load {
  readonly failures: string[] = [];
  /** Rounds of each client. */
  readonly #done: number[];
  readonly #kms: KMS;
  readonly #keys: readonly string[];
  #ends = false;
  #running: Promise<unknown> = Promise.resolve();

  constructor(kms: KMS, keys: readonly string[]) {
    this.#kms = kms;
    this.#keys = keys;
    this.#done = Array.from({ length: 4 }, () => 0);
    this.#running = Promise.all(this.#done.map((_, client) => this.#client(client)));
  }

  async #client(client: number): Promise<void> {
    for (let turn = client; !this.#ends; turn++) {
      try {
        await this.#ask(present(this.#keys[turn % this.#keys.length]), turn);
        this.#done[client] = present(this.#done[client]) + 1;
        await setTimeout(paceMs);
      } catch (error) {
        this.failures.push(`${String(error)} ${JSON.stringify(error)}`);
      }
    }
  }

  async #ask(KeyId: string, turn: number): Promise<void> {
    const text = `${KeyId} ${turn}`;
    const { CiphertextBlob } = await this.#kms.encrypt({ KeyId, Plaintext: Buffer.from(text) });
    const { Plaintext } = await this.#kms.decrypt({ CiphertextBlob });
    if (Buffer.from(Plaintext ?? []).toString() !== text) throw new Error('wrong bytes');
    await this.#kms.generateRandom({ NumberOfBytes: 8 });
  }

  /** Waits until each client has done that many more: what hangs for one of them hangs this. */
  async more(rounds: number): Promise<void> {
    const until = this.#done.map((done) => done + rounds);
    const waiting = () => this.#done.flatMap((done, client) => (done < present(until[client]) ? [client] : []));
    await vi.waitFor(() => expect(waiting()).toEqual([]), { timeout: 170_000, interval: 50 });
  }

  async end(): Promise<void> {
    this.#ends = true;
    await this.#running;
  }
}

describe.skipIf(softHsm2.missing !== null)('A key store of three members', () => {
  let instance: InstanceOfMembers;
  const keys: string[] = [];
  let load: Load;

  beforeAll(async () => {
    instance = await InstanceOfMembers.create({
      names: ['a', 'b', 'c'],
      settings: { deadlines: { callMs: 60_000 } },
      async prepare(kms) {
        for (let key = 0; key < 3; key++) keys.push(present((await kms.createKey({})).KeyMetadata?.KeyId));
      },
    });
    await instance.start();
    await untilAll('connected');
    load = new Load(instance.kms, keys);
  });
  afterAll(async () => {
    await load?.end();
    await instance?.remove();
  });

  const untilAll = (state: string) => until({ a: state, b: state, c: state });
  const until = (states: Record<string, string>) =>
    vi.waitFor(async () => expect(await instance.states()).toMatchObject(states), { timeout: 170_000, interval: 100 });

  const single: readonly Fault[] = [faults.hung, faults.reinitialised, faults.swapped];
  const one = single.map((fault) => [fault.name, [fault]] as const);
  // What one of three does not survive alone, two at once do not either.
  const pairs: readonly (readonly [Fault, Fault])[] = [
    [faults.killed, faults.hung],
    [faults.unplugged, faults.pinChanged],
  ];
  const two = pairs.map(([first, second]) => [`${first.name}, and another ${second.name}`, [first, second]] as const);

  test.each<readonly [string, readonly Fault[]]>([...one, ...two])(
    'serves on while a member is %s',
    async (_name, struck) => {
      const members = instance.members.slice(0, struck.length);
      for (const { name, restarts } of present((await instance.status()).members))
        instance.restartsBefore.set(name, restarts);
      for (const [at, fault] of struck.entries()) await fault.strike(present(members[at]), instance);
      await load.more(5);
      for (const [at, fault] of struck.entries()) {
        const member = present(members[at]);
        if (fault.staysOut !== undefined) {
          await until({ [member.name]: fault.staysOut });
          expect(await instance.statusOf(member.name)).toMatchObject({
            command: `drawbridge reconnect default ${member.name}`,
          });
          expect((await instance.ask('/health')).body).toMatchObject({
            status: 'ok',
            reason: expect.stringContaining('degraded'),
          });
        }
        // The right one is not back yet.
        if (fault.staysOut === 'notOurs')
          expect(await instance.reconnect(`default/members/${member.name}`)).toMatchObject({
            body: { message: expect.stringContaining('does not hold the service key of the records') },
          });
        await fault.undo?.(member, instance);
        if (fault.staysOut !== undefined)
          expect(await instance.reconnect(`default/members/${member.name}`)).toMatchObject({ status: 200 });
      }
      await untilAll('connected');
      expect(load.failures).toEqual([]);
    },
  );

  test('tries a PIN that was refused no second time by itself', () => {
    const refusals = instance.logged.filter((line) => line.includes('the PIN was refused'));
    const struck = [...one, ...two].flatMap(([, some]) => some.filter(({ staysOut }) => staysOut === 'pinRefused'));
    expect(refusals).toHaveLength(struck.length);
  });

  test('takes the census in each member, and names the one in which nothing is proven', async () => {
    const census = async () => {
      const { body } = await send(instance.socket, { path: '/census', body: JSON.stringify({ after: null }) });
      return JSON.parse(body) as { proven: number; problems: { problem: string; worksElsewhere: boolean }[] };
    };
    expect(await census()).toMatchObject({ proven: keys.length, problems: [] });
    const member = present(instance.members[0]);
    await faults.unplugged.strike(member, instance);
    const isAway = async () => expect((await instance.statusOf(member.name)).state).not.toBe('connected');
    await vi.waitFor(isAway, { timeout: 170_000, interval: 50 });
    const { proven, problems } = await census();
    expect(proven).toBe(0);
    const problem = expect.stringMatching(
      /^member a: it is not there, and proves nothing: .+; the key works in member b, c$/,
    );
    expect(problems).toEqual(keys.map(() => expect.objectContaining({ problem })));
    expect(problems.every(({ worksElsewhere }) => worksElsewhere)).toBe(true);
    member.plug();
    await untilAll('connected');
  });

  test('makes secret keys and pairs without waiting for a member that hangs', async () => {
    const member = present(instance.members[0]);
    instance.restartsBefore.set(member.name, (await instance.statusOf(member.name)).restarts);
    await faults.hung.strike(member, instance);
    const { kms } = instance;
    const [KeyId] = keys;
    // At once, so that each member is asked for some.
    const making = Array.from({ length: 4 }, () => [
      kms.createKey({}),
      kms.createKey({ KeySpec: 'ECC_NIST_P256', KeyUsage: 'SIGN_VERIFY' }),
      kms.generateDataKeyPair({ KeyId, KeyPairSpec: 'ECC_NIST_P256' }),
    ]);
    const made = await Promise.all(making.flat());
    await faults.hung.undo(member, instance);
    await untilAll('connected');
    for (const each of made) {
      if ('PrivateKeyCiphertextBlob' in each) {
        const { Plaintext } = await kms.decrypt({ CiphertextBlob: each.PrivateKeyCiphertextBlob });
        expect(Plaintext).toEqual(each.PrivateKeyPlaintext);
      }
    }
    const ids = made.flatMap((each) => ('KeyMetadata' in each ? [present(each.KeyMetadata?.KeyId)] : []));
    const { body } = await send(instance.socket, { path: '/census', body: JSON.stringify({ after: null }) });
    expect(JSON.parse(body)).toMatchObject({ proven: keys.length + ids.length, problems: [] });
    expect(load.failures).toEqual([]);
  });
});
