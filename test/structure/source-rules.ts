/**
 * The rules of the source layout that no type can hold, as a function from source files to violations.
 *
 * `source-file.ts` reads a file; `import-cycles.ts`, `operation-topics.ts` and `single-writer.ts` have the rules that need a few functions more.
 * Every message says what to do instead. `source-rules.test.ts` plants each violation; `tree.test.ts` reads the tree.
 *
 * Source: "Who may import whom" in README.md, "Working on Drawbridge".
 */

import { findCircles, type ImportingFile } from './import-cycles.ts';
import { checkTopics } from './operation-topics.ts';
import { checkWriters } from './single-writer.ts';
import {
  type Import,
  type Report,
  readImports,
  resolveFrom,
  type SourceFile,
  type Violation,
  withoutComments,
} from './source-file.ts';

interface LayerRule {
  /** Layers whose values and types it may import. */
  readonly uses: readonly string[];
  /** Layers of which it may import types only (`import type`). */
  readonly usesTypesOf: readonly string[];
}

const vocabulary = ['kms', 'secrets'];
const policies = ['authorization/language', 'authorization'];
const keys = ['keys/lists', 'keys/grants', 'keys'];
const stores = ['hsm', 'store', 'store/records', 'audit'];
const underPipeline = ['operations/declaration', 'operations', ...policies, ...keys, ...stores, ...vocabulary];
const underAccess = ['pipeline', ...underPipeline];
const connecting = ['http/admission', 'http/connections', 'http/front'];
const underDaemon = [
  'http',
  'http/admission',
  'http/connections',
  'identity',
  'access',
  'authorization/advice',
  ...underAccess,
];

/** One row for each folder of `src/`, from the bottom up, and for subfolders that may use less, or be used by fewer. */
export const layers: Readonly<Record<string, LayerRule>> = {
  kms: { uses: [], usesTypesOf: [] },
  secrets: { uses: [], usesTypesOf: [] },
  'store/records': { uses: vocabulary, usesTypesOf: [] },
  store: { uses: ['store/records', ...vocabulary], usesTypesOf: [] },
  audit: { uses: vocabulary, usesTypesOf: [] },
  'hsm/host': { uses: ['hsm', ...vocabulary], usesTypesOf: [] },
  hsm: { uses: vocabulary, usesTypesOf: [] },
  identity: { uses: vocabulary, usesTypesOf: [] },
  'authorization/language': { uses: vocabulary, usesTypesOf: [] },
  authorization: { uses: ['authorization/language', ...vocabulary], usesTypesOf: ['identity'] },
  'authorization/advice': { uses: [...policies, ...vocabulary], usesTypesOf: [] },
  'keys/lists': { uses: vocabulary, usesTypesOf: [] },
  'keys/grants': { uses: ['keys/lists', 'store/records', ...vocabulary], usesTypesOf: policies },
  keys: { uses: ['keys/lists', 'keys/grants', 'hsm', 'store', 'store/records', ...vocabulary], usesTypesOf: policies },
  'operations/declaration': {
    uses: [...policies, ...keys, ...vocabulary],
    usesTypesOf: ['identity', 'hsm', 'store', 'store/records'],
  },
  operations: {
    uses: ['operations/declaration', 'store/records', ...policies, ...keys, ...vocabulary],
    usesTypesOf: ['identity', 'hsm', 'store'],
  },
  pipeline: { uses: underPipeline, usesTypesOf: ['identity'] },
  access: { uses: ['authorization/advice', ...underAccess], usesTypesOf: ['identity'] },
  'http/admission': { uses: vocabulary, usesTypesOf: [] },
  'http/connections': { uses: ['http/admission', ...vocabulary], usesTypesOf: [] },
  'http/front': { uses: ['http/connections', 'identity', ...vocabulary], usesTypesOf: ['pipeline'] },
  http: { uses: [...connecting, 'access', 'identity', ...underAccess], usesTypesOf: [] },
  config: { uses: vocabulary, usesTypesOf: [] },
  daemon: { uses: ['config', ...underDaemon], usesTypesOf: [] },
  cli: { uses: ['daemon', 'config', ...underDaemon], usesTypesOf: [] },
};

interface PackageRule {
  readonly packages: readonly string[];
  /** Folders (or files) whose files may import them. */
  readonly allowed: readonly string[];
  readonly instead: string;
}

