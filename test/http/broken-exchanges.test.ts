/** Exchanges that fail although they never should, on connections of the front and of the back. */

import { afterEach, expect, test } from 'vitest';
import { awsRequest, httpRequest, RawClient, startWire, type Wire } from './wire.ts';

let wire: Wire;
afterEach(() => wire.close());

/** Of three that fail two are too many, if they go on counting. */
const requestBytesPerPayer = 2500;
const body = JSON.stringify({ KeyId: 'x'.repeat(1000) });

test.each([
  ['the front', 'throws', 'unix', true],
  ['the front', 'rejects', 'unix', true],
  ['the front, unsigned', 'throws', 'tcp', true],
  ['the back', 'throws', 'unix', false],
  ['the back', 'rejects', 'unix', false],
  ['the back, unsigned', 'throws', 'tcp', false],
] as const)(
  'On %s, a service that %s ends the connection, and costs its payer nothing',
  async (_, breaks, kind, hasFront) => {
    wire = await startWire({}, kind, { requestBytesPerPayer }, {}, { hasFront });
    // Keeps the payer's account.
    const bystander = new RawClient(wire.endpoint);
    await bystander.send(httpRequest('GET', '/health')).answer();
    wire.breaks = breaks;
    for (let count = 0; count < 3; count++) {
      expect(await new RawClient(wire.endpoint).send(awsRequest('Encrypt', body)).closed).toBe('');
    }
    wire.breaks = undefined;
    const client = new RawClient(wire.endpoint).send(awsRequest('Encrypt', body));
    expect((await client.answer()).body).not.toContain('ThrottlingException');
    for (const { socket } of [client, bystander]) socket.destroy();
    await expect.poll(() => wire.connections.awake.underWay).toBe(0);
  },
);
