/**
 * Tells systemd that the daemon is ready or stopping (`Type=notify`).
 *
 * The protocol is a datagram on a Unix socket, which Node cannot send, so systemd's own `systemd-notify` does it; the unit
 * says `NotifyAccess=all` for that. Without NOTIFY_SOCKET nothing happens. A failure is logged and stops nothing: systemd
 * itself then says that it was not told.
 *
 * Source: sd_notify(3).
 */

import { execFile } from 'node:child_process';
import type { Logger } from '../kms/logger.ts';

const notifyTimeoutMs = 5_000;

/** As assignments: the option `--stopping` came with systemd 253 only. */
const assignments = { ready: 'READY=1', stopping: 'STOPPING=1' } as const;

/** @param status One line for whoever asks systemd how the daemon is. Absent: what was said before stays. */
export function notifySystemd(
  state: keyof typeof assignments,
  environment: NodeJS.ProcessEnv,
  log: Logger,
  status?: string,
): Promise<void> {
  const { NOTIFY_SOCKET, PATH } = environment;
  if (NOTIFY_SOCKET === undefined) return Promise.resolve();
  return new Promise((resolve) => {
    execFile(
      'systemd-notify',
      [assignments[state], ...(status === undefined ? [] : [`STATUS=${status.replaceAll('\n', ' ')}`])],
      { env: { NOTIFY_SOCKET, PATH }, timeout: notifyTimeoutMs },
      (error) => {
        if (error !== null) log.warn({ err: error }, `systemd could not be told that the daemon is ${state}`);
        resolve();
      },
    );
  });
}
