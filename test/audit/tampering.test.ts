/** Somebody edits the log while the daemon is stopped; or the daemon was killed, which must not look like it. */

import { hash } from 'node:crypto';
import { existsSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { acceptPlace } from '../../src/audit/accept-place.ts';
import type { AuditHead, AuditLog } from '../../src/audit/audit-log.ts';
import { chainStart } from '../../src/audit/chain.ts';
import { auditLogPath, openAuditLog } from '../../src/audit/open-audit-log.ts';
import { type RecordedEvent, readAuditEvents, verifyAuditLog } from '../../src/audit/read-audit-log.ts';
import { renderRecord } from '../../src/audit/record-line.ts';
import { chainLine } from './chained-line.ts';
import { temporaryFolder } from './events.ts';
import { exampleEvent } from './example-event.ts';

const open = (folder: string, noted?: AuditHead): Promise<AuditLog> =>
  openAuditLog({ folder, sync: 'default', clock: () => 0, noted });

/** @returns What would have been noted of it at a stop. */
async function createLog(folder: string, events = 3): Promise<AuditHead> {
  const log = await open(folder);
  await Promise.all(Array.from({ length: events }, (_, index) => log.append(exampleEvent(index + 1), 'written')));
  await log.close();
  return log.syncedHead();
}

const contentOf = (folder: string): Buffer => readFileSync(auditLogPath(folder));
const rewrite = (folder: string, content: string | Buffer): void => writeFileSync(auditLogPath(folder), content);

async function eventsIn(folder: string): Promise<readonly RecordedEvent[]> {
  const events: RecordedEvent[] = [];
  for await (const event of readAuditEvents(folder)) events.push(event);
  return events;
}

/** What a start says of the place, and that it leaves everything as it is. */
async function refusalOf(folder: string, noted?: AuditHead): Promise<{ place: string; what: string }> {
  const before = contentOf(folder);
  const files = readdirSync(folder);
  const error = await open(folder, noted).then(
    () => new Error('it was opened'),
    (reason: Error) => reason,
  );
  expect(error).toMatchObject({ name: 'AuditError', failure: 'damaged' });
  expect([contentOf(folder), readdirSync(folder)]).toEqual([before, files]);
  const [, line, offset, what = '', place = ''] =
    /tampered with or damaged at line (\d+), byte (\d+): (.*?); keep.*`drawbridge audit accept --at (\S+)`/.exec(
      error.message,
    ) ?? [error.message];
  expect(place.split(':').slice(0, 3)).toEqual(['audit.jsonl', line, offset]);
  return { place, what };
}

const [firstLine = '', secondLine = ''] = (() => {
  const first = chainLine(renderRecord(exampleEvent(1)), chainStart);
  return [first.line, chainLine(renderRecord(exampleEvent(2)), first.link).line];
})();

describe('what a crash left behind the last record', () => {
  test.each<[string, string]>([
    ['half a record', firstLine.slice(0, 300)],
    ['a record without its last byte', firstLine.slice(0, -1)],
    ['one byte of a record', '{'],
    ['blocks that were never written', '\0'.repeat(5000)],
    ['half a record, and blocks that were never written', `${firstLine.slice(0, 300)}${'\0'.repeat(5000)}`],
    ['a record without its line feed, and blocks that were never written', `${firstLine}${'\0'.repeat(100)}`],
    ['more blocks than are read at once', '\0'.repeat(5 * 1024 * 1024)],
  ])('is set aside in a file, named and counted, once: %s', async (_what, torn) => {
    for (const events of [0, 3]) {
      const folder = temporaryFolder();
      const { bytes: offset, hash: last } = await createLog(folder, events);
      rewrite(folder, Buffer.concat([contentOf(folder), Buffer.from(torn)]));
      expect(await verifyAuditLog(folder)).toMatchObject({
        ok: false,
        firstProblem: { what: expect.stringContaining('the log ends in the middle of a record') },
      });
      for (let starts = 0; starts < 2; starts++) await (await open(folder)).close();
      const file = `audit.torn-${events}-${last.slice(0, 12)}`;
      const statement = { file, offset, bytes: torn.length, sha256: hash('sha256', torn) };
      const [tornEnd, ...others] = (await eventsIn(folder)).slice(events);
      expect(tornEnd).toMatchObject({ eventName: 'AuditTornEnd', additionalEventData: { tornEnd: statement } });
      expect(others).toEqual([]);
      expect(readFileSync(join(folder, file), 'latin1')).toBe(torn);
      expect(await verifyAuditLog(folder)).toMatchObject({
        ok: true,
        events: events + 1,
        setAside: [{ file, bytes: torn.length, state: 'kept' }],
      });
      writeFileSync(join(folder, file), 'something else');
      expect(await verifyAuditLog(folder)).toMatchObject({ ok: true, setAside: [{ file, state: 'changed' }] });
      rmSync(join(folder, file));
      expect(await verifyAuditLog(folder)).toMatchObject({ ok: true, setAside: [{ file, state: 'missing' }] });
    }
  });

  test('is accounted for by the next start, where one was killed when it had cut it off', async () => {
    const folder = temporaryFolder();
    const { sequence, hash: last } = await createLog(folder);
    const before = contentOf(folder);
    rewrite(folder, Buffer.concat([before, Buffer.from('{"event')]));
    await (await open(folder)).close();
    rewrite(folder, before);
    await (await open(folder)).close();
    expect((await eventsIn(folder)).slice(sequence)).toMatchObject([
      { additionalEventData: { tornEnd: { file: `audit.torn-3-${last.slice(0, 12)}`, bytes: 7 } } },
    ]);
  });
});

const changedLast = (content: string): string => content.replace(/alice(?!.*\n.)/, 'malory');

/** Edits of a log of three records, and what is said of the place. */
const edits: readonly [string, (content: string, lines: readonly string[]) => string, number, string][] = [
  ['a changed last record', changedLast, 3, 'this record was changed: its bytes do not have the hash that it states'],
  [
    'a changed last record without its line feed',
    (content) => changedLast(content).slice(0, -1),
    3,
    'this record was changed: its bytes do not have the hash that it states',
  ],
  [
    'a last record whose ending is none any more',
    (content) => content.replace(/"hash"(?=:"[0-9a-f]*"\}\}\n$)/, '"hasH"'),
    3,
    'what is behind the last record is no record',
  ],
  [
    'the last two records, with one byte changed in the ending of each',
    (_content, [first, ...others]) =>
      [first, ...others.map((line) => line.replace(/"previousHash"/, '"previousHasH"'))].join('\n'),
    2,
    'what is behind the last record is no record',
  ],
  [
    'a dropped record',
    (_content, lines) => lines.toSpliced(1, 1).join('\n'),
    2,
    'record 3 stands where 2 has to follow',
  ],
  [
    'a line of something else before the last record',
    (_content, lines) => lines.toSpliced(2, 0, '{}').join('\n'),
    3,
    'this line is no record, and the next record does not account for it',
  ],
  [
    'half a record with a line feed',
    (content) => `${content}${firstLine.slice(0, 300)}\n`,
    4,
    'what is behind the last record is no record',
  ],
  ['an empty line', (content) => `${content}\n`, 4, 'what is behind the last record is no record'],
  [
    'the beginning of something else',
    (content) => `${content}garbage`,
    4,
    'what is behind the last record is no record',
  ],
  ['something behind zeros', (content) => `${content}\0\0{`, 4, 'what is behind the last record is no record'],
  [
    'a whole record of another log',
    (content) => `${content}${secondLine}\n`,
    4,
    'record 2 stands where 4 has to follow',
  ],
];

