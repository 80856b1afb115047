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
