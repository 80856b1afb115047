/**
 * Drives an HSM host through its pipe, as the API process does, with nothing before or behind it.
 *
 *     host-loop DIR
 *
 * DIR is the folder of a `drawbridge dev` instance. It prints `{"pids": […]}`, the hosts; then each line of standard
 * input is a measurement, `OPERATION KEY_SPEC BYTES IN_FLIGHT WARMUP_MS MEASURE_MS`, answered by `started` after the warm-up
 * and a line of JSON. The keys that it makes are destroyed at the end.
 */

import { createPublicKey, generateKeyPairSync, randomBytes } from 'node:crypto';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { loadConfiguration } from '../../src/config/load.ts';
import { openConfiguredKeyStore } from '../../src/daemon/configured-key-stores.ts';
import { createLog } from '../../src/daemon/log.ts';
import type { KeyStore } from '../../src/hsm/key-store.ts';
import { isSignature } from '../../src/keys/use/signatures.ts';
import type { KeyUsage } from '../../src/kms/key-specs.ts';
import { type BackingKeyId, parseBackingKeyId } from '../../src/kms/names.ts';
import { Plaintext } from '../../src/secrets/secret-bytes.ts';
import { aadBytes, type BenchKeySpec, type Case, cases, operationUsages, signingAlgorithmOf } from './cases.ts';
import type { LoopResult } from './measurement.ts';

type Call = () => Promise<unknown>;

interface Key {
  readonly backingKeyId: BackingKeyId;
  readonly publicKey: Buffer | null;
}

const say = (line: string): boolean => process.stdout.write(`${line}\n`);

async function main(dir: string): Promise<void> {
  const { regions, keyStores } = await loadConfiguration(join(dir, 'drawbridge.yaml'));
  const [{ defaultKeyStore }] = regions;
  const keyStore = await openConfiguredKeyStore(defaultKeyStore, keyStores, process.env, createLog('error'));
  const keys = new Map<string, Key>();
  say(JSON.stringify({ pids: keyStore.status().pids }));
  for await (const line of createInterface({ input: process.stdin })) {
    const [operationName, specName, ...numbers] = line.split(' ');
    const [payloadBytes = 0, inFlight = 1, warmupMs = 0, measureMs = 0] = numbers.map(Number);
    const what = cases.find(({ operation, keySpec }) => operation === operationName && keySpec === specName);
    if (what === undefined) throw new Error(`unknown case \`${line}\``);
    const keyUsage = operationUsages[what.operation];
    const name = `${what.keySpec} ${keyUsage}`;
    const key = keys.get(name) ?? (await generateKey(keyStore, what.keySpec, keyUsage));
    keys.set(name, key);
    const call = await prepare(keyStore, key, { ...what, payloadBytes });
    await runFor(warmupMs, inFlight, call);
    say('started');
    say(JSON.stringify(await runFor(measureMs, inFlight, call)));
  }
  for (const { backingKeyId } of keys.values()) await keyStore.destroyKey({ backingKeyId });
  await keyStore.close();
}

async function generateKey(keyStore: KeyStore, keySpec: BenchKeySpec, keyUsage: KeyUsage): Promise<Key> {
  const backingKeyId = parseBackingKeyId(randomBytes(16).toString('hex'));
  if (backingKeyId === undefined) throw new Error('32 hexadecimal digits are a backing key id');
  const { publicKey } = await keyStore.generateKey({ backingKeyId, label: 'drawbridge:bench', keySpec, keyUsage });
  return { backingKeyId, publicKey };
}

async function prepare(keyStore: KeyStore, key: Key, { operation, keySpec, payloadBytes }: Case): Promise<Call> {
  const { backingKeyId } = key;
  const aad = Buffer.alloc(aadBytes);
  const payload = Buffer.alloc(payloadBytes, 'x');
  const plaintext = new Plaintext(payload);
  const algorithm = signingAlgorithmOf(keySpec);
  const content = algorithm === 'ED25519_SHA_512' ? 'RAW' : 'DIGEST';
  const sign = (): Promise<Buffer> => keyStore.sign({ backingKeyId, algorithm, content, message: payload });
  switch (operation) {
    case 'Encrypt':
      return () => keyStore.encrypt({ backingKeyId, aad, plaintext });
    case 'Decrypt': {
      const { iv, ciphertext } = await keyStore.encrypt({ backingKeyId, aad, plaintext });
      return () => keyStore.decrypt({ backingKeyId, aad, iv, ciphertext });
    }
    case 'GenerateDataKey':
      return () => keyStore.generateDataKey({ backingKeyId, aad, lengthBytes: payloadBytes });
    case 'GenerateRandom':
      return () => keyStore.random({ lengthBytes: payloadBytes });
    case 'DescribeKey':
      return () => keyStore.describeKey({ backingKeyId });
    case 'Sign':
      return sign;
    case 'Verify': {
      const signature = await sign();
      const publicKey = createPublicKey({ key: key.publicKey ?? payload, format: 'der', type: 'spki' });
      return () => isSignature(publicKey, { algorithm, message: plaintext, messageType: content }, signature);
    }
    case 'GenerateMac':
      return () => keyStore.mac({ backingKeyId, algorithm: 'HMAC_SHA_256', data: payload });
    case 'DeriveSharedSecret': {
      const peer = generateKeyPairSync('ec', { namedCurve: 'P-256' }).publicKey.export({ format: 'der', type: 'spki' });
      return () => keyStore.deriveSharedSecret({ backingKeyId, publicKey: peer });
    }
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
  return {
    count: sorted.length,
    seconds,
    p50Micros: percentile(0.5),
    p99Micros: percentile(0.99),
    p999Micros: percentile(0.999),
    maxMicros: percentile(1),
  };
}

await main(process.argv[2] ?? '');
