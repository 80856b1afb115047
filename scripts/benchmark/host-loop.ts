/**
 * Drives an HSM host through its pipe, as the API process does, with nothing before or behind it.
 *
 *     host-loop DIR
 *
 * DIR is the folder of a `drawbridge dev` instance. It prints `{"pids": […]}`, the hosts; then each line of standard
 * input is a measurement, `OPERATION BYTES IN_FLIGHT WARMUP_MS MEASURE_MS`, answered by `started` after the warm-up and a
 * line of JSON. The key that it makes is destroyed at the end.
 */

import { randomBytes } from 'node:crypto';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { loadConfiguration } from '../../src/config/load.ts';
import { openConfiguredKeyStore } from '../../src/daemon/key-store.ts';
import { createLog } from '../../src/daemon/log.ts';
import type { KeyStore } from '../../src/hsm/key-store.ts';
import { type BackingKeyId, parseBackingKeyId } from '../../src/kms/names.ts';
import { Plaintext } from '../../src/secrets/secret-bytes.ts';
import { aadBytes, type OperationName, operationNames } from './cases.ts';
import type { LoopResult } from './measurement.ts';

type Call = () => Promise<unknown>;

const say = (line: string): boolean => process.stdout.write(`${line}\n`);

async function main(dir: string): Promise<void> {
  const { keyStores } = await loadConfiguration(join(dir, 'drawbridge.yaml'));
  const keyStore = await openConfiguredKeyStore('default', keyStores.default, process.env, createLog('error'));
  const backingKeyId = parseBackingKeyId(randomBytes(16).toString('hex'));
  if (backingKeyId === undefined) throw new Error('32 hexadecimal digits are a backing key id');
  await keyStore.generateKey({
    backingKeyId,
    label: 'drawbridge:bench',
    keySpec: 'SYMMETRIC_DEFAULT',
    keyUsage: 'ENCRYPT_DECRYPT',
  });
  say(JSON.stringify({ pids: keyStore.status().pids }));
  for await (const line of createInterface({ input: process.stdin })) {
    const [name, ...numbers] = line.split(' ');
    const [bytes = 0, inFlight = 1, warmupMs = 0, measureMs = 0] = numbers.map(Number);
    const operation = operationNames.find((known) => known === name);
    if (operation === undefined) throw new Error(`unknown operation \`${name}\``);
    const call = await prepare(keyStore, backingKeyId, operation, bytes);
    await runFor(warmupMs, inFlight, call);
    say('started');
    say(JSON.stringify(await runFor(measureMs, inFlight, call)));
  }
  await keyStore.destroyKey({ backingKeyId });
  await keyStore.close();
}

async function prepare(
  keyStore: KeyStore,
  backingKeyId: BackingKeyId,
  operation: OperationName,
  bytes: number,
): Promise<Call> {
  const aad = Buffer.alloc(aadBytes);
  const plaintext = new Plaintext(Buffer.alloc(bytes, 'x'));
  switch (operation) {
    case 'Encrypt':
      return () => keyStore.encrypt({ backingKeyId, aad, plaintext });
    case 'Decrypt': {
      const { iv, ciphertext } = await keyStore.encrypt({ backingKeyId, aad, plaintext });
      return () => keyStore.decrypt({ backingKeyId, aad, iv, ciphertext });
    }
    case 'GenerateDataKey':
      return () => keyStore.generateDataKey({ backingKeyId, aad, lengthBytes: bytes });
    case 'GenerateRandom':
      return () => keyStore.random({ lengthBytes: bytes });
    case 'DescribeKey':
      return () => keyStore.describeKey({ backingKeyId });
    default:
      return operation satisfies never;
  }
}

/** `inFlight` loops side by side, each waiting for its answer before it asks again. */
async function runFor(durationMs: number, inFlight: number, call: Call): Promise<LoopResult> {
  const micros: number[] = [];
  const begin = performance.now();
  const until = begin + durationMs;
  const loop = async (): Promise<void> => {
    let before = performance.now();
    while (before < until) {
      await call();
      const after = performance.now();
      micros.push((after - before) * 1000);
      before = after;
    }
  };
  await Promise.all(Array.from({ length: inFlight }, loop));
  const seconds = (performance.now() - begin) / 1000;
  const sorted = Float64Array.from(micros).sort();
  const percentile = (fraction: number): number => sorted[Math.floor(fraction * (sorted.length - 1))] ?? 0;
  return { count: sorted.length, seconds, p50Micros: percentile(0.5), p99Micros: percentile(0.99) };
}

await main(process.argv[2] ?? '');
