/** The rules of `source-rules.ts` find what they are there to find: each row is one planted violation, or code that is fine. */

import { expect, test } from 'vitest';
import { findViolations, maxLines } from './source-rules.ts';

const header = '/** What it is for. */\n';

function messagesFor(path: string, code: string, ...others: readonly [path: string, code: string][]): string[] {
  const files = [[path, code] as const, ...others].map(([name, body]) => ({ path: name, text: header + body }));
  return findViolations(files).map((violation) => `${violation.path} ${violation.message}`);
}

const planted: readonly [rule: string, path: string, code: string, message: string][] = [
  [
    'an import upwards',
    'src/keys/a.ts',
    "import { b } from '../http/b.ts';",
    'imports `src/http/b.ts`: `keys` may use',
  ],
  ['an import sideways', 'src/keys/a.ts', "import { b } from '../authorization/b.ts';", 'may use its types only'],
  [
    'types of the keys in authorization',
    'src/authorization/a.ts',
    "import type { B } from '../keys/b.ts';",
    'imports `src/keys/b.ts`: `authorization` may use',
  ],
  [
    'types of the decision in the policy language',
    'src/authorization/language/a.ts',
    "import type { B } from '../b.ts';",
    'imports `src/authorization/b.ts`: `authorization/language` may use',
  ],
  [
    'advice in the pipeline',
    'src/pipeline/a.ts',
    "import { b } from '../authorization/advice/b.ts';",
    'imports `src/authorization/advice/b.ts`: `pipeline` may use',
  ],
  [
    'the directory in the grants',
    'src/keys/grants/a.ts',
    "import type { B } from '../b.ts';",
    'imports `src/keys/b.ts`: `keys/grants` may use',
  ],
  [
    'the pipeline in an operation',
    'src/operations/keys/a.ts',
    "import type { B } from '../../pipeline/b.ts';",
    'imports `src/pipeline/b.ts`: `operations` may use',
  ],
  [
    'the store itself in an operation',
    'src/operations/keys/a.ts',
    "import { b } from '../../store/b.ts';",
    'imports values of `src/store/b.ts`: `operations` may use its types only',
  ],
  [
    'the operations in what they are declared with',
    'src/operations/declaration/a.ts',
    "import type { B } from '../keys/b.ts';",
    'imports `src/operations/keys/b.ts`: `operations/declaration` may use',
  ],
  [
    'another topic in an operation',
    'src/operations/grants/a.ts',
    "import { b } from '../keys/b.ts';",
    'imports `src/operations/keys/b.ts`: operations on `grants` take nothing from other topics',
  ],
  [
    'types of another topic in an operation',
    'src/operations/grants/a.ts',
    "import type { B } from '../keys/b.ts';",
    'what several topics need goes into `src/operations/declaration/`',
  ],
  [
    'the table in an operation',
    'src/operations/grants/a.ts',
    "import { b } from '../table.ts';",
    'imports `src/operations/table.ts`: operations on `grants` take nothing from other topics or from the table',
  ],
  [
    'an operation outside of a topic',
    'src/operations/a.ts',
    "export const a = operation({\n  name: 'A',\n});",
    'declares an operation: it goes into a file of its own in the folder of its topic',
  ],
  [
    'an operation among what operations are declared with',
    'src/operations/declaration/a.ts',
    "export const a = operation({\n  name: 'A',\n});",
    'declares an operation: it goes into a file of its own in the folder of its topic',
  ],
  [
    'an operation in another folder',
    'src/pipeline/a.ts',
    "export const a = operation({\n  name: 'A',\n});",
    'declares an operation: it goes into a file of its own in the folder of its topic',
  ],
  ['an import over several lines', 'src/store/a.ts', "import {\n  b,\n  c,\n} from '../hsm/b.ts';", '`store` may use'],
  ['an import for its effect', 'src/kms/a.ts', "import '../secrets/b.ts';", '`kms` may use nothing of ours'],
  ['a re-export', 'src/kms/a.ts', "export { b } from '../keys/b.ts';", '`kms` may use nothing of ours'],
  ['a dynamic import', 'src/kms/a.ts', "const b = await import('../keys/b.ts');", '`kms` may use nothing of ours'],
  ['a type import where none is allowed', 'src/kms/a.ts', "import type { B } from '../keys/b.ts';", '`kms` may use'],
  ['types mixed with values', 'src/keys/a.ts', "import { type B } from '../authorization/b.ts';", 'with `import type`'],
  ['the host process linked into the daemon', 'src/hsm/a.ts', "import { b } from './host/b.ts';", '`hsm` may use'],
  ['a computed import', 'src/cli/a.ts', 'await import(name);', 'imports a computed path'],
  ['a require', 'src/cli/a.ts', "const b = require('b');", 'uses `require`'],
  [
    'pkcs11js loaded with createRequire',
    'src/hsm/a.ts',
    "createRequire(import.meta.url)('pkcs11js');",
    'call a `KeyStore`',
  ],
  ['an import from outside of src/', 'src/cli/a.ts', "import { b } from '../../test/b.ts';", 'outside of src/'],
  ['a folder without a layer', 'src/extra/a.ts', '', 'is in no layer'],
  ['pkcs11js outside of the host', 'src/hsm/a.ts', "import pkcs11js from 'pkcs11js';", 'call a `KeyStore`'],
  ['kysely outside of the store', 'src/keys/a.ts', "import { Kysely } from 'kysely';", 'use a `MetadataStore`'],
  ['a part of a package', 'src/keys/a.ts', "import { x } from 'kysely/helpers';", 'use a `MetadataStore`'],
  ['node:sqlite outside of the store', 'src/cli/a.ts', "import { DatabaseSync } from 'node:sqlite';", 'MetadataStore'],
  ['Fastify outside of http', 'src/daemon/a.ts', "import { fastify } from 'fastify';", 'the wire is the business of'],
  ['koffi anywhere', 'src/http/a.ts', "import koffi from 'koffi';", 'put the system call beside the others'],
  ['SQL in a string', 'src/keys/a.ts', "const q = 'SELECT id FROM key';", 'contains SQL'],
  ['a recursive mkdir', 'src/keys/a.ts', 'await mkdir(path, { recursive: true });', 'never ends in `/proc`'],
  ['console', 'scripts/a.ts', "console.log('x');", 'uses `console`'],
  ['a TODO', 'src/keys/a.ts', '// TODO: later', 'has a TODO'],
  ['a vague name', 'src/keys/utils.ts', '', '`utils.ts` says nothing'],
  ['a vague folder', 'src/keys/helpers/a.ts', '', '`helpers` says nothing'],
  ['a long file', 'src/keys/a.ts', 'x;\n'.repeat(maxLines), `the limit is ${maxLines}`],
  [
    'an AuthorizedKey made elsewhere',
    'src/operations/cryptography/encrypt.ts',
    "import { authorizeKey } from '../../keys/authorized-key.ts';",
    'only src/pipeline/authorization.ts makes',
  ],
  [
    'an AuthorizedKey made through a namespace',
    'src/keys/a.ts',
    "import * as all from './authorized-key.ts';",
    'only src/pipeline/authorization.ts makes',
  ],
  ['values of node:http', 'src/http/a.ts', "import { createServer } from 'node:http';", 'use src/http/node-http.ts'],
  ['a name with should', 'test/keys/a.test.ts', "test('a key should work', () => {});", 'test name with "should"'],
];

