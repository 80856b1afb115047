/**
 * What the client of the pipe makes of a peer that is out of its mind. The peer here is a few lines of script, because no
 * library can be brought to send nonsense at will; everything else about lanes is tested with real hosts.
 */

import { type ChildProcess, spawn } from 'node:child_process';
import { Socket } from 'node:net';
import { expect, onTestFinished, test } from 'vitest';
import { callOn, HostLane } from '../../src/hsm/host-lane.ts';
import { KeyStoreError } from '../../src/hsm/key-store.ts';
import { bytes, encrypted, nothing, plaintext } from '../../src/hsm/replies.ts';
import { until } from './test-store.ts';

interface Nonsense {
  readonly what: string;
  /** What the peer sends once it has read something, as hexadecimal digits. */
  readonly reply: string;
  readonly reason: string;
}

const u32 = (value: number) => value.toString(16).padStart(8, '0');
const frame = (requestId: number, code: number, ...fields: string[]) => {
  const body = fields.map((field) => u32(field.length / 2) + field).join('');
  const rest = u32(requestId) + code.toString(16).padStart(2, '0') + fields.length.toString(16).padStart(2, '0') + body;
  return u32(rest.length / 2) + rest;
};
const ofBytes = (count: number) => 'ab'.repeat(count);

/** The request is `random` for 32 bytes, and has request id 1. */
const nonsense: readonly Nonsense[] = [
  {
    what: 'text',
    reply: Buffer.from('Segmentation fault\n').toString('hex'),
    reason: 'a frame cannot have 1399154541 bytes',
  },
  { what: 'a length of zero', reply: u32(0), reason: 'a frame cannot have 0 bytes' },
  { what: 'a frame without end', reply: u32(0xffff_ffff), reason: 'a frame cannot have 4294967295 bytes' },
  {
    what: 'a field beyond its frame',
    reply: `${u32(10)}${u32(1)}0001${u32(99)}`,
    reason: 'a frame ends inside a field',
  },
  {
    what: 'bytes after the last field',
    reply: `${u32(7)}${u32(1)}000000`,
    reason: 'a frame has bytes after its last field',
  },
  {
    what: 'a reply to nobody',
    reply: frame(7, 0, ofBytes(32)),
    reason: 'a reply to request 7, which is not the next in flight',
  },
  {
    what: 'a reply twice',
    reply: frame(1, 0, ofBytes(32)).repeat(2),
    reason: 'a reply to request 1, which is not the next in flight',
  },
  { what: 'a byte less than asked', reply: frame(1, 0, ofBytes(31)), reason: 'a plaintext has 32 bytes, not 31' },
  { what: 'a byte more than asked', reply: frame(1, 0, ofBytes(33)), reason: 'a plaintext has 32 bytes, not 33' },
  { what: 'no field', reply: frame(1, 0), reason: 'a reply to `random` has 1 fields, not 0' },
  {
    what: 'a field too many',
    reply: frame(1, 0, ofBytes(32), ofBytes(1)),
    reason: 'a reply to `random` has 1 fields, not 2',
  },
  { what: 'a failure without a message', reply: frame(1, 5), reason: 'a failure has one field, its message, not 0' },
];

test.each(nonsense)('A lane whose peer sends $what is broken, and answers nobody', async ({ what, reply, reason }) => {
  const { lane, events } = startPeer(reply);
  const call = callOn(lane, 'random', [Buffer.from([0, 0, 0, 32])], ([field]) => plaintext(field, 32));
  const [answer] = await Promise.allSettled([call]);
  // Of a reply that comes twice the first one is good.
  if (what === 'a reply twice') expect(answer.status).toBe('fulfilled');
  else
    expect(answer).toEqual({
      status: 'rejected',
      reason: new KeyStoreError('unavailable', 'cannot generate random bytes: lost'),
    });
  expect(events).toEqual([`broken: ${reason}`, 'lost']);
  expect(lane.isOpen).toBe(false);
  expect(lane.callCount).toBe(0);
});

test('A lane whose peer falls silent in the middle of a frame is lost when the peer ends', async () => {
  const { lane, events, child } = startPeer(frame(1, 0, ofBytes(32)).slice(0, 40));
  const call = callOn(lane, 'random', [Buffer.from([0, 0, 0, 32])], ([field]) => plaintext(field, 32));
  const lost = expect(call).rejects.toEqual(new KeyStoreError('unavailable', 'cannot generate random bytes: lost'));
  // Half a frame has been read, and is no reply.
  await until(() => events.length === 1);
  child.kill('SIGKILL');
  await lost;
  expect(events).toEqual(['replied', 'lost']);
});

test('A lane gives back as lost what is sent on it after its end', async () => {
  const { lane, events } = startPeer('');
  lane.destroy();
  await expect(callOn(lane, 'ping', [], nothing)).rejects.toEqual(
    new KeyStoreError('unavailable', 'cannot tell that the lane is alive: lost'),
  );
  expect(events).toEqual(['lost', 'lost']);
});

test('A lane refuses a call that no frame holds, and goes on', async () => {
  const { lane, events } = startPeer(frame(1, 0));
  const tooLarge = callOn(
    lane,
    'mac',
    [Buffer.alloc(16), Buffer.from('HMAC_SHA_256'), Buffer.alloc(256 * 1024)],
    nothing,
  );
  await expect(tooLarge).rejects.toThrow('cannot make a MAC: a frame has at most 262144 bytes');
  await callOn(lane, 'ping', [], nothing);
  expect(events).toEqual(['replied']);
});

