/**
 * What a process's cgroup says of the container that it is in.
 *
 * A name comes from the configuration alone (`identity.containers`: cgroup → name), because whoever starts a container calls it
 * and its cgroup what he likes. A cgroup in the configuration is a path as `/proc/PID/cgroup` shows it to the daemon, in which
 * `*` stands for anything within one part; whatever is below it is the same container.
 *
 * Where the configuration says nothing, the cgroups that container engines make are known by their shapes. That matters for
 * containers that share the machine's pid namespace (`--pid=host`); of any other, the namespace says that it is one
 * (`peer-origin.ts`). What is meant is always another container than the daemon's own.
 *
 * Source: cgroups(7), `/proc/pid/cgroup`; cgroup_namespaces(7) for paths that begin with `/..`.
 */

/** What a container is called that nothing in the configuration names. */
export const unnamedContainer = 'unnamed';

export class ContainerNames {
  readonly #patterns: readonly { readonly cgroup: RegExp; readonly name: string }[];

  /** @param names Cgroup → name; the first that matches counts. */
  constructor(names: Readonly<Record<string, string>>) {
    this.#patterns = Object.entries(names).map(([cgroup, name]) => ({ cgroup: patternOf(cgroup), name }));
  }

  /** Can a container be called so? */
  has(name: string): boolean {
    return name === unnamedContainer || this.#patterns.some((pattern) => pattern.name === name);
  }

  /** @param cgroups The text of a `/proc/PID/cgroup`. */
  find(cgroups: string): string | undefined {
    const paths = [...pathsIn(cgroups).values()];
    return this.#patterns.find(({ cgroup }) => paths.some((path) => cgroup.test(path)))?.name;
  }
}

function patternOf(cgroup: string): RegExp {
  const parts = cgroup.replace(/\/+$/, '').split('*');
  return new RegExp(`^${parts.map((part) => part.replace(/[.*+?^${}()|[\]\\]/g, '\\$&')).join('[^/]*')}(?:/|$)`);
}

/**
 * Is a process in a container that the daemon is not in, by the shape of its cgroup?
 * @param cgroups The text of its `/proc/PID/cgroup`.
 * @param own The daemon's.
 */
export function isInOtherContainer(cgroups: string, own: string): boolean {
  const ownPaths = pathsIn(own);
  return [...pathsIn(cgroups)].some(
    ([hierarchy, path]) => containerIn(path) !== containerIn(ownPaths.get(hierarchy) ?? '/'),
  );
}

/** Each line is `number:controllers:path`; paths by what stands before them. */
function pathsIn(cgroups: string): ReadonlyMap<string, string> {
  // At line feeds alone: a name may have any other character, and a carriage return begins a line for `^`.
  const lines = cgroups.split('\n').map((line) => /^(\d+:[^:]*):(\/.*)$/s.exec(line));
  return new Map(lines.flatMap((line) => (line === null ? [] : [[line[1] ?? '', line[2] ?? ''] as const])));
}

/**
 * Parts of a cgroup's path that container engines make: ids of 64 hexadecimal digits (Docker, containerd, CRI-O, Podman), and
 * the parts below which Kubernetes, LXC, systemd-nspawn and Nomad have theirs.
 */
const enginePart =
  /[0-9a-f]{64}|^(?:docker|kubepods|libpod|lxc|lxc\.payload|machine|machine\.slice|nomad|nomad\.slice)(?:$|[-.])/;

/** The path down to the last part that an engine makes; empty where there is none. */
function containerIn(path: string): string {
  const parts = path.split('/');
  return parts.slice(0, parts.findLastIndex((part) => enginePart.test(part)) + 1).join('/');
}
