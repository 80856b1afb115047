/** Connections that somebody holds to keep the others out, on both listeners; and how long one lasts. */

import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, statSync } from 'node:fs';
import { afterEach, describe, expect, onTestFinished, test, vi } from 'vitest';
import { rootSocketPath } from '../../src/http/admission/root-socket-path.ts';
import { runsAsRoot, sayIfNotRoot } from '../end-to-end/support/unix-users.ts';
import { connectAs, connectManyAs, openToAll, users } from './as-user.ts';
import { awsRequest, httpRequest, parseAnswers, RawClient, startWire, type Wire } from './wire.ts';

const { alice, mallory, trudy } = users;
const health = httpRequest('GET', '/health');
const limits = { headersTimeoutMs: 60_000, requestTimeoutMs: 60_000 };

const wires: Wire[] = [];
const clients: RawClient[] = [];
afterEach(async () => {
  for (const client of clients.splice(0)) client.socket.destroy();
  await Promise.all(wires.splice(0).map((wire) => wire.close()));
});

async function start(budget: Parameters<typeof startWire>[2], kind: 'unix' | 'tcp' = 'unix'): Promise<Wire> {
  const wire = await startWire(limits, kind, budget);
  wires.push(wire);
  if (kind === 'unix') openToAll(wire.path);
  return wire;
}

async function hold(uid: number, endpoint: string, count: number): Promise<RawClient[]> {
  const held = await connectManyAs(uid, endpoint, count);
  clients.push(...held);
  return held;
}

/** Does a fresh connection of that user have its request answered? */
async function getsIn(uid: number, endpoint: string): Promise<boolean> {
  const [client] = await hold(uid, endpoint, 1);
  client?.send(health);
  const text = await Promise.race([client?.answer().then(() => 'answered'), client?.closed.then(() => 'closed')]);
  return text === 'answered';
}

/** How many of them the server has closed, once it is `count`. */
async function expectClosed(held: readonly RawClient[], count: number): Promise<void> {
  await expect.poll(() => held.filter(({ socket }) => socket.destroyed || socket.readableEnded)).toHaveLength(count);
}

sayIfNotRoot('Places that others hold');
/** This process waits for it meanwhile, and accepts nothing. */
const fillQueue = `
  const { connect } = require('node:net');
  const [first, second] = process.argv.slice(1);
  const opened = [];
  const next = () => opened.push(connect(first).on('connect', next).on('error', ({ code }) => {
    process.stdout.write(code);
    connect(second).on('connect', () => { process.stdout.write(', then in'); process.exit(); });
  }));
  next();
`;

describe.skipIf(!runsAsRoot).each(['unix', 'tcp'] as const)('idle connections over %s', (kind) => {
  test('of two payers who hold all places keep neither root nor a third user out', async () => {
    const { endpoint } = await start({ total: 8, perPayer: 4, reserved: 2 }, kind);
    const held = [...(await hold(mallory, endpoint, 4)), ...(await hold(trudy, endpoint, 4))];
    expect(await getsIn(0, endpoint)).toBe(true);
    expect(await getsIn(0, endpoint)).toBe(true);
    await expectClosed(held, 0);
    expect(await getsIn(alice, endpoint)).toBe(true);
    expect(await getsIn(alice, endpoint)).toBe(true);
    // The longest idle of whoever has the most: one of each.
    await expectClosed(held, 2);
    expect([held[0], held[4]].map((client) => client?.socket.readableEnded)).toEqual([true, true]);
  });

  test('of one payer are never more than his share, and do not cost others theirs', async () => {
    const { endpoint } = await start({ total: 5, perPayer: 4, reserved: 1 }, kind);
    const [modest] = await hold(alice, endpoint, 1);
    const held = await hold(mallory, endpoint, 20);
    await expectClosed(held, 16);
    expect((await modest?.send(health).answer())?.status).toBe(200);
    expect(await getsIn(trudy, endpoint)).toBe(true);
    expect((await modest?.send(health).answers(2))?.length).toBe(2);
    expect(await getsIn(mallory, endpoint)).toBe(false);
    for (const { socket } of held) socket.destroy();
    await expect.poll(() => getsIn(mallory, endpoint)).toBe(true);
  });

  test('of root are closed for root, who always gets in', async () => {
    const { endpoint } = await start({ total: 2, perPayer: 2, reserved: 1 }, kind);
    const held = await hold(0, endpoint, 3);
    for (let count = 0; count < 3; count++) expect(await getsIn(0, endpoint)).toBe(true);
    await expectClosed(held, 3);
  });
});

describe.skipIf(!runsAsRoot)('the second socket', () => {
  test('lets root in while the first one has a full queue, and nobody else', async () => {
    const wire = await start({});
    const root = rootSocketPath(wire.path);
    const stuffed = spawnSync(process.execPath, ['-e', fillQueue, wire.path, root], { encoding: 'utf8' });
    expect(stuffed.stdout).toBe('EAGAIN, then in');
    await expect(connectAs(alice, root)).rejects.toThrow('EACCES');
    expect(await getsIn(0, root)).toBe(true);
    await wire.server.stop(0);
    expect(existsSync(root)).toBe(false);
  });
});

