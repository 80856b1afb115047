/** Somebody on a network who opens many connections to the listener for TLS: a real other machine, as far as the kernel knows. */

import { type ChildProcess, execFileSync, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { connect as connectTls } from 'node:tls';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { runsAsRoot, sayIfNotRoot } from '../end-to-end/support/unix-users.ts';
import { connectAs, users } from './as-user.ts';
import { httpRequest, startWire, type Wire } from './wire.ts';

const health = httpRequest('GET', '/health');
const here = '198.51.100.1';
const [there, elsewhere] = ['198.51.100.2', '198.51.100.3'];
const patient = { headersTimeoutMs: 60_000, requestTimeoutMs: 60_000 };

/** Of `TEST COUNT KIND PORT FROM`, tells of each connection the test and a letter: `o` open, `h` handshake done, `c` closed. */
const attacker = `
  const { connect } = require('node:net');
  const tls = require('node:tls');
  process.stdin.on('data', (text) => {
    const [test, count, kind, port, localAddress] = String(text).trim().split(' ');
    for (let index = 0; index < count; index++) {
      const place = { host: '${here}', port, localAddress };
      const socket = kind === 'tls' ? tls.connect({ ...place, rejectUnauthorized: false }) : connect(place);
      socket.on(kind === 'tls' ? 'secureConnect' : 'connect', () => process.stdout.write(test + (kind === 'tls' ? 'h' : 'o')));
      socket.on('error', () => {}).on('close', () => process.stdout.write(test + 'c'));
    }
  });
  process.stdout.write('!');
`;

const canAttack = runsAsRoot && spawnSync('unshare', ['-n', 'ip', 'link', 'show', 'lo']).status === 0;
sayIfNotRoot('Floods from a network');
if (!canAttack) process.stdout.write('skipped: floods from a network: no `unshare -n`, or no `ip`\n');

describe.skipIf(!canAttack)('somebody on a network', () => {
  let machine: ChildProcess;
  let told = '';
  let testNumber = 0;
  let wire: Wire | undefined;
  beforeAll(async () => {
    machine = spawn('unshare', ['-n', process.execPath, '-e', attacker], { stdio: ['pipe', 'pipe', 'inherit'] });
    const begun = once(machine.stdout ?? machine, 'data');
    machine.stdout?.setEncoding('latin1').on('data', (text: string) => {
      told += text;
    });
    await begun;
    const cable = `db${process.pid}`;
    const inside = (...command: string[]) => execFileSync('nsenter', ['-t', String(machine.pid), '-n', ...command]);
    execFileSync('ip', ['link', 'add', `${cable}a`, 'type', 'veth', 'peer', 'name', `${cable}b`]);
    execFileSync('ip', ['link', 'set', `${cable}b`, 'netns', String(machine.pid)]);
    execFileSync('ip', ['addr', 'add', `${here}/29`, 'dev', `${cable}a`]);
    execFileSync('ip', ['link', 'set', `${cable}a`, 'up']);
    for (const address of [there, elsewhere]) inside('ip', 'addr', 'add', `${address}/29`, 'dev', `${cable}b`);
    inside('ip', 'link', 'set', `${cable}b`, 'up');
  });
  afterAll(async () => {
    // The cable goes with its end.
    const ended = once(machine, 'exit');
    machine.kill('SIGKILL');
    await ended;
  });
  afterEach(async () => {
    await wire?.close();
    wire = undefined;
  });

  async function start(
    budgets: Parameters<typeof startWire>[2],
    handshakes: Parameters<typeof startWire>[4] = {},
  ): Promise<Wire> {
    wire = await startWire(patient, 'tls', budgets, {}, { host: '0.0.0.0', ...handshakes });
    testNumber++;
    return wire;
  }

  function attack(of: Wire, count: number, kind: 'silent' | 'tls', from = there): void {
    machine.stdin?.write(`${testNumber} ${count} ${kind} ${new URL(of.endpoint).port} ${from}\n`);
  }

  const count = (letter: string): number => told.split(`${testNumber}${letter}`).length - 1;

  /** Of a user of this machine, with a handshake. */
  async function getsIn(of: Wire, uid: number): Promise<boolean> {
    process.seteuid?.(uid);
    const socket = connectTls({
      host: '127.0.0.1',
      port: Number(new URL(of.endpoint).port),
      ca: of.tls?.authority ?? '',
    });
    await once(socket, 'connect').finally(() => process.seteuid?.(0));
    socket.write(health);
    const [answer] = (await once(socket.setEncoding('latin1'), 'data')) as [string];
    socket.destroy();
    return answer.startsWith('HTTP/1.1 200');
  }

  test('has no more connections than one payer, counted before any handshake, whatever else he opens', async () => {
    const server = await start({ total: 16, perPayer: 8 });
    attack(server, 20, 'silent');
    await expect.poll(() => [count('o'), count('c')]).toEqual([20, 12]);
    expect(await getsIn(server, users.alice)).toBe(true);
    expect(server.warnings).toContain('too many connections: some are refused');
  });

  test('begins no more handshakes than his budget has, and another address has one of its own', async () => {
    const server = await start({}, { perPayerAtOnce: 5, perPayerPerSecond: 0.001 });
    attack(server, 12, 'tls');
    await expect.poll(() => [count('h'), count('c')]).toEqual([5, 7]);
    attack(server, 1, 'tls', elsewhere);
    await expect.poll(() => count('h')).toBe(6);
    expect(await getsIn(server, users.alice)).toBe(true);
    expect(server.warnings).toEqual(['too many TLS handshakes: some connections are refused']);
  });

  test('with many addresses takes what all have, and nothing from those who are connected and from operators', async () => {
    const server = await start({}, { atOnce: 4, perSecond: 0.001 });
    const before = await connectAs(users.alice, server.endpoint);
    attack(server, 6, 'tls');
    await expect.poll(() => [count('h'), count('c')]).toEqual([3, 3]);
    attack(server, 1, 'tls', elsewhere);
    await expect.poll(() => count('c')).toBe(4);
    expect(before.socket.destroyed).toBe(false);
    expect(await getsIn(server, 0)).toBe(true);
    before.socket.destroy();
  });
});
