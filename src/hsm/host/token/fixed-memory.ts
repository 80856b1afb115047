/** Memory that the library may be told the address of, once: V8 keeps short arrays among its objects, and moves them. */

import koffi from 'koffi';

export class FixedMemory {
  readonly bytes: Buffer;
  /** Valid for as long as somebody has `bytes`. */
  readonly address: number;

  constructor(lengthBytes: number) {
    this.bytes = Buffer.from(new ArrayBuffer(lengthBytes));
    this.address = Number(koffi.address(this.bytes));
  }
}
