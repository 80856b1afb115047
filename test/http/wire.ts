/**
 * A real HTTP server on a real socket, with a `KmsService` behind it that notes what gets through to it. What is under
 * test is the wire; what the operations do is tested elsewhere, and all of it together in `test/end-to-end`.
 */

import { mkdtempSync, rmSync } from 'node:fs';
import { connect, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Admission } from '../../src/http/admission/admission.ts';
import { HandshakeBudget } from '../../src/http/admission/handshake-budget.ts';
import { Connections } from '../../src/http/connections/connections.ts';
import type { AccessKeyDescription, CredentialSource } from '../../src/http/identity-routes.ts';
import { createHttpServer, type HttpServer, type Listener } from '../../src/http/server.ts';
import type { StatusSource } from '../../src/http/status-routes.ts';
import type { WireLimits } from '../../src/http/wire-limits.ts';
import { RequestVerifier } from '../../src/identity/request-verifier.ts';
import { ScopedKeys } from '../../src/identity/scoped-keys.ts';
import type { SigningKey } from '../../src/identity/signing-key.ts';
import type { UnixMapping } from '../../src/identity/unix-caller.ts';
import {
  type ConnectionBudget,
  defaultBudgets,
  type ExchangeBudget,
  type HandshakeLimits,
} from '../../src/kms/budgets.ts';
import { KmsError } from '../../src/kms/errors.ts';
import type { Logger } from '../../src/kms/logger.ts';
import { rootArn } from '../../src/kms/names.ts';
import type { KmsRequest, KmsService } from '../../src/pipeline/service.ts';
import { Secret } from '../../src/secrets/secret-bytes.ts';
import { silentAnnouncer } from '../support/announcer.ts';
import { type ExampleIdentity, exampleIdentity } from '../support/tls-identity.ts';

export interface Noted {
  readonly operationName: string;
  readonly requestId: string;
  readonly caller: string | null;
  readonly body?: string;
  readonly unknownMembers?: 'ignore' | 'refuse';
  readonly userAgent: string | null;
  readonly refusal?: string;
}

export interface Wire {
  readonly path: string;
  /** The path again, or `http://127.0.0.1:PORT`, or `https://…`. */
  readonly endpoint: string;
  readonly server: HttpServer;
  readonly connections: Connections;
  readonly noted: Noted[];
  /** Warnings, as an operator sees them. */
  readonly warnings: string[];
  /** Of a listener for TLS. */
  readonly tls: ExampleIdentity | undefined;
  /** Set to hold answers back until it resolves. */
  hold: Promise<void>;
  /** Set to have operations answered with this. */
  answer: string | undefined;
  /** Set to have operations and refusals break the service's promise: they throw at once, or reject. */
  breaks: 'throws' | 'rejects' | undefined;
  close(): Promise<void>;
}

export const mapping: UnixMapping = {
  account: '000000000000',
  roots: [0, process.getuid?.() ?? 0],
  users: {},
  groups: {},
};

const status: StatusSource = {
  health: () => ({ healthy: true, reason: null }),
  report: () => ({ version: 'test' }),
  key: async (keyId) => (keyId === 'known' ? { keyId } : undefined),
};

/** Access keys in memory, with secrets that say whose they are. */
function exampleCredentials(): CredentialSource {
  const keys = new Map<string, AccessKeyDescription>();
  return {
    async createAccessKey(principal) {
      const accessKeyId = `AKIA${String(keys.size).padStart(16, 'A')}`;
      const key = { accessKeyId, principal, createdAtMs: 0 };
      keys.set(accessKeyId, key);
      return { ...key, secretAccessKey: `secret of ${principal}` };
    },
    accessKeys: () => [...keys.values()],
    async revokeAccessKey(accessKeyId) {
      const key = keys.get(accessKeyId);
      if (key === undefined) throw new KmsError('NotFoundException', `no ${accessKeyId}`);
      keys.delete(accessKeyId);
      return key;
    },
    async issueCredentials(peer, lifetimeSeconds) {
      return {
        accessKeyId: 'ASIA',
        secretAccessKey: 'secret',
        sessionToken: `uid ${peer.uid}`,
        expiresAtMs: lifetimeSeconds * 1000,
      };
    },
  };
}

/** The one access key that a loopback listener of these tests takes; it is the account's root's. */
export const accessKey = {
  accessKeyId: 'AKIAIOSFODNN7EXAMPLE',
  secretAccessKey: 'wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY',
} as const;

function signingKey(): SigningKey {
  const bytes = Buffer.alloc(accessKey.secretAccessKey.length);
  bytes.write(accessKey.secretAccessKey);
  return {
    keys: ScopedKeys.of(new Secret(bytes)),
    caller: { type: 'Root', arn: rootArn(mapping), accountId: mapping.account },
  };
}

