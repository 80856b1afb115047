/**
 * The contract of the audit log: what is recorded of a request, and the promise that it is.
 *
 * An `AuditEvent` is the whole allow-list of what may be recorded: there is no member for a plaintext or a ciphertext,
 * and the log writes these members and no others. The log adds sequence number, time and chain.
 *
 * Source: AWS CloudTrail user guide, "CloudTrail record contents"; developer guide, "Logging KMS API calls".
 */

import type { Payer } from '../kms/payer.ts';
import type { StatementEvent, StoreMark } from './statements.ts';

interface UnixPeerOnRecord {
  readonly uid: number;
  readonly gid: number;
  readonly pid: number;
}

export interface AuditEvent {
  readonly requestId: string;
  /** The id of the event, where somebody has to know it beforehand; absent: the log gives it one. */
  readonly eventId?: string | undefined;
  /** Milliseconds since the epoch, when the request arrived. */
  readonly receivedAtMs: number;
  /** The operation's name, or what the caller asked for instead, cut to 64 characters. */
  readonly eventName: string;
  /** The service that was asked, as CloudTrail names it; absent: `kms.amazonaws.com`. */
  readonly eventSource?: string;
  /** The Region that was asked: one log is that of all. */
  readonly awsRegion: string;
  readonly readOnly: boolean;
  readonly identity: {
    readonly type: 'Root' | 'IAMUser' | 'AssumedRole' | 'Unknown';
    /** The unique id. */
    readonly principalId: string;
    readonly arn: string;
    readonly accountId: string;
    readonly userName?: string;
    readonly accessKeyId?: string;
    /** The service that did it for whoever this is, in another Region than the one that was asked. */
    readonly invokedBy?: string;
    /** What the kernel said about the peer of a Unix socket. */
    readonly unix?: UnixPeerOnRecord;
    /** Of a caller with short-lived credentials: what the kernel said of whom they were issued to, and when that was. */
    readonly issuedTo?: UnixPeerOnRecord & { readonly issuedAtMs?: number };
    /** Of a session of a role. */
    readonly session?: SessionOnRecord;
    /** Of a caller over TLS. */
    readonly tls?: { readonly tlsVersion: string; readonly cipherSuite: string };
  };
  /** An IP address, or `unix`. */
  readonly sourceIPAddress: string;
  /** Cut to 256 characters. */
  readonly userAgent: string | null;
  /** The request members that the operation declares as recordable (never blobs): `keyId`, `encryptionContext`, `keySpec`, … */
  readonly requestParameters: Readonly<Record<string, unknown>> | null;
  /** Members of the answer that the operation declares as recordable. */
  readonly responseElements: Readonly<Record<string, unknown>> | null;
  /** ARNs of the KMS keys that the request resolved to. */
  readonly resources: readonly string[];
  readonly errorCode: string | null;
  /** The text that the caller got. */
  readonly errorMessage: string | null;
  /** Which statement of which document allowed or refused; the caller is not told. */
  readonly decision: { readonly allowed: boolean; readonly because: string } | null;
  /** Of a refusal: from here on those of its kind are counted, and have no events of their own. */
  readonly counting?: CountedKind;
  /** Of a request that was to change something and whose intent is on record: what became of it. */
  readonly intent?: ClosedIntent | undefined;
  /** What the event is about and the request does not say, as CloudTrail calls it in `additionalEventData`. */
  readonly annotations?: Readonly<Record<string, string>> | undefined;
}

/** A session of a role, as far as it is known. */
export interface SessionOnRecord {
  readonly role: { readonly arn: string; readonly principalId: string };
  /** Of one that AssumeRole gave. */
  readonly assumed?: {
    readonly issuedAtMs?: number | undefined;
    /** Who assumed the role, or the first of a chain. */
    readonly by: string;
    readonly sourceIdentity?: string;
    /** Had it a policy of its own? The AssumeRole event with the same access key has it. */
    readonly hasPolicy: boolean;
  };
}

/** What refusals that are counted have in common. */
export interface CountedKind {
  readonly payer: string;
  /** `other`: whatever has no kind of its own any more. */
  readonly eventName: string;
  readonly errorCode: string;
  /** The ARN of the KMS key, where there is one. */
  readonly key?: string;
}

/**
 * A change that is about to be made, on record before it takes effect. The event that closes it names its id: that of the
 * request (`AuditEvent.intent`), or an `OutcomeEvent`.
 */
export interface IntentEvent {
  /** A UUID; the change carries it into the metadata. */
  readonly intentId: string;
  /** Milliseconds since the epoch. */
  readonly eventAtMs: number;
  readonly accountId: string;
  /** The request that it is made for; `null` for what the daemon does of its own accord. */
  readonly request: {
    readonly requestId: string;
    readonly operationName: string;
    readonly awsRegion: string;
    readonly identity: AuditEvent['identity'];
  } | null;
  readonly changes: readonly IntendedChange[];
}

/** One record that is put, or removed as it was. What of it is no plain value (bytes, sealed secrets) is never written. */
export type IntendedChange =
  | { readonly put: string; readonly record: object }
  | { readonly remove: string; readonly record: object };

/** `not done`: the change had no effect. */
export type IntentOutcome = 'done' | 'not done';

