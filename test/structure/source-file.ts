/**
 * A source file as the rules read it: its path, its text without comments, its imports; and what a rule says about it.
 *
 * It reads text, not a syntax tree: the formatter fixes how an import is written (single quotes, one statement), so a few
 * patterns are enough, and what they cannot read (an import of a computed path, a `require`) is itself a violation.
 */

export interface SourceFile {
  /** From the top of the checkout, with slashes: `src/keys/use/ciphertext.ts`. */
  readonly path: string;
  readonly text: string;
}

export interface Violation {
  readonly path: string;
  readonly message: string;
}

export type Report = (message: string) => void;

export interface Import {
  readonly specifier: string;
  readonly typesOnly: boolean;
  /** The statement up to the specifier. */
  readonly clause: string;
}

/** Cuts comments off; a `//` inside a string goes too, which can only hide what follows it on its line. */
export function withoutComments(text: string): string {
  return text.replaceAll(/\/\*[\s\S]*?\*\//g, '').replaceAll(/(^|[^:'"`])\/\/.*$/gm, '$1');
}

export function readImports(code: string, report: Report): Import[] {
  const imports: Import[] = [];
  const statement = /^\s*((?:import|export)\b[^;'"]*?)(?:\bfrom\s*)?'([^']+)';/gm;
  for (const [, clause = '', specifier = ''] of code.matchAll(statement)) {
    if (/^export\s+(?:const|let|function|class|interface|default|async)\b|^export\s+type\s+\w+\s*=/.test(clause))
      continue;
    imports.push({ specifier, clause, typesOnly: /^(?:import|export)\s+type\b/.test(clause) });
  }
  for (const [, argument = ''] of code.matchAll(/\bimport\(\s*([^)]*?)\s*\)/g)) {
    const literal = /^'([^']+)'$/.exec(argument)?.[1];
    if (literal === undefined) report('imports a computed path: import a literal one, so that it can be checked');
    else imports.push({ specifier: literal, clause: 'import()', typesOnly: false });
  }
  const loaded = /\bcreateRequire\(import\.meta\.url\)\('([^']+)'\)/g;
  for (const [, specifier = ''] of code.matchAll(loaded)) {
    imports.push({ specifier, clause: 'createRequire()', typesOnly: false });
  }
  if (/\brequire\(|\bcreateRequire\(/.test(code.replaceAll(loaded, ''))) {
    report("uses `require`: write an `import`, or `createRequire(import.meta.url)('name')` for CommonJS");
  }
  return imports;
}

/** The path from the top of the checkout that a relative import in the file at `path` names. */
export function resolveFrom(path: string, specifier: string): string {
  const parts = path.split('/').slice(0, -1);
  for (const step of specifier.split('/')) {
    if (step === '..') parts.pop();
    else if (step !== '.') parts.push(step);
  }
  return parts.join('/');
}
