/**
 * The contract of the audit log: what is recorded of a request, and the promise that it is.
 *
 * An `AuditEvent` is the whole allow-list of what may be recorded: there is no member for a plaintext or a ciphertext,
 * and the log writes these members and no others. The log adds sequence number, time and chain.
 *
 * Source: AWS CloudTrail user guide, "CloudTrail record contents"; developer guide, "Logging KMS API calls".
 */

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
    /** What the kernel said about the peer of a Unix socket. */
    readonly unix?: UnixPeerOnRecord;
    /** Of a caller with short-lived credentials: what the kernel said of whom they were issued to, and when that was. */
    readonly issuedTo?: UnixPeerOnRecord & { readonly issuedAtMs?: number };
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
}

/** What the daemon did of its own accord: a service event of CloudTrail's. Nobody asked for it, and nobody is answered. */
export interface ServiceEvent {
  /** Milliseconds since the epoch. */
  readonly eventAtMs: number;
  /** `DeleteKey`, `RotateKey`, `DeleteExpiredKeyMaterial`. */
  readonly eventName: string;
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

export interface AuditLog {
  /**
   * Appends the event and resolves when it is as durable as asked (or as `audit.sync: always` asks). Rejects when it
   * cannot be recorded; then no answer may leave.
   */
  append(event: AuditEvent | ServiceEvent, durability: Durability): Promise<void>;
  /** Why events cannot be recorded now, as far as the last attempt told; `null` when they can. */
  failure(): string | null;
  /** Why no change should be begun now, though its event may come through: as `failure`, or for want of room on the disk. */
  obstacle(): Promise<string | null>;
  /** Where the chain stands: for `status`. */
  head(): { readonly sequence: number; readonly hash: string };
  /** Waits for everything appended, syncs, and closes. */
  close(): Promise<void>;
}
