/** The unmodified AWS SDK over a Unix socket, configured as a user of Drawbridge would do it. */

import { Agent, type AgentOptions } from 'node:http';
import { KMS } from '@aws-sdk/client-kms';
import { NodeHttpHandler } from '@smithy/node-http-handler';
import { region } from './arns.ts';

/**
 * An SDK client of its own, with its own connections; whoever makes it destroys it. Every failure is seen, since it
 * never tries again.
 */
export function kmsOver(socketPath: string, connections = 64): KMS {
  // Node's agents hand their options on to `connect`, which takes a path; the published type knows of TCP alone.
  const overSocket: AgentOptions & { readonly socketPath: string } = {
    socketPath,
    keepAlive: true,
    maxSockets: connections,
  };
  return new KMS({
    region,
    endpoint: 'http://kms',
    // A Unix socket needs no credentials, but the SDK signs whatever it sends.
    credentials: { accessKeyId: 'unused', secretAccessKey: 'unused' },
    maxAttempts: 1,
    requestHandler: new NodeHttpHandler({ httpAgent: new Agent(overSocket) }),
  });
}