export async function startWire(
  limits: Partial<WireLimits> = {},
  kind: 'unix' | 'tcp' | 'tls' = 'unix',
  budgets: Partial<ConnectionBudget & ExchangeBudget> = {},
  identity: Partial<UnixMapping> = {},
  {
    host = '127.0.0.1',
    hasFront = true,
    ...handshakes
  }: Partial<HandshakeLimits> & { readonly host?: string; readonly hasFront?: boolean } = {},
): Promise<Wire> {
  const warnings: string[] = [];
  const log: Logger = { debug() {}, info() {}, warn: (_, message) => void warnings.push(message), error() {} };
  const tls = kind === 'tls' ? await exampleIdentity() : undefined;
  const folder = mkdtempSync(join(tmpdir(), 'drawbridge-wire-'));
  const path = join(folder, 'kms.sock');
  const noted: Noted[] = [];
  const wire: Pick<Wire, 'hold' | 'answer' | 'breaks'> = {
    hold: Promise.resolve(),
    answer: undefined,
    breaks: undefined,
  };
  const mayBreak = (): void => {
    if (wire.breaks !== undefined) throw new Error(`it ${wire.breaks}`);
  };
  const service: KmsService = {
    async run(request: KmsRequest) {
      const { operationName, requestId, caller, body, unknownMembers, userAgent } = request;
      noted.push({
        operationName,
        requestId,
        caller: caller.arn,
        body: body.toString(),
        unknownMembers,
        userAgent,
      });
      await wire.hold;
      mayBreak();
      return {
        ok: true,
        body: wire.answer ?? JSON.stringify({ ran: operationName, bytes: body.length }),
      };
    },
    async refuse({ operationName, requestId, caller, userAgent }, error: KmsError) {
      noted.push({
        operationName,
        requestId,
        caller: caller?.arn ?? null,
        userAgent,
        refusal: error.name,
      });
      await wire.hold;
      mayBreak();
      return { ok: false, error };
    },
    async act({ operationName, requestId, caller, userAgent }, perform) {
      noted.push({ operationName, requestId, caller: caller.arn, userAgent });
      try {
        return { ok: true, body: (await perform(silentAnnouncer)).body };
      } catch (error) {
        if (error instanceof KmsError) return { ok: false, error };
        throw error;
      }
    },
  };
  /** As an asynchronous function never does. */
  const throwing: KmsService = {
    ...service,
    run: (request) => {
      if (wire.breaks === 'throws') mayBreak();
      return service.run(request);
    },
    refuse: (request, error) => {
      if (wire.breaks === 'throws') mayBreak();
      return service.refuse(request, error);
    },
  };
  const verifier = new RequestVerifier({
    regions: ['us-east-1'],
    findKey: (id) => (id === accessKey.accessKeyId ? signingKey() : undefined),
    clock: Date.now,
  });
  const budget = new HandshakeBudget({ ...defaultBudgets.handshakes, ...handshakes }, log);
  const listener: Listener =
    kind === 'unix'
      ? { kind, path, mode: '0600', mapping: { ...mapping, ...identity } }
      : tls === undefined
        ? { kind: 'tcp', host, port: 0, verifier }
        : { kind: 'tls', host, port: 0, verifier, identity: tls.identity(), budget };
  const admission = new Admission({ ...defaultBudgets.connections, ...budgets }, log);
  const connections = new Connections({ ...defaultBudgets.exchanges, ...budgets }, log);
  const opening = createHttpServer({
    service: throwing,
    listener,
    status,
    credentials: exampleCredentials(),
    keyStores: { reconnect: () => Promise.resolve(undefined) },
    upkeep: { list: () => ({ work: [], more: 0 }), confirm: (work) => Promise.resolve({ work }) },
    backup: {
      make: () => Promise.resolve({ id: 'one', bytes: 4, sha256: '00', header: {} }),
      read: (_id, offset) => Promise.resolve(Buffer.from('file').subarray(offset)),
      end: () => Promise.resolve(),
    },
    domains: {
      rotate: () => Promise.resolve({ domainKeyId: '' }),
      retire: () => Promise.resolve({ retired: [], needed: [] }),
      beginRotation: () => Promise.resolve({ domainKeyId: '', member: '', pairs: [], empties: false, gone: [] }),
      finishRotation: () => Promise.resolve({ domainKeyId: '', members: [], left: null, allLeft: [] }),
      invite: () => Promise.resolve({ invitationId: '', invitation: '' }),
      accept: () =>
        Promise.resolve({ fingerprint: '', token: { label: '', serial: '' }, keys: [], response: 'what was wrapped' }),
    },
    moves: { part: () => Promise.resolve({ moved: [], refused: [] }) },
    census: { part: (after) => Promise.resolve({ after }), orphans: () => Promise.resolve({ orphans: [] }) },
    access: { explain: (asked) => ({ asked }), whoCan: (asked) => ({ asked }), simulate: (asked) => ({ asked }) },
    roles: { assumeRole: () => Promise.reject(new KmsError('AccessDeniedException', 'there are no roles')) },
    admission,
    connections,
    log,
    limits,
    hasFront,
  });
  opening.catch(() => rmSync(folder, { recursive: true, force: true }));
  const server = await opening;
  return Object.assign(wire, {
    path,
    endpoint: server.address,
    server,
    connections,
    noted,
    warnings,
    tls,
    async close() {
      await server.stop(0);
      admission.close();
      rmSync(folder, { recursive: true, force: true });
    },
  });
}

