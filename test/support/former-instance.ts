/**
 * Instances that a former version left behind, as fixtures: what is in them, and how a test makes one that
 * `startInstance({ dir })` then starts as it is.
 *
 * `instance.json.gz` is one JSON object: path inside of an instance's folder → the file's bytes in base64. Modes are not in
 * it: everything in an instance is for its user alone. What names paths of a machine is not in it either, and is written
 * here: `drawbridge.yaml` and `token/softhsm2.conf`, and the PIN, which `facts.json` says.
 */

import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { gunzipSync } from 'node:zlib';
import { loadConfiguration } from '../../src/config/load.ts';
import { renderConfiguration } from '../../src/config/template.ts';
import { openConfiguredKeyStore } from '../../src/daemon/configured-key-stores.ts';
import { createLog } from '../../src/daemon/log.ts';

/** Of `facts.json`. Bytes are base64 everywhere, times are milliseconds since the epoch. */
export interface FormerFacts {
  /** Version and commit of the Drawbridge that made it. */
  readonly madeBy: string;
  readonly region: string;
  readonly account: string;
  readonly token: { readonly label: string; readonly pin: string };
  /** The names of the schema steps that the database has. */
  readonly schema: readonly string[];
  readonly serviceKeys: readonly { readonly purpose: string; readonly label: string; readonly backingKeyId: string }[];
  /** By the role that they play. */
  readonly keys: Readonly<Record<string, FormerKey>>;
  readonly aliases: readonly {
    readonly aliasName: string;
    readonly key: string;
    readonly createdAtMs: number;
    readonly updatedAtMs: number;
  }[];
  readonly grants: readonly FormerGrant[];
  readonly accessKey: {
    readonly accessKeyId: string;
    readonly secretAccessKey: string;
    readonly principal: string;
    readonly createdAtMs: number;
  };
  readonly ciphertexts: readonly FormerCiphertext[];
  readonly signatures: readonly {
    readonly key: string;
    readonly algorithm: string;
    readonly message: string;
    readonly signature: string;
  }[];
  readonly macs: readonly {
    readonly key: string;
    readonly algorithm: string;
    readonly message: string;
    readonly mac: string;
  }[];
  readonly sharedSecrets: readonly {
    readonly key: string;
    /** The other side's. */
    readonly publicKey: string;
    readonly sharedSecret: string;
  }[];
  /** What the next start has to undo: the objects are in the token, the records in state `Creating`. */
  readonly unfinished: {
    readonly creation: { readonly keyId: string; readonly backingKeyId: string };
    /** The key `described` has a second backing key that was never finished. */
    readonly rotation: { readonly keyId: string; readonly backingKeyId: string };
  };
}

export interface FormerKey {
  readonly keyId: string;
  readonly arn: string;
  readonly keySpec: string;
  readonly keyUsage: string;
  readonly state: 'Enabled' | 'Disabled';
  readonly description: string;
  readonly tags: readonly { readonly TagKey: string; readonly TagValue: string }[];
  /** To the letter. */
  readonly policyDocument: string;
  readonly createdAtMs: number;
  readonly currentBackingKeyId: string;
  /** Those that are finished, by ordinal. */
  readonly backingKeys: readonly {
    readonly backingKeyId: string;
    readonly ordinal: number;
    readonly createdAtMs: number;
    readonly reservedEncryptions: number;
    /** SubjectPublicKeyInfo of a pair. */
    readonly publicKey: string | null;
  }[];
}

export interface FormerGrant {
  readonly key: string;
  readonly grantId: string;
  readonly grantToken: string;
  /** Empty when it has none. */
  readonly name: string;
  readonly granteePrincipal: string;
  readonly retiringPrincipal: string | null;
  readonly operations: readonly string[];
  readonly constraints: Readonly<Record<string, unknown>>;
  readonly createdAtMs: number;
}

export interface FormerCiphertext {
  readonly key: string;
  readonly algorithm: string;
  /** Of a symmetric key. */
  readonly backingKeyId?: string;
  readonly context?: Readonly<Record<string, string>>;
  readonly madeWith: 'Encrypt' | 'GenerateDataKey';
  readonly plaintext: string;
  readonly ciphertext: string;
}

const fixtures = fileURLToPath(new URL('../store/fixtures/', import.meta.url));

/** @param version `0.1.0`. */
export function readFormerFacts(version: string): FormerFacts {
  // The file is part of this tree and beside its description.
  return JSON.parse(readFileSync(join(fixtures, `version-${version}`, 'facts.json'), 'utf8')) as FormerFacts;
}

/**
 * Makes an instance of the fixture.
 * @param dir Is made; its path has to be short enough for a socket in it.
 */
export function unpackFormerInstance(version: string, dir: string): void {
  const { region, account, token } = readFormerFacts(version);
  const packed = gunzipSync(readFileSync(join(fixtures, `version-${version}`, 'instance.json.gz'))).toString();
  const write = (path: string, bytes: Buffer | string): void => {
    mkdirSync(dirname(join(dir, path)), { recursive: true, mode: 0o700 });
    writeFileSync(join(dir, path), bytes, { mode: 0o600 });
  };
  for (const [path, bytes] of Object.entries<string>(JSON.parse(packed))) write(path, Buffer.from(bytes, 'base64'));
  const lines = [
    `directories.tokendir = ${join(dir, 'token', 'tokens')}`,
    'objectstore.backend = file',
    'objectstore.umask = 0077',
    'log.level = ERROR',
  ];
  write('token/softhsm2.conf', `${lines.join('\n')}\n`);
  write('pin', `${token.pin}\n`);
  const configuration = renderConfiguration({
    region,
    account,
    dataDir: join(dir, 'data'),
    socket: { path: join(dir, 'kms.sock'), mode: '0666' },
    keyStore: {
      profile: 'softhsm2',
      token: { label: token.label },
      pinFile: join(dir, 'pin'),
      environment: { SOFTHSM2_CONF: join(dir, 'token', 'softhsm2.conf') },
    },
    root: [...new Set([0, process.getuid?.() ?? 0])],
  });
  write('drawbridge.yaml', configuration);
}

/** The labels of the objects of ours in an instance's token, by backing key id. The instance may be running. */
export async function objectsInToken(dir: string): Promise<ReadonlyMap<string, string>> {
  const { keyStores, serviceKeyStore } = await loadConfiguration(join(dir, 'drawbridge.yaml'));
  const keyStore = await openConfiguredKeyStore(serviceKeyStore, keyStores, process.env, createLog('error'));
  try {
    const labels = (await keyStore.listKeys()).map(({ backingKeyId, label }) => [backingKeyId, label] as const);
    // A token lists its objects in whatever order it likes.
    return new Map(labels.sort(([one], [other]) => (one < other ? -1 : 1)));
  } finally {
    await keyStore.close();
  }
}