describe('a log that was tampered with', () => {
  test.each(edits)(
    'is refused by the name of the place, by start and verification: %s',
    async (_what, edit, line, what) => {
      const folder = temporaryFolder();
      await createLog(folder);
      const content = contentOf(folder).toString('utf8');
      const edited = edit(content, content.split('\n'));
      rewrite(folder, edited);
      const offset =
        edited
          .split('\n')
          .slice(0, line - 1)
          .join('\n').length + 1;
      const found = await refusalOf(folder);
      expect(found).toEqual({ place: `audit.jsonl:${line}:${offset}`, what });
      expect(await verifyAuditLog(folder)).toMatchObject({
        ok: false,
        firstProblem: { line, offset, what, place: found.place },
      });
    },
  );

  test.each(edits)(
    'is gone on with when its place is accepted, and not when it is changed again: %s',
    async (_what, edit) => {
      const folder = temporaryFolder();
      await createLog(folder);
      const content = contentOf(folder).toString('utf8');
      const edited = edit(content, content.split('\n'));
      rewrite(folder, edited);
      const { place, what } = await refusalOf(folder);
      const head = await acceptPlace({ folder, place, uid: 1234 });
      expect(contentOf(folder).toString('latin1').startsWith(edited)).toBe(true);
      expect((await eventsIn(folder)).at(-1)).toMatchObject({
        eventName: 'AuditAccepted',
        additionalEventData: { accepted: { place, what, by: { uid: 1234 } } },
        drawbridge: { sequence: head.sequence },
      });
      const log = await open(folder);
      await log.append(exampleEvent(9), 'written');
      await log.close();
      expect(await verifyAuditLog(folder)).toMatchObject({
        ok: true,
        accepted: 1,
        head: { sequence: head.sequence + 1 },
      });

      const now = contentOf(folder);
      const at = Number(place.split(':')[2]);
      for (const changed of [at, at + 1]) {
        const again = Buffer.from(now);
        again[changed] = (now[changed] ?? 0) ^ 1;
        rewrite(folder, again);
        expect(await verifyAuditLog(folder)).toMatchObject({ ok: false });
      }
    },
  );

  test('has each of its places accepted by itself, in any order, and no other', async () => {
    const folder = temporaryFolder();
    await createLog(folder, 6);
    const lines = contentOf(folder).toString('utf8').split('\n');
    const edited = lines.map((line, index) => ([1, 3].includes(index) ? line.replace('alice', 'malory') : line));
    rewrite(folder, `${edited.join('\n')}garbage`);
    const places: string[] = [];
    await verifyAuditLog(folder, ({ place }) => places.push(place));
    expect(places.map((place) => place.split(':')[1])).toEqual(['2', '4', '7']);
    for (const [place, message] of [
      ['audit.jsonl:3:1', `at line 3, byte 1; the first place is ${places[0]}`],
      [`audit.jsonl:2:1`, `at line 2, byte 1; the first place is ${places[0]}`],
      ['elsewhere', '`elsewhere` names no place of an audit log'],
    ] as const)
      await expect(acceptPlace({ folder, place, uid: 0 })).rejects.toThrow(message);
    for (const place of places.toReversed()) {
      await expect(open(folder)).rejects.toMatchObject({ failure: 'damaged' });
      await acceptPlace({ folder, place, uid: 0 });
    }
    await (await open(folder)).close();
    expect(await verifyAuditLog(folder)).toMatchObject({ ok: true, accepted: 3 });
    await expect(acceptPlace({ folder, place: places[0] ?? '', uid: 0 })).rejects.toThrow('and nowhere else');
  });

  test('is not accepted while a daemon writes it', async () => {
    const folder = temporaryFolder();
    await createLog(folder);
    rewrite(folder, changedLast(contentOf(folder).toString('utf8')));
    const { place } = await refusalOf(folder);
    const other = temporaryFolder();
    const log = await open(other);
    await log.append(exampleEvent(1), 'written');
    rewrite(other, contentOf(folder));
    await expect(acceptPlace({ folder: other, place, uid: 0 })).rejects.toMatchObject({ failure: 'locked' });
    await log.close();
  });
});

