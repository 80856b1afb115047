/** `drawbridge status`: how the daemon is, as it says itself to the account's root. */

import { Command } from 'commander';
import type { ConnectionErrorCode } from '../../kms/connection-states.ts';
import { connectTo, type SocketOptions, withJson, withSocket } from '../requests/command-options.ts';
import type { Members } from '../requests/kms-client.ts';
import { domainKeysOf, rewrappingText } from '../requests/rewrapping-text.ts';
import { counted } from '../terminal/counted.ts';
import { facts, print, printJson } from '../terminal/output.ts';
import { afterFailure } from './key-stores-command.ts';
import { whyNot } from './upkeep-command.ts';

export function statusCommand(): Command {
  return withJson(withSocket(new Command('status').description('show how the daemon is')))
    .addHelpText(
      'after',
      `
Only the account's root may see it. For a probe that needs no authority:
  curl -fs --unix-socket "$DRAWBRIDGE_SOCKET" http://kms/health

Examples:
  drawbridge status
  drawbridge status --json | jq -r '.keyStores[].state'`,
    )
    .action(async (options: SocketOptions & { json?: true }) => {
      const report = await (await connectTo(options)).get('/status');
      if (options.json) return printJson(report);
      print(describe(report));
    });
}

function describe(report: Members): string {
  const audit = report['audit'] as Members;
  const waitsFor = report['waitsFor'] as string | undefined;
  const keyStores = report['keyStores'] as Members[];
  const daemon = facts([
    ['version', String(report['version'])],
    ['pid', String(report['pid'])],
    ['started', String(report['startedAt'])],
    ['region', String(report['region'])],
    ['account', String(report['account'])],
    ['socket', String(report['socket'])],
    ...describeTls(report['tls'] as Members | null),
    ['data folder', String(report['dataDir'])],
    ['memory', `${Math.round(Number(report['memoryBytes']) / 1024 / 1024)} MiB`],
    ...(waitsFor === undefined ? describeKeys(report) : [['waits for', waitsFor] as const]),
    ['audit log', `${audit['folder']}, event ${audit['sequence']}, sync ${audit['sync']}`],
  ]);
  const custom = (report['customKeyStores'] ?? []) as Members[];
  return [daemon, ...keyStores.map(describeKeyStore), ...custom.map(describeCustomKeyStore)].join('\n\n');
}

function describeTls(tls: Members | null): readonly (readonly [string, string])[] {
  if (tls === null) return [];
  const { endpoint, notAfter, fingerprint } = tls;
  return [['https', `${endpoint}, certificate until ${notAfter}, SHA-256 ${fingerprint}`]];
}

function describeKeys(report: Members): readonly (readonly [string, string])[] {
  return [
    ['keys', keysText(report)],
    ...describeOtherRegions(report),
    ...describeKeysAtHand(report['keysAtHand'] as Members | null),
    ...describeOpenDeletions(Number(report['openDeletions'])),
    ...describeRoles(report['roles'] as Members[]),
    ...describeUpkeep(report['upkeep'] as Members),
  ];
}

/** Whoever asks in one Region is told where the others are asked. */
function describeOtherRegions(report: Members): readonly (readonly [string, string])[] {
  const others = ((report['regions'] ?? []) as Members[]).filter(({ region }) => region !== report['region']);
  return others.map((other, index) => {
    const { region, socket } = other;
    return [index === 0 ? 'also serves' : '', `${region}, on ${socket}; keys: ${keysText(other)}`];
  });
}

/** A primary key that is to be deleted after its replicas is pending deletion as any other, and has no date yet. */
export function keysText({ keys, aliases, damaged, pendingDeletion, pendingReplicaDeletion }: Members): string {
  const pending = Number(pendingDeletion) + Number(pendingReplicaDeletion);
  const waiting = pendingReplicaDeletion === 0 ? '' : ` (${pendingReplicaDeletion} after the deletion of its replicas)`;
  return `${keys}, ${aliases} aliases, ${damaged} damaged, ${pending} pending deletion${waiting}`;
}

/** Of more keys than are in memory. */
function describeKeysAtHand(atHand: Members | null): readonly (readonly [string, string])[] {
  if (atHand === null) return [];
  const more = atHand['isDone'] ? '' : '; the others follow, or are when they are asked for';
  return [['at hand', `${atHand['keys']} keys are verified and need not be read again${more}`]];
}

function describeOpenDeletions(count: number): readonly (readonly [string, string])[] {
  if (count === 0) return [];
  const why = 'is in older copies of the metadata, wrapped under a domain key that the HSM still has';
  return [['deletions', `${count} not final: the key material ${why}`]];
}

function describeRoles(roles: readonly Members[]): readonly (readonly [string, string])[] {
  return roles.map(({ arn }, index) => [index === 0 ? 'roles' : '', String(arn)]);
}

