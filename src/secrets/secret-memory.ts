/**
 * Memory for bytes that must not be seen, which is where they are and nowhere else.
 *
 * V8 keeps typed arrays of up to 64 bytes, and with them `Buffer.alloc(32)`, among its objects, and copies these to other places
 * as it collects what is not needed any more; where they were before, nobody wipes them (measured with Node.js 24: a plaintext of 48 bytes
 * was found in one daemon of three). The memory of an `ArrayBuffer` stays in its place, whatever its length.
 */

/** Zero bytes, of nobody else's memory. */
export function secretMemory(lengthBytes: number): Buffer<ArrayBuffer> {
  return Buffer.from(new ArrayBuffer(lengthBytes));
}

/** So much is made at once. Some hundred ordinary requests have room in it. */
const slabBytes = 64 * 1024;
/** What is longer has memory of its own: it would waste the end of too many slabs. */
const maxPassingBytes = slabBytes / 8;

let slab = new ArrayBuffer(slabBytes);
let usedBytes = 0;

/**
 * The same for what is wiped within a request: a piece of memory that is made for many of them, and has nothing but such secrets.
 * No byte of it is given out twice, so it is zero, and when nobody has a piece of it any more it is collected as a whole. To make one
 * for each takes ten times as long (1.1 µs, twice or more a request), and what collecting it takes. What is kept for longer would
 * keep all of it: that has `secretMemory`.
 */
export function passingSecretMemory(lengthBytes: number): Buffer<ArrayBuffer> {
  if (lengthBytes > maxPassingBytes) return secretMemory(lengthBytes);
  if (usedBytes + lengthBytes > slabBytes) {
    slab = new ArrayBuffer(slabBytes);
    usedBytes = 0;
  }
  const piece = Buffer.from(slab, usedBytes, lengthBytes);
  usedBytes += lengthBytes;
  return piece;
}
