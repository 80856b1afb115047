/** A session token that is put beside a finished signature, as Jsign does it: no other token can take its place. */

import { createHash, createHmac, randomBytes } from 'node:crypto';
import { expect, test } from 'vitest';
import type { UnixPeer } from '../../src/identity/caller.ts';
import type { IssuedCredentials } from '../../src/identity/proven-tokens.ts';
import { RequestVerifier } from '../../src/identity/request-verifier.ts';
import { SessionCredentials } from '../../src/identity/session-credentials.ts';
import type { SignedRequestParts } from '../../src/identity/sigv4.ts';
import { defaultUnixMapping, resolveUnixCaller } from '../../src/identity/unix-caller.ts';
import type { Realm } from '../../src/kms/names.ts';

const realm: Realm = { region: 'us-east-1', account: '000000000000' };
const hour = randomBytes(32);
const peerOf = (uid: number): UnixPeer => ({ kind: 'unix', uid, gid: uid, pid: 4711, groups: [], origin: 'machine' });
const startMs = Date.now();
const credentials = new SessionCredentials({
  deriveKey: async (label) => createHmac('sha256', hour).update(label).digest(),
  callerOf: (peer) => resolveUnixCaller(peer, defaultUnixMapping(realm)),
  standing: () => 0,
  clock: () => startMs,
});

/** Signed without any token, and then given those. */
function request(by: IssuedCredentials, ...tokens: readonly string[]): SignedRequestParts {
  const body = Buffer.from('{}');
  const time = new Date(startMs).toISOString().replaceAll(/[-:]|\.\d{3}/g, '');
  const signed = { host: 'kms', 'x-amz-date': time, 'x-amz-target': 'TrentService.ListKeys' };
  const names = Object.keys(signed).join(';');
  const lines = Object.entries(signed).map(([name, value]) => `${name}:${value}\n`);
  const hash = (text: string | Buffer): string => createHash('sha256').update(text).digest('hex');
  const canonical = `POST\n/\n\n${lines.join('')}\n${names}\n${hash(body)}`;
  const scope = [time.slice(0, 8), realm.region, 'kms', 'aws4_request'];
  const keyed = (key: string | Buffer, text: string): Buffer => createHmac('sha256', key).update(text).digest();
  const key = scope.reduce<string | Buffer>(keyed, `AWS4${by.secretAccessKey}`);
  const signature = keyed(key, `AWS4-HMAC-SHA256\n${time}\n${scope.join('/')}\n${hash(canonical)}`).toString('hex');
  const authorization = `AWS4-HMAC-SHA256 Credential=${by.accessKeyId}/${scope.join('/')}, SignedHeaders=${names}, Signature=${signature}`;
  const given = tokens.flatMap((token) => ['X-Amz-Security-Token', token]);
  const rawHeaders = [...Object.entries(signed).flat(), 'Authorization', authorization, ...given];
  return { method: 'POST', path: '/', rawHeaders, body, sourceIp: '127.0.0.1' };
}

test('A session token is taken beside the signature, and it alone', async () => {
  const [alice, other] = await Promise.all([
    credentials.issue(peerOf(1001), 900),
    credentials.issue(peerOf(1002), 900),
  ]);
  const again = await credentials.issue(peerOf(1001), 900);
  let nowMs = startMs - 3_600_000;
  const findKey = (id: string, token: string | undefined) =>
    token === undefined ? undefined : credentials.find(id, token);
  const verifier = new RequestVerifier({ regions: [realm.region], findKey, clock: () => nowMs });
  nowMs = startMs;
  const verify = async (...tokens: readonly string[]) => verifier.verify(request(alice, ...tokens), 'kms');

  await expect(verify(alice.sessionToken)).resolves.toMatchObject({ proof: { issuedTo: { uid: 1001 } } });
  const unrecognized = 'The security token included in the request is invalid.';
  for (const token of [other.sessionToken, again.sessionToken, alice.sessionToken.slice(0, -4)]) {
    await expect(verify(token)).rejects.toThrow(unrecognized);
  }
  await expect(verify()).rejects.toThrow(unrecognized);
  await expect(verify(alice.sessionToken, other.sessionToken)).rejects.toThrow(/does not match/);
});
