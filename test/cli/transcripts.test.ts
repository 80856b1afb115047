import { spawnSync } from 'node:child_process';
import { readdirSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, test } from 'vitest';
import { type Instance, missingForInstance, startInstance } from '../support/instance.ts';
import { program, sourceProgram } from '../support/program.ts';
import { runTranscript } from './transcript.ts';

const timeoutMs = 300_000;
const folder = fileURLToPath(new URL('./transcripts/', import.meta.url));
/** Programs of others that a transcript runs, and what has them. */
const needs: Readonly<Record<string, readonly [program: string, what: string]>> = {
  'ssh.txt': ['ssh-keygen', 'openssh-client'],
};
/** They tell what is loaded, which is another thing where the sources were joined. */
const ofSources = ['loaded.txt'];
const transcripts = readdirSync(folder).filter((name) => {
  const [program, what] = needs[name] ?? [];
  if (program === undefined || spawnSync('sh', ['-c', `command -v ${program}`]).status === 0)
    return name.endsWith('.txt');
  process.stdout.write(`skipped: the transcript ${name}: no ${program} (apt-get install ${what})\n`);
  return false;
});
const missing = missingForInstance();
if (missing !== null) process.stdout.write(`skipped: the command line's transcripts: ${missing}\n`);

describe.skipIf(missing !== null)('the command line does and says what is written in', () => {
  let instance: Instance;
  beforeAll(async () => {
    instance = await startInstance({ regions: ['eu-central-1'] });
  }, timeoutMs);
  afterAll(() => instance?.stop(), timeoutMs);

  test.each(transcripts)('%s', { timeout: timeoutMs }, (name) => {
    runTranscript(`${folder}${name}`, ofSources.includes(name) ? sourceProgram : program, {
      DRAWBRIDGE_SOCKET: instance.socket,
      INSTANCE: instance.dir,
    });
  });
});
