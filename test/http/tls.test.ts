/** The listener for TLS: what it takes and refuses before the first request, and that requests are the same behind it. */

import { execFile } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { Agent } from 'node:https';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { connect as connectTls, type TLSSocket } from 'node:tls';
import { promisify } from 'node:util';
import { KMSClient, ListKeysCommand } from '@aws-sdk/client-kms';
import { NodeHttpHandler } from '@smithy/node-http-handler';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { exampleIdentity } from '../support/tls-identity.ts';
import { accessKey, httpRequest, RawClient, startWire, type Wire } from './wire.ts';

const run = promisify(execFile);
const health = httpRequest('GET', '/health');
let folder: string;
let wire: Wire | undefined;
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'drawbridge-tls-'));
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));
afterEach(async () => {
  await wire?.close();
  wire = undefined;
});

async function start(...options: Parameters<typeof startWire> | []): Promise<Wire> {
  const [limits = {}, , budgets = {}, identity = {}, handshakes = {}] = options;
  wire = await startWire(limits, 'tls', budgets, identity, handshakes);
  writeFileSync(join(folder, 'authority.pem'), wire.tls?.authority ?? '');
  return wire;
}

function portOf({ endpoint }: Wire): number {
  return Number(new URL(endpoint).port);
}

/** A connection with its handshake done, to a server that the authority vouches for. */
async function handshake(to: Wire, ca = to.tls?.authority): Promise<TLSSocket> {
  const socket = connectTls({ host: '127.0.0.1', port: portOf(to), ...(ca === undefined ? {} : { ca }) });
  await once(socket, 'secureConnect');
  return socket.setEncoding('latin1');
}

async function ask(socket: TLSSocket): Promise<string> {
  socket.write(health);
  const [text] = (await once(socket, 'data')) as [string];
  return text.split('\r\n')[0] ?? '';
}

function curl(to: Wire, ...options: readonly string[]): Promise<string> {
  const ca = ['--cacert', join(folder, 'authority.pem')];
  const outcome = run('curl', ['-sS', ...ca, ...options, `${to.endpoint}/health`]);
  return outcome.then(
    ({ stdout }) => stdout,
    (error: { readonly stderr: string }) => error.stderr,
  );
}

describe('TLS', () => {
  test.each([
    ['1.2', ['--tlsv1.2', '--tls-max', '1.2']],
    ['1.3', ['--tlsv1.3']],
  ])('%s is spoken, as curl does, with the certificate that the authority issued', async (_version, options) => {
    expect(JSON.parse(await curl(await start(), ...options))).toMatchObject({ status: 'ok' });
  });

  test.each([
    ['version 1.1', ['-tls1_1', '-cipher', 'DEFAULT@SECLEVEL=0'], /alert protocol version/],
    ['a suite without forward secrecy', ['-tls1_2', '-cipher', 'AES128-GCM-SHA256'], /alert handshake failure/],
    [
      'a suite without authenticated encryption',
      ['-tls1_2', '-cipher', 'ECDHE-ECDSA-AES128-SHA'],
      /alert handshake failure/,
    ],
  ])('of %s is refused, and the log says that it was', async (_name, options, alert) => {
    const { endpoint, warnings } = await start();
    const outcome = run('openssl', ['s_client', '-connect', new URL(endpoint).host, ...options]);
    const { stderr } = await outcome.then(
      () => ({ stderr: 'it was taken' }),
      (error: { readonly stderr: string }) => error,
    );
    expect(stderr).toMatch(alert);
    await expect
      .poll(() => warnings)
      .toEqual([expect.stringMatching(/no version or cipher suite of TLS that is taken/)]);
  });

  test('is not negotiated anew on a connection', async () => {
    const server = await start();
    const socket = connectTls({
      host: '127.0.0.1',
      port: portOf(server),
      ca: server.tls?.authority ?? '',
      maxVersion: 'TLSv1.2',
    });
    await once(socket, 'secureConnect');
    const refused = once(socket, 'error');
    socket.renegotiate({}, () => undefined);
    expect(await refused).toMatchObject([{ code: 'ERR_SSL_NO_RENEGOTIATION' }]);
    socket.destroy();
  });

  test('carries requests of the AWS SDK, and keeps their connection', async () => {
    const { endpoint, noted, tls } = await start();
    const httpsAgent = new Agent({ ca: tls?.authority ?? '', keepAlive: true, maxSockets: 1 });
    const client = new KMSClient({
      region: 'us-east-1',
      endpoint,
      credentials: accessKey,
      maxAttempts: 1,
      requestHandler: new NodeHttpHandler({ httpsAgent }),
    });
    for (let count = 0; count < 3; count++) await client.send(new ListKeysCommand({}));
    expect(noted.map(({ operationName }) => operationName)).toEqual(['ListKeys', 'ListKeys', 'ListKeys']);
    expect(Object.values(httpsAgent.freeSockets).flat()).toHaveLength(1);
    client.destroy();
  });
});

