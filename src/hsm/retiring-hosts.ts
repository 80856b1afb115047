/**
 * Hosts whose place another one has taken: they get no more calls, and end when they have answered those that they have.
 *
 * Until then their lanes are watched like all others, and what generates on them can be ended.
 */

import type { HostLane } from './host-lane.ts';
import type { HsmHost } from './hsm-host.ts';

export class RetiringHosts {
  readonly #hosts = new Set<HsmHost>();

  add(host: HsmHost): void {
    this.#hosts.add(host);
    void host.ended.then(() => this.#hosts.delete(host));
  }

  entries(): readonly { readonly lane: HostLane; readonly host: HsmHost }[] {
    return [...this.#hosts].flatMap((host) => host.lanes.map((lane) => ({ lane, host })));
  }

  /** Has those end that have nothing more to do. */
  endIdle(): void {
    for (const host of this.#hosts) if (host.lanes.every(({ callCount }) => callCount === 0)) host.end();
  }
}
