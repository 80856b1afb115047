/**
 * What commands take beside `node -e 0`, which is the least that a program of Node.js can take.
 *
 * They take turns, so that whatever else the machine does hits them alike, and medians are compared. Each is run as its users
 * run it: from the checkout `scripts/drawbridge`, which looks after its set-up first, and from a package what npm would put on
 * PATH, with the compiled code in the cache of a user of its own.
 */

import { execFileSync, spawnSync } from 'node:child_process';
import { copyFileSync, mkdirSync, symlinkSync, writeFileSync } from 'node:fs';
import { delimiter, dirname, join } from 'node:path';
import { LineProcess } from '../line-process.ts';
import { median, renderTable, round } from './results.ts';
import { mainOf, post, thisCheckout } from './targets.ts';
import { progress } from './warming.ts';

const turns = { full: 41, quick: 1 };
/** The first one writes the cache, and reads the files from the disk. */
const warmupTurns = { full: 1, quick: 0 };

/** One row of `--json`. */
export interface CommandTime {
  readonly command: string;
  readonly from: 'node' | 'checkout' | 'package';
  readonly medianMs: number;
  /** Of the median of `node -e 0` in the same run. */
  readonly ratio: number;
  /** What it may be at most; `null` where nothing was promised. */
  readonly aim: number | null;
}

interface Command {
  readonly words: readonly string[];
  readonly input?: () => Buffer;
  readonly aim: number | null;
}

export async function benchCommandLine(
  folder: string,
  { quick, json }: { readonly quick: boolean; readonly json?: string | undefined },
): Promise<void> {
  const daemon = new LineProcess('the daemon', [
    process.execPath,
    mainOf(thisCheckout),
    'dev',
    '--dir',
    join(folder, 'i'),
  ]);
  try {
    const { socket } = await daemon.nextJson<{ socket: string }>();
    const key = await post<{ KeyMetadata: { KeyId: string } }>(socket, 'CreateKey', {});
    await post(socket, 'CreateAlias', { AliasName: 'alias/bench', TargetKeyId: key.KeyMetadata.KeyId });
    const home = join(folder, 'home');
    mkdirSync(home, { mode: 0o700 });
    const { NODE_COMPILE_CACHE: _, XDG_CACHE_HOME: __, ...inherited } = process.env;
    const env = {
      ...inherited,
      HOME: home,
      DRAWBRIDGE_SOCKET: socket,
      PATH: [dirname(process.execPath), process.env['PATH']].join(delimiter),
    };
    const programs = {
      checkout: [join(thisCheckout.folder, 'scripts', 'drawbridge')],
      package: [unpack(folder)],
    };
    let message: Buffer = Buffer.alloc(0);
    const commands: readonly Command[] = [
      { words: ['credentials'], aim: 3 },
      { words: ['encrypt', '--key', 'alias/bench'], input: () => Buffer.from('one line\n'), aim: 5 },
      { words: ['decrypt'], input: () => message, aim: null },
      { words: ['public-key', '--help'], aim: null },
    ];
    const run = ([program = '', ...args]: readonly string[], input: Buffer): { ms: number; stdout: Buffer } => {
      const start = performance.now();
      const { status, stdout, stderr } = spawnSync(program, args, { env, input });
      if (status !== 0) throw new Error(`${[program, ...args].join(' ')}: ${stderr}`);
      return { ms: performance.now() - start, stdout };
    };
    message = run([...programs.package, 'encrypt', '--key', 'alias/bench'], Buffer.from('one line\n')).stdout;

    const node = { command: 'node -e 0', from: 'node' as const, line: [process.execPath, '-e', '0'], aim: null };
    const rows = [
      { ...node, input: () => Buffer.alloc(0), times: [] as number[] },
      ...commands
        .filter(({ aim }) => aim !== null || !quick)
        .flatMap(({ words, aim, input = () => Buffer.alloc(0) }) =>
          (['checkout', 'package'] as const).map((from) => {
            const line = [...programs[from], ...words];
            return { command: `drawbridge ${words.join(' ')}`, from, line, aim, input, times: [] as number[] };
          }),
        ),
    ];
    const [count, warmup] = quick ? [turns.quick, warmupTurns.quick] : [turns.full, warmupTurns.full];
    for (let turn = -warmup; turn < count; turn++) {
      progress(`turn ${turn + warmup + 1} of ${count + warmup}`);
      for (const { line, input, times } of rows) {
        const { ms } = run(line, input());
        if (turn >= 0) times.push(ms);
      }
    }
    progress('');
    const least = median(rows[0]?.times ?? []);
    const results = rows.map(({ command, from, times, aim }): CommandTime => {
      const medianMs = median(times);
      return { command, from, medianMs: round(medianMs, 1), ratio: round(medianMs / least, 2), aim };
    });
    process.stdout.write(`${render(results)}\n`);
    if (json !== undefined) writeFileSync(json, `${JSON.stringify(results, null, 2)}\n`);
  } finally {
    await daemon.close('SIGTERM');
  }
}

/** What an installed package is: compiled, with its dependencies beside it. @returns Its command. */
function unpack(folder: string): string {
  const unpacked = join(folder, 'package');
  mkdirSync(unpacked);
  copyFileSync(join(thisCheckout.folder, 'package.json'), join(unpacked, 'package.json'));
  symlinkSync(join(thisCheckout.folder, 'node_modules'), join(unpacked, 'node_modules'));
  const tsc = join(thisCheckout.folder, 'node_modules', '.bin', 'tsc');
  const project = join(thisCheckout.folder, 'scripts', 'tsconfig.dist.json');
  execFileSync(tsc, ['--project', project, '--outDir', join(unpacked, 'dist')], { stdio: 'inherit' });
  const command = join(folder, 'drawbridge');
  symlinkSync(join(unpacked, 'dist', 'cli', 'main.js'), command);
  execFileSync('chmod', ['+x', command]);
  return command;
}

function render(results: readonly CommandTime[]): string {
  const rows = results.map(({ command, from, medianMs, ratio, aim }) => [
    command,
    from,
    medianMs.toFixed(1),
    ratio.toFixed(2),
    aim === null ? '-' : `at most ${aim}`,
  ]);
  return renderTable(['command', 'from', 'ms', 'of node -e 0', 'aim'], rows, new Set([0, 1]));
}
