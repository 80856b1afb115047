/**
 * Every budget, with its reason: what one payer (`payer.ts`) may have at most, and all together.
 *
 * What an operator could want to set is a member under `budgets:` of `drawbridge.yaml`, called and nested as it is here;
 * `config/budgets-schema.ts` says within which bounds. Budgets take the place of nothing that protects keys: they bound
 * what somebody costs the others.
 */

export interface Budgets {
  readonly connections: ConnectionBudget;
  readonly exchanges: ExchangeBudget;
  readonly handshakes: HandshakeLimits;
  readonly audit: AuditBudget;
  readonly refusals: RefusalBudget;
  readonly quotas: Quotas;
  readonly memory: MemoryBudget;
  readonly log: LogBudget;
}

/** Of all listeners of a daemon together. */
export interface ConnectionBudget {
  /** Of everybody. Each costs a file descriptor, and what waits on it (see `maxBodyBytes` of `http/wire-limits.ts`). */
  readonly total: number;
  /** Of one payer: so that one cannot keep the others out. */
  readonly perPayer: number;
  /**
   * Beside `total`, for root and the daemon's own user: when others hold all connections, an operator still gets in and can
   * look and act. Nobody is refused for it.
   */
  readonly reserved: number;
  /**
   * After so long a connection ends, between two requests. The kernel says who is at the other end, and in which groups, as it
   * was when he connected: so long somebody who was taken out of a group keeps what it may do.
   */
  readonly maxAgeMs: number;
  /**
   * New connections of one payer, a second, beside as many at once as he may have: more are closed unread. Who closes them again
   * at once would else fill the kernel's queue, and keep others from connecting. Operators are not counted.
   */
  readonly newPerSecond: number;
  /** Of one user, on a Unix socket: whoever has so many closed unread in a second is kept out by the kernel for a while. */
  readonly maxRefusedPerSecond: number;
}

/** What is under way on connections: requests without an answer, and answers that were not taken. */
export interface ExchangeBudget {
  /**
   * Requests of one connection without an answer; beyond, it is not read. An AWS SDK sends one at a time; who sends without
   * waiting keeps a token busy with these.
   */
  readonly unansweredPerConnection: number;
  /** Of one payer without an answer: while he has so many, none begins on a connection that has one already. */
  readonly unansweredPerPayer: number;
  /**
   * Bytes of bodies of one payer's requests without an answer; one more is refused. Of the largest request of the cryptographic
   * operations, 6 KB, for each of his connections, and some long policies beside.
   */
  readonly requestBytesPerPayer: number;
  /**
   * Bytes of answers to one payer that wait in the daemon because nobody takes them from the kernel, which has 200 KB more for
   * each connection. His connection with the most is cut off.
   */
  readonly unreadBytesPerPayer: number;
  /**
   * Of requests that one payer has sent without waiting, so many begin in one turn of the event loop: of what costs 100 µs each,
   * others wait 6 ms.
   */
  readonly beginsPerTurn: number;
}

/** TLS handshakes that begin, on all listeners together (`http/admission/handshake-budget.ts`). Operators are not counted. */
export interface HandshakeLimits {
  /** Of everybody, at once and in the long run. */
  readonly atOnce: number;
  readonly perSecond: number;
  /** Of one payer, from a network of one address: programs behind one address translator are one. */
  readonly perPayerAtOnce: number;
  readonly perPayerPerSecond: number;
}

/** The disk of the audit log. */
export interface AuditBudget {
  /**
   * What of it is kept for changes that take permissions away, at most a sixteenth of the disk; the last half of it for root
   * and the daemon's own user (`audit/reserved-space.ts`). A change has two lines of 1 to 2 KB, and of 64 KB at most: this is
   * some thousands of changes, and the last half is 64 of the longest.
   */
  readonly reserveBytes: number;
  /**
   * Of one payer, at once and in the long run: of lines about what succeeded, what is longer than a program needs (2 KiB), and
   * the whole of those that took no permission (who am I). Ordinary lines of what was permitted are not limited but by fair
   * shares. Whoever is over it hears `ThrottlingException`.
   */
  readonly extraBytes: number;
  readonly extraBytesPerSecond: number;
}

/** Of one payer, his refused requests: at once, and in the long run (`pipeline/refusal-records.ts`). */
export interface RefusalBudget {
  /**
   * Lines of the audit log; further refusals are counted. A line has at most some 8 KB, and mostly 1: these are 5 KB a second
   * from one payer who does nothing else, and 48 KB from one who is good at it.
   */
  readonly recorded: number;
  readonly recordedPerSecond: number;
  /**
   * Requests that are looked at; when so many more were refused than succeeded, further ones are answered before anything of
   * them is parsed. Far above what a program does by mistake. One whose decision takes longer than 0.1 ms counts as so many more:
   * so what is refused has 5 % of the daemon's time in the long run.
   */
  readonly looked: number;
  readonly lookedPerSecond: number;
}

/**
 * AWS's quotas of resources. What exceeds one already stays as it is and can be used; only more is refused, with
 * `LimitExceededException`. AWS's rates of requests are not among them: rates are fair shares of what the HSM gives.
 *
 * Source: AWS KMS developer guide, "Resource quotas".
 */
export interface Quotas {
  /** KMS keys of a Region, whatever their state. */
  readonly keys: number;
  readonly aliasesPerKey: number;
  readonly grantsPerKey: number;
  /** Custom key stores of a Region. */
  readonly customKeyStores: number;
  /** Of a key policy document, in UTF-8. */
  readonly policyBytes: number;
}

/** What the service model of AWS lets a request have as a policy, and so the most that a quota can be raised to. */
export const maxDocumentBytes = 131_072;

