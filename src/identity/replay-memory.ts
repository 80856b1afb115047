/**
 * Remembers the signatures that were taken, so that a request that somebody recorded cannot be sent again.
 *
 * A signature is good for five minutes before and after its date. Refusing each one after its first use would be simple
 * and wrong: signatures have the date to the second, so a program that makes the same request twice within one (boto3 in
 * a loop: `generate_random`, `decrypt` of the same blob) honestly sends two equal ones. Therefore a signature may come as
 * often as it likes for `graceMs` after it came first, and never after that. So whoever records a request can repeat it
 * for a few seconds, in which its sender could as well.
 *
 * What has to be remembered is bounded for each signer. When it is full, its oldest signature is forgotten and with it
 * everything that was signed until then: the signer's window gets shorter, and never open. At 1,000 requests a second it
 * is still a minute, and nobody but that signer notices. A signer is an access key, or a Unix user with all short-lived
 * credentials that he has: he may have as many as he likes, and must not have a memory for each. All signers together hold
 * what arrived within ten minutes at most.
 *
 * A restart forgets everything, so what was signed before the start is refused too; clocks on one machine are one clock.
 */

/** How far from now a signature's date may be. */
export const maxSkewMs = 5 * 60_000;
/** Longer than a client's request waits in queues on its own machine. */
export const graceMs = 5_000;
/** Of one signer. An entry takes about 300 bytes (measured). */
const maxSignatures = 65_536;
/** Signers whose signatures are all out of date are dropped this often. */
const sweepIntervalMs = 60_000;

interface Entry {
  readonly signedAtMs: number;
  readonly firstSeenMs: number;
}

interface SignerMemory {
  /** In the order of their first coming. By the signature's first 53 bits: a number, which is small and fast to find. */
  readonly entries: Map<number, Entry>;
  notBeforeMs: number;
}

export interface TakenSignature {
  /** Whose memory it is kept in. */
  readonly signer: string;
  /** 32 bytes, found to be right. */
  readonly signature: Buffer;
  readonly signedAtMs: number;
}

export class ReplayMemory {
  readonly #startMs: number;
  readonly #maxSignatures: number;
  readonly #bySigner = new Map<string, SignerMemory>();
  #sweptAtMs: number;

  /** @param nowMs What was signed before this second is refused. */
  constructor(nowMs: number, maxPerSigner: number = maxSignatures) {
    this.#startMs = Math.floor(nowMs / 1000) * 1000;
    this.#maxSignatures = maxPerSigner;
    this.#sweptAtMs = nowMs;
  }

  /** Takes note of a signature; `false` when it may have been used before. */
  admit({ signer, signature, signedAtMs }: TakenSignature, nowMs: number): boolean {
    if (signedAtMs < this.#startMs) return false;
    this.#sweep(nowMs);
    const memory = this.#memoryOf(signer);
    const { entries } = memory;
    dropOutdated(entries, nowMs);
    const print = signature.readUIntBE(0, 6) * 32 + (signature.readUInt8(6) >> 3);
    const known = entries.get(print);
    if (known !== undefined) return nowMs - known.firstSeenMs <= graceMs;
    if (signedAtMs < memory.notBeforeMs) return false;
    entries.set(print, { signedAtMs, firstSeenMs: nowMs });
    if (entries.size > this.#maxSignatures) forgetOldest(memory);
    return true;
  }

  /** How many signatures are remembered. */
  size(): number {
    return [...this.#bySigner.values()].reduce((count, { entries }) => count + entries.size, 0);
  }

  #memoryOf(signer: string): SignerMemory {
    let memory = this.#bySigner.get(signer);
    if (memory === undefined) {
      memory = { entries: new Map(), notBeforeMs: this.#startMs };
      this.#bySigner.set(signer, memory);
    }
    return memory;
  }

  #sweep(nowMs: number): void {
    if (nowMs - this.#sweptAtMs < sweepIntervalMs) return;
    this.#sweptAtMs = nowMs;
    for (const [signer, { entries, notBeforeMs }] of this.#bySigner) {
      dropOutdated(entries, nowMs);
      // What was forgotten early is refused for its date by now, if not by this memory.
      if (entries.size === 0 && notBeforeMs < nowMs - maxSkewMs) this.#bySigner.delete(signer);
    }
  }
}

/** A signature that came this long ago is refused for its date, which was at most `maxSkewMs` ahead then. */
function dropOutdated(entries: Map<number, Entry>, nowMs: number): void {
  for (const [print, { firstSeenMs }] of entries) {
    if (nowMs - firstSeenMs <= 2 * maxSkewMs) return;
    entries.delete(print);
  }
}

function forgetOldest(memory: SignerMemory): void {
  for (const [print, { signedAtMs }] of memory.entries) {
    memory.entries.delete(print);
    // Dates are in whole seconds: others of the same second may be forgotten too, or not be known yet.
    memory.notBeforeMs = Math.max(memory.notBeforeMs, signedAtMs + 1000);
    return;
  }
}
