/**
 * The vendor's library as this process calls it: pkcs11js's native functions, typed for what the host uses.
 *
 * pkcs11js wraps each native function in JavaScript that rebuilds errors and slices results; the wrappers cost 7 % of an
 * AES-GCM call on SoftHSM2 (15.3 instead of 16.5 µs) and give nothing that the host needs, so it makes instances of the
 * native class underneath. The difference: functions that fill a buffer return the length, and a return value other
 * than `CKR_OK` is an `Error` whose message is `NAME:NUMBER`; `returnValueOf` reads it. Measured with pkcs11js 2.1.7. What is called
 * for each request goes past that class as well (`direct-cryptoki.ts`).
 *
 * All calls are synchronous: the asynchronous ones neither pin their buffers nor free their templates, and halve the
 * throughput of a software token.
 */

import { createRequire } from 'node:module';

/** A slot, session or object: 8 opaque bytes. Never leaves this process. */
export type Handle = Buffer;

export interface Attribute {
  readonly type: number;
  readonly value?: number | boolean | string | Buffer;
}

export interface Mechanism {
  readonly mechanism: number;
  readonly parameter?: object;
}

interface Version {
  readonly major: number;
  readonly minor: number;
}

export interface TokenInfo {
  readonly label: string;
  readonly serialNumber: string;
  readonly manufacturerID: string;
  readonly model: string;
  readonly flags: number;
}

export interface Cryptoki {
  load(path: string): void;
  C_Initialize(options: { readonly flags: number; readonly libraryParameters?: string }): void;
  C_GetInfo(): {
    readonly cryptokiVersion: Version;
    readonly libraryVersion: Version;
    readonly libraryDescription: string;
  };
  C_GetSlotList(tokenPresent: boolean): Handle[];
  C_GetTokenInfo(slot: Handle): TokenInfo;
  C_GetMechanismList(slot: Handle): number[];
  C_GetMechanismInfo(slot: Handle, mechanism: number): { readonly minKeySize: number; readonly maxKeySize: number };
  C_OpenSession(slot: Handle, flags: number): Handle;
  C_CloseSession(session: Handle): void;
  C_GetSessionInfo(session: Handle): { readonly state: number };
  C_Login(session: Handle, userType: number, pin: string): void;
  C_GenerateRandom(session: Handle, output: Buffer): Buffer;
  C_GenerateKey(session: Handle, mechanism: Mechanism, template: readonly Attribute[]): Handle;
  C_GenerateKeyPair(
    session: Handle,
    mechanism: Mechanism,
    publicTemplate: readonly Attribute[],
    privateTemplate: readonly Attribute[],
  ): { readonly publicKey: Handle; readonly privateKey: Handle };
  C_DeriveKey(session: Handle, mechanism: Mechanism, key: Handle, template: readonly Attribute[]): Handle;
  /** Returns the number of bytes written to `output`. */
  C_WrapKey(session: Handle, mechanism: Mechanism, wrappingKey: Handle, key: Handle, output: Buffer): number;
  C_UnwrapKey(
    session: Handle,
    mechanism: Mechanism,
    unwrappingKey: Handle,
    wrappedKey: Buffer,
    template: readonly Attribute[],
  ): Handle;
  C_CreateObject(session: Handle, template: readonly Attribute[]): Handle;
  C_CopyObject(session: Handle, object: Handle, template: readonly Attribute[]): Handle;
  C_DestroyObject(session: Handle, object: Handle): void;
  C_GetAttributeValue(session: Handle, object: Handle, template: readonly Attribute[]): { readonly value?: Buffer }[];
  C_SetAttributeValue(session: Handle, object: Handle, template: readonly Attribute[]): void;
  C_FindObjectsInit(session: Handle, template: readonly Attribute[]): void;
  C_FindObjects(session: Handle, maxObjects: number): Handle[];
  C_FindObjectsFinal(session: Handle): void;
  C_EncryptInit(session: Handle, mechanism: Mechanism, key: Handle): void;
  /** Returns the number of bytes written to `output`. */
  C_Encrypt(session: Handle, input: Buffer, output: Buffer): number;
  C_DecryptInit(session: Handle, mechanism: Mechanism, key: Handle): void;
  C_Decrypt(session: Handle, input: Buffer, output: Buffer): number;
  C_SignInit(session: Handle, mechanism: Mechanism, key: Handle): void;
  C_Sign(session: Handle, input: Buffer, output: Buffer): number;
}

