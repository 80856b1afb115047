/**
 * Functions of the vendor's library, called where they are instead of by way of pkcs11js.
 *
 * A call through pkcs11js asks V8 for each member of each attribute by its name, and wraps what comes back in memory that V8 has to
 * collect: 3.5 µs of the 32 that SoftHSM2 2.6.1 takes to unwrap a key and destroy it, 0.8 of the 5.5 for an AES-GCM call, and with 13
 * attributes to read, for which it asks the library twice, 23 of 27. Here what is passed on is bytes that are there already (25 to 120 ns
 * a call).
 *
 * Numbers are a `CK_ULONG` each, and memory is a `Buffer`, or the address of one that stays. Nothing is looked at: whoever calls sees to it that
 * lengths are those of the memory. They run on koffi's stack, for which `process/host-main.ts` sees to as much room as pkcs11js's calls have.
 *
 * Source: PKCS#11 3.1, section 3.6 (CK_FUNCTION_LIST); on 64-bit Linux, little-endian.
 */

import koffi from 'koffi';
import { constant, type Handle } from './cryptoki.ts';

type Ulong = number | bigint;
/** Of a `FixedMemory`, which whoever calls keeps: to have that of a `Buffer` asked for at each call takes 20 ns. */
type Address = number;
type InitFunction = (session: Ulong, mechanism: Address, key: Ulong) => number;
/** At `outputBytes` is how much room there is, and afterwards how much of it is used. */
type DataFunction = (session: Ulong, input: Buffer, bytes: Ulong, output: Buffer, outputBytes: Address) => number;

/** Each returns its `CKR_…`. */
export interface DirectFunctions {
  readonly destroyObject: (session: Ulong, object: Ulong) => number;
  /** `template` is an array of `CK_ATTRIBUTE`. */
  readonly getAttributeValue: (session: Ulong, object: Ulong, template: Address, count: Ulong) => number;
  readonly encryptInit: InitFunction;
  readonly encrypt: DataFunction;
  readonly decryptInit: InitFunction;
  readonly decrypt: DataFunction;
  readonly signInit: InitFunction;
  readonly sign: DataFunction;
  readonly unwrapKey: (
    session: Ulong,
    mechanism: Address,
    unwrappingKey: Ulong,
    wrapped: Buffer,
    wrappedBytes: Ulong,
    template: Address,
    count: Ulong,
    handle: Address,
  ) => number;
}

/** Behind the version, which is padded to 8 bytes, are the functions in the order of the specification. */
const firstFunctionAt = 8;
const getInfoAt = 2;
const pointerBytes = 8;
/** A CK_INFO has 88. */
const infoRoomBytes = 256;

const ulong = 'uint64_t';
const address = 'uintptr_t';
const init = [ulong, address, ulong];
const data = [ulong, 'void *', ulong, 'void *', address];
/** How many functions are before it, and its parameters. */
const signatures: Readonly<Record<keyof DirectFunctions, readonly [at: number, parameters: string[]]>> = {
  destroyObject: [22, [ulong, ulong]],
  getAttributeValue: [24, [ulong, ulong, address, ulong]],
  encryptInit: [29, init],
  encrypt: [30, data],
  decryptInit: [33, init],
  decrypt: [34, data],
  signInit: [42, init],
  sign: [43, data],
  unwrapKey: [61, [ulong, address, ulong, 'void *', ulong, address, ulong, address]],
};

const functionsByPath = new Map<string, DirectFunctions | null>();

/**
 * Of a library that this process has initialised. `null` for one that gives each caller of `C_GetFunctionList` a list of his own, as
 * p11-kit's modules do: what is got here was never initialised, and pkcs11js alone has one that was.
 */
export function directFunctionsOf(path: string): DirectFunctions | null {
  let functions = functionsByPath.get(path);
  if (functions === undefined) {
    functions = look(path);
    functionsByPath.set(path, functions);
  }
  return functions;
}

function look(path: string): DirectFunctions | null {
  const list: [unknown] = [null];
  const getFunctionList = koffi.load(path).func('unsigned long C_GetFunctionList(_Out_ void **list)');
  if (getFunctionList(list) !== constant('CKR_OK')) return null;
  const functionAt = (at: number, parameters: string[]): unknown => {
    const pointer: unknown = koffi.decode(list[0], firstFunctionAt + at * pointerBytes, 'void *');
    return koffi.decode(pointer, koffi.proto('unsigned long', parameters));
  };
  // Safe, here and below: koffi makes functions of these parameters.
  const getInfo = functionAt(getInfoAt, ['void *']) as (info: Buffer) => number;
  if (getInfo(Buffer.alloc(infoRoomBytes)) !== constant('CKR_OK')) return null;
  return Object.fromEntries(
    Object.entries(signatures).map(([name, [at, parameters]]) => [name, functionAt(at, parameters)]),
  ) as unknown as DirectFunctions;
}

/** What names a slot, session or object to such a function. */
export function handleNumber(handle: Handle): number | bigint {
  return handle.readUInt32LE(4) === 0 ? handle.readUInt32LE(0) : handle.readBigUInt64LE(0);
}
