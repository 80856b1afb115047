/**
 * What the bench measures: the operations with their sizes, and what a daemon is asked for in each.
 *
 * The direct loop, the HSM host and the daemon do the same work in the HSM for a case; `direct.c` says which calls.
 */

export const operationNames = ['Encrypt', 'Decrypt', 'GenerateDataKey', 'GenerateRandom', 'DescribeKey'] as const;
export type OperationName = (typeof operationNames)[number];

export interface Case {
  readonly operation: OperationName;
  /** Of the plaintext, the data key or the random bytes. */
  readonly payloadBytes: number;
}

export const cases: readonly Case[] = [
  { operation: 'Encrypt', payloadBytes: 64 },
  { operation: 'Encrypt', payloadBytes: 4096 },
  { operation: 'Decrypt', payloadBytes: 64 },
  { operation: 'GenerateDataKey', payloadBytes: 32 },
  { operation: 'GenerateRandom', payloadBytes: 32 },
  { operation: 'DescribeKey', payloadBytes: 0 },
];

export const connectionCounts = [1, 16, 128] as const;

/** As long as the AAD that Drawbridge binds for a small encryption context; the same number stands in `direct.c`. */
export const aadBytes = 96;

const encryptionContext = { purpose: 'bench' };

/** The request of a case. `ciphertextBlob` is one that the daemon made under this key and encryption context, in base64. */
export function requestFor(
  { operation, payloadBytes }: Case,
  keyId: string,
  ciphertextBlob: string,
): Readonly<Record<string, unknown>> {
  switch (operation) {
    case 'Encrypt':
      return {
        KeyId: keyId,
        Plaintext: Buffer.alloc(payloadBytes, 'x').toString('base64'),
        EncryptionContext: encryptionContext,
      };
    case 'Decrypt':
      return { KeyId: keyId, CiphertextBlob: ciphertextBlob, EncryptionContext: encryptionContext };
    case 'GenerateDataKey':
      return { KeyId: keyId, NumberOfBytes: payloadBytes, EncryptionContext: encryptionContext };
    case 'GenerateRandom':
      return { NumberOfBytes: payloadBytes };
    case 'DescribeKey':
      return { KeyId: keyId };
    default:
      return operation satisfies never;
  }
}