/** A connection that sends exactly what it is told, and everything that came back when the server closed it. */
export class RawClient {
  readonly socket: Socket;
  received = '';
  readonly closed: Promise<string>;

  /** @param endpoint A socket's path, or `http://HOST:PORT`; of `https://…`, what lies below TLS. */
  constructor(endpoint: string) {
    const url = /^https?:/.test(endpoint) ? new URL(endpoint) : undefined;
    const place = url === undefined ? { path: endpoint } : { host: url.hostname, port: Number(url.port) };
    this.socket = connect({ ...place, allowHalfOpen: true });
    this.socket.setEncoding('latin1').on('data', (text: string) => {
      this.received += text;
    });
    this.socket.on('error', () => undefined); // A reset is one of the ways in which the server may close.
    this.closed = new Promise((resolve) => {
      this.socket.on('end', () => {
        this.socket.end();
        resolve(this.received);
      });
      this.socket.on('close', () => resolve(this.received));
    });
  }

  send(text: string | Buffer): this {
    this.socket.write(text);
    return this;
  }

  /** Waits until `count` complete answers are there. */
  async answers(count: number): Promise<Answer[]> {
    while (true) {
      const answers = parseAnswers(this.received);
      if (answers.length >= count) return answers;
      if (this.socket.destroyed || this.socket.readableEnded) {
        throw new Error(`the connection ended after ${answers.length} answers: ${this.received.slice(0, 500)}`);
      }
      await Promise.race([this.closed, new Promise((resolve) => this.socket.once('data', resolve))]);
    }
  }

  async answer(): Promise<Answer> {
    const [answer] = await this.answers(1);
    if (answer === undefined) throw new Error('there is no answer');
    return answer;
  }
}

export interface Answer {
  readonly status: number;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: string;
}

/** The complete answers at the beginning of `text`; all of ours have a Content-Length. */
export function parseAnswers(text: string): Answer[] {
  const answers: Answer[] = [];
  let rest = text;
  while (true) {
    const end = rest.indexOf('\r\n\r\n');
    if (end < 0) return answers;
    const [first = '', ...lines] = rest.slice(0, end).split('\r\n');
    const headers = Object.fromEntries(
      lines.map((line) => [line.slice(0, line.indexOf(':')).toLowerCase(), line.slice(line.indexOf(':') + 1).trim()]),
    );
    const length = Number(headers['content-length'] ?? 0);
    if (first.startsWith('HTTP/1.1 100')) {
      rest = rest.slice(end + 4);
      continue;
    }
    const body = rest.slice(end + 4, end + 4 + length);
    if (body.length < length) return answers;
    answers.push({ status: Number(first.split(' ')[1]), headers, body });
    rest = rest.slice(end + 4 + length);
  }
}

/** A request as text. `Content-Length` is added unless the headers say how the body comes. */
export function httpRequest(
  method: string,
  path: string,
  headers: Readonly<Record<string, string>> = {},
  body = '',
): string {
  const has = (name: string): boolean => Object.keys(headers).some((key) => key.toLowerCase() === name);
  const framed =
    has('content-length') || has('transfer-encoding') ? headers : { ...headers, 'Content-Length': String(body.length) };
  const lines = Object.entries(framed).map(([name, value]) => `${name}: ${value}\r\n`);
  return `${method} ${path} HTTP/1.1\r\nHost: kms\r\n${lines.join('')}\r\n${body}`;
}

export function awsRequest(operation: string, body = '{}', headers: Readonly<Record<string, string>> = {}): string {
  const own = {
    'Content-Type': 'application/x-amz-json-1.1',
    'X-Amz-Target': `TrentService.${operation}`,
  };
  return httpRequest('POST', '/', { ...own, ...headers }, body);
}
