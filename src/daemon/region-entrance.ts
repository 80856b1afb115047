/**
 * Between the listeners of a Region and what is behind them: closed, until the keys of the Region are there.
 *
 * Listeners may be there before (`daemon.ts` says when): they are given an entrance, which hands on whatever comes. While it is closed,
 * requests are refused, on record, as what may be retried; health and status tell what is waited for, and no signature verifies,
 * because access keys are records too.
 */

import type { AuditLog } from '../audit/audit-log.ts';
import type { HttpServerOptions } from '../http/server.ts';
import type { StatusSource } from '../http/status-routes.ts';
import type { FindSigningKey } from '../identity/signing-key.ts';
import type { Logger } from '../kms/logger.ts';
import { closedService, notOpenYet } from '../pipeline/closed-service.ts';
import { type Shares, shareFairly } from '../pipeline/fair-shares.ts';
import type { Intents } from '../pipeline/intents.ts';
import type { RefusalRecords } from '../pipeline/refusal-records.ts';

/** What listeners hand to. */
export interface RegionHandlers
  extends Pick<
    HttpServerOptions,
    | 'service'
    | 'status'
    | 'credentials'
    | 'keyStores'
    | 'upkeep'
    | 'backup'
    | 'census'
    | 'domains'
    | 'moves'
    | 'access'
    | 'roles'
  > {
  readonly findKey: FindSigningKey;
}

export interface RegionEntrance {
  readonly handlers: RegionHandlers;
  /** From now on everything is handed on to these. */
  open(handlers: RegionHandlers): void;
}

export function regionEntrance(closed: RegionHandlers): RegionEntrance {
  let now = closed;
  const handlers: RegionHandlers = {
    service: {
      run: (request) => now.service.run(request),
      refuse: (origin, error) => now.service.refuse(origin, error),
      act: (act, perform) => now.service.act(act, perform),
    },
    status: {
      health: () => now.status.health(),
      report: (caller) => now.status.report(caller),
      key: (...asked) => now.status.key(...asked),
    },
    credentials: {
      createAccessKey: (principal, by) => now.credentials.createAccessKey(principal, by),
      accessKeys: () => now.credentials.accessKeys(),
      revokeAccessKey: (accessKeyId, by) => now.credentials.revokeAccessKey(accessKeyId, by),
      issueCredentials: (peer, lifetimeSeconds) => now.credentials.issueCredentials(peer, lifetimeSeconds),
    },
    keyStores: { reconnect: (name, member) => now.keyStores.reconnect(name, member) },
    upkeep: { list: () => now.upkeep.list(), confirm: (...words) => now.upkeep.confirm(...words) },
    backup: {
      make: () => now.backup.make(),
      read: (id, offset, bytes) => now.backup.read(id, offset, bytes),
      end: (id) => now.backup.end(id),
    },
    census: { part: (after) => now.census.part(after), orphans: () => now.census.orphans() },
    domains: {
      rotate: (name) => now.domains.rotate(name),
      retire: (name) => now.domains.retire(name),
      invite: (name) => now.domains.invite(name),
      accept: (name, asked) => now.domains.accept(name, asked),
      beginRotation: (name, choices) => now.domains.beginRotation(name, choices),
      finishRotation: (name, domainKeyId) => now.domains.finishRotation(name, domainKeyId),
    },
    moves: { part: (request, by) => now.moves.part(request, by) },
    access: {
      explain: (...asked) => now.access.explain(...asked),
      whoCan: (...asked) => now.access.whoCan(...asked),
      simulate: (...asked) => now.access.simulate(...asked),
    },
    roles: { assumeRole: (...asked) => now.roles.assumeRole(...asked) },
    findKey: (accessKeyId, sessionToken) => now.findKey(accessKeyId, sessionToken),
  };
  return {
    handlers,
    open(opened) {
      now = opened;
    },
  };
}

export interface ClosedRegionParts {
  readonly region: string;
  readonly status: Pick<StatusSource, 'health' | 'report'>;
  readonly audit: AuditLog;
  readonly intents: Intents;
  readonly refusals: RefusalRecords;
  readonly shares: Shares;
  readonly log: Logger;
}

/** What there is before there are keys: the service refuses whatever would come to the others. */
export function closedRegion({ status, shares, ...parts }: ClosedRegionParts): RegionHandlers {
  const refuse = (): never => {
    throw notOpenYet();
  };
  return {
    service: shareFairly(closedService(parts), shares),
    status: { ...status, key: refuse },
    credentials: {
      createAccessKey: refuse,
      accessKeys: refuse,
      revokeAccessKey: refuse,
      issueCredentials: refuse,
    },
    keyStores: { reconnect: refuse },
    upkeep: { list: refuse, confirm: refuse },
    backup: { make: refuse, read: refuse, end: refuse },
    census: { part: refuse, orphans: refuse },
    domains: {
      rotate: refuse,
      retire: refuse,
      invite: refuse,
      accept: refuse,
      beginRotation: refuse,
      finishRotation: refuse,
    },
    moves: { part: refuse },
    access: { explain: refuse, whoCan: refuse, simulate: refuse },
    roles: { assumeRole: refuse },
    findKey: refuse,
  };
}
