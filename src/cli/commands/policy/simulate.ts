/** `drawbridge policy simulate`: what changed documents would mean for the requests that are on record. */

import { readdir, stat } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { Command } from 'commander';
import type { RequestOnRecord } from '../../../access/recorded-request.ts';
import { defaultWireLimits, maxSimulatedRequests } from '../../../http/wire-limits.ts';
import { auditFolderOf, parseCount } from '../../requests/audit-options.ts';
import { connectTo, type SocketOptions, withJson, withSocket } from '../../requests/command-options.ts';
import type { KmsClient, Members } from '../../requests/kms-client.ts';
import { UsageError } from '../../terminal/cli-error.ts';
import { unreadable } from '../../terminal/file-error.ts';
import { readPolicy } from '../../terminal/input.ts';
import { note, print, printJson, table } from '../../terminal/output.ts';
import { groupsOf } from './circumstances.ts';

interface Options extends SocketOptions {
  readonly changes: string;
  readonly key?: string;
  readonly folder?: string;
  readonly after?: number;
  readonly json?: true;
}

/** What the record does not tell, so that it is taken as it is now. */
const assumptions = [
  "a user's groups, a key's aliases, tags and grants, and the other documents are those of now",
  'drawbridge:Executable and drawbridge:SystemdUnit are not on record: conditions on them find nothing',
  'of requests that are alike, the last one was asked again, with its time, client and credentials',
];

export function simulateCommand(): Command {
  return withJson(withSocket(new Command('simulate').description('say what changed documents would refuse or allow')))
    .requiredOption('--changes <path>', 'a key policy (a file, with --key) or a folder of identity policies')
    .option('--key <key>', 'the key whose policy the file would replace')
    .option('--folder <folder>', "the audit log's folder; without it, the configuration or the daemon says where it is")
    .option('--after <sequence>', 'only events behind this one', parseCount)
    .addHelpText(
      'after',
      `
Every request in the audit log that came to a decision is asked again, under the documents in force and under the
changed ones. Shown is where the answers differ. Nothing is changed, and no request is repeated. What the record cannot
tell is said at the end. Only the account's root may ask; the log has to be readable.

Examples:
  drawbridge policy simulate --changes policy.json --key 1234abcd-12ab-34cd-56ef-1234567890ab
  drawbridge policy simulate --changes ./new-policies --after 120000 --json | jq '.newlyRefused | length'`,
    )
    .action(simulate);
}

/** Requests that are alike in all that permissions depend on, but for the time. */
interface Traffic {
  readonly last: RequestOnRecord;
  readonly count: number;
}

interface Outcome {
  readonly traffic: Traffic;
  readonly result: Members;
}

async function simulate(options: Options): Promise<void> {
  const client = await connectTo(options);
  const changes = await readChanges(options);
  const { traffic, events, isComplete } = await collectTraffic(options);
  const outcomes = await ask(client, changes, traffic);
  const report = summarize(outcomes);
  if (options.json) return printJson({ events, distinct: traffic.length, isComplete, ...report, assumptions });
  const { newlyRefused, newlyAllowed, notJudged, decidedOtherwise } = report;
  const rows = [
    ...newlyRefused.map((one) => row('refused', one, one.after)),
    ...newlyAllowed.map((one) => row('allowed', one, one.after)),
  ];
  if (rows.length > 0) print(table(['NEWLY', 'COUNT', 'WHO', 'OPERATION', 'KEYS', 'BECAUSE'], rows));
  const sum = (ones: readonly { readonly count: number }[]): number => ones.reduce((all, { count }) => all + count, 0);
  print(
    `${events} requests on record, ${traffic.length} distinct: ${sum(newlyRefused)} would be newly refused, ${sum(newlyAllowed)} newly allowed`,
  );
  for (const { reason, count } of notJudged) note(`not judged: ${count}, because ${reason}`);
  if (decidedOtherwise > 0) {
    note(`${decidedOtherwise} were decided otherwise at the time than the documents of now decide`);
  }
  if (!isComplete) note(`the log has more than ${maxDistinct} distinct requests: those behind them were left out`);
  for (const assumption of assumptions) note(`taken as given: ${assumption}`);
}

