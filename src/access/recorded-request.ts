/**
 * From an event of the audit log back to the request that it is about, as far as permissions depend on it.
 *
 * The record names members as CloudTrail does (`keyId`) and leaves out bytes and tokens; a ciphertext that named the key
 * is replaced by the key that it named. A text that was cut on record cannot be asked about again.
 */

import type { RecordedEvent } from '../audit/read-audit-log.ts';
import { parseAccessKeyId } from '../kms/names.ts';
import { findOperation } from '../operations/find-operation.ts';

export interface RequestOnRecord {
  readonly operation: string;
  readonly members: Readonly<Record<string, unknown>>;
  readonly principal: string;
  readonly proof: ProofOnRecord;
  readonly transport: 'unix' | 'tcp' | 'tls';
  /** `unix`, or an IP address. */
  readonly source: string;
  readonly userAgent: string | null;
  readonly resources: readonly string[];
  readonly time: string;
  readonly sequence: number;
  /** What was decided at the time. */
  readonly allowed: boolean;
  /** The record was too long, and was cut. */
  readonly isCut: boolean;
}

/** How it was proven who called, as far as the record tells. */
export type ProofOnRecord =
  /** By the kernel, on the Unix socket. */
  | { readonly kind: 'unix'; readonly uid: number | undefined }
  /** By short-lived credentials, which are issued to a Unix user. Records of earlier versions do not say to whom. */
  | { readonly kind: 'issued'; readonly uid: number | undefined; readonly issuedAt: string | undefined }
  /** By a session of a role; `uid`: of whoever assumed it, if he was vouched for by the kernel. */
  | {
      readonly kind: 'session';
      readonly uid: number | undefined;
      readonly issuedAt: string | undefined;
      readonly hasPolicy: boolean;
    }
  /** By an access key, which is of a principal and of no Unix user. */
  | { readonly kind: 'accessKey' };

type Members = Readonly<Record<string, unknown>>;

/** `undefined` for an event without a decision: no operation, or one that failed before. */
export function readRequest(event: RecordedEvent): RequestOnRecord | undefined {
  const { decision } = (event['additionalEventData'] ?? {}) as { decision?: Members };
  const { arn } = (event['userIdentity'] ?? {}) as Members;
  if (event['eventSource'] !== 'kms.amazonaws.com' || typeof decision?.['allowed'] !== 'boolean') return undefined;
  if (typeof arn !== 'string') return undefined;
  const parameters = (event['requestParameters'] ?? {}) as Members;
  const resources = ((event['resources'] ?? []) as Members[]).map(({ ARN }) => String(ARN));
  const text = JSON.stringify(parameters);
  return {
    operation: event.eventName,
    members: { ...keysThatBytesName(event.eventName, resources), ...wireMembers(parameters) },
    principal: arn,
    proof: proofOf(event),
    transport: transportOf(event),
    source: String(event['sourceIPAddress']),
    userAgent: typeof event['userAgent'] === 'string' ? event['userAgent'] : null,
    resources,
    time: event.eventTime,
    sequence: event.drawbridge.sequence,
    allowed: decision['allowed'],
    isCut: /…\[cut \d+ characters\]|"notRecorded":"too long"|\[not recorded|\[more members cut\]| more cut\]/.test(
      text,
    ),
  };
}

function transportOf(event: RecordedEvent): RequestOnRecord['transport'] {
  if (event['sourceIPAddress'] === 'unix') return 'unix';
  return event['tlsDetails'] === undefined ? 'tcp' : 'tls';
}

function proofOf(event: RecordedEvent): ProofOnRecord {
  const { accessKeyId } = (event['userIdentity'] ?? {}) as Members;
  const { unixPeer, credentialsIssuedTo, roleSession } = (event['additionalEventData'] ?? {}) as Readonly<
    Record<string, Members>
  >;
  if (event['sourceIPAddress'] === 'unix') return { kind: 'unix', uid: uidOf(unixPeer) };
  if (roleSession !== undefined) {
    const { sessionContext } = (event['userIdentity'] ?? {}) as { sessionContext?: { attributes?: Members } };
    const since = sessionContext?.attributes?.['creationDate'];
    return {
      kind: 'session',
      uid: uidOf(credentialsIssuedTo),
      issuedAt: typeof since === 'string' ? since : undefined,
      hasPolicy: roleSession['hasPolicy'] !== false,
    };
  }
  if (parseAccessKeyId(String(accessKeyId)) !== undefined) return { kind: 'accessKey' };
  const issuedAt = credentialsIssuedTo?.['issuedAt'];
  return {
    kind: 'issued',
    uid: uidOf(credentialsIssuedTo),
    issuedAt: typeof issuedAt === 'string' ? issuedAt : undefined,
  };
}

function uidOf(peer: Members | undefined): number | undefined {
  const uid = peer?.['uid'];
  return typeof uid === 'number' ? uid : undefined;
}

/** The key where a ciphertext or a grant's token named it: the first resource on record, under the member's own name. */
function keysThatBytesName(operationName: string, [first]: readonly string[]): Members {
  if (first === undefined) return {};
  const needs = Object.values(findOperation(operationName)?.needs.keys ?? {});
  const [member] = needs.flatMap(({ orByCiphertext, retires }) => orByCiphertext ?? (retires ? 'KeyId' : []));
  return member === undefined ? {} : { [member]: first };
}

/** Members whose own members are named as on the wire; the names of an encryption context are the caller's. */
const structures = new Set(['Constraints', 'Tags']);

function wireMembers(recorded: Members): Members {
  return Object.fromEntries(
    Object.entries(recorded).map(([name, value]) => {
      const wireName = wireNameOf(name);
      if (structures.has(wireName)) return [wireName, wireStructure(value)];
      // Times are seconds on the wire, and on record what JSON makes of them.
      return [wireName, wireName === 'ValidTo' && typeof value === 'string' ? Date.parse(value) / 1000 : value];
    }),
  );
}

function wireStructure(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(wireStructure);
  if (typeof value !== 'object' || value === null) return value;
  return Object.fromEntries(Object.entries(value).map(([name, member]) => [wireNameOf(name), member]));
}

function wireNameOf(name: string): string {
  return name.charAt(0).toUpperCase() + name.slice(1);
}
