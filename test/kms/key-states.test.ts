/**
 * Holds the table of key states to AWS's: `test/vectors/kms-developer-guide/key-states.txt` has a row for every operation of
 * AWS KMS that acts on a key, and `test/vectors/README.md` says where it comes from.
 */

import { readdirSync, readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { keyOrigins, keyStates, stateGroups, stateRefusal } from '../../src/kms/key-states.ts';
import { findOperation, operations } from '../../src/operations/find-operation.ts';

const arn = 'arn:aws:kms:us-east-1:000000000000:key/1234abcd-12ab-34cd-56ef-1234567890ab';

interface Row {
  readonly operation: string;
  /** The name of the need, where the operation takes two keys that are not answered alike. */
  readonly need: string | undefined;
  readonly group: string;
  readonly source: string;
  readonly origin: string;
  readonly cells: readonly { readonly state: string; readonly note: string }[];
}

interface Note {
  readonly error: string;
  readonly message: string;
}

const vectors = readVectors();
const operationsOfKeys = [...new Set(vectors.rows.map(({ operation }) => operation))];

/** Operations of AWS KMS that are about no key that there is already, and so have no state to ask for. */
const withoutKey = [
  'ConnectCustomKeyStore',
  'CreateCustomKeyStore',
  'CreateKey',
  'DeleteCustomKeyStore',
  'DescribeCustomKeyStores',
  'DisconnectCustomKeyStore',
  'GenerateRandom',
  'ListKeys',
  'ListRetirableGrants',
  'UpdateCustomKeyStore',
];

/** Cells are set apart by spaces; a message is the rest of its line. */
function readVectors(): { readonly rows: readonly Row[]; readonly notes: ReadonlyMap<string, Note> } {
  const text = readFileSync(new URL('../vectors/kms-developer-guide/key-states.txt', import.meta.url), 'utf8');
  const [, table = '', notes = ''] = text.split('\n\n');
  const [[, , , , ...states] = [], ...rows] = table.split('\n').map((line) => line.split(/ +/));
  const [head, ...noteLines] = notes
    .trimEnd()
    .split('\n')
    .map((line) => line.split(/ {2,}/));
  expect([...states].sort()).toEqual([...keyStates].sort());
  expect(head).toEqual(['note', 'error', 'message']);
  return {
    rows: rows.map(([name = '', group = '', source = '', origin = '', ...cells]) => {
      expect(cells, name).toHaveLength(states.length);
      const [operation = '', need] = name.split(':');
      const named = states.map((state, at) => ({ state, note: cells[at] ?? '' }));
      return { operation, need, group, source, origin, cells: named };
    }),
    notes: new Map(noteLines.map(([note = '', error = '', message = '']) => [note, { error, message }])),
  };
}

/** What the cell says, as `stateRefusal` says it. */
function expected(note: string, state: string, origin: string): { name: string; message: string } | undefined {
  if (note === 'ok') return undefined;
  const found = vectors.notes.get(note);
  if (found === undefined) throw new Error(`there is no note ${note}`);
  const pending = state === 'PendingDeletion' ? 'pending deletion' : 'pending replica deletion';
  const message = found.message.replace('KEY', arn).replace('PENDING', pending).replace('ORIGIN', origin);
  return { name: found.error, message };
}

/** The row as the table in the code has it for this group. */
function answersOf(group: string, { cells, origin }: Row): unknown[] {
  const known = stateGroups.find((name) => name === group);
  if (known === undefined) throw new Error(`there is no group ${group}`);
  const origins = keyOrigins.filter((name) => origin === '*' || name === origin);
  expect(origins, `there is no origin ${origin}`).not.toEqual([]);
  return cells.flatMap(({ state, note }) =>
    origins.map((keyOrigin) => {
      const key = keyStates.find((name) => name === state);
      if (key === undefined) throw new Error(`there is no state ${state}`);
      if (note === '-') return [state, 'not asked'];
      const refusal = stateRefusal(known, { arn, state: key, origin: keyOrigin });
      return [state, refusal === undefined ? undefined : { name: refusal.name, message: refusal.message }];
    }),
  );
}

function expectedOf({ cells, origin }: Row): unknown[] {
  const origins = origin === '*' ? keyOrigins : [origin];
  return cells.flatMap(({ state, note }) =>
    origins.map((keyOrigin) => [state, note === '-' ? 'not asked' : expected(note, state, keyOrigin)]),
  );
}

function nameOf({ operation, need, origin }: Row): string {
  return `${operation}${need === undefined ? '' : `, its ${need} key`}${origin === '*' ? '' : `, of a key from ${origin}`}`;
}

describe('In every key state', () => {
  test.each(vectors.rows.map((row) => [nameOf(row), row] as const))('AWS answers %s as its group', (_name, row) => {
    expect(['page', 'errors', 'like', 'deviates']).toContain(row.source);
    expect(answersOf(row.group, row)).toEqual(expectedOf(row));
  });

  const needs = operations.flatMap(({ name: operation, needs: { keys = {} } }) =>
    Object.entries(keys).map(([need, { states }]) => ({ operation, need, states })),
  );
  test.each(needs)('$operation refuses its $need as AWS does', ({ operation, need, states }) => {
    const rows = vectors.rows.filter(
      (row) => row.operation === operation && (row.need === undefined || row.need === need),
    );
    expect(rows).not.toEqual([]);
    for (const row of rows) {
      expect(states).toBe(row.group);
      expect(answersOf(states, row)).toEqual(expectedOf(row));
    }
  });

  test('an operation that asks for no key either takes none or is refused in no state', () => {
    const asking = new Set(needs.map(({ operation }) => operation));
    const refusing = new Set(
      vectors.rows.filter(({ cells }) => cells.some(({ note }) => note !== 'ok')).map(({ operation }) => operation),
    );
    const silent = operations.map(({ name }) => name).filter((name) => !asking.has(name) && refusing.has(name));
    expect(silent).toEqual([]);
  });
});

describe('The vectors of key states', () => {
  const main = createRequire(import.meta.url).resolve('@aws-sdk/client-kms');
  const commands = join(dirname(dirname(main)), 'dist-types', 'commands');
  /** The errors that AWS documents for the operation, in the SDK's doc comments. */
  const errorsOf = (operation: string): ReadonlySet<string> => {
    const text = readFileSync(join(commands, `${operation}Command.d.ts`), 'utf8');
    return new Set([...text.matchAll(/@throws \{@link (\w+)\}/g)].map(([, name = '']) => name));
  };

  test('have every operation of the SDK that acts on a key', () => {
    const all = readdirSync(commands).flatMap((name) => /^(\w+)Command\.d\.ts$/.exec(name)?.[1] ?? []);
    expect([...operationsOfKeys, ...withoutKey].sort()).toEqual(all.sort());
    const asking = withoutKey.filter((name) => findOperation(name)?.needs.keys !== undefined);
    expect(asking).toEqual([]);
  });

  test.each(operationsOfKeys)('give %s no error that AWS does not document for it', (operation) => {
    const documented = errorsOf(operation);
    const cells = vectors.rows.filter((row) => row.operation === operation).flatMap((row) => row.cells);
    const errors = new Set(cells.flatMap(({ note }) => vectors.notes.get(note)?.error ?? []));
    expect([...errors].filter((name) => !documented.has(name))).toEqual([]);
    // DisabledException has no meaning but this one.
    expect(errors.has('DisabledException')).toBe(documented.has('DisabledException'));
  });

  test('have every group that the code has', () => {
    expect([...new Set(vectors.rows.map(({ group }) => group))].sort()).toEqual([...stateGroups].sort());
  });
});
