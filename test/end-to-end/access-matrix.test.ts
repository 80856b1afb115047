/**
 * Who may do what under which key policy, grant and identity policy: principal × operation × key state × mechanism, written
 * to `access-matrix.txt`, which is reviewed like code. A change of any decision is a change of that file.
 *
 * Keys are enabled, or pending import where it is about imports, disabled or pending deletion. They are brought there all together, by their records, while the daemon is
 * stopped, since the policies of some let nobody ask for it. What a caller who may is told then is named here only where it
 * is what the table of key states has for the operation.
 */

import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { GrantOperation, KMS } from '@aws-sdk/client-kms';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { type KeyState, stateRefusal } from '../../src/kms/key-states.ts';
import { findOperation } from '../../src/operations/find-operation.ts';
import { type Instance, missingForInstance, startInstance } from '../support/instance.ts';
import { changeKeys } from '../support/key-records.ts';
import { keyArn, unixUserArn } from './support/arns.ts';
import { kmsOver } from './support/connect.ts';
import { bootTimeoutMs, present } from './support/daemon.ts';
import { type Example, examples, newSubject, type Subject } from './support/examples.ts';
import { may, writeIdentityPolicy } from './support/identity-policies.ts';
import { allow, deny, policy, rootMayAll } from './support/policies.ts';
import type { Reply } from './support/unix-client.ts';
import { runsAsRoot, sayIfNotRoot, UnixClient, unixUsers } from './support/unix-users.ts';

const nobody = unixUserArn('nobody');
/** Whose identity policy allows everything. */
const delegate = unixUserArn('www-data');

/** Every action that a key policy can give, but these. */
const allBut = (these: readonly string[]): string[] =>
  examples.flatMap(({ actions }) => actions.filter((action) => !these.includes(action)));

const policies: readonly (readonly [name: string, document: (actions: readonly string[]) => string])[] = [
  ['the account may all', () => policy(rootMayAll)],
  ['the user may this', (actions) => policy(rootMayAll, allow(nobody, actions))],
  ['the user may all but this', (actions) => policy(rootMayAll, allow(nobody, allBut(actions)))],
  ['the user alone may all', () => policy(allow(nobody, 'kms:*'))],
  ['everybody may all', () => policy(allow('*', 'kms:*'))],
  ['everybody may all, nobody this', (actions) => policy(allow('*', 'kms:*'), deny('*', actions))],
];

/** As above, and the user has a grant of it. */
const withGrant: typeof policies = [
  ['a grant allows the user this', () => policy(rootMayAll)],
  ['a grant, and nobody may this', (actions) => policy(rootMayAll, deny('*', actions))],
];

const principals = ['root', 'user', 'delegate'] as const;
const widths = [37, 17, 33, 30, 30, 0];
const lineOf = (cells: readonly string[]): string =>
  cells
    .map((cell, at) => cell.padEnd(widths[at] ?? 0))
    .join('')
    .trimEnd();

const missing = missingForInstance();
sayIfNotRoot('The access matrix');
describe.skipIf(!runsAsRoot || missing !== null)('The access matrix', () => {
  const folder = mkdtempSync(join(tmpdir(), 'drawbridge-matrix-'));
  let instance: Instance;
  let kms: KMS;
  const clients = new Map<(typeof principals)[number], UnixClient>();
  const as = (name: (typeof principals)[number]): UnixClient => present(clients.get(name));

  const connect = async (): Promise<void> => {
    kms = kmsOver(instance.socket);
    clients.set('root', await UnixClient.start(instance.socket, { uid: 0, gid: 0 }));
    clients.set('user', await UnixClient.start(instance.socket, unixUsers.nobody));
    clients.set('delegate', await UnixClient.start(instance.socket, unixUsers['www-data']));
  };
  const disconnect = async (): Promise<void> => {
    for (const client of clients.values()) await client.stop();
    kms.destroy();
  };

  beforeAll(async () => {
    writeIdentityPolicy(folder, 'all.json', [delegate], may('kms:*'));
    instance = await startInstance({ policies: folder });
    await connect();
  }, bootTimeoutMs);
  afterAll(async () => {
    await disconnect();
    await instance.stop();
    rmSync(folder, { recursive: true, force: true });
  }, bootTimeoutMs);

  test('is the reviewed one', async () => {
    const shared: SharedSubjects = new Map();
    const enabled = await prepare(kms, shared, 'Enabled');
    const linesOf = (state: KeyState, cases: readonly PreparedCase[]): Promise<readonly string[]> =>
      someAtOnce(cases, async ({ example, mechanism, subjects }) => {
        const { operation, actions, kind } = example;
        const known = state === 'Enabled' && kind.origin === 'EXTERNAL' ? 'PendingImport' : state;
        const verdicts = principals.map(async (principal, at) => {
          const subject = present(subjects[at]);
          const reply = await as(principal).send(operation, example.input(subject));
          return verdictOf(reply, actions.length === 0 ? [] : stateRefusals(example, known, subject.keyId));
        });
        return lineOf([operation, actions.length === 0 ? '' : known, mechanism, ...(await Promise.all(verdicts))]);
      });
    const unusable = [];
    for (const state of ['Disabled', 'PendingDeletion'] as const) {
      unusable.push({
        state,
        cases: (await prepare(kms, shared, state)).filter(({ example }) => example.actions.length > 0),
      });
    }
    const lines = [...(await linesOf('Enabled', enabled))];
    for (const { state, cases } of unusable) {
      await disconnect();
      await instance.kill9();
      const keyIds = cases.flatMap(({ subjects }) => subjects.map(({ keyId }) => keyId));
      await changeKeys(instance.dir, new Set(keyIds), { state });
      instance = await instance.restart();
      await connect();
      lines.push(...(await linesOf(state, cases)));
    }
    const header = lineOf(['operation', 'key', 'key policy', 'root', 'user', 'user with identity policy']);
    await expect(`${[header, ...lines].join('\n')}\n`).toMatchFileSnapshot('./access-matrix.txt');
  }, 900_000);
});

