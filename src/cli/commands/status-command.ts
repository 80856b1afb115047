/** `drawbridge status`: how the daemon is, as it says itself to the account's root. */

import { Command } from 'commander';
import { connectTo, type SocketOptions, withJson, withSocket } from '../requests/command-options.ts';
import type { Members } from '../requests/kms-client.ts';
import { facts, print, printJson } from '../terminal/output.ts';
import { destroysNothing } from './keys/change-key.ts';

export function statusCommand(): Command {
  return withJson(withSocket(new Command('status').description('show how the daemon is')))
    .addHelpText(
      'after',
      `
Only the account's root may see it. For a probe that needs no authority:
  curl -fs --unix-socket "$DRAWBRIDGE_SOCKET" http://kms/health

Examples:
  drawbridge status
  drawbridge status --json | jq -r '.keyStores[].state'`,
    )
    .action(async (options: SocketOptions & { json?: true }) => {
      const report = await (await connectTo(options)).get('/status');
      if (options.json) return printJson(report);
      print(describe(report));
    });
}

function describe(report: Members): string {
  const audit = report['audit'] as Members;
  const keyStores = report['keyStores'] as Members[];
  const daemon = facts([
    ['version', String(report['version'])],
    ['pid', String(report['pid'])],
    ['started', String(report['startedAt'])],
    ['region', String(report['region'])],
    ['account', String(report['account'])],
    ['socket', String(report['socket'])],
    ['data folder', String(report['dataDir'])],
    ['memory', `${Math.round(Number(report['memoryBytes']) / 1024 / 1024)} MiB`],
    [
      'keys',
      `${report['keys']}, ${report['aliases']} aliases, ${report['damaged']} damaged, ${report['pendingDeletion']} pending deletion`,
    ],
    ...(Number(report['pendingDeletion']) > 0 ? [['', destroysNothing] as const] : []),
    ['audit log', `${audit['folder']}, event ${audit['sequence']}, sync ${audit['sync']}`],
  ]);
  return [daemon, ...keyStores.map(describeKeyStore)].join('\n\n');
}

function describeKeyStore(keyStore: Members): string {
  const token = keyStore['token'] as Members;
  const library = keyStore['library'] as Members;
  return facts([
    ['key store', String(keyStore['name'])],
    ['state', String(keyStore['state'])],
    ['token', `${token['label']} (${token['manufacturer']} ${token['model']}, serial ${token['serial']})`],
    ['library', `${library['path']} (${library['description']} ${library['version']})`],
    ['hosts', `${keyStore['hosts']} with ${keyStore['lanes']} lanes, ${keyStore['restarts']} replaced`],
    ['last failure', keyStore['lastFailure'] as string | null],
  ]);
}