/** Packages with one home. Tests may import what they like; `src/` and `scripts/` are held to this. */
const packageRules: readonly PackageRule[] = [
  {
    packages: ['pkcs11js'],
    allowed: ['src/hsm/host/'],
    instead: 'call a `KeyStore` (src/hsm/key-store.ts): the vendor library lives in the HSM host process alone',
  },
  {
    packages: ['kysely', 'node:sqlite', 'pg'],
    allowed: ['src/store/'],
    instead: 'use a `MetadataStore` (src/store/metadata-store.ts), and give it a method where it lacks one',
  },
  {
    packages: ['fastify'],
    allowed: ['src/http/'],
    instead: 'take and return values of `KmsService` (src/pipeline/service.ts); the wire is the business of src/http/',
  },
  {
    packages: ['koffi'],
    allowed: ['src/identity/', 'src/secrets/', 'src/hsm/host/', 'src/keys/use/digest-verification.ts'],
    instead:
      'put the system call beside the others in src/identity/ (peers) or src/secrets/ (memory) and export a function',
  },
];

/** Files over `maxLines` that may stay so, each with its reason. Best empty. */
export const longFileExemptions: Readonly<Record<string, string>> = {};
export const maxLines = 400;

/** What the top level may hold, besides dotfiles. */
export const topLevelEntries = [
  'LICENSE',
  'README.md',
  'native-config',
  'package-lock.json',
  'package.json',
  'scripts',
  'src',
  'test',
  'tsconfig.json',
];

/** All violations in the files, in the order of the files. */
export function findViolations(files: readonly SourceFile[]): Violation[] {
  const violations: Violation[] = [];
  const importing: ImportingFile[] = [];
  for (const file of files) {
    const report = (message: string): void => {
      violations.push({ path: file.path, message });
    };
    checkName(file.path, report);
    checkLength(file, report);
    if (!file.path.endsWith('.ts')) continue;
    // These rules' own files are full of what they look for.
    if (file.path.startsWith('test/structure/')) continue;
    const code = withoutComments(file.text);
    checkText(file, code, report);
    if (file.path.startsWith('test/')) continue;
    const imports = readImports(code, report);
    if (file.path.startsWith('src/')) {
      checkLayers(file.path, imports, report);
      checkTopics(file.path, code, imports, report);
      checkWriters(file.path, code, report);
      importing.push({ path: file.path, targets: targetsOf(file.path, imports) });
    }
    checkPackages(file.path, imports, report);
  }
  checkOperationTable(files, violations);
  return [...violations, ...findNamesakes(files), ...findCircles(importing)];
}

/** The files of ours that it imports, values or types. */
function targetsOf(path: string, imports: readonly Import[]): readonly string[] {
  return imports.flatMap(({ specifier }) => (specifier.startsWith('.') ? [resolveFrom(path, specifier)] : []));
}

/** Files of `src/` that are called like another one: whoever reads the name in a message or a search takes one for the other. */
function findNamesakes(files: readonly SourceFile[]): readonly Violation[] {
  const first = new Map<string, string>();
  return files.flatMap(({ path }) => {
    if (!path.startsWith('src/')) return [];
    const name = path.slice(path.lastIndexOf('/') + 1);
    const other = first.get(name);
    if (other === undefined) {
      first.set(name, path);
      return [];
    }
    return [{ path, message: `has the name of \`${other}\`: call each by what sets it apart from the other` }];
  });
}

function checkName(path: string, report: Report): void {
  const vague = path.split('/').find((part) => /^(?:utils?|helpers?|common|misc)(?:\.|$)/.test(part));
  if (vague !== undefined) {
    report(
      `\`${vague}\` says nothing about its content: move each function to the thing it serves, in the lowest layer`,
    );
  }
}

function checkLength({ path, text }: SourceFile, report: Report): void {
  const lines = text.split('\n').length - 1;
  if (lines > maxLines && !(path in longFileExemptions)) {
    report(`has ${lines} lines, the limit is ${maxLines}: split it by purpose, or exempt it with a reason`);
  }
}

const sqlPattern = /\b(?:SELECT\s.+\sFROM|INSERT INTO|DELETE FROM|CREATE (?:TABLE|INDEX)|ALTER TABLE|PRAGMA \w+)\b/;