/** One line of the matrix before anybody asks: a subject for each of the principals, which may be the same. */
interface PreparedCase {
  readonly example: Example;
  readonly mechanism: string;
  readonly subjects: readonly Subject[];
}

/** By everything that is asked of them. */
type SharedSubjects = Map<string, Promise<Subject>>;

/** @param state Of the keys when somebody asks. What refuses an operation spends nothing. */
async function prepare(kms: KMS, shared: SharedSubjects, state: KeyState): Promise<readonly PreparedCase[]> {
  const subjectFor = (
    example: Example,
    document: string,
    grants: readonly GrantOperation[] | undefined,
  ): Promise<Subject> => {
    const isRefused = state !== 'Enabled' && stateRefusals(example, state, '').length > 0;
    if (example.spends && !isRefused) return newSubject(kms, example, document, grants);
    const name = [...example.kind.spec, example.kind.origin, example.takes, ...(grants ?? []), document].join();
    const subject = shared.get(name) ?? newSubject(kms, example, document, grants);
    shared.set(name, subject);
    return subject;
  };
  const all = examples.flatMap((example) => mechanismsOf(example).map((mechanism) => [example, mechanism] as const));
  return someAtOnce(all, async ([example, [mechanism, document, grants]]) => {
    const subjects = principals.map(() => subjectFor(example, document(example.actions), grants));
    return { example, mechanism, subjects: await Promise.all(subjects) };
  });
}

/** So few that a busy machine answers them long before the daemon refuses what would wait too long: 10 s, and 50 s for a new key. */
const atOnce = 8;

async function someAtOnce<Case, Result>(
  cases: readonly Case[],
  work: (one: Case) => Promise<Result>,
): Promise<readonly Result[]> {
  const results: Result[] = [];
  for (let from = 0; from < cases.length; from += atOnce)
    results.push(...(await Promise.all(cases.slice(from, from + atOnce).map(work))));
  return results;
}

type Mechanism = readonly [...(typeof policies)[number], grants: readonly GrantOperation[] | undefined];

function mechanismsOf({ actions, grants }: Example): readonly Mechanism[] {
  if (actions.length === 0) return [['', () => policy(rootMayAll), undefined]];
  return [
    ...policies.map((row) => [...row, undefined] as const),
    ...(grants.length === 0 ? [] : withGrant.map((row) => [...row, grants] as const)),
  ];
}

const texts = [
  ['with an explicit deny in a resource-based policy', 'denied by key policy'],
  ['because no resource-based policy allows', 'not in key policy'],
  ['because no identity-based policy allows', 'not in identity policy'],
] as const;

interface StateRefusal {
  readonly name: string;
  readonly message: string;
  /** What the matrix calls it. */
  readonly words: string;
}

/** What the table has for an operation on a key in this state, for each need of the key. */
function stateRefusals({ operation, kind }: Example, state: KeyState, keyId: string): readonly StateRefusal[] {
  const arn = keyArn(keyId);
  return Object.values(findOperation(operation)?.needs.keys ?? {}).flatMap(({ states }) => {
    const refusal = stateRefusal(states, { arn, state, origin: kind.origin ?? 'AWS_KMS' });
    if (refusal === undefined) return [];
    const { name, message } = refusal;
    return [{ name, message, words: message.slice(`${arn} is `.length, -1) }];
  });
}

function verdictOf(reply: Reply, refusals: readonly StateRefusal[]): string {
  const inSpite = refusals.length === 0 ? '' : `, though ${refusals.map(({ words }) => words).join()}`;
  if (reply.ok) return `allowed${inSpite}`;
  if (reply.name === 'InvalidKeyUsageException') return `allowed, wrong key${inSpite}`;
  if (reply.name === 'InvalidImportTokenException') return `allowed, wrong token${inSpite}`;
  if (/^(?:CustomKeyStore|CloudHsmCluster)NotFoundException$/.test(reply.name)) return `allowed, none of that name`;
  if (/^WrappingAlgorithm .* is not supported\.$/.test(reply.message)) return `allowed, wrong wrapping${inSpite}`;
  if (/ is not a multi-region primary key\.$/.test(reply.message)) return `allowed, wrong key${inSpite}`;
  const refusal = refusals.find(({ name, message }) => reply.name === name && reply.message === message);
  if (refusal !== undefined) return `allowed, ${refusal.words}`;
  const text = texts.find(([told]) => reply.message.includes(told));
  return reply.name === 'AccessDeniedException' && text !== undefined ? text[1] : `${reply.name}: ${reply.message}`;
}
