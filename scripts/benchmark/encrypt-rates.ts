/**
 * Encrypt under one key, under as many as the HSM hosts keep unwrapped, and under more: beside a loop in C that unwraps a key,
 * encrypts with it and destroys it, over the same token.
 *
 * Of an instance whose keys are wrapped, at 16 connections. The first use of a key since the start is a row of its own: its records
 * are verified by the HSM then, and numbers are reserved for it on disk.
 */

import { maxUnwrappedKeys } from '../../src/hsm/host/token/unwrapped-keys.ts';
import { LineProcess } from '../line-process.ts';
import type { LoopResult, Timing } from './measurement.ts';
import { httpRequest, post, startDirect } from './targets.ts';

/** Requests a second; `null` where there are too few keys. */
export interface EncryptRates {
  readonly underOne: number;
  /** Under as many keys as there are and each host keeps unwrapped. */
  readonly underKept: number;
  /** Under keys that were not used since the start. */
  readonly firstUses: number | null;
  /** Under more than are kept, each used before. */
  readonly underMore: number | null;
  /** C_UnwrapKey, C_Encrypt, C_DestroyObject. */
  readonly directUnwraps: number;
}

const connections = 16;
/** Each of the keys above what is kept is unwrapped anew when its turn comes. */
const more = 4 * maxUnwrappedKeys;
/** Drawn from all; nobody gets through them in the time. */
const drawn = 20_000;

/** @param dir Of the instance that listens at `socket`. */
export async function encryptRates(
  { dir, socket }: { readonly dir: string; readonly socket: string },
  keyIds: readonly string[],
  programs: { readonly load: string; readonly direct: string },
  quick: boolean,
): Promise<EncryptRates> {
  const timing = quick ? { warmupMs: 5, measureMs: 20 } : { warmupMs: 300, measureMs: 2000 };
  const shuffled = inRandomOrder(keyIds);
  const measure = (of: readonly string[], { warmupMs }: Pick<Timing, 'warmupMs'> = timing): Promise<number> =>
    rateOf(programs.load, socket, of, { ...timing, warmupMs });
  const kept = shuffled.slice(0, Math.ceil(maxUnwrappedKeys * 0.9));
  await useAll(socket, kept);
  const underOne = await measure(shuffled.slice(0, 1));
  const underKept = await measure(kept);
  const unused = shuffled.slice(kept.length + more).slice(0, drawn);
  const firstUses = unused.length < drawn ? null : await measure(unused, { warmupMs: 0 });
  const used = shuffled.slice(kept.length, kept.length + more);
  let underMore: number | null = null;
  if (used.length === more) {
    await useAll(socket, used);
    underMore = await measure(used);
  }
  const direct = await startDirect(programs.direct, dir);
  try {
    const { count, seconds } = await direct.unwraps(timing);
    return { underOne, underKept, firstUses, underMore, directUnwraps: count / seconds };
  } finally {
    await direct.object.close();
  }
}

const bodyFor = (KeyId: string): object => ({ KeyId, Plaintext: Buffer.alloc(64, 'x').toString('base64') });

async function rateOf(
  program: string,
  socket: string,
  keyIds: readonly string[],
  { warmupMs, measureMs }: Timing,
): Promise<number> {
  const numbers = [connections, warmupMs, measureMs, 200, keyIds.length].map(String);
  const load = new LineProcess('the load generator', [program, socket, ...numbers]);
  load.endInput(keyIds.map((keyId) => httpRequest('Encrypt', JSON.stringify(bodyFor(keyId)))).join(''));
  await load.nextLine();
  const { count, seconds } = await load.nextJson<LoopResult>();
  await load.close();
  return count / seconds;
}

/** Encrypts once under each. */
async function useAll(socket: string, keyIds: readonly string[]): Promise<void> {
  const left = keyIds.values();
  const useRest = async (): Promise<void> => {
    for (const keyId of left) await post(socket, 'Encrypt', bodyFor(keyId));
  };
  await Promise.all(Array.from({ length: connections }, useRest));
}

function inRandomOrder(keyIds: readonly string[]): readonly string[] {
  const order = [...keyIds];
  for (let last = order.length - 1; last > 0; last--) {
    const other = Math.floor(Math.random() * (last + 1));
    const [one = '', two = ''] = [order[last], order[other]];
    [order[last], order[other]] = [two, one];
  }
  return order;
}