describe('a log of which it was noted how far it was synced', () => {
  test('has no torn end before that', async () => {
    const folder = temporaryFolder();
    const noted = await createLog(folder);
    const content = contentOf(folder);
    const [, , third = ''] = content.toString('utf8').split('\n');
    const offset = content.length - third.length - 1;
    for (const cut of [1, 2, 100, third.length]) {
      rewrite(folder, content.subarray(0, -cut));
      const { place } = await refusalOf(folder, noted);
      expect(place).toMatch(/^audit\.jsonl:3:\d+:3:[0-9a-f]{12}$/);
    }
    rewrite(folder, Buffer.concat([content.subarray(0, -50), Buffer.alloc(50)]));
    expect((await refusalOf(folder, noted)).place).toContain(`audit.jsonl:3:${offset}:3:`);
    rewrite(folder, Buffer.concat([content, Buffer.from('{"ev')]));
    await (await open(folder, noted)).close();
    expect(await verifyAuditLog(folder)).toMatchObject({ ok: true, setAside: [{ bytes: 4 }] });
  });

  test('shows any byte that was changed before that, and any end that was cut off, at the next start', async () => {
    const folder = temporaryFolder();
    const noted = await createLog(folder, 5);
    const content = contentOf(folder);
    const at = fc.nat({ max: content.length - 1 });
    await fc.assert(
      fc.asyncProperty(at, fc.integer({ min: 0, max: 255 }), async (where, change) => {
        const edited = Buffer.from(content);
        edited[where] = (content[where] ?? 0) ^ change;
        rewrite(folder, change === 0 ? content.subarray(0, where) : edited);
        await refusalOf(folder, noted);
      }),
      { numRuns: 150 },
    );
  });

  test.each<[string, (folder: string) => Promise<void> | void, number]>([
    ['whose last records are missing', (folder) => rewrite(folder, `${firstLine}\n`), 2],
    ['that was moved away', (folder) => rewrite(folder, ''), 1],
    [
      'that was written anew',
      async (folder) => {
        rewrite(folder, '');
        const log = await open(folder);
        for (let number = 4; number <= 9; number++) await log.append(exampleEvent(number), 'written');
        await log.close();
      },
      3,
    ],
  ])('is refused, and gone on with by an operator, where it is one %s', async (_what, edit, line) => {
    const folder = temporaryFolder();
    const noted = await createLog(folder);
    await edit(folder);
    const { place } = await refusalOf(folder, noted);
    expect(place.split(':')).toEqual(['audit.jsonl', String(line), expect.any(String), '3', noted.hash.slice(0, 12)]);
    await acceptPlace({ folder, place, uid: 0 });
    expect((await eventsIn(folder)).at(-1)).toMatchObject({
      additionalEventData: { accepted: { place, missing: { sequence: 3, hash: noted.hash.slice(0, 12) } } },
    });
    const log = await open(folder, noted);
    for (let number = 10; number <= 12; number++) await log.append(exampleEvent(number), 'written');
    await log.close();
    expect(await verifyAuditLog(folder)).toMatchObject({ ok: true, accepted: 1 });

    // What was accepted once excuses nothing that comes later.
    const later = log.syncedHead();
    await (await open(folder, later)).close();
    rewrite(
      folder,
      contentOf(folder).subarray(
        0,
        contentOf(folder)
          .toString('latin1')
          .lastIndexOf('\n', later.bytes - 2) + 1,
      ),
    );
    expect((await refusalOf(folder, later)).place).toContain(`:${later.sequence}:${later.hash.slice(0, 12)}`);
  });

  test('is not said to lack what it has', async () => {
    const folder = temporaryFolder();
    const { sequence, hash: last, bytes } = await createLog(folder);
    const place = `audit.jsonl:4:${bytes}:${sequence}:${last.slice(0, 12)}`;
    await expect(acceptPlace({ folder, place, uid: 0 })).rejects.toThrow(
      'holds record 3, which the place says it does not',
    );
    expect(existsSync(join(folder, 'audit.torn-3'))).toBe(false);
  });

  test('has a synced end that others can be told of, of each line that was synced', async () => {
    const folder = temporaryFolder();
    const heads: AuditHead[] = [];
    const log = await openAuditLog({ folder, sync: 'default', synced: (head) => heads.push(head) });
    await log.append(exampleEvent(1), 'synced');
    const { sequence, hash: last } = log.head();
    expect(log.syncedHead()).toEqual({ sequence, hash: last, bytes: contentOf(folder).length });
    expect(heads.at(-1)).toEqual(log.syncedHead());
    await log.append(exampleEvent(2), 'written');
    await log.close();
    expect(heads.at(-1)).toEqual({ ...log.head(), bytes: contentOf(folder).length });
  });
});
