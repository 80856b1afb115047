/**
 * What a token gives with so many hosts and lanes, measured: for `doctor --tune`, which says what to write into the configuration.
 *
 * More lanes are tried while they give clearly more, then more hosts with as many lanes as were best. Each shape is a key store of its
 * own, opened and closed here, that encrypts 64 bytes and signs with RSA-2048 (or P-256) for a moment. The keys for that are made in
 * the token first and destroyed at the end, whatever happens in between; only a process that is killed leaves them.
 *
 * What is recommended is the smallest of what was tried that gives nearly as much as the best, of two lanes in all at least: with one,
 * everything waits for keys that are generated.
 */

import { readFileSync } from 'node:fs';
import { type BackingKeyId, newBackingKeyId } from '../kms/names.ts';
import { Plaintext } from '../secrets/secret-bytes.ts';
import type { KeyStore, KeyStoreCapabilities } from './key-store.ts';
import type { KeyStoreShape } from './vendor-profile.ts';

export interface TuningOptions {
  /** Opens a key store over the token with that shape, all of whose hosts serve; the caller closes it. */
  readonly open: (shape: KeyStoreShape) => Promise<KeyStore>;
  /** As the vendor profile says. If not, further lanes of a host serve no ordinary calls. */
  readonly sessionsAreParallel: boolean;
  readonly cores: number;
  /** No further shape is tried after so long. */
  readonly atMostMs: number;
  /** Of each operation with each shape. */
  readonly measureMs?: number;
  /** Of one host; `lanesToTry` unless given. */
  readonly lanesToTry?: readonly number[];
  /** Ends it early: what was measured until then counts. */
  readonly signal?: AbortSignal;
  readonly progress?: (shape: KeyStoreShape) => void;
}

/** What one shape gave. */
export interface TriedShape extends KeyStoreShape {
  readonly encryptsPerSecond: number;
  readonly signsPerSecond: number;
  /** What its hosts have of memory for themselves. */
  readonly memoryMb: number;
}

export interface Tuning {
  readonly roundTripMs: number;
  readonly signedWith: 'RSA_2048' | 'ECC_NIST_P256';
  readonly cores: number;
  readonly tried: readonly TriedShape[];
  readonly recommended: KeyStoreShape;
  /** Did the time end it, and not that more gave no more? */
  readonly isCutShort: boolean;
}

/** Each while it gives more than the one before; the first is one. */
const lanesToTry = [1, 2, 4, 8, 16, 32];
const hostsToTry = [2, 4, 8];
/** Beyond that a token that computes in its host's process cannot give more. */
const hostsPerCore = 1;
/** What gives less than so much more is no better: it takes memory, and there is some noise. */
const clearlyMore = 1.15;
/** Of the best. */
const nearlyAsMuch = 0.9;
const defaultMeasureMs = 800;
/** As many calls for each lane as keep it at work while replies are on their way. */
const callsPerLane = 4;

export async function tuneToken(options: TuningOptions): Promise<Tuning> {
  const endsAtMs = performance.now() + options.atMostMs;
  const isOver = () => options.signal?.aborted === true || performance.now() >= endsAtMs;
  await using keeper = await openDisposable(options, { hosts: 1, lanes: 1 });
  const { keyStore } = keeper;
  const capabilities = keyStore.capabilities();
  const signedWith = works(capabilities, 'RSA_2048') ? 'RSA_2048' : 'ECC_NIST_P256';
  const keys: BackingKeyId[] = [];
  const make = async (keySpec: 'SYMMETRIC_DEFAULT' | Tuning['signedWith']): Promise<BackingKeyId> => {
    const backingKeyId = newBackingKeyId();
    keys.push(backingKeyId);
    const keyUsage = keySpec === 'SYMMETRIC_DEFAULT' ? 'ENCRYPT_DECRYPT' : 'SIGN_VERIFY';
    await keyStore.generateKey({ backingKeyId, label: 'drawbridge:tuning', keySpec, keyUsage });
    return backingKeyId;
  };
  try {
    const pair = { aes: await make('SYMMETRIC_DEFAULT'), signing: await make(signedWith) };
    const tried: TriedShape[] = [];
    const measure = async (shape: KeyStoreShape): Promise<TriedShape> => {
      options.progress?.(shape);
      await using opened = await openDisposable(options, shape);
      const measured = await measureShape(
        opened.keyStore,
        shape,
        pair,
        signedWith,
        options.measureMs ?? defaultMeasureMs,
      );
      tried.push(measured);
      return measured;
    };
    let best = await measure({ hosts: 1, lanes: 1 });
    /** Takes what is better for the best, as long as it is and there is time. */
    const climb = async (shapes: readonly KeyStoreShape[]): Promise<void> => {
      for (const shape of shapes) {
        if (isOver()) return;
        const next = await measure(shape);
        if (gain(next, best) < clearlyMore) return;
        best = next;
      }
    };
    if (options.sessionsAreParallel)
      await climb((options.lanesToTry ?? lanesToTry).slice(1).map((lanes) => ({ hosts: 1, lanes })));
    const { lanes } = best;
    const mostHosts = Math.max(2, options.cores * hostsPerCore);
    await climb(hostsToTry.filter((hosts) => hosts <= mostHosts).map((hosts) => ({ hosts, lanes })));
    const { roundTripMs } = capabilities;
    const recommended = recommend(tried, options);
    return { roundTripMs, signedWith, cores: options.cores, tried, recommended, isCutShort: isOver() };
  } finally {
    for (const backingKeyId of keys) await keyStore.destroyKey({ backingKeyId });
  }
}

