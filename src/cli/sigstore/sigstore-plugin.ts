/**
 * `sigstore-kms-drawbridge`: keys in the HSM for cosign and whatever else is built on sigstore's KMS interface.
 *
 * It is started once for each thing that is asked, four or five times for a signature: with the version of the protocol, a request in
 * JSON and the message on stdin. It answers with one line of JSON on stdout, errors included; its exit code means nothing.
 *
 * A key is called `drawbridge://alias/NAME` (or by its id or ARN). The socket is the environment's (DRAWBRIDGE_SOCKET), the
 * configuration's or the usual one.
 *
 * Source: sigstore/sigstore, pkg/signature/kms/cliplugin (README.md, common/interface.go, common/options.go), version v1.
 */

import { connectTo, socketOfEnvironment } from '../requests/configured-daemon.ts';
import type { KmsClient } from '../requests/kms-client.ts';
import { ApiError, describeError, UsageError } from '../terminal/cli-error.ts';
import { note, print } from '../terminal/output.ts';
import { digestOfMessage, signingAlgorithmFor } from './sigstore-signing.ts';

const protocolVersion = 'v1';
const pemLineCharacters = 64;

/** What `createKey` makes: keys whose signatures are of a digest, which is what sigstore has signed. */
const algorithms = ['ECC_NIST_P256', 'RSA_2048', 'RSA_3072', 'RSA_4096'] as const;

/** Go writes `null` for bytes that were not given. */
interface MessageOptions {
  readonly digest?: string | null;
  readonly hashFunc?: number;
}
interface PluginRequest {
  readonly initOptions?: { readonly protocolVersion?: string; readonly keyResourceID?: string };
  readonly methodName?: string;
  readonly createKey?: { readonly algorithm?: string };
  readonly signMessage?: { readonly signOptions?: { readonly messageOptions?: MessageOptions } };
  readonly verifySignature?: {
    readonly signature?: string;
    readonly verifyOptions?: { readonly messageOptions?: MessageOptions };
  };
}

type Method = (client: KmsClient, keyId: string, request: PluginRequest) => Promise<object>;

const methods = new Map<string, Method>([
  ['defaultAlgorithm', async () => ({ defaultAlgorithm: algorithms[0] })],
  ['supportedAlgorithms', async () => ({ supportedAlgorithms: algorithms })],
  ['createKey', createKey],
  ['publicKey', async (client, keyId) => ({ publicKeyPEM: await publicKeyPem(client, keyId) })],
  ['signMessage', signMessage],
  ['verifySignature', verifySignature],
]);

/** @param words The command line's. */
export async function runSigstorePlugin([version, request]: readonly string[]): Promise<void> {
  if (version === undefined || version === '--help') {
    note(`sigstore-kms-drawbridge is started by cosign and the like, for keys called drawbridge://alias/NAME:
  cosign sign-blob --key drawbridge://alias/releases app.tar`);
    return;
  }
  print(
    JSON.stringify(await answer(version, request).catch((error: unknown) => ({ errorMessage: describeError(error) }))),
  );
}

async function answer(version: string, text = ''): Promise<object> {
  if (version !== protocolVersion)
    throw new UsageError(`version \`${version}\` of the protocol is not known here, ${protocolVersion} is`);
  const request = JSON.parse(text) as PluginRequest;
  const name = request.methodName ?? '';
  const method = methods.get(name);
  if (method === undefined) throw new UsageError(`the method \`${name}\` is not known here`);
  // `drawbridge:///alias/NAME`, as other key stores have it, is the same.
  const keyId = (request.initOptions?.keyResourceID ?? '').replace(/^\/+/, '');
  return { [name]: await method(await connectTo(socketOfEnvironment()), keyId, request) };
}

/** The key that there is already, or a new one. */
async function createKey(client: KmsClient, keyId: string, { createKey: asked }: PluginRequest): Promise<object> {
  const spec = asked?.algorithm ?? algorithms[0];
  if (!algorithms.some((each) => each === spec)) {
    throw new UsageError(`\`${spec}\` is no algorithm for a key here; there are ${algorithms.join(', ')}`);
  }
  try {
    return { publicKeyPEM: await publicKeyPem(client, keyId) };
  } catch (error) {
    if (!(error instanceof ApiError && error.type === 'NotFoundException')) throw error;
  }
  if (!keyId.startsWith('alias/')) throw new UsageError('a key is made by a name: drawbridge://alias/NAME');
  const { createKey: make } = await import('../commands/keys/make-key.ts');
  await make(client, { alias: keyId, spec, usage: 'SIGN_VERIFY' }, {});
  return { publicKeyPEM: await publicKeyPem(client, keyId) };
}

/** The PEM in base64, as Go writes bytes into JSON. */
async function publicKeyPem(client: KmsClient, keyId: string): Promise<string> {
  const { PublicKey } = await client.call('GetPublicKey', { KeyId: keyId });
  const lines = String(PublicKey).match(new RegExp(`.{1,${pemLineCharacters}}`, 'g')) ?? [];
  return Buffer.from(`-----BEGIN PUBLIC KEY-----\n${lines.join('\n')}\n-----END PUBLIC KEY-----\n`).toString('base64');
}

async function signMessage(client: KmsClient, keyId: string, { signMessage: asked }: PluginRequest): Promise<object> {
  const signing = await signingOf(client, keyId, asked?.signOptions?.messageOptions);
  const { Signature } = await client.call('Sign', signing);
  return { signature: Signature };
}

async function verifySignature(
  client: KmsClient,
  keyId: string,
  { verifySignature: asked }: PluginRequest,
): Promise<object> {
  const signing = await signingOf(client, keyId, asked?.verifyOptions?.messageOptions);
  await client.call('Verify', { ...signing, Signature: asked?.signature ?? '' });
  return {};
}

/** What Sign and Verify are told alike. */
async function signingOf(client: KmsClient, keyId: string, { digest, hashFunc }: MessageOptions = {}) {
  const { SigningAlgorithms = [] } = await client.call('GetPublicKey', { KeyId: keyId });
  const given = digest ? Buffer.from(digest, 'base64') : undefined;
  const { algorithm, hash } = signingAlgorithmFor(SigningAlgorithms as readonly string[], hashFunc, given);
  const message = given ?? (await digestOfMessage(process.stdin, hash));
  return { KeyId: keyId, SigningAlgorithm: algorithm, MessageType: 'DIGEST', Message: message.toString('base64') };
}
