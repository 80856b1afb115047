/** The child of `unix-users.ts`: becomes a Unix user, then sends through the SDK what its parent asks for. */

import { kmsOver } from './connect.ts';

export type Reply =
  | { readonly ok: true; readonly output: Readonly<Record<string, unknown>> }
  | { readonly ok: false; readonly name: string; readonly message: string };

const [, , socket = '', uid = '', gid = ''] = process.argv;
const kms = kmsOver(socket);
process.setgroups?.([]);
process.setgid?.(Number(gid));
process.setuid?.(Number(uid));

process.on('message', async ({ operation, input }: { operation: string; input: object }) => {
  process.send?.(await send(operation, input));
});
process.send?.('ready');

async function send(operation: string, input: object): Promise<Reply> {
  const method = operation.charAt(0).toLowerCase() + operation.slice(1);
  // Safe: the SDK's client has one such method for each operation; another name would be an error in the reply.
  const methods = kms as unknown as Record<string, (input: object) => Promise<Record<string, unknown>>>;
  try {
    const { $metadata, ...output } = (await methods[method]?.(input)) ?? {};
    return { ok: true, output };
  } catch (error) {
    return error instanceof Error
      ? { ok: false, name: error.name, message: error.message }
      : { ok: false, name: 'unknown', message: String(error) };
  }
}