function checkText({ path, text }: SourceFile, code: string, report: Report): void {
  if (path.startsWith('src/') && !/^(?:#!.*\n)?\/\*\*/.test(text)) {
    report('does not begin with a doc comment: say what the module guarantees, trusts and leaves to others');
  }
  if (/\bconsole\.\w/.test(code)) report('uses `console`: the daemon logs with pino, the CLI writes to process.stdout');
  if (/\b(?:TODO|FIXME|XXX)\b/.test(text)) report('has a TODO: do it, or file it where work is planned');
  if (path.startsWith('src/') && !path.startsWith('src/store/') && sqlPattern.test(code)) {
    report('contains SQL: only src/store/ knows it; use a `MetadataStore` (src/store/metadata-store.ts)');
  }
  if (path.startsWith('src/') && /\bmkdir(?:Sync)?\([^;]*\brecursive\b/.test(code)) {
    report('has Node.js make folders recursively, which never ends in `/proc`: use src/secrets/make-folder.ts');
  }
  if (/\b(?:test|it)(?:\.\w+)?\(\s*['"`][^'"`]*\bshould\b/.test(code)) {
    report('has a test name with "should": state the behaviour as a fact');
  }
}

/** The row of a file of `src/`: the longest folder that has one. */
function layerOf(path: string): string | undefined {
  const folders = path.split('/').slice(1, -1);
  for (let depth = folders.length; depth > 0; depth--) {
    const name = folders.slice(0, depth).join('/');
    if (name in layers) return name;
  }
  return undefined;
}

function checkLayers(path: string, imports: readonly Import[], report: Report): void {
  const layer = layerOf(path);
  const rule = layer === undefined ? undefined : layers[layer];
  if (layer === undefined || rule === undefined) {
    report('is in no layer: put it into a folder of src/, or give its folder a row in test/structure/source-rules.ts');
    return;
  }
  for (const { specifier, typesOnly, clause } of imports) {
    if (specifier === 'node:http' && !typesOnly) {
      report(
        'imports values of `node:http`, with which Node.js loads a client for browsers: use src/http/node-http.ts',
      );
    }
    if (!specifier.startsWith('.')) continue;
    const target = resolveFrom(path, specifier);
    checkAuthorizedKey(path, target, clause, report);
    const targetLayer = layerOf(target);
    if (targetLayer === undefined) {
      report(`imports \`${target}\`, which is outside of src/: only src/ is in the package`);
    } else if (targetLayer !== layer && !rule.uses.includes(targetLayer)) {
      if (!rule.usesTypesOf.includes(targetLayer)) {
        report(`imports \`${target}\`: \`${layer}\` may use ${listed(rule.uses)}; pass it in as a value from above`);
      } else if (!typesOnly) {
        report(`imports values of \`${target}\`: \`${layer}\` may use its types only, with \`import type\``);
      }
    }
  }
}

function listed(names: readonly string[]): string {
  return names.length === 0 ? 'nothing of ours' : names.map((name) => `\`${name}\``).join(', ');
}

/** INVARIANT: only the pipeline makes an `AuthorizedKey`, so that holding one proves that the caller is allowed. */
function checkAuthorizedKey(path: string, target: string, clause: string, report: Report): void {
  if (target !== 'src/keys/authorized-key.ts' || path === 'src/pipeline/authorization.ts') return;
  if (/\bauthorizeKey\b|\*/.test(clause)) {
    report(
      'imports `authorizeKey`: only src/pipeline/authorization.ts makes an `AuthorizedKey`; take one as a parameter',
    );
  }
}

function checkPackages(path: string, imports: readonly Import[], report: Report): void {
  for (const { specifier } of imports) {
    for (const { packages, allowed, instead } of packageRules) {
      const named = packages.find((name) => specifier === name || specifier.startsWith(`${name}/`));
      if (named !== undefined && !allowed.some((place) => path.startsWith(place))) {
        report(`imports \`${named}\`: ${instead}`);
      }
    }
  }
}

/** Each file of `src/operations/` that declares an operation is in the table, under the file's own name. */
function checkOperationTable(files: readonly SourceFile[], violations: Violation[]): void {
  const tablePath = 'src/operations/table.ts';
  const table = files.find(({ path }) => path === tablePath);
  if (table === undefined) return;
  for (const { path, text } of files) {
    if (!/^src\/operations\/(?:[^/]+\/)?[^/]+\.ts$/.test(path)) continue;
    const name = /=\s*operation\(\{\s*name: '(\w+)'/.exec(text)?.[1];
    if (name === undefined) continue;
    const fileName = `${kebabCase(name)}.ts`;
    if (!path.endsWith(`/${fileName}`)) {
      violations.push({
        path,
        message: `declares \`${name}\`, so its name is \`${fileName}\`: one operation, one file`,
      });
    }
    const rows = table.text.split(`'./${path.slice('src/operations/'.length)}'`).length - 1;
    if (rows !== 1) {
      const found = rows === 0 ? 'does not list: add its row' : `lists ${rows} times: leave one row`;
      violations.push({ path, message: `declares \`${name}\`, which ${tablePath} ${found}` });
    }
  }
}

/** `ListKeyPolicies` → `list-key-policies`. */
function kebabCase(name: string): string {
  return name.replaceAll(/(?<=[a-z0-9])(?=[A-Z])/g, '-').toLowerCase();
}
