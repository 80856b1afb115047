/**
 * Writes the table of README.md that says what works on which token, from `drawbridge doctor --json` over both.
 *
 *     node scripts/token-table.ts           print it
 *     node scripts/token-table.ts --write   put it into README.md, between its two markers
 *
 * `test/scripts/readme.test.ts` holds the README to it on machines with the same versions of the libraries.
 */

import { readFileSync, writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import type { Capability, KeyStoreCapabilities } from '../src/hsm/key-store.ts';
import { LineProcess } from './line-process.ts';
import { markedPart } from './marked-part.ts';

export const tokens = [
  { kind: 'softhsm2', name: 'SoftHSM2' },
  { kind: 'nss', name: 'NSS softoken' },
] as const;
type TokenKind = (typeof tokens)[number]['kind'];

export const tokenTable = markedPart('scripts/token-table.ts');

const cli = fileURLToPath(new URL('../src/cli/main.ts', import.meta.url));
const readme = fileURLToPath(new URL('../README.md', import.meta.url));

/** What `doctor` says about a throw-away token of this kind. */
export async function askDoctor(kind: TokenKind): Promise<KeyStoreCapabilities> {
  const daemon = new LineProcess('drawbridge dev', [process.execPath, cli, 'dev', '--token', kind]);
  try {
    const { socket } = await daemon.nextJson<{ socket: string }>();
    const doctor = new LineProcess('drawbridge doctor', [
      process.execPath,
      cli,
      'doctor',
      '--socket',
      socket,
      '--json',
    ]);
    const { keyStores } = JSON.parse(await doctor.rest()) as { keyStores: readonly KeyStoreCapabilities[] };
    const [report] = keyStores;
    if (report === undefined) throw new Error('doctor reported no key store');
    return report;
  } finally {
    await daemon.close('SIGTERM');
  }
}

/** The Markdown of the table, for reports in the order of `tokens`. */
export function renderTokenTable(reports: readonly KeyStoreCapabilities[]): string {
  const names = reports.map(({ library }, index) => `${tokens[index]?.name} ${library.version}`);
  const rows = groupRows(reports).map((cells) => `| ${cells.join(' | ')} |`);
  return [
    `| Key spec | Key usage | Algorithm | ${names.join(' | ')} |`,
    `| --- | --- | --- | ${names.map(() => '---').join(' | ')} |`,
    ...rows,
  ].join('\n');
}

type Cells = [keySpecs: string, keyUsage: string, algorithms: string, ...works: string[]];

/** Algorithms of one KeySpec that agree in everything share a row, and then KeySpecs of one family. */
function groupRows(reports: readonly KeyStoreCapabilities[]): Cells[] {
  const bySpec: Cells[] = [];
  for (const capability of reports[0]?.capabilities ?? []) {
    const { keySpec, keyUsage, algorithm } = capability;
    if (algorithm === 'KEY_GENERATION') continue;
    const works = reports.map((report) => (canUse(report, capability) ? 'yes' : 'no'));
    const same = bySpec.find(
      ([spec, usage, , ...others]) => spec === keySpec && usage === keyUsage && sameCells(others, works),
    );
    if (same === undefined) bySpec.push([keySpec, keyUsage, algorithm, ...works]);
    else same[2] += `, ${algorithm}`;
  }
  const byFamily: Cells[] = [];
  for (const cells of bySpec) {
    const [keySpec, ...rest] = cells;
    const same = byFamily.find(([specs, ...others]) => family(specs) === family(keySpec) && sameCells(others, rest));
    if (same === undefined) byFamily.push(cells);
    else same[0] += `, ${keySpec}`;
  }
  return byFamily;
}

function sameCells(left: readonly string[], right: readonly string[]): boolean {
  return left.join('|') === right.join('|');
}

/** `RSA_2048` → `RSA`. */
function family(keySpec: string): string | undefined {
  return keySpec.split('_')[0];
}

/** The token does the algorithm and can generate the key for it. */
function canUse({ capabilities }: KeyStoreCapabilities, { keySpec, keyUsage, algorithm }: Capability): boolean {
  const works = (name: string): boolean =>
    capabilities.some(
      (one) => one.keySpec === keySpec && one.keyUsage === keyUsage && one.algorithm === name && one.works,
    );
  return works(algorithm) && works('KEY_GENERATION');
}

async function main(): Promise<void> {
  const reports: KeyStoreCapabilities[] = [];
  for (const { kind } of tokens) reports.push(await askDoctor(kind));
  const table = renderTokenTable(reports);
  if (process.argv.includes('--write')) writeFileSync(readme, tokenTable.replace(readFileSync(readme, 'utf8'), table));
  else process.stdout.write(`${table}\n`);
}

if (import.meta.main) await main();
