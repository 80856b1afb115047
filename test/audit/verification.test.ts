import { writeFileSync } from 'node:fs';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { auditLogPath, openAuditLog } from '../../src/audit/open-audit-log.ts';
import { readAuditEvents, verifyAuditLog } from '../../src/audit/read-audit-log.ts';
import { formerLog, temporaryFolder } from './events.ts';
import { exampleEvent } from './example-event.ts';

/** A log of six events with a torn line that is accounted for in the middle. */
async function createLog(folder: string): Promise<Buffer> {
  return Buffer.from(formerLog(folder, '{"eventVersion":"1.11","userIdent', 3));
}

/** How many events verified, or where the first problem is. */
async function verdict(folder: string, content: Buffer | string): Promise<string> {
  writeFileSync(auditLogPath(folder), content);
  const { ok, events, firstProblem } = await verifyAuditLog(folder);
  return ok ? `${events} events` : `line ${firstProblem?.line}: ${firstProblem?.what}`;
}

describe('verification of the audit log', () => {
  test('accepts a log with a torn line that is accounted for, and an empty one', async () => {
    const folder = temporaryFolder();
    expect(await verdict(folder, await createLog(folder))).toBe('7 events');
    expect(await verdict(folder, '')).toBe('0 events');
  });

  test('finds any change of one byte, anywhere', { timeout: 170_000 }, async () => {
    const folder = temporaryFolder();
    const content = await createLog(folder);
    await fc.assert(
      fc.asyncProperty(fc.nat({ max: content.length - 1 }), fc.integer({ min: 1, max: 255 }), async (at, change) => {
        const changed = Buffer.from(content);
        changed[at] = (content[at] ?? 0) ^ change;
        expect(await verdict(folder, changed)).toMatch(/^line /);
      }),
      {
        numRuns: 400,
        // The ends of the file and of the torn line, where a rule of its own applies.
        examples: [...content.entries()]
          .filter(([at, byte]) => byte === 0x0a || at >= content.length - 80)
          .flatMap(([at, byte]): [number, number][] => [
            [at, 1],
            [at, byte === 0x0a ? 0x2a : byte ^ 0x0a],
          ]),
      },
    );
  });

  test('finds any line that was dropped (but for the last ones), added, repeated or moved', {
    timeout: 120_000,
  }, async () => {
    const folder = temporaryFolder();
    const lines = (await createLog(folder)).toString('utf8').split('\n').slice(0, -1);
    const index = fc.nat({ max: lines.length - 1 });
    const edit = fc.oneof(
      fc.nat({ max: lines.length - 2 }).map((at) => lines.toSpliced(at, 1)),
      fc.tuple(index, index).map(([from, to]) => lines.toSpliced(to, 0, lines[from] ?? '')),
      fc.tuple(index, fc.constantFrom('', '{}', 'x')).map(([at, added]) => lines.toSpliced(at, 0, added)),
      fc
        .tuple(index, index)
        .filter(([one, other]) => one !== other)
        .map(([one, other]) => lines.with(one, lines[other] ?? '').with(other, lines[one] ?? '')),
    );
    await fc.assert(
      fc.asyncProperty(edit, async (edited) => {
        expect(await verdict(folder, `${edited.join('\n')}\n`)).toMatch(/^line /);
      }),
      { numRuns: 200 },
    );
  });

  test.each<[string, (lines: string[]) => string[], string]>([
    [
      'a changed value',
      (lines) => lines.with(1, lines[1]?.replace('alice', 'malory') ?? ''),
      'line 2: this record was changed: its bytes do not have the hash that it states',
    ],
    ['a dropped line', (lines) => lines.toSpliced(1, 1), 'line 2: record 3 stands where 2 has to follow'],
    ['a dropped first line', (lines) => lines.slice(1), 'line 1: record 2 stands where 1 has to follow'],
    [
      'a torn line that was removed',
      (lines) => lines.toSpliced(3, 1),
      'line 4: this record accounts for an incomplete line that is not there',
    ],
    [
      'a torn line that was changed',
      (lines) => lines.with(3, '{"eventVersion":"1.11","userAgent'),
      'line 4: this line is no record, and the next record does not account for it',
    ],
    [
      'an added line',
      (lines) => lines.toSpliced(2, 0, '{"eventName":"Encrypt"}'),
      'line 3: this line is no record, and the next record does not account for it',
    ],
    [
      'a cut last line',
      (lines) => lines.with(-1, lines.at(-1)?.slice(0, 100) ?? ''),
      'line 8: what is behind the last record is no record',
    ],
  ])('says which line is wrong and why: %s', async (_what, edit, expected) => {
    const folder = temporaryFolder();
    const lines = (await createLog(folder)).toString('utf8').split('\n').slice(0, -1);
    expect(await verdict(folder, `${edit(lines).join('\n')}\n`)).toBe(expected);
  });

  test('cannot see that whole lines were cut off at the end, but the head says how long the log was', async () => {
    const folder = temporaryFolder();
    const lines = (await createLog(folder)).toString('utf8').split('\n').slice(0, -1);
    const { head } = await verifyAuditLog(folder);
    expect(await verdict(folder, `${lines.slice(0, -2).join('\n')}\n`)).toBe('5 events');
    expect((await verifyAuditLog(folder)).head).not.toEqual(head);
    expect(head.sequence).toBe(7);
  });

  test('takes a record that hashes right and belongs to another log for what it is', async () => {
    const folder = temporaryFolder();
    const other = temporaryFolder();
    const lines = (await createLog(folder)).toString('utf8').split('\n');
    const others = (await createLog(other)).toString('utf8').split('\n');
    expect(await verdict(folder, lines.with(2, others[2] ?? '').join('\n'))).toBe(
      'line 3: record 3 does not follow the record before it: the hashes differ',
    );
  });

  test('reads a line of any length without keeping it', async () => {
    const folder = temporaryFolder();
    const content = await createLog(folder);
    const garbage = Buffer.alloc(20 * 1024 * 1024, 'x');
    expect(await verdict(folder, Buffer.concat([content, garbage]))).toMatch(/^line 9: what is behind the last record/);
    const zeros = Buffer.alloc(20 * 1024 * 1024);
    expect(await verdict(folder, Buffer.concat([content, zeros]))).toMatch(/^line 9: the log ends in the middle/);
    expect(await verdict(folder, Buffer.concat([garbage, content]))).toMatch(/^line 1: this line is no record/);
  });

  test('fails where there is no log', async () => {
    const folder = temporaryFolder();
    const path = auditLogPath(folder);
    await expect(verifyAuditLog(folder)).rejects.toMatchObject({
      name: 'AuditError',
      failure: 'io',
      message: `cannot read the audit log \`${path}\`: there is no such file (ENOENT)`,
    });
  });
});

