/** Root in a container, to the daemon of the machine that it was given the socket of: real namespaces, real connections. */

import { execFile, spawnSync } from 'node:child_process';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { Caller, UnixPeer } from '../../src/identity/caller.ts';
import { payerOfCaller, payerOfPeer } from '../../src/identity/payer-of-caller.ts';
import { peerFacts } from '../../src/identity/peer-facts.ts';
import { supposeCaller } from '../../src/identity/supposed-caller.ts';
import { resolveUnixCaller } from '../../src/identity/unix-caller.ts';
import { type PrincipalArn, parsePrincipalArn } from '../../src/kms/names.ts';
import { isOperator } from '../../src/kms/payer.ts';
import { mapping, startWire, type Wire } from './wire.ts';

const run = promisify(execFile);
const container = ['unshare', '--pid', '--mount', '--fork', '--kill-child', '--mount-proc'];
const canUnshare = spawnSync(container[0] ?? '', [...container.slice(1), 'true']).status === 0;
if (!canUnshare) process.stdout.write('skipped: root in a container, because this user cannot make pid namespaces\n');

const account = 'arn:aws:iam::000000000000';
let wire: Wire;
beforeAll(async () => {
  // Were his uid or gid asked, he would be an administrator twice.
  const admin = `${account}:user/admin` as PrincipalArn;
  wire = await startWire({}, 'unix', {}, { users: { root: admin }, groups: { root: admin } });
});
afterAll(() => wire?.close());

async function ask(before: readonly string[], path: string, ...more: string[]): Promise<unknown> {
  const url = `http://kms${path}`;
  const [command = '', ...rest] = [...before, 'curl', '--silent', '--unix-socket', wire.path, url, ...more];
  return JSON.parse((await run(command, rest)).stdout);
}

test('the machine’s root is the account’s', async () => {
  await ask([], '/v1/ListKeys', '--data', '{}');
  expect(wire.noted.pop()).toMatchObject({ operationName: 'ListKeys', caller: `${account}:root` });
});

test.skipIf(!canUnshare)('a container’s root is nobody’s, on either socket', async () => {
  const caller = `${account}:user/container/unnamed/root`;
  await ask(container, '/v1/ListKeys', '--data', '{}');
  expect(wire.noted.pop()).toMatchObject({ operationName: 'ListKeys', caller });
  const refused = { __type: 'AccessDeniedException' };
  expect(await ask(container, '/access-keys', '--data', `{"Principal":"${account}:root"}`)).toMatchObject(refused);
  expect(wire.noted.pop()).toMatchObject({ operationName: 'CreateAccessKey', caller, refusal: refused.__type });
  const second = [
    'curl',
    '--silent',
    '--unix-socket',
    wire.path.replace(/\.sock$/, '.root.sock'),
    'http://kms/v1/ListKeys',
  ];
  await run(container[0] ?? '', [...container.slice(1), ...second, '--data', '{}']);
  expect(wire.noted.pop()).toMatchObject({ operationName: 'ListKeys', caller });
});

describe('a container’s root', () => {
  const origin = { container: 'web' };
  const peer: UnixPeer = { kind: 'unix', uid: 0, gid: 0, pid: 7, groups: [0, 10], origin };
  const { userName: _, ...caller }: Caller = resolveUnixCaller(peer, mapping);

  test('has no groups and no name of the machine', () => {
    const proof = caller.proof as UnixPeer;
    expect(proof.groups).toEqual([]);
    expect(peerFacts(proof).groupNames()).toEqual([]);
    expect(peerFacts(proof).userName()).toBeUndefined();
    expect(caller.arn).toBe(`${account}:user/container/web/root`);
  });

  test('pays as his container, also for what he signs, and has nothing of what is kept for operators', () => {
    expect(payerOfCaller(caller)).toBe('container web');
    const proof = { kind: 'sigv4', accessKeyId: '', sourceIp: '', issuedTo: peer } as const;
    expect(payerOfCaller({ ...caller, proof })).toBe('container web');
    expect(isOperator(payerOfPeer(peer))).toBe(false);
    expect(isOperator(payerOfPeer({ uid: 0 }))).toBe(false);
    expect(isOperator(payerOfPeer({ uid: 0, origin: 'machine' }))).toBe(true);
  });

  test('is who he would be to a question about what he may do', () => {
    const principal = parsePrincipalArn(`${account}:user/container/web/root`);
    if (principal === undefined) throw new Error('that is the ARN of a principal');
    const who = { principal, uid: 0 };
    const asked = { who, groups: [], transport: 'unix', sourceIp: '', credentials: 'issued' } as const;
    const supposed = supposeCaller(asked, mapping);
    expect(supposed.caller).toMatchObject({ type: 'IAMUser', arn: principal, proof: { origin } });
    expect(supposed.peerFacts(supposed.caller.proof as UnixPeer).userName()).toBeUndefined();
  });

  test('is as little root where the configuration has another uid as one', () => {
    const other = { ...peer, uid: 4711 };
    expect(resolveUnixCaller(other, { ...mapping, roots: [4711] }).arn).toBe(`${account}:user/container/web/uid=4711`);
  });
});
