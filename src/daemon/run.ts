/**
 * Keeps a daemon running until a signal ends it: the first SIGTERM or SIGINT lets requests in flight finish, a second one
 * ends the process at once. What was answered is on disk either way. A signal during the start counts: the start is
 * finished and undone, so that it leaves nothing half made behind. SIGHUP reads roles, identity policies,
 * certificates and AWS managed keys again.
 */

import type { Logger } from '../kms/logger.ts';
import { endProcess } from '../secrets/end-process.ts';
import type { Daemon } from './daemon.ts';
import { notifySystemd } from './notify.ts';

const stopSignals = ['SIGTERM', 'SIGINT'] as const;
/** What a shell shows for a process that a SIGTERM ended. */
const exitCodeAfterSecondSignal = 143;
/** After the stop, for what ends by itself. */
const lingerMs = 1_000;

/**
 * Resolves with the daemon stopped by a signal. Rejects, stopped too, when it waited for tokens and found that it cannot serve.
 * @param signal What `stopSignal` gave before the start.
 */
export async function runUntilSignal(
  daemon: Daemon,
  signal: Promise<NodeJS.Signals>,
  environment: NodeJS.ProcessEnv,
  log: Logger,
): Promise<void> {
  const { reload } = daemon;
  if (reload !== undefined) process.on('SIGHUP', reload);
  const waitsFor = daemon.waitsFor();
  await notifySystemd('ready', environment, log, waitsFor === null ? undefined : `waits: ${waitsFor}`);
  const failed = daemon.serving.then(async () => {
    if (waitsFor !== null) await notifySystemd('ready', environment, log, 'serving');
    return signal;
  });
  const ended = await Promise.race([signal, failed]).catch((error: unknown) => ({ error }));
  log.info(typeof ended === 'string' ? { signal: ended } : { err: ended.error }, 'stopping');
  for (const name of stopSignals) process.on(name, () => endProcess(exitCodeAfterSecondSignal));
  await notifySystemd('stopping', environment, log);
  try {
    await daemon.stop();
    log.info({}, 'stopped');
    if (typeof ended !== 'string') throw ended.error;
  } finally {
    // It keeps nothing running by itself: it comes only where something else does.
    setTimeout(() => endProcess(), lingerMs).unref();
  }
}

/** The first signal to stop. To be called before the start; from then on only a second one ends the process by itself. */
export function stopSignal(): Promise<NodeJS.Signals> {
  return new Promise((resolve) => {
    const stop = (signal: NodeJS.Signals): void => {
      for (const name of stopSignals) process.off(name, stop);
      resolve(signal);
    };
    for (const name of stopSignals) process.on(name, stop);
  });
}