/** What is due next, then what is not done though its date has come. */
function describeUpkeep(upkeep: Members): readonly (readonly [string, string])[] {
  const next = upkeep['next'] as Members | null;
  const overdue = upkeep['overdue'] as Members[];
  const unnamed = Number(upkeep['waiting']) + Number(upkeep['late']) - overdue.length;
  const lines = [
    next === null ? 'nothing is scheduled' : `next is ${next['work']}, on ${next['dueAt']}`,
    ...overdue.map((work) => `${work['work']}, due since ${work['dueAt']}, is ${work['state']}: ${whyNot(work)}`),
    ...(unnamed > 0 ? [`${unnamed} more are waiting or late; see \`drawbridge upkeep\``] : []),
  ];
  return lines.map((line, index) => [index === 0 ? 'upkeep' : '', line]);
}

function describeKeyStore(keyStore: Members): string {
  // Of a key store that was never connected the daemon knows neither.
  const token = keyStore['token'] as Members | undefined;
  const library = keyStore['library'] as Members | undefined;
  const members = (keyStore['members'] ?? []) as Members[];
  return facts([
    ['key store', String(keyStore['name'])],
    ['state', String(keyStore['state'])],
    [
      'token',
      token === undefined
        ? null
        : `${token['label']} (${token['manufacturer']} ${token['model']}, serial ${token['serial']})`,
    ],
    ['library', library === undefined ? null : `${library['path']} (${library['description']} ${library['version']})`],
    ['hosts', hostsText(keyStore)],
    // Where there are several, each says its own below.
    ...(members.length === 0 ? describeOnlyToken(keyStore) : []),
    ...members.flatMap(describeMember),
    ...describeResidency(keyStore),
  ]);
}

/** Of a key store or a token, also how many could not connect while others serve on. */
export function hostsText({ hosts, lanes, restarts, hostsAway }: Members): string {
  const away = Number(hosts) > 0 && Number(hostsAway) > 0 ? `; ${hostsAway} more cannot connect` : '';
  return `${hosts} with ${lanes} lanes, ${restarts} replaced${away}`;
}

/** Why it does not serve, and what brings it back where it does not come back by itself. */
function describeOnlyToken({ name, state, lastFailure }: Members): readonly (readonly [string, string | null])[] {
  const isOut = state === 'pinRefused' || state === 'notOurs' || state === 'closed';
  const command = isOut ? [['', `when it is in order: drawbridge reconnect ${name}`] as const] : [];
  return [['last failure', lastFailure as string | null], ...command];
}

/** Of one that does not serve: why, and what brings it back. */
function describeMember(member: Members): readonly (readonly [string, string])[] {
  const { name, state, lastFailure, command, inFlight, restarts } = member;
  const token = member['token'] as Members | null;
  const which = token === null ? '' : `, ${token['label']}, serial ${token['serial']}`;
  const lines = [`${name}: ${state}${which}, ${inFlight} under way, ${counted(Number(restarts), 'host')} replaced`];
  if (state !== 'connected' && lastFailure !== null) lines.push(String(lastFailure));
  else if (Number(member['hostsAway']) > 0)
    lines.push(`${counted(Number(member['hostsAway']), 'more host')} cannot connect: ${lastFailure}`);
  const lacks = (member['lacks'] ?? []) as readonly string[];
  if (lacks.length > 0)
    lines.push(`lacks of the domain's keys ${lacks.join(', ')}: have it join again (drawbridge domain invite --help)`);
  if (command !== null) lines.push(`when it is in order: ${command}`);
  return lines.map((line, index) => [index === 0 ? 'member' : '', line] as const);
}

function describeResidency(keyStore: Members): readonly (readonly [string, string])[] {
  const { residency, domainKeys } = keyStore;
  if (residency === undefined) return [];
  const lines = domainKeysOf(domainKeys).map(
    ({ backingKeyId, standing, backingKeys }) =>
      ['domain key', domainKeyText({ backingKeyId, standing, backingKeys })] as const,
  );
  const progress = rewrappingText(keyStore);
  return [
    ['new keys live', residency === 'wrapped' ? 'in the metadata, wrapped by the token' : 'in the token'],
    ...lines,
    ...(progress === null ? [] : [['rewrapping', progress] as const]),
  ];
}

export function domainKeyText({ backingKeyId, standing, backingKeys }: Members): string {
  return `${backingKeyId}, ${standing}, wraps ${counted(Number(backingKeys), 'backing key')}`;
}

function describeCustomKeyStore(store: Members): string {
  const token = store['token'] as Members | undefined;
  const hasFailed = store['connectionState'] === 'FAILED';
  const code = hasFailed ? ` (${store['connectionErrorCode']})` : '';
  // Safe: the daemon says one of these of a store that has failed.
  const next = () =>
    afterFailure(String(store['customKeyStoreName']), store['connectionErrorCode'] as ConnectionErrorCode);
  return facts([
    ['custom key store', `${store['customKeyStoreName']} (${store['customKeyStoreId']})`],
    ['state', `${store['connectionState']}${code}`],
    ['HSM', `${store['clusterId']} (${store['hsm'] ?? 'not in the configuration'})`],
    ['hosts', token === undefined ? null : hostsText(token)],
    ['last failure', (token?.['lastFailure'] ?? null) as string | null],
    ...(hasFailed ? [['next', next()] as const] : []),
  ]);
}