/**
 * What one decision may compute, in steps of some 5 ns (`authorization/language/work-budget.ts`): 3 ms. A request that takes
 * more is refused. Honest ones are far from it: a thousand patterns against a value of 100 characters take some 110,000.
 */
export const maxDecisionSteps = 2 ** 19;
/**
 * What one policy may take of that for the longest values that requests can have: half, so that there is as much for identity
 * policies and grants. More is refused when it is put, and stays in force where it is in force already. These are 30 patterns
 * of the kind `*text*` for an encryption context, or 700 for a key whose values are short; what begins or ends with its only
 * star hardly counts.
 */
export const maxPolicySteps = 2 ** 18;

/**
 * Session tokens that verified and are remembered, of all users: each takes 2 KB, or 6 with 512 groups. Whoever uses more in turn has
 * two MACs computed for each request, and so have those whom he displaces.
 */
export const rememberedTokens = 1024;
/** The same of sessions of roles, of which each takes 2 KB, or 20 with the longest policy and some 200 groups. */
export const rememberedRoleSessions = 512;

/**
 * Of a request of STS's query protocol, whose form is read by whoever sends one before it is known who that is. The longest parameter
 * is a session policy, 2,048 characters, three times that where all are escaped. No action here takes
 * more than eight parameters.
 */
export const queryRequest = { maxFormBytes: 16 * 1024, maxParameters: 64 } as const;

/**
 * Of compiled policies of sessions, which come with each request: what has no room is compiled anew. Room for some hundred, of which
 * each can come to take 150 KB.
 */
export const maxSessionPolicyBytes = 16 * 1024 * 1024;

/**
 * Of the metadata's disk: with less than this the daemon says that it is unwell. A change writes some pages twice, those of the
 * longest policy included: this is some of the longest.
 */
export const metadataRoomBytes = 1024 * 1024;

/**
 * Public keys that are kept parsed, of those that were used last. One takes 4 KB of memory, and of ML-DSA-87 21: these are 22 MB
 * at most, and to parse one anew doubles what it costs to verify with it.
 */
export const maxParsedPublicKeys = 1024;

/** What records take in memory, of each Region. */
export interface MemoryBudget {
  /**
   * Compiled forms of key policies, which take up to a hundred times their documents; what has no room is compiled anew on
   * use. Room for thousands of usual policies, and for some ten of the worst.
   */
  readonly compiledPolicyBytes: number;
  /**
   * More KMS keys than this, of all Regions together, are read when they are asked for, and of each Region so many of those that are
   * asked for again and again are kept in memory. One takes some 4 KB, and to read one anew costs some 100 µs.
   */
  readonly keysInMemory: number;
  /**
   * Where keys are read when they are asked for: what those that were read may take, packed, so that they are neither read nor verified
   * again. One takes some 250 bytes.
   */
  readonly packedKeyBytes: number;
  /**
   * Keys, their policies and tags, aliases and grants, a sixty-fourth of it for operators alone: more is refused. 100,000 plain
   * keys take 360 MiB, and as many grants 330. It has to fit into what the process has (`--max-old-space-size`) with half as much again.
   */
  readonly recordBytes: number;
  /** What one payer may add to it until the daemon is started anew: as many plain keys as the quota has, and half of all. */
  readonly recordBytesPerPayer: number;
}

/** Lines on stderr, which have 16 KiB at most and mostly 1 (`daemon/summed-log.ts`). What is more is counted. */
export interface LogBudget {
  /**
   * Of one kind about what one payer does. There are some ten kinds that clients can bring about, so that one of them writes
   * some 2 KB a second at most.
   */
  readonly linesPerMinute: number;
  /** Of one kind about what the daemon does itself. */
  readonly ownLinesPerMinute: number;
  /** So many kinds and payers are counted apart, a minute; the others are one number. */
  readonly kinds: number;
}

export const defaultBudgets: Budgets = {
  connections: {
    total: 2048,
    perPayer: 1024,
    reserved: 64,
    // The shortest session of a role that AWS grants; a connection for each of them costs nothing that could be measured.
    maxAgeMs: 900_000,
    // More than programs that make a connection for each request come to; some tenth of what the daemon can accept.
    newPerSecond: 500,
    // A sixteenth of the kernel's queue.
    maxRefusedPerSecond: 256,
  },
  exchanges: {
    unansweredPerConnection: 32,
    unansweredPerPayer: 1024,
    requestBytesPerPayer: 16 * 1024 * 1024,
    unreadBytesPerPayer: 16 * 1024 * 1024,
    beginsPerTurn: 64,
  },
  // One takes 1.3 ms of the processor with a P-256 certificate (measured, TLS 1.2 and 1.3): these are a quarter of a core, and a
  // twentieth of one for each payer.
  handshakes: {
    atOnce: 800,
    perSecond: 200,
    perPayerAtOnce: 200,
    perPayerPerSecond: 40,
  },
  audit: {
    reserveBytes: 16 * 1024 * 1024,
    extraBytes: 16 * 1024 * 1024,
    extraBytesPerSecond: 256 * 1024,
  },
  refusals: {
    recorded: 500,
    recordedPerSecond: 5,
    looked: 10_000,
    lookedPerSecond: 500,
  },
  quotas: {
    keys: 100_000,
    aliasesPerKey: 50,
    grantsPerKey: 50_000,
    customKeyStores: 10,
    policyBytes: 32_768,
  },
  memory: {
    compiledPolicyBytes: 64 * 1024 * 1024,
    keysInMemory: 20_000,
    packedKeyBytes: 512 * 1024 * 1024,
    recordBytes: 1024 * 1024 * 1024,
    recordBytesPerPayer: 512 * 1024 * 1024,
  },
  log: {
    linesPerMinute: 10,
    // All backing keys that are named at a start, and some more.
    ownLinesPerMinute: 200,
    kinds: 256,
  },
};