const pkcs11js: unknown = createRequire(import.meta.url)('pkcs11js');
const constants = new Map(Object.entries(pkcs11js as Record<string, unknown>));

/**
 * Numbers that pkcs11js 2.1.7 lacks.
 * Source: PKCS#11 2.40 (CKR_…, CKS_…, CKZ_…), 3.0 (Edwards curves, KWP) and 3.2 (ML-DSA, ML-KEM), header pkcs11t.h; NSS, pkcs11n.h.
 */
const laterConstants: Readonly<Record<string, number>> = {
  CKM_AES_KEY_WRAP_KWP: 0x210b,
  CKM_EC_EDWARDS_KEY_PAIR_GEN: 0x1055,
  CKM_EDDSA: 0x1057,
  CKM_ML_KEM_KEY_PAIR_GEN: 0x0f,
  CKM_ML_KEM: 0x17,
  CKM_ML_DSA_KEY_PAIR_GEN: 0x1c,
  CKM_ML_DSA: 0x1d,
  CKA_PARAMETER_SET: 0x61d,
  CKA_NSS_DB: 0xd5a0db00,
  CKP_ML_DSA_44: 1,
  CKP_ML_DSA_65: 2,
  CKP_ML_DSA_87: 3,
  CKZ_DATA_SPECIFIED: 1,
  CKK_EC_EDWARDS: 0x40,
  CKK_ML_KEM: 0x49,
  CKK_ML_DSA: 0x4a,
  CKR_ACTION_PROHIBITED: 0x1b,
  CKS_RW_USER_FUNCTIONS: 3,
};

/** The class that pkcs11js's own, exported one extends; the package is pinned, and a test of every call goes through it. */
export const NativeCryptoki = Object.getPrototypeOf(constants.get('PKCS11') as new () => object) as new () => Cryptoki;

/** The number of a PKCS#11 constant: `CKM_AES_GCM`, `CKA_LABEL`. An unknown name is a mistake in our tables. */
export function constant(name: string): number {
  const value = constants.get(name) ?? laterConstants[name];
  if (typeof value !== 'number') throw new Error(`PKCS#11 has no constant ${name}`);
  return value;
}

/** Of the numbers that have an old name and a new one, the new one. */
const currentNames = ['CKK_EC', 'CKM_EC_KEY_PAIR_GEN'];

const nameByNumber = new Map<string, Map<number, string>>();

/** The name of a number among the constants with one prefix (`CKM`, `CKK`, `CKO`); `CKM_0x80000001` where there is none. */
export function constantName(prefix: string, value: number): string {
  let names = nameByNumber.get(prefix);
  if (names === undefined) {
    names = new Map();
    const current = currentNames.map((name) => [name, constant(name)] as const);
    for (const [name, number] of [...current, ...constants, ...Object.entries(laterConstants)])
      if (name.startsWith(`${prefix}_`) && typeof number === 'number' && !names.has(number)) names.set(number, name);
    nameByNumber.set(prefix, names);
  }
  return names.get(value) ?? `${prefix}_0x${value.toString(16)}`;
}

/** The return value of a failed call, or `undefined` for an error that is not the library's (a mistake of ours). */
export function returnValueOf(error: unknown): number | undefined {
  if (!(error instanceof Error)) return undefined;
  const match = /^CKR_\w+:(\d+)$/.exec(error.message);
  return match === null ? undefined : Number(match[1]);
}
