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
 * likes, and must not have a memory for each. One more is, of each of these, all sessions of one role that he assumed. They share its
 * room, and what is forgotten when it is full is of the session that has the most: whoever was given one fills it for himself, up
 * to `maxSessionsApart` of them at once. Further ones are together, and can do to one another what a signer can do to himself. All
 * signers together hold what arrived within ten minutes at most.
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
/** Sessions of one signer that are kept apart at once: half a kilobyte each, beside what their signatures take. */
export const maxSessionsApart = 256;
/** Signers whose signatures are all out of date are dropped this often. */
const sweepIntervalMs = 60_000;

interface Signatures {
  /** By the signature's first 53 bits. */
  readonly ring: SignatureRing;
  notBeforeMs: number;
}

interface SessionSignatures extends Signatures {
  /** Until then a signature of this session may be among the common ones, or may have been. */
  readonly commonUntilMs: number;
}

/** What is remembered of one signer: in common, and of each session that is kept apart. */
interface SignerMemory extends Signatures {
  readonly sessions: Map<string, SessionSignatures>;
  readonly startMs: number;
  /** Of all of them. */
  size: number;
}

export interface TakenSignature {
  /** Whose memory it is kept in. */
  readonly signer: string;
  /** Which of its sessions; absent: it has none. */
  readonly session?: string | undefined;
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
  admit({ signer, session, signature, signedAtMs }: TakenSignature, nowMs: number): boolean {
    if (signedAtMs < this.#startMs) return false;
    this.#sweep(nowMs);
    const memory = this.#memoryOf(signer);
    const own = session === undefined ? undefined : sessionOf(memory, session, nowMs);
    const signatures = own ?? memory;
    dropOutdated(memory, memory, nowMs);
    if (own !== undefined) dropOutdated(memory, own, nowMs);
    const print = signature.readUIntBE(0, 6) * 32 + (signature.readUInt8(6) >> 3);
    const firstSeenMs = signatures.ring.firstSeenMs(print) ?? memory.ring.firstSeenMs(print);
    if (firstSeenMs !== undefined) return nowMs - firstSeenMs <= graceMs;
    if (signedAtMs < signatures.notBeforeMs) return false;
    if (own !== undefined && nowMs <= own.commonUntilMs && signedAtMs < memory.notBeforeMs) return false;
    if (memory.size === this.#maxSignatures) forgetOldest(memory);
    signatures.ring.add(print, signedAtMs, nowMs);
    memory.size++;
    return true;
  }

  /** How many signatures are remembered. */
  size(): number {
    return [...this.#bySigner.values()].reduce((count, { size }) => count + size, 0);
  }

  #memoryOf(signer: string): SignerMemory {
    let memory = this.#bySigner.get(signer);
    if (memory === undefined) {
      memory = {
        ring: new SignatureRing(),
        notBeforeMs: this.#startMs,
        sessions: new Map(),
        startMs: this.#startMs,
        size: 0,
      };
      this.#bySigner.set(signer, memory);
    }
    return memory;
  }

  #sweep(nowMs: number): void {
    if (nowMs - this.#sweptAtMs < sweepIntervalMs) return;
    this.#sweptAtMs = nowMs;
    // What was forgotten early is refused for its date by now, if not by this memory.
    const isOver = ({ ring, notBeforeMs }: Signatures): boolean => ring.size === 0 && notBeforeMs < nowMs - maxSkewMs;
    for (const [signer, memory] of this.#bySigner) {
      dropOutdated(memory, memory, nowMs);
      for (const [session, signatures] of memory.sessions) {
        dropOutdated(memory, signatures, nowMs);
        if (isOver(signatures)) memory.sessions.delete(session);
      }
      if (isOver(memory) && memory.sessions.size === 0) this.#bySigner.delete(signer);
    }
  }
}

/** `undefined`: as many as are kept apart are there, and this one is among those that are not. */
function sessionOf(memory: SignerMemory, session: string, nowMs: number): SessionSignatures | undefined {
  const known = memory.sessions.get(session);
  if (known !== undefined || memory.sessions.size >= maxSessionsApart) return known;
  const { ring, notBeforeMs, startMs } = memory;
  const hasCommon = ring.size > 0 || notBeforeMs > startMs;
  // What is among the common ones, or was, is refused for its date ten minutes from now.
  const commonUntilMs = hasCommon ? nowMs + 2 * maxSkewMs : 0;
  const made = { ring: new SignatureRing(), notBeforeMs: startMs, commonUntilMs };
  memory.sessions.set(session, made);
  return made;
}

/** A signature that came this long ago is refused for its date, which was at most `maxSkewMs` ahead then. */
function dropOutdated(memory: SignerMemory, { ring }: Signatures, nowMs: number): void {
  while (ring.size > 0 && nowMs - ring.oldestFirstSeenMs > 2 * maxSkewMs) {
    ring.removeOldest();
    memory.size--;
  }
}

/** Of whoever has the most: who signs little loses nothing to who signs much. */
function forgetOldest(memory: SignerMemory): void {
  let most: Signatures = memory;
  for (const signatures of memory.sessions.values()) if (signatures.ring.size > most.ring.size) most = signatures;
  // Dates are in whole seconds: others of the same second may be forgotten too, or not be known yet.
  most.notBeforeMs = Math.max(most.notBeforeMs, most.ring.oldestSignedAtMs + 1000);
  most.ring.removeOldest();
  memory.size--;
}
