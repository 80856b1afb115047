/** `drawbridge serve`: runs the daemon until a signal ends it. */

import { Command } from 'commander';
import { readTrustedConfiguration, withConfig } from '../requests/command-options.ts';

export function serveCommand(): Command {
  return withConfig(new Command('serve').description('run the daemon'))
    .addHelpText(
      'after',
      `
The log goes to stderr, one JSON object per line. SIGTERM or SIGINT lets requests in flight finish and stops,
within 30 seconds: keys that take longer than 12 to generate are given up, and whoever asked for them is told
to try again. A second one ends the daemon at once. SIGHUP reads again the identity policies, managedKeys of
the configuration, and listen.tls with its certificate and key.

A token that is not there yet is waited for: the daemon listens, answers health and status, and refuses everything
else as what can be retried, until the token is there. A refused PIN, a wrong configuration or a token that holds
other keys ends the start.

Example:
  drawbridge serve --config /etc/drawbridge/drawbridge.yaml`,
    )
    .action(async ({ config }: { config: string }) => {
      const configuration = await readTrustedConfiguration(config);
      // The daemon is loaded by the commands that run it: the others start in a fraction of its time.
      const { createLog, runUntilSignal, startDaemon, stopSignal } = await import('../../daemon/index.ts');
      const signal = stopSignal();
      const log = createLog(configuration.log.level, configuration.budgets.log);
      const environment = process.env;
      const daemon = await startDaemon({
        configuration,
        environment,
        log,
        waitForTokens: true,
        readConfiguration: () => readTrustedConfiguration(config),
      });
      await runUntilSignal(daemon, signal, environment, log);
    });
}
