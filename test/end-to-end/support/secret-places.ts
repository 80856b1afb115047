/** Where a secret can be found that should be nowhere: in what a process was started with, in its memory. */

import { readFileSync } from 'node:fs';
import { foundInMemory } from './process-memory.ts';

/** As it is, and as a carrier of bytes would write it. */
export function formsOf(secret: string): readonly string[] {
  return [secret, Buffer.from(secret).toString('base64'), Buffer.from(secret).toString('hex')];
}

/** Arguments and environment of a process, where anybody with its uid can read them. */
export function startedWith(pid: number, secret: string): boolean {
  return ['cmdline', 'environ'].some((name) => {
    const text = readFileSync(`/proc/${pid}/${name}`, 'latin1');
    return formsOf(secret).some((form) => text.includes(form));
  });
}

/** The processes that it has started and that run. */
export function childrenOf(pid: number): readonly number[] {
  const text = readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8').trim();
  return text === '' ? [] : text.split(' ').map(Number);
}

/** Of the forms of these texts, those that a core of the process would have. */
export function inCoreOf(pid: number, ...texts: readonly string[]): readonly string[] {
  const sought = texts.flatMap(formsOf).map((form) => Buffer.from(form));
  return foundInMemory(pid, sought).map(String);
}
