/** Errors as the command line shows them: one sentence without a stack, the outer cause first, then what to do. */

/** The command line was understood by the parser, but cannot mean anything. Exit code 2. */
export class UsageError extends Error {
  override readonly name = 'UsageError';
}

/** The daemon refused: an error of the KMS API, by AWS's name. */
export class ApiError extends Error {
  override readonly name = 'ApiError';
  /** `NotFoundException`, … */
  readonly type: string;
  readonly requestId: string | null;

  constructor(type: string, message: string, requestId: string | null) {
    super(message);
    this.type = type;
    this.requestId = requestId;
  }
}

export function describeError(error: unknown): string {
  if (error instanceof ApiError) {
    // AWS says nothing but the name where an operation is not for such a key.
    const message = error.message === '' ? '' : `: ${error.message}`;
    return `${error.type}${message}${error.requestId === null ? '' : ` (request ${error.requestId})`}`;
  }
  if (error instanceof Error) return error.message;
  return String(error);
}
