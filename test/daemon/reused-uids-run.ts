/**
 * What `reused-uids.test.ts` looks at, as a process of its own, because it changes `/etc/passwd`: it is run where `/etc` is a folder of
 * the test. Prints what happened as JSON.
 */

import { createHmac } from 'node:crypto';
import { mkdtempSync, readdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { openAuditLog } from '../../src/audit/open-audit-log.ts';
import { recordUserDatabaseChanges } from '../../src/daemon/user-database-record.ts';
import { SessionCredentials } from '../../src/identity/session-credentials.ts';
import { findUnixCaller } from '../../src/identity/unix-caller.ts';
import { userDatabaseState } from '../../src/identity/unix-names.ts';
import type { PrincipalArn } from '../../src/kms/names.ts';
import { connectAs, openToAll } from '../http/as-user.ts';
import { mapping, type RawClient, startWire, type Wire } from '../http/wire.ts';

const uid = 54_501;
const passwd = (line: string): string => `root:x:0:0::/root:/bin/sh\n${line}`;
const alice = passwd(`alice:x:${uid}:${uid}::/:/bin/sh\n`);
const bob = passwd(`bob:x:${uid}:${uid}::/:/bin/sh\n`);

/** As `userdel` and `useradd` do. What the daemon does in the turn of the event loop in which it happens is before it. */
async function replacePasswd(text: string): Promise<void> {
  writeFileSync('/etc/passwd+', text);
  renameSync('/etc/passwd+', '/etc/passwd');
  await nextTurn();
}

const nextTurn = (): Promise<void> => new Promise((go) => setTimeout(() => setImmediate(go)));

await replacePasswd(alice);
const audits = mkdtempSync(join(tmpdir(), 'drawbridge-reused-'));
const audit = await openAuditLog({ folder: audits, sync: 'default' });
const log = { debug() {}, info() {}, warn() {}, error() {} };
const stopRecording = recordUserDatabaseChanges({ audit, region: 'us-east-1', account: mapping.account, log });
const wire = await startWire();
openToAll(wire.path);

async function ask(client: RawClient, of: Wire = wire): Promise<object> {
  const before = client.received.length;
  client.send('POST /v1/ListKeys HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{}');
  while (client.received.length === before && !client.socket.destroyed) await new Promise((go) => setTimeout(go, 5));
  const { caller, refusal } = of.noted.pop() ?? {};
  return { caller: caller?.split('/').pop() ?? null, ...(refusal === undefined ? {} : { refusal }) };
}

const credentials = new SessionCredentials({
  deriveKey: async (label) => createHmac('sha256', 'key').update(label).digest(),
  callerOf: (peer) => findUnixCaller(peer, mapping),
  standing: userDatabaseState,
  clock: Date.now,
});
const { proof } = await findUnixCaller({ kind: 'unix', uid, gid: uid, pid: 1, groups: [] }, mapping);
if (proof.kind !== 'unix') throw new TypeError('a Unix peer is proven by the kernel');
const issued = await credentials.issue(proof, 900);
const signs = async () =>
  (await credentials.find(issued.accessKeyId, issued.sessionToken))?.caller.arn.split('/').pop();

const first = await connectAs(uid, wire.path);
const asAlice = [await ask(first), await ask(first), await signs()];
await replacePasswd(bob);
const reused = [await signs(), await ask(first)];
const isClosed = await Promise.race([
  first.closed.then(() => true),
  new Promise((go) => setTimeout(go, 60_000, false)),
]);
const second = await connectAs(uid, wire.path);
const asBob = [await ask(second)];
writeFileSync('/etc/passwd', passwd('')); // In place, and to nobody at all.
await nextTurn();
const gone = [await ask(second), await ask(await connectAs(uid, wire.path))];
await replacePasswd(alice);
const again = [await ask(await connectAs(uid, wire.path)), await signs()];

// Somebody in a group whose process keeps it, asked with and without the database's word.
const group = (members: string): Promise<void> => {
  writeFileSync('/etc/group', `root:x:0:\nops:x:54600:${members}\n`);
  return nextTurn();
};
await group('alice');
const groups = { ops: `arn:aws:iam::${mapping.account}:user/on-call` as PrincipalArn };
const believing = await startWire({}, 'unix', {}, { groups });
const demanding = await startWire({}, 'unix', {}, { groups, demandsDatabaseGroups: true });
process.setgroups?.([54_600]);
const members: [RawClient, Wire][] = [];
for (const each of [believing, demanding]) {
  openToAll(each.path);
  members.push([await connectAs(uid, each.path), each]);
}
const askBoth = () => Promise.all(members.map(([client, each]) => ask(client, each)));
const inGroup = await askBoth();
await group('');
const outOfGroup = await askBoth();

await wire.close();
await believing.close();
await demanding.close();
await stopRecording();
await audit.close();
const lines = readdirSync(audits).flatMap((name) => readFileSync(join(audits, name), 'utf8').split('\n'));
const changes = lines
  .filter((line) => line.includes('"UserDatabaseChanged"'))
  .flatMap((line) => JSON.parse(line).serviceEventDetails.changes);
rmSync(audits, { recursive: true });
process.stdout.write(JSON.stringify({ asAlice, reused, isClosed, asBob, gone, again, inGroup, outOfGroup, changes }));
process.exit();