test.each(planted)('%s is found', (_rule, path, code, message) => {
  expect(messagesFor(path, code)).toEqual([expect.stringContaining(message)]);
});

const fine: readonly [what: string, path: string, code: string][] = [
  ['an import downwards', 'src/operations/a.ts', "import { b } from '../keys/b.ts';"],
  ['an import from the same folder', 'src/keys/a.ts', "import { b } from './b.ts';"],
  ['types of a neighbour', 'src/keys/a.ts', "import type { B } from '../authorization/b.ts';"],
  [
    'the type of an AuthorizedKey',
    'src/operations/a.ts',
    "import type { AuthorizedKey } from '../keys/authorized-key.ts';",
  ],
  [
    'the maker in the pipeline',
    'src/pipeline/authorization.ts',
    "import { authorizeKey } from '../keys/authorized-key.ts';",
  ],
  ['the host using the frames', 'src/hsm/host/a.ts', "import { b } from '../frames.ts';\nimport p from 'pkcs11js';"],
  [
    'an operation that takes what all topics share',
    'src/operations/keys/a.ts',
    "import { b } from '../declaration/b.ts';\nimport { c } from './c.ts';\nexport const a = operation({\n  name: 'A',\n});",
  ],
  ['an import in a comment', 'src/kms/a.ts', "// import { b } from '../keys/b.ts';\n/* import '../keys/b.ts'; */"],
  ['an exported constant that is a string', 'src/kms/a.ts', "export const a = '../keys/b.ts';"],
  ['a test that uses a package with a home', 'test/hsm/a.test.ts', "import pkcs11js from 'pkcs11js';"],
];

test.each(fine)('%s is no violation', (_what, path, code) => {
  expect(messagesFor(path, code)).toEqual([]);
});

test('a file with the name of another one in src/ is found', () => {
  expect(messagesFor('src/keys/grants.ts', '', ['src/store/grants.ts', ''], ['test/keys/grants.ts', ''])).toEqual([
    'src/store/grants.ts has the name of `src/keys/grants.ts`: call each by what sets it apart from the other',
  ]);
});

test('a source file without a header is found', () => {
  const found = findViolations([{ path: 'src/keys/a.ts', text: 'export const a = 1;\n' }]);
  expect(found).toEqual([{ path: 'src/keys/a.ts', message: expect.stringContaining('doc comment') }]);
});

test('an operation that the table does not list is found', () => {
  const table = ['src/operations/table.ts', "export { encrypt } from './encrypt.ts';"] as const;
  const declared = "export const listKeys = operation({\n  name: 'ListKeys',\n});";
  expect(messagesFor('src/operations/keys/list-keys.ts', declared, [...table])).toEqual([
    expect.stringContaining('`ListKeys`, which src/operations/table.ts does not list'),
  ]);
});

test('an operation that the table lists twice is found', () => {
  const row = "export { listKeys } from './keys/list-keys.ts';";
  const declared = "export const listKeys = operation({\n  name: 'ListKeys',\n});";
  const table = ['src/operations/table.ts', `${row}\n${row.replace('listKeys', 'listKeys as another')}`] as const;
  expect(messagesFor('src/operations/keys/list-keys.ts', declared, [...table])).toEqual([
    expect.stringContaining('`ListKeys`, which src/operations/table.ts lists 2 times'),
  ]);
});

test('an operation in a file of another name is found', () => {
  const table = ['src/operations/table.ts', "export { listKeys } from './keys/keys.ts';"] as const;
  const declared = "export const listKeys = operation({\n  name: 'ListKeys',\n});";
  expect(messagesFor('src/operations/keys/keys.ts', declared, [...table])).toEqual([
    expect.stringContaining('its name is `list-keys.ts`'),
  ]);
});
