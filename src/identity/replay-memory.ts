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
 * is still a minute. Whoever fills it with dates as far ahead as they may be has what is signed now refused until then, to that signer
 * and no other. A signer is an access key, or a Unix user with all short-lived credentials that he has: he may have as many as he
 * likes, and must not have a memory for each. One more is, of each of these, all sessions of one role that he assumed: those who
 * were given such sessions can do this to one another, and not to him. All signers together hold what arrived within ten minutes
 * at most.
 *
 * A restart forgets everything, so what was signed before the start is refused too; clocks on one machine are one clock.
 */

import { SignatureRing } from './signature-ring.ts';

/** How far from now a signature's date may be. */
export const maxSkewMs = 5 * 60_000;
/** Longer than a client's request waits in queues on its own machine. */
export const graceMs = 5_000;
/** Of one signer: 2 MB (`signature-ring.ts`). */
const maxSignatures = 65_536;
/** Signers whose signatures are all out of date are dropped this often. */
const sweepIntervalMs = 60_000;

interface SignerMemory {
  /** By the signature's first 53 bits. */
  readonly ring: SignatureRing;
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
    const { ring } = memory;
    dropOutdated(ring, nowMs);
    const print = signature.readUIntBE(0, 6) * 32 + (signature.readUInt8(6) >> 3);
    const firstSeenMs = ring.firstSeenMs(print);
    if (firstSeenMs !== undefined) return nowMs - firstSeenMs <= graceMs;
    if (signedAtMs < memory.notBeforeMs) return false;
    if (ring.size === this.#maxSignatures) forgetOldest(memory);
    ring.add(print, signedAtMs, nowMs);
    return true;
  }

  /** How many signatures are remembered. */
  size(): number {
    return [...this.#bySigner.values()].reduce((count, { ring }) => count + ring.size, 0);
  }

  #memoryOf(signer: string): SignerMemory {
    let memory = this.#bySigner.get(signer);
    if (memory === undefined) {
      memory = { ring: new SignatureRing(), notBeforeMs: this.#startMs };
      this.#bySigner.set(signer, memory);
    }
    return memory;
  }

  #sweep(nowMs: number): void {
    if (nowMs - this.#sweptAtMs < sweepIntervalMs) return;
    this.#sweptAtMs = nowMs;
    for (const [signer, { ring, notBeforeMs }] of this.#bySigner) {
      dropOutdated(ring, nowMs);
      // What was forgotten early is refused for its date by now, if not by this memory.
      if (ring.size === 0 && notBeforeMs < nowMs - maxSkewMs) this.#bySigner.delete(signer);
    }
  }
}

/** A signature that came this long ago is refused for its date, which was at most `maxSkewMs` ahead then. */
function dropOutdated(ring: SignatureRing, nowMs: number): void {
  while (ring.size > 0 && nowMs - ring.oldestFirstSeenMs > 2 * maxSkewMs) ring.removeOldest();
}

function forgetOldest(memory: SignerMemory): void {
  // Dates are in whole seconds: others of the same second may be forgotten too, or not be known yet.
  memory.notBeforeMs = Math.max(memory.notBeforeMs, memory.ring.oldestSignedAtMs + 1000);
  memory.ring.removeOldest();
}
