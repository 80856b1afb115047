/** Where several HSMs are asked one after the other: which of them it was. */

import { KeyStoreError } from '../hsm/key-store.ts';

/** @throws KeyStoreError as the work does, with the name of the HSM before its message. */
export async function ofHsm<Result>(name: string, work: Promise<Result>): Promise<Result> {
  try {
    return await work;
  } catch (error) {
    if (!(error instanceof KeyStoreError)) throw error;
    throw new KeyStoreError(error.failure, `\`${name}\`: ${error.message}`, { cause: error });
  }
}