describe('reading the audit log', () => {
  test.each<[string, Parameters<typeof readAuditEvents>[1], readonly number[]]>([
    ['everything', {}, [1, 2, 3, 4, 5, 6, 7]],
    ['what came after', { after: 5 }, [6, 7]],
    ['the first ones', { limit: 2 }, [1, 2]],
    ['none', { limit: 0 }, []],
    ['after the end', { after: 100 }, []],
    ['what is looked for', { filter: (event) => event.eventName === 'AuditTornLine' }, [4]],
    ['the first that are looked for', { after: 1, limit: 2, filter: (event) => event.eventName === 'Encrypt' }, [2, 3]],
  ])('gives %s, in order, and passes over torn lines', async (_what, options, sequences) => {
    const folder = temporaryFolder();
    await createLog(folder);
    writeFileSync(auditLogPath(folder), '{"eventVersion":', { flag: 'a' });
    const found: number[] = [];
    for await (const event of readAuditEvents(folder, options)) found.push(event.drawbridge.sequence);
    expect(found).toEqual(sequences);
  });

  test('works beside a daemon that writes', async () => {
    const folder = temporaryFolder();
    const log = await openAuditLog({ folder, sync: 'default' });
    await log.append(exampleEvent(1), 'written');
    const events = [];
    for await (const event of readAuditEvents(folder)) events.push(event['requestID']);
    expect(events).toEqual([exampleEvent(1).requestId]);
    await log.close();
  });
});