export interface ClosedIntent {
  readonly intentId: string;
  readonly outcome: IntentOutcome;
  /** Of the metadata once it was done, where that is known. */
  readonly epoch?: number | undefined;
}

/** Closes an intent that no request's event closes. */
export interface OutcomeEvent extends ClosedIntent {
  /** Milliseconds since the epoch. */
  readonly eventAtMs: number;
  readonly accountId: string;
  /** How it is known, where it was not seen to happen. */
  readonly because: string | null;
}

/** An intent as its line states it. */
export interface StatedIntent {
  readonly intentId: string;
  readonly changes: readonly {
    readonly put?: string;
    readonly remove?: string;
    readonly record: Readonly<Record<string, unknown>>;
  }[];
}

/** What a log, as far as it was read, says of changes. */
export interface ChangesOnRecord {
  /** Whether this intent is on record. */
  has(intentId: string): boolean;
  /** The metadata as it stood last; `null` where nothing was said. */
  readonly store: StoreMark | null;
  /** Those without an outcome, in the order in which they were announced. */
  readonly open: readonly StatedIntent[];
  /** The last one, and what is on record of its outcome. Of no other can it be unknown whether it took effect. */
  readonly last: { readonly intent: StatedIntent; readonly outcome: ClosedIntent['outcome'] | null } | null;
}

/** Whatever can be put on record. */
export type RecordableEvent = AuditEvent | ServiceEvent | IntentEvent | OutcomeEvent | StatementEvent;

/** What the daemon did of its own accord: a service event of CloudTrail's. Nobody asked for it, and nobody is answered. */
export interface ServiceEvent {
  /** Milliseconds since the epoch. */
  readonly eventAtMs: number;
  /** `DeleteKey`, `RotateKey`, `DeleteExpiredKeyMaterial`; of our own `AuditCountedRefusals`. */
  readonly eventName: string;
  /** Absent: `kms.amazonaws.com`. */
  readonly eventSource?: 'drawbridge';
  readonly awsRegion: string;
  readonly accountId: string;
  /** ARNs of the KMS keys that it is about. */
  readonly resources: readonly string[];
  readonly additionalEventData?: Readonly<Record<string, unknown>>;
  /** `keyId`, and what AWS tells beside it. */
  readonly serviceEventDetails: Readonly<Record<string, unknown>>;
}

/** How sure the log must be before an answer may go out. `written` survives the daemon's death, `synced` a power cut. */
export type Durability = 'written' | 'synced';

/**
 * What a line is for, and so what of the queue and of the disk it may have (`queue-shares.ts`, `reserved-space.ts`):
 *
 *   - `request`: whatever changes nothing. It waits in its payer's share of the queue, and leaves alone what of the disk is
 *     kept for others.
 *   - `look`: the same for what only reads; operators may use the kept part of the disk for it.
 *   - `change`: what is on record before a change takes effect. A part of the queue is kept for these.
 *   - `revocation`: the same for a change that takes permissions away: a part of the disk is kept for these, all of it for
 *     changes of operators.
 *   - `owed`: what has happened already. It is taken whenever it can be written at all.
 */
export type LinePurpose = 'request' | 'look' | 'change' | 'revocation' | 'owed';

/** On whose account a line is written. */
export interface LineAccount {
  /** Absent: the daemon itself. */
  readonly payer?: Payer;
  /** The account's root, or the daemon's own user. */
  readonly isOperator?: boolean;
  readonly purpose: LinePurpose;
}

/** What the daemon writes of its own accord tells of what has happened. */
export const ownAccount: LineAccount = { purpose: 'owed' };

/** The end of the chain at some moment, with how long the file was. Whoever noted it can tell later that the log still has it. */
export interface AuditHead {
  readonly sequence: number;
  /** Of the last record, in hexadecimal. */
  readonly hash: string;
  /** Up to and with the line feed of the last record. */
  readonly bytes: number;
}

export interface AuditLog {
  /**
   * Appends the event and resolves when it is as durable as asked (or as `audit.sync: always` asks). Rejects when it
   * cannot be recorded; then no answer may leave.
   * @param account Absent: `ownAccount`.
   */
  append(event: RecordableEvent, durability: Durability, account?: LineAccount): Promise<void>;
  /** Why events of everybody cannot be recorded now, as far as is known; `null` when they can. */
  failure(): string | null;
  /**
   * Why nothing should be begun now that would have to go on record on this account; `null` when it will find its place, with a
   * line before it and a line after it.
   */
  obstacle(account: LineAccount): string | null;
  /** What it said of changes when it was opened, as far as its end was read. */
  changesAtOpening(): ChangesOnRecord;
  /**
   * Whether the log still has a head which was noted of it; `false` where an operator has accepted that it has not.
   * @throws AuditError `damaged`, with the place, when nobody has.
   */
  holds(noted: AuditHead): boolean;
  /** Where the chain stands: for `status`. */
  head(): { readonly sequence: number; readonly hash: string };
  /** The last record that is known to be on disk; after `close()`, the last one. */
  syncedHead(): AuditHead;
  /** Waits for everything appended, syncs, and closes. */
  close(): Promise<void>;
}
