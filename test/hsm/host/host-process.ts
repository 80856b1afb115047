/**
 * A real HSM host as a child process, spoken to in frames as the API process would, one helper per call.
 */

import { type ChildProcess, spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import type { Socket } from 'node:net';
import { type CallName, calls, type HostSettings, type OpenSettings, replyCodes } from '../../../src/hsm/calls.ts';
import { FrameReader, FrameWriter } from '../../../src/hsm/frames.ts';
import type { BackingKeyAttributes, KeyStoreCapabilities } from '../../../src/hsm/key-store.ts';
import { loadVendorProfile } from '../../../src/hsm/vendor-profile.ts';
import { hostProgram } from '../../support/program.ts';
import type { TestToken } from '../../support/tokens.ts';

export interface Reply {
  /** `success`, or the name of the failure. */
  readonly code: string;
  readonly fields: readonly Buffer[];
  /** The message of a failure; empty on success. */
  readonly message: string;
}

export const newId = () => randomBytes(16);
export const u32 = (value: number): Buffer => {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32BE(value);
  return bytes;
};

/** The fields of a reply that must be a success. */
export function fieldsOf(reply: Reply): readonly Buffer[] {
  if (reply.code !== 'success') throw new Error(`${reply.code}: ${reply.message}`);
  return reply.fields;
}

/** Field `index` of a reply that must be a success. */
export function fieldOf(reply: Reply, index = 0): Buffer {
  const field = fieldsOf(reply)[index];
  if (field === undefined) throw new Error(`the reply has no field ${index}`);
  return field;
}

export function jsonOf<Value = BackingKeyAttributes>(reply: Reply): Value {
  return JSON.parse(fieldOf(reply).toString('utf8')) as Value;
}

const codeNames = new Map<number, string>(Object.entries(replyCodes).map(([name, code]) => [code, name]));

export class HostLane {
  readonly socket: Socket;
  readonly #reader = new FrameReader();
  readonly #waiting = new Map<number, (reply: Reply) => void>();
  #nextRequestId = 1;

  constructor(socket: Socket) {
    this.socket = socket;
    socket.on('data', (chunk: Buffer) => this.#receive(chunk));
    socket.on('close', () => this.#lose());
    socket.on('error', () => this.#lose()); // A host that ended; whoever waits is told by `#lose`.
  }

  call(name: CallName, fields: readonly Uint8Array[] = []): Promise<Reply> {
    return this.raw(calls[name].number, fields);
  }

  /** Any frame, also one that no call has. Resolves with code `lost` when the host ends without a reply. */
  raw(code: number, fields: readonly Uint8Array[]): Promise<Reply> {
    const requestId = this.#nextRequestId++;
    const writer = new FrameWriter();
    writer.append(requestId, code, fields);
    return new Promise((resolve) => {
      this.#waiting.set(requestId, resolve);
      if (this.socket.destroyed) this.#lose();
      else this.socket.write(writer.take());
    });
  }

  open(settings: HostSettings, pin: string): Promise<Reply> {
    const openSettings: OpenSettings = { ...settings, vendorProfile: loadVendorProfile(settings.profile) };
    return this.call('open', [Buffer.from(JSON.stringify(openSettings)), Buffer.from(pin)]);
  }

  async generateKey(keySpec: 'SYMMETRIC_DEFAULT' | 'HMAC_256', id = newId()): Promise<Buffer> {
    const keyUsage = keySpec === 'SYMMETRIC_DEFAULT' ? 'ENCRYPT_DECRYPT' : 'GENERATE_VERIFY_MAC';
    fieldsOf(await this.generate({ id, keySpec, keyUsage }));
    return id;
  }

  generate(request: { id?: Buffer; label?: string; keySpec?: string; keyUsage?: string }): Promise<Reply> {
    const {
      id = newId(),
      label = 'drawbridge:test:1',
      keySpec = 'SYMMETRIC_DEFAULT',
      keyUsage = 'ENCRYPT_DECRYPT',
    } = request;
    return this.call('generateKey', [id, Buffer.from(label), Buffer.from(keySpec), Buffer.from(keyUsage)]);
  }

  #receive(chunk: Buffer): void {
    this.#reader.push(chunk);
    for (let frame = this.#reader.next(); frame !== undefined; frame = this.#reader.next()) {
      const fields = frame.fields.map((field) => Buffer.from(field));
      const code = codeNames.get(frame.code) ?? `code ${frame.code}`;
      const message = code === 'success' ? '' : (fields[0]?.toString('utf8') ?? '');
      this.#waiting.get(frame.requestId)?.({ code, fields, message });
      this.#waiting.delete(frame.requestId);
    }
  }

  #lose(): void {
    for (const resolve of this.#waiting.values()) resolve({ code: 'lost', fields: [], message: 'the host ended' });
    this.#waiting.clear();
  }
}

export class HostProcess {
  readonly child: ChildProcess;
  readonly lanes: readonly HostLane[];
  readonly #token: TestToken;
  #stderr = '';

  constructor(token: TestToken, lanes = 1) {
    this.#token = token;
    this.child = spawn(process.execPath, [hostProgram, String(lanes), '60'], {
      env: { ...process.env, ...token.environment },
      stdio: ['ignore', 'pipe', 'pipe', ...Array.from({ length: lanes }, () => 'pipe' as const)],
    });
    this.child.stderr?.on('data', (chunk: Buffer) => {
      this.#stderr += chunk.toString();
    });
    // Node.js makes a `pipe` beyond the first three a duplex Unix socket, though its type says stream.
    this.lanes = Array.from(
      { length: lanes },
      (_, lane) => new HostLane(this.child.stdio[3 + lane] as unknown as Socket),
    );
  }

  /** What the host wrote to standard error; complete once it has ended. */
  get stderr(): string {
    return this.#stderr;
  }

  get lane(): HostLane {
    const lane = this.lanes[0];
    if (lane === undefined) throw new Error('a host has at least one lane');
    return lane;
  }

  /** Opens every lane; the PIN goes to the first. */
  async open(pin = this.#token.pin): Promise<KeyStoreCapabilities> {
    const settings = this.#token.settings(this.lanes.length);
    const replies = await Promise.all(this.lanes.map((lane, index) => lane.open(settings, index === 0 ? pin : '')));
    for (const reply of replies) fieldsOf(reply);
    return jsonOf<KeyStoreCapabilities>(replies[0] as Reply); // There is one per lane, and at least one lane.
  }

  /** Resolves when the process has ended, with its exit code or the name of the signal. */
  async ended(): Promise<number | string> {
    if (this.child.exitCode === null && this.child.signalCode === null) await once(this.child, 'close');
    return this.child.exitCode ?? this.child.signalCode ?? 'unknown';
  }

  async kill(): Promise<void> {
    this.child.kill('SIGKILL');
    await this.ended();
  }
}

/** Runs `use` with an opened host and ends it afterwards. */
export async function withHost<Result>(
  token: TestToken,
  use: (host: HostProcess, capabilities: KeyStoreCapabilities) => Promise<Result>,
  lanes = 1,
): Promise<Result> {
  const host = new HostProcess(token, lanes);
  try {
    return await use(host, await host.open());
  } finally {
    await host.kill();
  }
}
