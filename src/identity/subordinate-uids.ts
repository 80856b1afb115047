/**
 * Whose a subordinate uid is: `/etc/subuid` gives a user ranges of uids that `newuidmap` lets him take in a user namespace,
 * usually 65,536 of them. Whatever is counted by user is counted for their owner, or each user would be thousands.
 *
 * The table is read when it has changed, at the next question. Its owners are given by name or uid. Names are looked up in
 * `/etc/passwd`; one that is not there belongs to a directory, which is asked on another thread, so that nothing here ever
 * waits for one. Until it has answered, and where it does not, the first uid of the owner's first range stands for him: he
 * is still one owner.
 *
 * Broken lines are ignored, as `newuidmap` ignores them. Where ranges overlap, the first counts. uid 0 is nobody's
 * subordinate, whatever the table says: what is kept for root is not spent by others.
 *
 * Accepted weaknesses. Where `/etc/nsswitch.conf` has a `subid` service, ranges come from a directory that is not asked
 * here. And a user whose own uid lies in a range of somebody else's counts as that one, who can in fact act as him.
 *
 * Source: subuid(5), newuidmap(1); shadow's lib/subordinateio.c.
 */

import { readFileSync } from 'node:fs';
import { knownIdOfUser } from './unix-names.ts';
import { WatchedFile } from './watched-file.ts';

interface Range {
  readonly first: number;
  /** The last uid that is in it. */
  readonly last: number;
  readonly owner: Owner;
}

/** The same for all ranges of one owner. */
interface Owner {
  readonly name: string;
  readonly uid: number | undefined;
  /** The first uid of his first range. */
  readonly standIn: number;
}

export interface SubordinateUidsOptions {
  readonly subuidPath: string;
  readonly passwdPath: string;
  /** Of a user who is not in `passwd`; never blocks. `undefined` where there is none, or nothing is known yet. */
  readonly idOfUser: (name: string) => number | undefined;
}

export class SubordinateUids {
  readonly #subuid: WatchedFile;
  readonly #passwd: WatchedFile;
  readonly #idOfUser: SubordinateUidsOptions['idOfUser'];
  #ranges: readonly Range[] = [];

  constructor({ subuidPath, passwdPath, idOfUser }: SubordinateUidsOptions) {
    this.#subuid = new WatchedFile(subuidPath);
    this.#passwd = new WatchedFile(passwdPath);
    this.#idOfUser = idOfUser;
  }

  /** The uid of the owner of a subordinate uid; of any other uid, itself. Never throws. */
  ownerOf(uid: number): number {
    if (uid === 0) return 0;
    const isOther = [this.#subuid.hasChanged(), this.#passwd.hasChanged()].includes(true);
    if (isOther) this.#ranges = rangesIn(linesOf(this.#subuid.path), uidsByName(linesOf(this.#passwd.path)));
    const owner = this.#ranges.find(({ first, last }) => uid >= first && uid <= last)?.owner;
    return owner === undefined ? uid : (owner.uid ?? this.#idOfUser(owner.name) ?? owner.standIn);
  }
}

const ofThisMachine = new SubordinateUids({
  subuidPath: '/etc/subuid',
  passwdPath: '/etc/passwd',
  idOfUser: knownIdOfUser,
});

/** The uid of the owner of a subordinate uid, by this machine's tables; of any other uid, itself. Never throws or blocks. */
export function ownerOfUid(uid: number): number {
  return ofThisMachine.ownerOf(uid);
}

/** None where the file cannot be read: then nobody has such uids, or who they belong to cannot be told. */
function linesOf(path: string): readonly string[] {
  try {
    return readFileSync(path, 'utf8').split('\n');
  } catch {
    return [];
  }
}

function uidsByName(passwd: readonly string[]): ReadonlyMap<string, number> {
  const uids = new Map<string, number>();
  for (const line of passwd) {
    const [name = '', , uid = ''] = line.split(':');
    if (name !== '' && /^\d+$/.test(uid) && !uids.has(name)) uids.set(name, Number(uid));
  }
  return uids;
}

/** The largest uid; the one above it means "none". */
const maxUid = 0xffff_fffe;

/** Each line is `owner:first uid:number of uids`. */
function rangesIn(subuid: readonly string[], uids: ReadonlyMap<string, number>): readonly Range[] {
  const owners = new Map<string, Owner>();
  return subuid.flatMap((line) => {
    const [, name, start, length] = /^([^:]+):(\d+):(\d+)$/.exec(line) ?? [];
    if (name === undefined || Number(length) === 0) return [];
    const first = Number(start);
    const last = first + Number(length) - 1;
    if (last > maxUid) return [];
    const owner = owners.get(name) ?? { name, uid: uids.get(name) ?? numberIn(name), standIn: first };
    owners.set(name, owner);
    return [{ first, last, owner }];
  });
}

function numberIn(name: string): number | undefined {
  return /^\d+$/.test(name) ? Number(name) : undefined;
}
