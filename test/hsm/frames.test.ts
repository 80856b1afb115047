import fc from 'fast-check';
import { expect, test } from 'vitest';
import { type Frame, FrameError, FrameReader, FrameWriter, maxFields, maxFrameBytes } from '../../src/hsm/frames.ts';

const hex = (text: string) => Buffer.from(text.replaceAll(' ', ''), 'hex');

interface PlainFrame {
  readonly requestId: number;
  readonly code: number;
  readonly fields: readonly string[];
}

const plain = ({ requestId, code, fields }: Frame): PlainFrame => ({
  requestId,
  code,
  fields: fields.map((field) => field.toString('hex')),
});

function readAll(reader: FrameReader): PlainFrame[] {
  const frames: PlainFrame[] = [];
  for (let frame = reader.next(); frame !== undefined; frame = reader.next()) frames.push(plain(frame));
  return frames;
}

function written(frames: readonly PlainFrame[]): Buffer {
  const writer = new FrameWriter();
  for (const { requestId, code, fields } of frames) writer.append(requestId, code, fields.map(hex));
  return writer.take();
}

const frames = fc.array(
  fc.record({
    requestId: fc.integer({ min: 0, max: 2 ** 32 - 1 }),
    code: fc.integer({ min: 0, max: 255 }),
    fields: fc.array(
      fc.uint8Array({ maxLength: 300, size: 'max' }).map((bytes) => Buffer.from(bytes).toString('hex')),
      { maxLength: maxFields },
    ),
  }),
  { maxLength: 20 },
);

test('the example of the format is what is written', () => {
  expect(written([{ requestId: 7, code: 3, fields: ['00000020'] }])).toEqual(
    hex('0000000e 00000007 03 01 00000004 00000020'),
  );
});

test('frames are read as they were written, however the bytes are cut into chunks', () => {
  fc.assert(
    fc.property(frames, fc.array(fc.integer({ min: 1, max: 400 })), fc.boolean(), (sent, cuts, wipes) => {
      const bytes = written(sent);
      const reader = new FrameReader();
      const received: PlainFrame[] = [];
      for (let at = 0, cut = 0; at < bytes.length; cut++) {
        const chunk = bytes.subarray(at, at + (cuts[cut] ?? 7));
        reader.push(chunk);
        received.push(...readAll(reader));
        if (wipes) reader.wipeRead();
        at += chunk.length;
      }
      expect(received).toEqual(sent);
    }),
  );
});

test('reading into the reader itself is the same as pushing', () => {
  fc.assert(
    fc.property(frames, (sent) => {
      const bytes = written(sent);
      const reader = new FrameReader();
      expect(reader.room(bytes.length).length).toBeGreaterThanOrEqual(bytes.length);
      bytes.copy(reader.room(bytes.length));
      reader.filled(bytes.length);
      expect(readAll(reader)).toEqual(sent);
    }),
  );
});

test('bytes that are no frames end in FrameError or in waiting for more, never otherwise', () => {
  fc.assert(
    fc.property(fc.array(fc.uint8Array({ maxLength: 64 })), (chunks) => {
      const reader = new FrameReader();
      try {
        for (const chunk of chunks) {
          reader.push(chunk);
          readAll(reader);
        }
      } catch (error) {
        expect(error).toBeInstanceOf(FrameError);
      }
    }),
    { numRuns: 1000 },
  );
});

test.each([
  ['a length below the header', '00000005 00000001 01', 'a frame cannot have 5 bytes'],
  ['a length above the limit', '00040001', 'a frame cannot have 262145 bytes'],
  ['the largest length', 'ffffffff', 'a frame cannot have 4294967295 bytes'],
  ['too many fields', '00000006 00000001 01 09', 'a frame cannot have 9 fields'],
  ['no room for a field', '00000006 00000001 01 01', 'a frame ends inside the length of a field'],
  ['half a field length', '00000008 00000001 01 01 0000', 'a frame ends inside the length of a field'],
  ['half a field', '0000000b 00000001 01 01 00000002 aa', 'a frame ends inside a field'],
  ['a huge field', '0000000a 00000001 01 01 ffffffff', 'a frame ends inside a field'],
  ['bytes left over', '0000000b 00000001 01 01 00000000 aa', 'a frame has bytes after its last field'],
])('%s is refused', (_what, bytes, message) => {
  const reader = new FrameReader();
  reader.push(hex(bytes));
  expect(() => reader.next()).toThrow(new FrameError(message));
});

test('a frame has up to 256 KiB and 8 fields, and one that is refused leaves no trace', () => {
  const writer = new FrameWriter();
  const largest = Buffer.alloc(maxFrameBytes - 6 - 4, 1);
  writer.append(1, 2, [largest]);
  writer.append(
    2,
    2,
    Array.from({ length: maxFields }, () => Buffer.alloc(0)),
  );
  expect(() => writer.append(3, 2, [Buffer.alloc(largest.length + 1)])).toThrow(
    new FrameError('a frame has at most 262144 bytes, not 262145'),
  );
  expect(() =>
    writer.append(
      3,
      2,
      Array.from({ length: maxFields + 1 }, () => Buffer.alloc(0)),
    ),
  ).toThrow(new FrameError('a frame has at most 8 fields, not 9'));
  const reader = new FrameReader();
  reader.push(writer.take());
  expect(readAll(reader).map(({ requestId, fields }) => [requestId, fields.length])).toEqual([
    [1, 1],
    [2, maxFields],
  ]);
});

test('what was written is gone after it was taken, what was read after it was wiped', () => {
  const secret = Buffer.alloc(1000, 0xaa);
  const writer = new FrameWriter();
  writer.append(1, 1, [secret]);
  const view = writer.view();
  const taken = writer.take();
  expect(view.includes(0xaa)).toBe(false);
  expect(writer.pendingBytes).toBe(0);

  const reader = new FrameReader();
  reader.push(Buffer.concat([taken, taken.subarray(0, 20)]));
  const field = reader.next()?.fields[0] ?? Buffer.alloc(0);
  expect(field).toEqual(secret);
  reader.wipeRead();
  expect(field.includes(0xaa)).toBe(false);
  reader.push(taken.subarray(20));
  const second = reader.next()?.fields[0] ?? Buffer.alloc(0);
  expect(second).toEqual(secret);
  reader.wipe();
  expect(second.includes(0xaa)).toBe(false);
  expect(reader.next()).toBeUndefined();
});
