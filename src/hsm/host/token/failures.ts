/**
 * Why the host cannot do what a call asks, in the words of the pipe (`calls.ts`).
 *
 * The message is for operators and crosses the pipe: names of PKCS#11 functions and values, tokens and libraries; never
 * a PIN, a handle or bytes of a key or plaintext.
 */

import { replyCodes } from '../../calls.ts';

export type FailureName = Exclude<keyof typeof replyCodes, 'success'>;

export class HostFailure extends Error {
  override readonly name = 'HostFailure';
  readonly failure: FailureName;

  constructor(failure: FailureName, message: string, options?: ErrorOptions) {
    super(message, options);
    this.failure = failure;
  }

  /** The code of the reply that carries this failure. */
  get replyCode(): number {
    return replyCodes[this.failure];
  }

  /** Is there nothing left for this host to do? Then it ends once the reply is written. */
  get endsHost(): boolean {
    return this.replyCode >= replyCodes.tokenGone;
  }
}
