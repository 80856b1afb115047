/** A request that the front serves, from its head until its answer is written; and its place in the row of its connection. */

import type { Socket } from 'node:net';
import type { Payer } from '../../kms/payer.ts';
import { newUuid } from '../../kms/uuids.ts';
import type { RequestOrigin } from '../../pipeline/service.ts';
import { passingSecretMemory, secretMemory } from '../../secrets/secret-memory.ts';
import type { HeadReader } from './request-head.ts';

export class FrontRequest implements RequestOrigin {
  readonly requestId = newUuid();
  readonly receivedAtMs = Date.now();
  readonly sourceIPAddress: string;
  readonly userAgent: string | null;
  payer: Payer;
  readonly operationName: string;
  /** In memory of its own. Whoever runs the request wipes it. */
  readonly body: Buffer;
  /** As Node.js has them; where nobody is proven by them, empty. */
  readonly rawHeaders: string[];
  readonly socket: Socket;
  readonly method = 'POST';
  readonly url = '/';
  /** Began behind this one. */
  next: FrontRequest | undefined;
  /** Once there is one; empty where nobody can have it any more. */
  answer: string | undefined;
  /** Behind its answer the connection ends. */
  closes = false;
  /** What it counts on its connection and its payer was given back. */
  hasEnded = false;

  /** @param isWhole Has the body arrived with the head? One that is waited for must not keep the memory of others. */
  constructor(
    head: HeadReader,
    isWhole: boolean,
    socket: Socket,
    from: { readonly payer: Payer; readonly source: string },
  ) {
    this.sourceIPAddress = from.source;
    this.userAgent = head.userAgent;
    this.payer = from.payer;
    this.operationName = head.operationName;
    this.rawHeaders = head.rawHeaders;
    this.socket = socket;
    this.body = isWhole ? passingSecretMemory(head.bodyBytes) : secretMemory(head.bodyBytes);
  }
}