function works({ capabilities }: KeyStoreCapabilities, wanted: string): boolean {
  return capabilities.some(({ keySpec, keyUsage, works }) => keySpec === wanted && keyUsage === 'SIGN_VERIFY' && works);
}

/** How much more of one or the other, whichever has gained more: hosts make signatures faster, and what is far away everything. */
function gain(one: TriedShape, other: TriedShape): number {
  return Math.max(
    one.encryptsPerSecond / other.encryptsPerSecond,
    one.signsPerSecond / Math.max(other.signsPerSecond, Number.EPSILON),
  );
}

/** @param tried In the order of how much memory they take, more or less. */
export function recommend(
  tried: readonly TriedShape[],
  { sessionsAreParallel }: Pick<TuningOptions, 'sessionsAreParallel'>,
): KeyStoreShape {
  const most = (of: (shape: TriedShape) => number): number => Math.max(...tried.map(of));
  const [encrypts, signs] = [most(({ encryptsPerSecond }) => encryptsPerSecond), most((shape) => shape.signsPerSecond)];
  const isEnough = (shape: TriedShape): boolean =>
    shape.encryptsPerSecond >= encrypts * nearlyAsMuch && shape.signsPerSecond >= signs * nearlyAsMuch;
  // None is the best at both where hosts that help signatures cost the rest a little; then signatures decide, which are dearer.
  const enough =
    tried.find(isEnough) ?? tried.find(({ signsPerSecond }) => signsPerSecond >= signs * nearlyAsMuch) ?? tried[0];
  const { hosts = 1, lanes = 1 } = enough ?? {};
  if (hosts * lanes > 1) return { hosts, lanes };
  return sessionsAreParallel ? { hosts: 1, lanes: 2 } : { hosts: 2, lanes: 1 };
}

async function openDisposable(
  { open }: TuningOptions,
  shape: KeyStoreShape,
): Promise<{ readonly keyStore: KeyStore } & AsyncDisposable> {
  const keyStore = await open(shape);
  return { keyStore, [Symbol.asyncDispose]: () => keyStore.close() };
}

async function measureShape(
  keyStore: KeyStore,
  shape: KeyStoreShape,
  keys: { readonly aes: BackingKeyId; readonly signing: BackingKeyId },
  signedWith: Tuning['signedWith'],
  measureMs: number,
): Promise<TriedShape> {
  const plaintext = new Plaintext(Buffer.alloc(64));
  const [aad, message] = [Buffer.alloc(64), Buffer.alloc(32, 1)];
  const algorithm = signedWith === 'RSA_2048' ? 'RSASSA_PKCS1_V1_5_SHA_256' : 'ECDSA_SHA_256';
  const atOnce = Math.max(16, callsPerLane * shape.hosts * shape.lanes);
  const encrypt = () => keyStore.encrypt({ backingKeyId: keys.aes, aad, plaintext });
  const sign = () => keyStore.sign({ backingKeyId: keys.signing, algorithm, content: 'DIGEST', message });
  const encryptsPerSecond = await ratePerSecond(encrypt, atOnce, measureMs);
  const signsPerSecond = await ratePerSecond(sign, atOnce, measureMs);
  const memoryMb = keyStore.status().pids.reduce((all, pid) => all + ownMemoryMb(pid), 0);
  return { ...shape, encryptsPerSecond, signsPerSecond, memoryMb: Math.round(memoryMb) };
}

/** So many calls at once, each followed by another, for a while that begins when what calls take has been learnt. */
async function ratePerSecond(call: () => Promise<unknown>, atOnce: number, measureMs: number): Promise<number> {
  const run = async (forMs: number): Promise<number> => {
    const beganAtMs = performance.now();
    let count = 0;
    const loop = async (): Promise<void> => {
      do {
        await call();
        count++;
      } while (performance.now() - beganAtMs < forMs);
    };
    await Promise.all(Array.from({ length: atOnce }, loop));
    return (count * 1000) / (performance.now() - beganAtMs);
  };
  await run(measureMs / 2);
  return Math.round(await run(measureMs));
}

/** What nobody shares with it; 0 where the kernel does not say. */
function ownMemoryMb(pid: number): number {
  try {
    return Number(/^Private_Dirty:\s*(\d+)/m.exec(readFileSync(`/proc/${pid}/smaps_rollup`, 'utf8'))?.[1] ?? 0) / 1024;
  } catch {
    return 0; // It ended meanwhile, or belongs to somebody else.
  }
}
