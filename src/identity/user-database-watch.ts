/**
 * When may what the user database said no longer hold? uids are reused: of a user who was deleted and another who was made, the
 * second must not be taken for the first.
 *
 * Where users are in files, a change is seen at the next request: `/etc/passwd` and `/etc/group` are looked at once in each turn of
 * the event loop in which somebody asks (`watched-file.ts`). Where `/etc/nsswitch.conf` names anything else as well (a directory,
 * systemd's dynamic users), nothing tells of a change; what was said is believed for seconds then, and who is connected is asked about
 * again as often. That file is looked at once a second.
 *
 * A number stands for what is known: whoever remembers it with what he learnt has to ask again when it is another one.
 *
 * Source: nsswitch.conf(5).
 */

import { readFileSync } from 'node:fs';
import { WatchedFile } from './watched-file.ts';

/** How long an answer is believed, and how long it is used while a new one is fetched. */
export interface Freshness {
  readonly freshMs: number;
  readonly staleMs: number;
}

/** A change of the files is seen anyway; this is for what they do not show, such as a name service's cache before them. */
const ofFiles: Freshness = { freshMs: 60_000, staleMs: 600_000 };
/** A few questions a minute for each user who is busy; whoever comes after a pause waits for the answer. */
const ofOthers: Freshness = { freshMs: 5_000, staleMs: 10_000 };

const nsswitchPauseMs = 1_000;

export interface UserDatabasePaths {
  readonly passwd: string;
  readonly group: string;
  readonly nsswitch: string;
}

export class UserDatabaseWatch {
  readonly #passwd: WatchedFile;
  readonly #group: WatchedFile;
  readonly #nsswitch: WatchedFile;
  readonly #clock: () => number;
  #isLookedAt = false;
  #isFilesOnly = true;
  #filesState = 0;
  #state = 0;
  #stateSinceMs = 0;
  #nsswitchLookedAtMs = Number.NEGATIVE_INFINITY;

  constructor({ passwd, group, nsswitch }: UserDatabasePaths, clock: () => number) {
    this.#passwd = new WatchedFile(passwd);
    this.#group = new WatchedFile(group);
    this.#nsswitch = new WatchedFile(nsswitch);
    this.#clock = clock;
  }

  get freshness(): Freshness {
    return this.#isFilesOnly ? ofFiles : ofOthers;
  }

  /** Another number: the files are others, and what was learnt before is worth nothing. */
  filesState(): number {
    this.#look();
    return this.#filesState;
  }

  /** Another number: somebody may be another one than he was, and has to be asked for again. */
  state(): number {
    this.#look();
    const nowMs = this.#clock();
    if (!this.#isFilesOnly && nowMs - this.#stateSinceMs >= ofOthers.freshMs) this.#raise(nowMs);
    return this.#state;
  }

  /** An answer was another one than the last time. */
  hasAnsweredOtherwise(): void {
    this.#raise(this.#clock());
  }

  #look(): void {
    if (this.#isLookedAt) return;
    this.#isLookedAt = true;
    setImmediate(() => {
      this.#isLookedAt = false;
    });
    const nowMs = this.#clock();
    if (![this.#passwd.hasChanged(), this.#group.hasChanged(), this.#hasOtherServices(nowMs)].includes(true)) return;
    this.#filesState++;
    this.#raise(nowMs);
  }

  #hasOtherServices(nowMs: number): boolean {
    if (nowMs - this.#nsswitchLookedAtMs < nsswitchPauseMs) return false;
    this.#nsswitchLookedAtMs = nowMs;
    if (!this.#nsswitch.hasChanged()) return false;
    this.#isFilesOnly = hasFilesOnly(this.#nsswitch.path);
    return true;
  }

  #raise(nowMs: number): void {
    this.#state++;
    this.#stateSinceMs = nowMs;
  }
}

/** Do users and groups come from files alone? True as well where there is no such configuration: C libraries then read files. */
function hasFilesOnly(nsswitchPath: string): boolean {
  let text: string;
  try {
    text = readFileSync(nsswitchPath, 'utf8');
  } catch {
    return true;
  }
  const databases = [...text.matchAll(/^\s*(?:passwd|group|initgroups)\s*:([^#\n]*)/gm)];
  // `[NOTFOUND=return]` says what to do after a service, and names none.
  const services = databases.flatMap(([, sources = '']) =>
    sources
      .replace(/\[[^\]]*\]/g, ' ')
      .trim()
      .split(/\s+/),
  );
  return services.every((service) => service === 'files' || service === '');
}