function row(newly: string, one: Change, because: string): string[] {
  const keys = one.resources.map((arn) => arn.split(':').pop() ?? arn).join(' ');
  return [newly, String(one.count), one.principal, one.operation, keys, because];
}

async function readChanges({ changes, key }: Options): Promise<Members> {
  const information = await stat(changes).catch((error: NodeJS.ErrnoException) => {
    throw unreadable(changes, error);
  });
  if (information.isDirectory()) {
    if (key !== undefined) throw new UsageError('--key is for the key policy in a file, and --changes is a folder');
    const names = (await readdir(changes)).filter((name) => name.endsWith('.json') && !name.startsWith('.')).sort();
    const texts = await Promise.all(names.map((name) => readPolicy(join(changes, name))));
    return { IdentityPolicies: names.map((name, index) => ({ Name: basename(name), Text: texts[index] })) };
  }
  if (key === undefined) throw new UsageError('say with --key whose policy the file would replace');
  return { KeyPolicies: [{ KeyId: key, Policy: await readPolicy(changes) }] };
}

/** Bounds the memory that a long log takes here. */
const maxDistinct = 100_000;

async function collectTraffic(
  options: Options,
): Promise<{ readonly traffic: readonly Traffic[]; readonly events: number; readonly isComplete: boolean }> {
  const { readAuditEvents } = await import('../../../audit/read-audit-log.ts');
  const { readRequest } = await import('../../../access/recorded-request.ts');
  const folder = await auditFolderOf(options);
  const distinct = new Map<string, Traffic>();
  let events = 0;
  let isComplete = true;
  for await (const event of readAuditEvents(folder, options.after === undefined ? {} : { after: options.after })) {
    const request = readRequest(event);
    if (request === undefined) continue;
    events++;
    const { operation, members, principal, proof, source, resources } = request;
    const name = JSON.stringify([
      operation,
      members,
      principal,
      proof.kind,
      request.transport,
      uidOf(request),
      source,
      resources,
    ]);
    const known = distinct.get(name);
    if (known === undefined && distinct.size >= maxDistinct) isComplete = false;
    else distinct.set(name, { last: request, count: (known?.count ?? 0) + 1 });
  }
  return { traffic: [...distinct.values()], events, isComplete };
}

/** What the daemon takes in one body, with the changes in it, but for what surrounds them. */
const maxBodyBytes = defaultWireLimits.maxBodyBytes - 6 * 1024;

async function ask(client: KmsClient, changes: Members, traffic: readonly Traffic[]): Promise<readonly Outcome[]> {
  const roomBytes = maxBodyBytes - Buffer.byteLength(JSON.stringify(changes));
  if (roomBytes < 50 * 1024) throw new Error('the changed documents are too large to be sent together: simulate fewer');
  const outcomes: Outcome[] = [];
  const groups = new Map<number, readonly string[] | undefined>();
  let batch: { readonly traffic: Traffic; readonly request: Members }[] = [];
  let batchBytes = 0;
  const send = async (): Promise<void> => {
    const sent = batch;
    batch = [];
    batchBytes = 0;
    const { results } = await client.post('/access/simulate', {
      ...changes,
      Requests: sent.map((one) => one.request),
    });
    for (const [index, result] of (results as Members[]).entries()) {
      const asked = sent[index];
      if (asked !== undefined) outcomes.push({ traffic: asked.traffic, result });
    }
  };
  // Once even without traffic, so that a document that would be refused is refused here.
  if (traffic.length === 0) await send();
  for (const one of traffic) {
    if (one.last.isCut) {
      outcomes.push({ traffic: one, result: { judged: false, reason: 'it is too long to be on record in full' } });
      continue;
    }
    if (one.last.proof.kind === 'issued' && one.last.proof.uid === undefined) {
      const reason = 'the record does not say to which Unix user its credentials were issued';
      outcomes.push({ traffic: one, result: { judged: false, reason } });
      continue;
    }
    if (one.last.proof.kind === 'session' && one.last.proof.hasPolicy) {
      const reason = 'its session had a policy of its own, which is on record with AssumeRole alone';
      outcomes.push({ traffic: one, result: { judged: false, reason } });
      continue;
    }
    const uid = uidOf(one.last);
    if (uid !== undefined && !groups.has(uid)) groups.set(uid, await groupsOf(String(uid)));
    const request = questionOf(one.last, uid === undefined ? undefined : groups.get(uid));
    const bytes = Buffer.byteLength(JSON.stringify(request)) + 1;
    if (batch.length >= maxSimulatedRequests || batchBytes + bytes > roomBytes) await send();
    batch.push({ traffic: one, request });
    batchBytes += bytes;
  }
  if (batch.length > 0) await send();
  return outcomes;
}