test('Calls that come one by one while the host is busy leave together', async () => {
  const { lane, answer } = startCountingPeer();
  const ask = () => callOn(lane, 'random', [Buffer.from([0, 0, 0, 32])], ([field]) => plaintext(field, 32).reveal()[0]);
  const first = Array.from({ length: 10 }, ask);
  const later: Promise<number | undefined>[] = [];
  for (let count = 0; count < 3; count++) {
    await endOfTurn();
    later.push(ask());
  }
  answer();
  expect(await Promise.all(first)).toEqual(Array.from({ length: 10 }, () => 10));
  answer();
  expect(await Promise.all(later)).toEqual([3, 3, 3]);
});

test('A call that comes while the host has as few waits for nobody', async () => {
  const { lane, answer } = startCountingPeer();
  const ask = () => callOn(lane, 'random', [Buffer.from([0, 0, 0, 32])], ([field]) => plaintext(field, 32).reveal()[0]);
  const first = ask();
  await endOfTurn();
  const second = ask();
  await endOfTurn();
  // Nothing has been answered, so the second can only be there because it did not wait.
  answer({ onceThereAre: 2 });
  expect(await Promise.all([first, second])).toEqual([2, 2]);
});

test('What is copied out of a reply is not changed when the buffers of the pipe are wiped', () => {
  const iv = Buffer.alloc(12, 1);
  const ciphertext = Buffer.alloc(17, 2);
  const copy = encrypted([iv, ciphertext], 1);
  const secret = Buffer.alloc(3, 3);
  const own = plaintext(secret, 3);
  const mac = Buffer.alloc(32, 4);
  const ownMac = bytes(mac, 32, 'a MAC');
  for (const buffer of [iv, ciphertext, secret, mac]) buffer.fill(0);
  expect(copy).toEqual({ iv: Buffer.alloc(12, 1), ciphertext: Buffer.alloc(17, 2) });
  expect(own.reveal()).toEqual(Buffer.alloc(3, 3));
  expect(own.reveal().buffer.byteLength).toBe(3); // Memory of its own, not the shared pool.
  expect(ownMac).toEqual(Buffer.alloc(32, 4));
});

/** A peer that answers whatever it first reads with `reply`, and then waits for its end. */
function startPeer(reply: string): { lane: HostLane; events: string[]; child: ChildProcess } {
  const script = `
    const lane = new (require('node:net').Socket)({ fd: 3 });
    lane.once('data', () => lane.write(Buffer.from('${reply}', 'hex')));
    lane.on('end', () => process.exit());
    lane.on('error', () => process.exit());
  `;
  const child = spawn(process.execPath, ['-e', script], { stdio: ['ignore', 'ignore', 'inherit', 'pipe'] });
  onTestFinished(() => {
    child.kill('SIGKILL');
  });
  const socket = socketOf(child);
  const events: string[] = [];
  const lane = new HostLane(socket, {
    replied: () => events.push('replied'),
    refused: (_lane, call, _code, message) => call.fail('internal', message),
    broken: (_lane, reason) => {
      events.push(`broken: ${reason}`);
      lane.destroy();
    },
    lost: (_lane, calls) => {
      events.push('lost');
      for (const call of calls) call.fail('unavailable', 'lost');
    },
  });
  return { lane, events, child };
}

/** The end of this turn of the event loop, with whatever it writes. */
async function endOfTurn(): Promise<void> {
  for (let count = 0; count < 3; count++) await new Promise((resolve) => setImmediate(resolve));
}

/**
 * A peer that answers when it is told to: all calls that it has read since, as soon as there are as many as said. Each
 * answer is their number, 32 times.
 */
function startCountingPeer(): { lane: HostLane; answer: (when?: { onceThereAre: number }) => void } {
  const script = `
    const lane = new (require('node:net').Socket)({ fd: 3 });
    const told = [];
    let read = Buffer.alloc(0);
    const answer = () => {
      const count = read.length / 18;
      if (told.length === 0 || count < told[0]) return;
      told.shift();
      for (let at = 0; at < read.length; at += 18)
        lane.write(Buffer.concat([Buffer.from([0, 0, 0, 42]), read.subarray(at + 4, at + 8), Buffer.from([0, 1, 0, 0, 0, 32]), Buffer.alloc(32, count)]));
      read = Buffer.alloc(0);
    };
    lane.on('data', (chunk) => { read = Buffer.concat([read, chunk]); answer(); });
    process.stdin.on('data', (line) => { told.push(Number(line)); answer(); });
    lane.on('end', () => process.exit());
    lane.on('error', () => process.exit());
  `;
  const child = spawn(process.execPath, ['-e', script], { stdio: ['pipe', 'ignore', 'inherit', 'pipe'] });
  onTestFinished(() => {
    child.kill('SIGKILL');
  });
  return {
    lane: new HostLane(socketOf(child), { replied() {}, refused() {}, broken() {}, lost() {} }),
    answer: ({ onceThereAre } = { onceThereAre: 1 }) => child.stdin?.write(`${onceThereAre}\n`),
  };
}

function socketOf(child: ChildProcess): Socket {
  const socket = child.stdio[3];
  if (!(socket instanceof Socket)) throw new Error('the fourth of its descriptors is a socket');
  return socket;
}
