/**
 * Encrypt under one key, under as many as the HSM hosts keep unwrapped, and under more: beside a loop in C that unwraps a key,
 * encrypts with it and destroys it, over the same token.
 *
 * Of an instance whose keys are wrapped, at 16 connections, after so many requests under one key that what is compiled late is compiled.
 * The first use of each of many keys since the start is a row of its own, measured once: its records are read and verified by the HSM then.
 * So is that of as many others once the daemon has gone through all of them by itself, which is waited for: as it is minutes after a start.
 * The others are measured in turn, in several rounds, whose medians stand for them. The loop unwraps under a token object, as the HSM
 * hosts do: a domain key cannot be changed, and SoftHSM2 makes no session copy of such a key. Beside it the same under a session copy of
 * a key that can be changed, which is what that protection costs.
 */

import { setTimeout } from 'node:timers/promises';
import { maxUnwrappedKeys } from '../../src/hsm/kept-keys.ts';
import { LineProcess } from '../line-process.ts';
import type { LoopResult, Timing } from './measurement.ts';
import { median } from './results.ts';
import { httpRequest, post, startDirect, statusOf } from './targets.ts';
import { progress } from './warming.ts';

/** Requests a second; `null` where there are too few keys. */
export interface EncryptRates {
  readonly underOne: number;
  /** Under as many keys as there are and each host keeps unwrapped. */
  readonly underKept: number;
  /** Under keys that were not used since the start. */
  readonly firstUses: number | null;
  /** The same, when all keys are at hand. */
  readonly firstUsesAtHand: number | null;
  /** Under more than are kept, each used before. */
  readonly underMore: number | null;
  /** C_UnwrapKey under the token object, C_Encrypt, C_DestroyObject. */
  readonly directUnwraps: number;
  /** The same under a session copy, which nobody has of a key that cannot be changed. */
  readonly directUnwrapsByCopy: number;
}

const connections = 16;
const rounds = 3;
/** Each of the keys above what is kept is unwrapped anew when its turn comes. */
const more = 4 * maxUnwrappedKeys;
/** Drawn from all; nobody gets through them in the time. */
const drawn = 20_000;
const drawnAtHand = 50_000;

/** @param dir Of the instance that listens at `socket`. */
export async function encryptRates(
  { dir, socket }: { readonly dir: string; readonly socket: string },
  keyIds: readonly string[],
  programs: { readonly load: string; readonly direct: string },
  quick: boolean,
): Promise<EncryptRates> {
  const timing = quick ? { warmupMs: 5, measureMs: 20 } : { warmupMs: 500, measureMs: 1500 };
  const shuffled = inRandomOrder(keyIds);
  const measure = (of: readonly string[], by: Timing = timing): Promise<number> =>
    rateOf(programs.load, socket, of, by);
  await measure(shuffled.slice(0, 1), quick ? timing : { warmupMs: 0, measureMs: 3000 });
  const kept = shuffled.slice(0, Math.ceil(maxUnwrappedKeys * 0.9));
  const unused = shuffled.slice(kept.length + more).slice(0, drawn);
  const firstUses = unused.length < drawn ? null : await measure(unused, { ...timing, warmupMs: 0 });
  const others = shuffled.slice(kept.length + more + drawn).slice(0, drawnAtHand);
  const firstUsesAtHand = others.length < drawnAtHand ? null : await measureAtHand(socket, () => measure(others));
  const used = shuffled.slice(kept.length, kept.length + more);
  const direct = await startDirect(programs.direct, dir);
  const byLoop = async (isCopied: boolean): Promise<number> => {
    const { count, seconds } = await direct.unwraps(timing, isCopied);
    return count / seconds;
  };
  const measured: Record<'underOne' | 'underKept' | 'underMore' | 'copy' | 'object', number[]> = {
    ...{ underOne: [], underKept: [], underMore: [] },
    ...{ copy: [], object: [] },
  };
  await useAll(socket, kept);
  try {
    for (let round = 0; round < (quick ? 1 : rounds); round++) {
      measured.underOne.push(await measure(shuffled.slice(0, 1)));
      measured.underKept.push(await measure(kept));
      measured.copy.push(await byLoop(true));
      measured.object.push(await byLoop(false));
      if (used.length < more) continue;
      // It goes through the others of them before it comes to the same one again.
      await useAll(socket, used);
      measured.underMore.push(await measure(used));
      await useAll(socket, kept);
    }
  } finally {
    await direct.object.close();
  }
  return {
    underOne: median(measured.underOne),
    underKept: median(measured.underKept),
    firstUses,
    firstUsesAtHand,
    underMore: measured.underMore.length === 0 ? null : median(measured.underMore),
    directUnwraps: median(measured.object),
    directUnwrapsByCopy: median(measured.copy),
  };
}

/** Measures when the daemon has gone through all keys. */
async function measureAtHand(socket: string, measure: () => Promise<number>): Promise<number> {
  for (;;) {
    const { keysAtHand } = await statusOf<{ readonly keysAtHand: { keys: number; isDone: boolean } | null }>(socket);
    if (keysAtHand === null || keysAtHand.isDone) return measure();
    progress(`${keysAtHand.keys} keys are at hand`);
    await setTimeout(1000);
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