/** Of the Unix user whom the kernel vouched for, be it when he was issued his credentials. */
function uidOf({ proof }: RequestOnRecord): number | undefined {
  return proof.kind === 'accessKey' ? undefined : proof.uid;
}

function questionOf(request: RequestOnRecord, groups: readonly string[] | undefined): Members {
  const { operation, members, principal, proof, transport, source, userAgent, resources, time } = request;
  const uid = uidOf(request);
  const isUnix = proof.kind === 'unix';
  return {
    Operation: operation,
    Request: members,
    Principal: principal,
    ...(uid === undefined ? {} : { Uid: uid }),
    ...(groups === undefined ? {} : { Groups: groups }),
    At: time,
    Transport: transport,
    ...(isUnix ? {} : { SourceIp: source, Credentials: uid === undefined ? 'accessKey' : 'issued' }),
    ...((proof.kind === 'issued' || proof.kind === 'session') && proof.issuedAt !== undefined
      ? { IssuedAt: proof.issuedAt }
      : {}),
    ...(userAgent === null || userAgent === '' ? {} : { UserAgent: userAgent }),
    Resources: resources,
  };
}

interface Change {
  readonly count: number;
  readonly principal: string;
  readonly operation: string;
  readonly request: Members;
  readonly resources: readonly string[];
  readonly lastSequence: number;
  readonly before: string;
  readonly after: string;
}

interface Report {
  readonly newlyRefused: readonly Change[];
  readonly newlyAllowed: readonly Change[];
  readonly notJudged: readonly { readonly reason: string; readonly count: number }[];
  readonly decidedOtherwise: number;
}

function summarize(outcomes: readonly Outcome[]): Report {
  const newlyRefused: Change[] = [];
  const newlyAllowed: Change[] = [];
  const reasons = new Map<string, number>();
  let decidedOtherwise = 0;
  for (const { traffic, result } of outcomes) {
    if (result['judged'] !== true) {
      const reason = String(result['reason']);
      reasons.set(reason, (reasons.get(reason) ?? 0) + traffic.count);
      continue;
    }
    const [before, after] = [result['before'] as Members, result['after'] as Members];
    if (before['allowed'] !== traffic.last.allowed) decidedOtherwise += traffic.count;
    if (before['allowed'] === after['allowed']) continue;
    (after['allowed'] === true ? newlyAllowed : newlyRefused).push(changeOf(traffic, before, after));
  }
  const most = (one: Change, other: Change): number => other.count - one.count;
  return {
    newlyRefused: newlyRefused.sort(most),
    newlyAllowed: newlyAllowed.sort(most),
    notJudged: [...reasons].map(([reason, count]) => ({ reason, count })),
    decidedOtherwise,
  };
}

function changeOf({ last, count }: Traffic, before: Members, after: Members): Change {
  return {
    count,
    principal: last.principal,
    operation: last.operation,
    request: last.members,
    resources: last.resources,
    lastSequence: last.sequence,
    before: String(before['because']),
    after: String(after['because']),
  };
}