describe('what is not TLS', () => {
  test('on the port for TLS is closed, and the log names it', async () => {
    const { endpoint, warnings, noted } = await start();
    expect(await new RawClient(endpoint).send(health).closed).toBe('');
    expect(warnings).toEqual([expect.stringMatching(/plain HTTP to the listener for TLS.*https:/)]);
    expect(noted).toEqual([]);
  });

  test('is what the plain listener wants: TLS is refused there, and the log names it once', async () => {
    wire = await startWire({}, 'tcp');
    const { warnings, endpoint } = wire;
    for (let count = 0; count < 3; count++) {
      await expect(curl({ ...wire, endpoint: endpoint.replace('http:', 'https:') })).resolves.toMatch(/curl: \(35\)/);
    }
    expect(warnings).toEqual([expect.stringMatching(/speaks TLS to the listener for plain HTTP/)]);
  });
});

describe('a handshake', () => {
  test.each([
    ['that does not begin', ''],
    ['that stops in its middle', '\x16\x03\x01\x02\x00\x01\x00\x01'],
  ])('%s is cut in time', async (_name, bytes) => {
    const { endpoint } = await start({ headersTimeoutMs: 200 });
    const client = new RawClient(endpoint);
    if (bytes !== '') client.send(Buffer.from(bytes, 'latin1'));
    expect(await client.closed).toBe('');
  });

  test('that is not done holds up no stop', async () => {
    const { endpoint, server } = await start({ headersTimeoutMs: 60_000, requestTimeoutMs: 60_000 });
    const client = new RawClient(endpoint);
    await once(client.socket, 'connect');
    await server.stop(120_000);
    expect(await client.closed).toBe('');
  });

  test('that is done is followed by a request in time, or closed', async () => {
    const socket = await handshake(await start({ headersTimeoutMs: 200, requestTimeoutMs: 200 }));
    await once(socket.resume(), 'close');
  });
});

describe('another certificate', () => {
  test('is shown to new connections, while those that are there go on', async () => {
    const server = await start();
    const before = await handshake(server);
    const renewed = await exampleIdentity();
    server.server.useIdentity?.(renewed.identity());
    expect(await ask(before)).toBe('HTTP/1.1 200 OK');
    const after = await handshake(server, renewed.authority);
    expect(await ask(after)).toBe('HTTP/1.1 200 OK');
    await expect(handshake(server)).rejects.toThrow(/certificate|signature/);
    before.destroy();
    after.destroy();
  });

  test('that does not go with its key leaves the former one in place, and its key is wiped', async () => {
    const server = await start();
    const [one, other] = [await exampleIdentity(), await exampleIdentity()];
    const broken = { ...one.identity(), privateKey: other.identity().privateKey };
    expect(() => server.server.useIdentity?.(broken)).toThrow(/key values mismatch/);
    expect(() => broken.privateKey.reveal()).toThrow(/wiped/);
    const socket = await handshake(server);
    expect(await ask(socket)).toBe('HTTP/1.1 200 OK');
    socket.destroy();
  });
});
