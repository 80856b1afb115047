/**
 * Whether imported material has expired: late is what may never happen.
 *
 * Two clocks are asked, and it has expired as soon as either of them says so. The wall clock says what date it is; the
 * boot-time clock knows of no dates, so the time that was left by the wall clock when the material was first seen is put on it.
 * A wall clock that is set back then delays nothing. One that was set forward and is put right gives the material back, unless
 * it was destroyed meanwhile, which is upkeep's business and has a rule of its own.
 *
 * INVARIANT: nobody has to come and notice it. What is asked of a key is answered by this, at the moment when it is asked.
 */

import { uptime } from 'node:os';
import type { BackingKeyId } from '../kms/names.ts';
import type { BackingKeyRecord } from '../store/records/records.ts';
import { expiringMaterials, stateWithoutMaterial } from './imported-material.ts';
import type { KmsKey } from './kms-key.ts';

/** Both clocks at one moment. */
export interface ClockReading {
  /** Milliseconds since the epoch. */
  readonly wallMs: number;
  /** Milliseconds since the machine was started, its sleep included. */
  readonly bootMs: number;
}

export interface ExpiryClocks {
  now(): ClockReading;
}

/** Of this machine. Node.js reads `/proc/uptime`, which is CLOCK_BOOTTIME. */
export const machineExpiryClocks: ExpiryClocks = {
  now: () => ({ wallMs: Date.now(), bootMs: Math.floor(uptime() * 1000) }),
};

/** How material looked when it was first seen with this date. */
interface Sight {
  readonly validToMs: number;
  readonly endBootMs: number;
  /** By the wall clock it had expired already. */
  readonly hadExpired: boolean;
}

type Expiring = Pick<BackingKeyRecord, 'backingKeyId' | 'validToMs'>;

export class ExpiryWatch {
  readonly #clocks: ExpiryClocks;
  readonly #sights = new Map<BackingKeyId, Sight>();

  constructor(clocks: ExpiryClocks) {
    this.#clocks = clocks;
  }

  hasExpired({ backingKeyId, validToMs }: Expiring): boolean {
    if (validToMs === null) return false;
    const now = this.#clocks.now();
    return now.wallMs >= validToMs || now.bootMs >= this.#sightOf(backingKeyId, validToMs, now).endBootMs;
  }

  /** The key in the state that follows, whenever it is asked, from whether material that it needs has expired by then. */
  watched(key: KmsKey): KmsKey {
    if (key.record.origin !== 'EXTERNAL') return key;
    for (const material of key.materials) this.#see(material);
    const expiring = expiringMaterials(key);
    if (expiring.length === 0) return key;
    const hasExpired = (): boolean => expiring.some((each) => this.hasExpired(each));
    return {
      ...key,
      get state() {
        return hasExpired() ? stateWithoutMaterial(key.record) : key.record.state;
      },
    };
  }

  /** From now on the boot-time clock is watched for it too. */
  #see({ backingKeyId, validToMs }: Expiring): void {
    if (validToMs === null) this.#sights.delete(backingKeyId);
    else this.#sightOf(backingKeyId, validToMs, this.#clocks.now());
  }

  #sightOf(backingKeyId: BackingKeyId, validToMs: number, { wallMs, bootMs }: ClockReading): Sight {
    const known = this.#sights.get(backingKeyId);
    // What had expired at first sight by a clock that has been put right since is seen anew.
    if (known?.validToMs === validToMs && !(known.hadExpired && wallMs < validToMs)) return known;
    const leftMs = Math.max(0, validToMs - wallMs);
    const sight = { validToMs, endBootMs: bootMs + leftMs, hadExpired: leftMs === 0 };
    this.#sights.set(backingKeyId, sight);
    return sight;
  }
}
