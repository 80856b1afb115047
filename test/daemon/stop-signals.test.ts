/** The end of a process of which a thread is held, as by a directory server that does not answer. */

import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { afterEach, expect, test } from 'vitest';

const run = new URL('../../src/daemon/run.ts', import.meta.url).href;
const koffi = import.meta.resolve('koffi');

let child: ChildProcess | undefined;
afterEach(() => child?.kill('SIGKILL'));

test.each([
  ['A stopped daemon ends', 'Promise.resolve()', 1, 0],
  ['A daemon that cannot be stopped in order ends', 'Promise.reject(new Error())', 1, 1],
  ['A daemon that is told twice ends before it is stopped', 'new Promise(() => undefined)', 2, 143],
])('%s, though a question to the user database is never answered', async (_name, stopped, signals, code) => {
  const script = `
    const { default: koffi } = await import(${JSON.stringify(koffi)});
    const { runUntilSignal, stopSignal } = await import(${JSON.stringify(run)});
    koffi.load(null).func('int pause(void)').async(() => undefined);
    process.on('exit', () => process.stdout.write('others were heard'));
    const log = { debug() {}, info: (_fields, text) => process.stdout.write(text + '\\n'), warn() {}, error() {} };
    const stop = () => (process.stdout.write('asked to stop\\n'), ${stopped});
    const daemon = { stop, waitsFor: () => null, serving: Promise.resolve() };
    const running = runUntilSignal(daemon, stopSignal(), {}, log);
    process.stdout.write('ready\\n');
    await running.catch(() => (process.exitCode = 1));`;
  const started = spawn(process.execPath, ['--input-type=module', '-e', script], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  child = started;
  let said = '';
  let sent = 0;
  started.stdout.setEncoding('utf8').on('data', (piece: string) => {
    said += piece;
    const due = said.includes('asked to stop\n') ? signals : said.includes('ready\n') ? 1 : 0;
    for (; sent < due; sent++) started.kill('SIGTERM');
  });
  expect(await once(started, 'close')).toEqual([code, null]);
  expect(said).toBe(`ready\nstopping\nasked to stop\n${code === 0 ? 'stopped\n' : ''}others were heard`);
});
