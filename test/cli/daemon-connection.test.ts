/** Whom a command sends its request to: real processes of other users listen, and see whether anything comes. */

import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { chmodSync, chownSync, existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { KmsClient } from '../../src/cli/requests/kms-client.ts';

const stranger = 12_345;

/** Answers everything, and puts on a file what it was sent. */
const listener = `
  const { appendFileSync } = require('node:fs');
  const [path, seen, uid] = process.argv.slice(1);
  if (uid !== '0') { process.setgid(Number(uid)); process.setuid(Number(uid)); }
  require('node:http').createServer((request, response) => {
    appendFileSync(seen, request.url);
    response.end('{"ok":true}');
  }).listen(path, () => process.stdout.write('listening'));
`;

describe.skipIf(process.getuid?.() !== 0)('a command', () => {
  let folder: string;
  let socketFolder: string;
  const processes: ChildProcess[] = [];

  beforeEach(() => {
    folder = mkdtempSync(join(tmpdir(), 'drawbridge-listener-'));
    chmodSync(folder, 0o755);
    socketFolder = join(folder, 'run');
    mkdirSync(socketFolder);
    mkdirSync(join(folder, 'seen'), { mode: 0o777 });
    chmodSync(join(folder, 'seen'), 0o777);
  });
  afterEach(async () => {
    for (const child of processes.splice(0)) {
      child.kill();
      await once(child, 'exit');
    }
    rmSync(folder, { recursive: true });
  });

  const seen = (): string => {
    const file = join(folder, 'seen', 'requests');
    return existsSync(file) ? readFileSync(file, 'utf8') : '';
  };

  async function listen(uid: number, mode: number, owner: number, name = 'kms.sock'): Promise<string> {
    const path = join(socketFolder, name);
    chmodSync(socketFolder, 0o777);
    const child = spawn(process.execPath, ['-e', listener, path, join(folder, 'seen', 'requests'), String(uid)]);
    processes.push(child);
    await once(child.stdout, 'data');
    chownSync(socketFolder, owner, 0);
    chmodSync(socketFolder, mode);
    return path;
  }

  test.each([
    ['root', 0, 0o755, stranger],
    ['the owner of the folder', stranger, 0o755, stranger],
    ['the owner of a folder with the sticky bit', stranger, 0o1777, stranger],
  ])('asks %s', async (_who, uid, mode, owner) => {
    const client = new KmsClient(await listen(uid, mode, owner));
    expect(await client.get('/who')).toEqual({ ok: true });
    expect(seen()).toBe('/who');
  });

  test.each([
    ['is not the owner of the folder', 0o755, 0, 'who is neither root, nor you, nor the owner of its folder'],
    ['is the owner of a folder that all can write to', 0o777, stranger, 'and anybody might: '],
  ])('sends nothing to somebody who %s, until it is told that he is the daemon', async (_who, mode, owner, why) => {
    const path = await listen(stranger, mode, owner);
    await expect(new KmsClient(path).call('Encrypt', { Plaintext: 'c2VjcmV0' })).rejects.toThrow(why);
    expect(seen()).toBe('');
    expect(await new KmsClient(path, stranger).get('/who')).toEqual({ ok: true });
  });

  test('asks the daemon where somebody else listens on the socket of root, and sends nothing to him', async () => {
    const path = await listen(0, 0o1777, 0);
    await listen(stranger, 0o1777, 0, 'kms.root.sock');
    expect(await new KmsClient(path).get('/who')).toEqual({ ok: true });
    expect(seen()).toBe('/who');
    processes.shift()?.kill();
    await expect(new KmsClient(path).get('/who')).rejects.toThrow('kms.sock');
    expect(seen()).toBe('/who');
  });
});
