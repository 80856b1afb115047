/** What `src/store/README.md` says to keep of an instance over SoftHSM2, given back on a machine where its folders have other names. */

import { execFile } from 'node:child_process';
import { mkdirSync, mkdtempSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, expect, test } from 'vitest';
import { loadConfiguration } from '../../src/config/load.ts';
import { startDaemon } from '../../src/daemon/daemon.ts';
import { createLog } from '../../src/daemon/log.ts';
import { kmsOver } from '../end-to-end/support/connect.ts';
import { present } from '../end-to-end/support/daemon.ts';
import { program } from '../support/program.ts';
import { softHsm2 } from '../support/tokens.ts';

if (softHsm2.missing !== null) process.stdout.write(`skipped: a restore elsewhere: ${softHsm2.missing}\n`);

const folder = mkdtempSync(join(tmpdir(), 'drawbridge-elsewhere-'));
const socket = join(folder, 'kms.sock');
afterAll(() => rmSync(folder, { recursive: true, force: true }));

function drawbridge(...args: readonly string[]): Promise<{ readonly code: number; readonly stderr: string }> {
  return new Promise((resolve) => {
    execFile(process.execPath, [program, ...args], (error, _, stderr) => {
      resolve({ code: typeof error?.code === 'number' ? error.code : 0, stderr });
    });
  });
}

async function whileServing<Result>(config: string, work: (kms: ReturnType<typeof kmsOver>) => Promise<Result>) {
  const configuration = await loadConfiguration(config);
  const daemon = await startDaemon({ configuration, environment: {}, log: createLog('error') });
  const kms = kmsOver(socket);
  try {
    return await work(kms);
  } finally {
    kms.destroy();
    await daemon.stop();
  }
}

test.skipIf(softHsm2.missing !== null)(
  'a token of SoftHSM2 is found in another folder once both files name that',
  async () => {
    const [former, now] = ['former', 'now'].map((name) => join(folder, name)) as [string, string];
    const config = join(folder, 'drawbridge.yaml');
    const backup = join(folder, 'metadata.backup');
    const made = await drawbridge('init', '--config', config, '--dir', former, '--socket', socket);
    expect(made).toMatchObject({ code: 0 });
    writeFileSync(config, readFileSync(config, 'utf8').replace('# residency: token', 'residency: wrapped'));
    const sealed = await whileServing(config, async (kms) => {
      const KeyId = present((await kms.createKey({})).KeyMetadata?.KeyId);
      const { CiphertextBlob } = await kms.encrypt({ KeyId, Plaintext: Buffer.from('kept') });
      expect(await drawbridge('backup', '--socket', socket, '--out', backup)).toMatchObject({ code: 0 });
      return CiphertextBlob;
    });

    mkdirSync(join(now, 'data'), { recursive: true, mode: 0o700 });
    for (const kept of ['token', 'pin', 'data/audit']) renameSync(join(former, kept), join(now, kept));
    rmSync(former, { recursive: true });
    const renamed = (path: string) => writeFileSync(path, readFileSync(path, 'utf8').replaceAll(former, now));
    renamed(config);
    const early = await drawbridge('restore', backup, '--config', config);
    expect(early).toMatchObject({ code: 1, stderr: expect.stringContaining('which is not there): CKR_GENERAL_ERROR') });
    renamed(join(now, 'token', 'softhsm2.conf'));
    expect(await drawbridge('restore', backup, '--config', config)).toMatchObject({ code: 0 });
    const opened = await whileServing(config, (kms) => kms.decrypt({ CiphertextBlob: sealed }));
    expect(Buffer.from(present(opened.Plaintext)).toString()).toBe('kept');
  },
);
