/** What the commands that read the audit log share: where it is, and from where on they read. */

import { InvalidArgumentError } from 'commander';
import { configurationIfAny, connectTo, type SocketOptions } from './command-options.ts';
import type { Members } from './kms-client.ts';

/** The folder that was named, else the configuration's, else the one that the daemon tells the account's root. */
export async function auditFolderOf(options: SocketOptions & { readonly folder?: string }): Promise<string> {
  if (options.folder !== undefined) return options.folder;
  const configuration = options.socket === undefined ? await configurationIfAny(options.config) : undefined;
  if (configuration !== undefined) return configuration.audit.folder;
  const { audit } = await (await connectTo(options)).get('/status');
  return String((audit as Members)['folder']);
}

/** A sequence number, or a number of events. */
export function parseCount(text: string): number {
  if (!/^\d{1,15}$/.test(text)) throw new InvalidArgumentError('expected a whole number.');
  return Number(text);
}
