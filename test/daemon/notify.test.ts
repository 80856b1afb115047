import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { LineProcess } from '../../scripts/line-process.ts';
import { notifySystemd } from '../../src/daemon/notify.ts';

/** Node.js has no datagrams on Unix sockets. What comes with a message, systemd-notify's barrier, is closed as it is read. */
const receiver = `
import socket, sys
s = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
s.bind(sys.argv[1])
print('"bound"', flush=True)
while True:
    message = s.recv(1000).decode()
    if not message.startswith('BARRIER'): print('"' + message.strip() + '"', flush=True)
`;

const needed = ['systemd-notify', 'python3'];
const missing = needed.filter((program) => spawnSync(program, ['--version']).error !== undefined);
if (missing.length > 0) process.stdout.write(`skipped: what systemd is told: no ${missing.join(', no ')}\n`);

test.skipIf(missing.length > 0)('systemd is told that the daemon is ready, and that it stops', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'drawbridge-notify-'));
  const path = join(folder, 'notify');
  const systemd = new LineProcess('the receiver', ['python3', '-c', receiver, path]);
  const problems: unknown[] = [];
  const note = (...what: unknown[]): void => void problems.push(what);
  const log = { debug: note, info: note, warn: note, error: note };
  try {
    expect(await systemd.nextJson()).toBe('bound');
    const environment = { ...process.env, NOTIFY_SOCKET: path };
    await notifySystemd('ready', environment, log);
    expect(await systemd.nextJson()).toBe('READY=1');
    await notifySystemd('stopping', environment, log);
    expect(await systemd.nextJson()).toBe('STOPPING=1');
    expect(problems).toEqual([]);
  } finally {
    await systemd.close('SIGTERM');
    rmSync(folder, { recursive: true });
  }
});
