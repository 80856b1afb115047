/** Reading and writing the files with which an HSM joins a domain (`keys/domain/invitation.ts`); none of them is a secret. */

import { finished } from 'node:stream/promises';
import { readUpTo } from '../../terminal/input.ts';
import { openOutput } from '../../terminal/whole-file.ts';

/** Hundreds of domain keys are less. */
const maxFileBytes = 1024 * 1024;

export async function readDomainFile(path: string) {
  const { parseDomainFile } = await import('../../../daemon/index.ts');
  const bytes = await readUpTo(path, maxFileBytes);
  try {
    if (bytes === undefined) throw new Error(`it is larger than ${maxFileBytes} bytes`);
    return parseDomainFile(bytes.toString('utf8'));
  } catch (error) {
    throw new Error(`\`${path}\`: ${error instanceof Error ? error.message : String(error)}`, { cause: error });
  }
}

/** Has the file ready before anything is done whose result it is to have; it is there when `write` has ended, or not at all. */
export async function openDomainFile(path: string) {
  const output = await openOutput(path, 0o644);
  return {
    async write(text: string): Promise<void> {
      output.stream.end(text);
      await finished(output.stream);
      await output.complete();
    },
    abandon: () => output.abandon(),
  };
}
