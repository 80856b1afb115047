import { spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { calls } from '../../../src/hsm/calls.ts';
import type { KeyStoreCapabilities } from '../../../src/hsm/key-store.ts';
import { hostProgram } from '../../support/program.ts';
import { describeEachToken, softHsm2 } from '../../support/tokens.ts';
import { fieldOf, fieldsOf, type HostLane, HostProcess, newId, u32, withHost } from './host-process.ts';

// Each host is a process that starts; a loaded machine takes its time.

/** A host that is not opened yet, ended afterwards. */
async function withFreshHost<Result>(host: HostProcess, use: (host: HostProcess) => Promise<Result>): Promise<Result> {
  try {
    return await use(host);
  } finally {
    await host.kill();
  }
}

describeEachToken('HSM host, its life', (token, kind) => {
  describe('that serves', () => {
    let host: HostProcess;
    let capabilities: KeyStoreCapabilities;
    beforeAll(async () => {
      host = new HostProcess(token());
      capabilities = await host.open();
    });
    afterAll(() => host.kill());

    test('opening tells what library, token and abilities there are', async () => {
      // Of the tested libraries, SoftHSM2 after 2.6 alone.
      const hasMlDsa = capabilities.mechanisms.includes('CKM_ML_DSA');
      expect(capabilities).toMatchObject({
        profile: token().profile,
        library: { path: token().library, cryptoki: hasMlDsa ? '3.2' : '2.40' },
        token: { label: token().label },
      });
      expect(capabilities.mechanisms).toContain('CKM_AES_GCM');
      const row = (keySpec: string, algorithm: string) =>
        capabilities.capabilities.find((entry) => entry.keySpec === keySpec && entry.algorithm === algorithm);
      const probed = { works: true, evidence: 'probed', reason: null };
      expect(row('SYMMETRIC_DEFAULT', 'SYMMETRIC_DEFAULT')).toMatchObject(probed);
      expect(row('SYMMETRIC_DEFAULT', 'KEY_GENERATION')).toMatchObject(probed);
      expect(row('HMAC_256', 'HMAC_SHA_256')).toMatchObject(probed);
      for (const algorithm of ['RSASSA_PSS_SHA_256', 'RSAES_OAEP_SHA_1', 'RSAES_OAEP_SHA_256'])
        expect(row('RSA_2048', algorithm)).toMatchObject(probed);
      expect(row('ECC_NIST_P521', 'ECDH')).toMatchObject(probed);
      if (!hasMlDsa) {
        expect(row('ML_DSA_65', 'ML_DSA_SHAKE_256')).toMatchObject({
          works: false,
          evidence: 'reported',
          reason: "CKM_ML_DSA is not in the token's mechanism list",
        });
      }
      expect(row('SM2', 'SM2DSA')).toMatchObject({
        works: false,
        reason:
          "PKCS#11 has no mechanism for the signatures and the encryption of SM2, a vendor's own is not known here, and no keys are made on its curve",
      });
    });

    test('the probe leaves no object in the token', async () => {
      expect(fieldOf(await host.lane.call('listKeys', [u32(0)])).toString()).toBe('[]');
    });

    test('the PIN is in no reply, no argument and no environment of the host', async () => {
      expect(JSON.stringify(capabilities)).not.toContain(token().pin);
      for (const file of ['cmdline', 'environ'])
        expect(readFileSync(`/proc/${host.child.pid}/${file}`, 'latin1')).not.toContain(token().pin);
    });

    test('the host dumps no core', async () => {
      expect(readFileSync(`/proc/${host.child.pid}/limits`, 'latin1')).toMatch(/Max core file size\s+0\s+0\s/);
    });

    test('SIGINT and SIGTERM to the whole service do not end a host that is needed', async () => {
      for (const signal of ['SIGINT', 'SIGTERM'] as const) host.child.kill(signal);
      expect((await host.lane.call('random', [u32(8)])).code).toBe('success');
    });

    test('a caller that does not read its replies for a while gets them all later', async () => {
      host.lane.socket.pause();
      const replies = Array.from({ length: 2000 }, () => host.lane.call('random', [u32(1024)]));
      await new Promise((resolve) => setTimeout(resolve, 200));
      host.lane.socket.resume();
      for (const reply of replies) expect(fieldOf(await reply).length).toBe(1024);
    });

    test('frames cut anywhere are understood', async () => {
      host.lane.socket.setNoDelay(true);
      // Request 7,000,000, `random`, 32 bytes, byte by byte, and the start of a ping in the last piece.
      const frame = Buffer.from('0000000e006acfc003010000000400000020', 'hex');
      for (const byte of frame) {
        host.lane.socket.write(Buffer.of(byte));
        await new Promise((resolve) => setImmediate(resolve));
      }
      expect((await host.lane.call('ping')).code).toBe('success');
    });

    test('the host ends when the API process closes the pipe', async () => {
      host.lane.socket.end();
      expect(await host.ended()).toBe(0);
      expect(host.stderr).toBe('');
    });
  });

  test('a wrong PIN is refused once, and the host ends', async () => {
    await withFreshHost(new HostProcess(token()), async (host) => {
      const reply = await host.lane.open(token().settings(), 'not the PIN');
      expect(reply.code).toBe('pinRefused');
      expect(reply.message).toBe(`token \`${token().label}\`: C_Login: CKR_PIN_INCORRECT`);
      expect(await host.ended()).toBe(2);
      expect(host.stderr).toBe('');
    });
    await withHost(token(), async (host) => expect((await host.lane.call('ping')).code).toBe('success'));
  });

  test('settings that cannot be used are refused with what to look at, and the host ends', async () => {
    const settings = token().settings();
    const [wrong, absent] = ['misconfigured', 'cannotOpen'];
    const refusals: [Partial<typeof settings>, string, string][] = [
      [{ library: '/nonexistent/libhsm.so' }, wrong, 'cannot load the PKCS#11 library `/nonexistent/libhsm.so`: '],
      [{ library: '/lib/x86_64-linux-gnu/libm.so.6' }, wrong, 'cannot load the PKCS#11 library'],
      [{ token: { label: 'elsewhere' } }, absent, 'no token has the label `elsewhere`; there are: '],
      [{ token: { serial: '0' } }, absent, 'no token has the serial number `0`; there are: '],
    ];
    for (const [change, code, message] of refusals)
      await withFreshHost(new HostProcess(token()), async (host) => {
        const reply = await host.lane.open({ ...settings, ...change }, token().pin);
        expect(reply.code).toBe(code);
        expect(reply.message).toContain(message);
        if (code === absent) expect(reply.message).toContain(`\`${token().label}\` (serial `);
        // A slot without a token is not named as one.
        expect(reply.message).not.toContain('``');
        expect(await host.ended()).toBe(2);
      });
  });

  test('a frame that no call has ends the host with a line that says so', async () => {
    const nonsense: [string, number, readonly Buffer[], string][] = [
      ['an unknown call', 99, [], 'there is no call 99 on an open lane'],
      ['a second open', calls.open.number, [Buffer.from('{}'), Buffer.alloc(0)], 'there is no call 1 on an open lane'],
      ['a field too few', calls.encrypt.number, [newId(), Buffer.alloc(1)], 'call 9 has 3 fields, not 2'],
      ['a short id', calls.describeKey.number, [Buffer.alloc(15)], 'a key is named by 16 bytes or more'],
      ['a short id', calls.destroyKey.number, [Buffer.alloc(15)], 'an id has 16 bytes'],
      ['a short number', calls.random.number, [Buffer.alloc(3)], 'a number has 4 bytes'],
    ];
    // What a frame says is read before any token is asked: over the other one it is seen that its host ends, too.
    for (const [what, code, fields, message] of kind === softHsm2 ? nonsense : nonsense.slice(0, 1))
      await withHost(token(), async (host) => {
        expect({ what, code: (await host.lane.raw(code, fields)).code }).toEqual({ what, code: 'lost' });
        expect(await host.ended()).toBe(1);
        expect(host.stderr).toContain(`FrameError: ${message}`);
      });
  });

  test('a frame that is too long ends the host', async () => {
    await withHost(token(), async (host) => {
      host.lane.socket.write(Buffer.from('7fffffff', 'hex'));
      expect(await host.ended()).toBe(1);
      expect(host.stderr).toContain('FrameError: a frame cannot have 2147483647 bytes');
    });
  });

  test('a lane whose first frame is not open ends the host', async () => {
    await withFreshHost(new HostProcess(token()), async (host) => {
      expect((await host.lane.call('ping')).code).toBe('lost');
      expect(await host.ended()).toBe(1);
      expect(host.stderr).toContain('FrameError: the first frame of a lane is `open`');
    });
  });
});

describeEachToken('HSM host with four lanes', (token) => {
  describe('that serve', () => {
    let host: HostProcess;
    beforeAll(async () => {
      host = new HostProcess(token(), 4);
      await host.open();
    });
    afterAll(() => host.kill());

    test('every lane works on the same keys at the same time, without one wrong answer', async () => {
      const aad = Buffer.from('aad');
      const [first] = host.lanes;
      const keys = await Promise.all(host.lanes.map((lane) => lane.generateKey('SYMMETRIC_DEFAULT')));
      expect(first).toBe(host.lane);
      await Promise.all(
        host.lanes.map(async (lane, index) => {
          const other = host.lanes[(index + 1) % host.lanes.length] ?? lane;
          for (let round = 0; round < 50; round++) {
            const key = keys[(index + round) % keys.length] ?? newId();
            const text = Buffer.from(`lane ${index}, round ${round}`);
            const [iv, ciphertext] = fieldsOf(await lane.call('encrypt', [key, aad, text])) as [Buffer, Buffer];
            expect(fieldOf(await other.call('decrypt', [key, aad, iv, ciphertext]))).toEqual(text);
          }
        }),
      );
      const destroyed = keys[0] ?? newId();
      fieldsOf(await host.lane.call('destroyKey', [destroyed]));
      for (const lane of host.lanes) {
        fieldsOf(await lane.call('forgetKey', [destroyed]));
        expect((await lane.call('encrypt', [destroyed, aad, Buffer.from('x')])).code).toBe('keyUnavailable');
      }
    });

    test('keys made and destroyed on all lanes at once are each made, used and gone', async () => {
      const work = async (lane: HostLane) => {
        for (let round = 0; round < 12; round++) {
          const key = await lane.generateKey('SYMMETRIC_DEFAULT');
          fieldsOf(await lane.call('encrypt', [key, Buffer.from('aad'), Buffer.from('x')]));
          fieldsOf(await lane.call('destroyKey', [key]));
        }
      };
      const before = fieldOf(await host.lane.call('listKeys', [u32(0)])).toString();
      await Promise.all(host.lanes.map(work));
      expect(fieldOf(await host.lane.call('listKeys', [u32(0)])).toString()).toBe(before);
    });

    test('keys are met for the first time on some lanes while others make and destroy keys', async () => {
      const key = await host.lane.generateKey('SYMMETRIC_DEFAULT');
      let isOver = false;
      const meet = async (lane: HostLane) => {
        while (!isOver) {
          fieldsOf(await lane.call('forgetKey', [key]));
          fieldsOf(await lane.call('encrypt', [key, Buffer.from('aad'), Buffer.from('x')]));
        }
      };
      const change = async (lane: HostLane) => {
        for (let round = 0; round < 20; round++) {
          const made = await lane.generateKey(round % 2 === 0 ? 'SYMMETRIC_DEFAULT' : 'HMAC_256');
          fieldsOf(await lane.call('destroyKey', [made]));
        }
      };
      const changing = Promise.all(host.lanes.slice(2).map(change)).finally(() => {
        isOver = true;
      });
      await Promise.all([changing, ...host.lanes.slice(0, 2).map(meet)]);
    });
  });

  test('a wrong PIN ends the host before any other lane is opened', async () => {
    await withFreshHost(new HostProcess(token(), 4), async (host) => {
      const replies = await Promise.all(host.lanes.map((lane) => lane.open(token().settings(4), 'not the PIN')));
      expect(replies.map((reply) => reply.code)).toEqual(['pinRefused', 'lost', 'lost', 'lost']);
      expect(await host.ended()).toBe(2);
    });
  });

  test('the host ends when one lane is closed', async () => {
    await withHost(
      token(),
      async (host) => {
        host.lanes[2]?.socket.end();
        expect(await host.ended()).toBe(0);
      },
      4,
    );
  });

  test('nonsense on one lane ends the host with a line that says so', async () => {
    await withHost(
      token(),
      async (host) => {
        expect((await host.lanes[3]?.raw(99, []))?.code).toBe('lost');
        expect(await host.ended()).toBe(1);
        expect(host.stderr).toContain('FrameError: there is no call 99 on an open lane');
      },
      4,
    );
  });
});

describe('HSM host', () => {
  test.each(['', '0', '65', '1.5', 'x'])('refuses to start with `%s` lanes', (lanes) => {
    const { status, stderr } = spawnSync(process.execPath, [hostProgram, lanes], { encoding: 'utf8' });
    expect(status).toBe(1);
    expect(stderr).toContain('usage: host-main.ts LANES SECONDS, with 1 to 64 lanes');
  });
});