describe.skipIf(!runsAsRoot)('a connection with a request under way', () => {
  test('is given up only for somebody who is still behind then, the latest first', async () => {
    const wire = await start({ total: 3, perPayer: 3, reserved: 1 });
    wire.hold = new Promise(() => undefined);
    const busy: RawClient[] = [];
    for (const name of ['A', 'B', 'C']) {
      const [client] = await hold(mallory, wire.path, 1);
      if (client !== undefined) busy.push(client.send(awsRequest(name)));
      await expect.poll(() => wire.noted.at(-1)?.operationName).toBe(name);
    }
    const [first] = await hold(alice, wire.path, 1);
    first?.send(awsRequest('First'));
    await expect.poll(() => wire.noted.at(-1)?.operationName).toBe('First');
    await expectClosed(busy, 1);
    expect(busy[2]?.socket.readableEnded).toBe(true);
    // Two and one: nobody would be behind then.
    expect(await getsIn(alice, wire.path)).toBe(false);
    await expectClosed(busy, 1);
  });

  test('is passed over where another one is idle', async () => {
    const wire = await start({ total: 3, perPayer: 3, reserved: 1 });
    let release = (): void => undefined;
    wire.hold = new Promise((resolve) => {
      release = resolve;
    });
    const [busy, ...idle] = await hold(mallory, wire.path, 3);
    busy?.send(awsRequest('Busy'));
    await expect.poll(() => wire.noted.length).toBe(1);
    expect(await getsIn(alice, wire.path)).toBe(true);
    await expectClosed(idle, 1);
    release();
    expect((await busy?.answer())?.status).toBe(200);
  });
});

/** Connects and closes until the kernel refuses it, and says how often it came to that and what else happened. */
const loop = `
  const { connect } = require('node:net');
  const [path, uid] = process.argv.slice(1);
  process.setgid(Number(uid));
  process.setuid(Number(uid));
  const next = () => {
    const socket = connect(path);
    socket.on('connect', () => { socket.destroy(); setImmediate(next); });
    socket.on('error', ({ code }) => {
      if (code !== 'EACCES') return setImmediate(next);
      process.stdout.write(code);
      process.exit();
    });
  };
  for (let count = 0; count < 20; count++) next();
`;

describe.skipIf(!runsAsRoot)('a user who connects and closes in a loop', () => {
  test('is kept out by the kernel for a while, in three processes; another user and root get in meanwhile', async () => {
    const { path } = await start({ perPayer: 16, newPerSecond: 5, maxRefusedPerSecond: 20 });
    // The while is over when the test says so.
    vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] });
    onTestFinished(() => void vi.useRealTimers());
    const loops = [1, 2, 3].map(() => spawn(process.execPath, ['-e', loop, path, String(mallory)]));
    onTestFinished(() => loops.forEach((child) => void child.kill('SIGKILL')));
    await Promise.all(loops.map((child) => once(child, 'exit')));
    await expect(connectAs(mallory, path)).rejects.toThrow('EACCES');
    expect(await getsIn(alice, path)).toBe(true);
    expect(await getsIn(0, path)).toBe(true);
    expect(statSync(path).mode & 0o777).toBe(0o666);
    // Where the list cannot be written in that moment, here because it is another user's, it is tried again.
    process.seteuid?.(mallory);
    vi.advanceTimersByTime(1_000);
    process.seteuid?.(0);
    await expect(connectAs(mallory, path)).rejects.toThrow('EACCES');
    vi.advanceTimersByTime(1_000);
    expect((await connectAs(mallory, path)).socket.destroyed).toBe(false);
  });
});

describe('a connection that is as old as it may be', () => {
  // Long enough for several answers, also where the machine stands still for a moment.
  const budget = { maxAgeMs: 1_500 };

  test('ends with its next answer', async () => {
    const { path } = await start(budget);
    const client = new RawClient(path);
    for (let count = 1; !client.socket.readableEnded; count++) {
      await client.send(health).answers(count);
      await new Promise((resolve) => setTimeout(resolve, 5));
    }
    const closing = parseAnswers(client.received).map(({ headers }) => headers['connection'] === 'close');
    expect(closing.filter(Boolean)).toHaveLength(1);
    expect(closing.at(-1)).toBe(true);
    expect(closing.length).toBeGreaterThan(1);
  });

  test('ends while it is idle', async () => {
    const { path } = await start(budget);
    const client = new RawClient(path);
    await client.send(health).answer();
    expect(parseAnswers(await client.closed)).toHaveLength(1);
  });

  test('does not end before what is under way is answered, all of it', async () => {
    const wire = await start(budget);
    let release = (): void => undefined;
    wire.hold = new Promise((resolve) => {
      release = resolve;
    });
    const client = new RawClient(wire.path).send(awsRequest('A') + awsRequest('B') + awsRequest('C'));
    await expect.poll(() => wire.noted.length).toBe(3);
    // Those that came later and were idle are closed: it is over too.
    await new RawClient(wire.path).closed;
    release();
    const answers = parseAnswers(await client.closed);
    expect(answers.map(({ headers }) => headers['connection'])).toEqual(['keep-alive', 'keep-alive', 'close']);
  });
});
