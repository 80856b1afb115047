/**
 * A backup of the metadata, for the account's root alone:
 *
 *     POST /backup         makes one: `{"id", "bytes", "sha256", "header"}`
 *     POST /backup/read    `{"id", "offset"}`: the bytes from there on, up to 3 MiB of them, as `{"data"}` in base64
 *     POST /backup/end     `{"id"}`: it was read, or is not wanted any more
 *
 * In pieces, because an answer is in memory as a whole and a database is as large as it is. One backup is made and read at a time.
 */

import type { FastifyInstance } from 'fastify';
import { KmsError } from '../kms/errors.ts';
import type { Wire } from './exchange.ts';
import { membersOf, operatorAct } from './operator-acts.ts';

export interface OfferedBackup {
  readonly id: string;
  readonly bytes: number;
  /** Of the whole file, hexadecimal: for whoever reads it, who cannot compute its MAC. */
  readonly sha256: string;
  /** As in the file. */
  readonly header: object;
}

export interface BackupControl {
  /** @throws KmsError `ConflictException` while another one is read. */
  make(): Promise<OfferedBackup>;
  /** @throws KmsError `NotFoundException`. */
  read(id: string, offset: number, bytes: number): Promise<Buffer>;
  end(id: string): Promise<void>;
}

const pieceBytes = 3 * 1024 * 1024;

export function addBackupRoutes(app: FastifyInstance, wire: Wire, control: BackupControl): void {
  app.post('/backup', (request, reply) =>
    operatorAct(wire, request, reply, {
      operationName: 'MakeBackup',
      effect: 'reads',
      async perform() {
        const made = await control.make();
        const { bytes, sha256 } = made;
        return { body: JSON.stringify(made), record: { bytes, sha256 } };
      },
    }),
  );
  app.post('/backup/read', (request, reply) =>
    operatorAct(wire, request, reply, {
      operationName: 'ReadBackup',
      effect: 'reads',
      parameters: (body) => ({ offset: pieceOf(body)?.offset ?? null }),
      async perform(body) {
        const piece = pieceOf(body);
        if (piece === undefined) throw malformed('{"id": "ID", "offset": 0}');
        const bytes = await control.read(piece.id, piece.offset, pieceBytes);
        return { body: JSON.stringify({ data: bytes.toString('base64') }), record: null };
      },
    }),
  );
  app.post('/backup/end', (request, reply) =>
    operatorAct(wire, request, reply, {
      operationName: 'EndBackup',
      effect: 'reads',
      async perform(body) {
        const { id } = membersOf(body) ?? {};
        if (typeof id !== 'string') throw malformed('{"id": "ID"}');
        await control.end(id);
        return { body: '{}', record: null };
      },
    }),
  );
}

function pieceOf(body: Buffer): { readonly id: string; readonly offset: number } | undefined {
  const { id, offset } = membersOf(body) ?? {};
  if (typeof id !== 'string' || typeof offset !== 'number' || !Number.isSafeInteger(offset) || offset < 0)
    return undefined;
  return { id, offset };
}

function malformed(form: string): KmsError {
  return new KmsError('ValidationException', `The request has the form ${form}.`);
}
