/**
 * Circles of imports in `src/`: of files, and of folders. Types count: who reads one has to read the other too.
 *
 * A folder is the files directly in it, so that a folder and one of its subfolders can be a circle as well. Each circle is
 * told with the imports that close it, as short as it can be; what lies in several circles is told in one of them, and the
 * others come to light when that one is broken.
 */

import type { Violation } from './source-file.ts';

export interface ImportingFile {
  readonly path: string;
  /** The paths of the files that it imports. */
  readonly targets: readonly string[];
}

/** By what imports: what it imports. */
type Graph = ReadonlyMap<string, ReadonlySet<string>>;

const remedy =
  'move what both need to the lower one, or have the lower one declare the interface that it asks and the other implement it';

export function findCircles(files: readonly ImportingFile[]): readonly Violation[] {
  return [...circlesOfFiles(files), ...circlesOfFolders(files)];
}

function circlesOfFiles(files: readonly ImportingFile[]): readonly Violation[] {
  const graph = new Map(files.map(({ path, targets }) => [path, new Set(targets)]));
  return circlesOf(graph).map((circle) => ({
    path: circle[0] ?? '',
    message: `is in a circle of files, ${circle.map(quoted).join(' → ')}: ${remedy}`,
  }));
}

function circlesOfFolders(files: readonly ImportingFile[]): readonly Violation[] {
  const graph = new Map<string, Set<string>>();
  /** By the folders: the file of the first that imports one of the second, and that one. */
  const examples = new Map<string, readonly [path: string, target: string]>();
  for (const { path, targets } of files) {
    const from = folderOf(path);
    const reached = graph.get(from) ?? new Set();
    graph.set(from, reached);
    for (const target of targets) {
      const to = folderOf(target);
      if (to === from || reached.has(to)) continue;
      reached.add(to);
      examples.set(`${from} ${to}`, [path, target]);
    }
  }
  return circlesOf(graph).map((circle) => {
    const imports = circle.slice(1).map((to, index) => examples.get(`${circle[index]} ${to}`) ?? [to, to]);
    const told = imports.map(([path, target]) => `${quoted(path)} imports ${quoted(target)}`).join(', ');
    return {
      path: imports[0]?.[0] ?? '',
      message: `is in a cycle of folders, ${circle.map(quoted).join(' → ')} (${told}): ${remedy}`,
    };
  });
}

/** Enough circles that everything that is in one is in one of these; each begins and ends with the same name. */
function circlesOf(graph: Graph): readonly (readonly string[])[] {
  const circles: (readonly string[])[] = [];
  for (const name of [...graph.keys()].sort()) {
    if (circles.some((circle) => circle.includes(name))) continue;
    const circle = shortestCircle(graph, name);
    if (circle !== undefined) circles.push(circle);
  }
  return circles;
}

/** Breadth first: the first way back to the start is a shortest one. */
function shortestCircle(graph: Graph, start: string): readonly string[] | undefined {
  const cameFrom = new Map<string, string>();
  const waiting = [start];
  for (const name of waiting) {
    for (const next of graph.get(name) ?? []) {
      if (next === start) return [...wayTo(name, cameFrom), start];
      if (cameFrom.has(next)) continue;
      cameFrom.set(next, name);
      waiting.push(next);
    }
  }
  return undefined;
}

function wayTo(name: string, cameFrom: ReadonlyMap<string, string>): readonly string[] {
  const before = cameFrom.get(name);
  return before === undefined ? [name] : [...wayTo(before, cameFrom), name];
}

function folderOf(path: string): string {
  return path.slice(0, path.lastIndexOf('/'));
}

function quoted(name: string): string {
  return `\`${name}\``;
}
