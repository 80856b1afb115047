/**
 * Proves who sends a signed request, in this order: the signature is complete and current, the key that it names is
 * found, the signature is this key's, and it was not taken before.
 *
 * Nothing is remembered of a request whose signature does not hold, so nobody without a secret takes up memory.
 */

import type { Caller, TlsFacts } from './caller.ts';
import { payerOfPeer } from './payer-of-caller.ts';
import { ReplayMemory } from './replay-memory.ts';
import type { FindSigningKey, SigningKey } from './signing-key.ts';
import {
  assertSignature,
  readSignature,
  replayed,
  type ServiceName,
  type SignatureClaim,
  type SignedRequestParts,
  unrecognized,
} from './sigv4.ts';

export interface RequestVerifierOptions {
  /** That are served: a signature is for one of them. */
  readonly regions: readonly string[];
  readonly findKey: FindSigningKey;
  readonly clock: () => number;
}

/** How a request came. */
type Way = Pick<SignedRequestParts, 'sourceIp' | 'tls'>;

interface LastCaller extends Way {
  readonly caller: Caller;
  readonly accessKeyId: string;
  readonly region: string;
}

/** One of all listeners: what was taken by one of them is not taken again by another. */
export class RequestVerifier {
  readonly #options: RequestVerifierOptions;
  readonly #replays: ReplayMemory;
  readonly #lastCallers = new WeakMap<SigningKey, LastCaller>();

  constructor(options: RequestVerifierOptions) {
    this.#options = options;
    this.#replays = new ReplayMemory(options.clock());
  }

  /**
   * A promise only when the key has to be fetched.
   * @throws KmsError (or rejects with one) when the request does not prove who sends it.
   */
  verify(request: SignedRequestParts, service: ServiceName): Caller | Promise<Caller> {
    const { regions, findKey, clock } = this.#options;
    const claim = readSignature(request, service, new Date(clock()), regions);
    const key = findKey(claim.accessKeyId, claim.sessionToken);
    if (key instanceof Promise) return key.then((found) => this.#prove(claim, found, request));
    return this.#prove(claim, key, request);
  }

  #prove(claim: SignatureClaim, key: SigningKey | undefined, way: Way): Caller {
    if (key === undefined) throw unrecognized();
    const { accessKeyId, signedAtMs, scope } = claim;
    const signature = assertSignature(claim, key.keys);
    const session = key.session === undefined ? undefined : accessKeyId;
    const taken = { signer: signerOf(key, accessKeyId), session, signature, signedAtMs };
    if (!this.#replays.admit(taken, this.#options.clock())) throw replayed(claim);
    return this.#callerOf(key, { accessKeyId, region: scope.region }, way);
  }

  /** Mostly whoever it was the last time: what is known of a caller (`pipeline/request-event.ts`) need not be found out again. */
  #callerOf(
    key: SigningKey,
    { accessKeyId, region }: Pick<LastCaller, 'accessKeyId' | 'region'>,
    { sourceIp, tls }: Way,
  ): Caller {
    const last = this.#lastCallers.get(key);
    const isSameKey = last?.accessKeyId === accessKeyId && last.region === region;
    if (isSameKey && last.sourceIp === sourceIp && isSameTls(last.tls, tls)) return last.caller;
    const { isRevoked } = key;
    const way = tls === undefined ? { sourceIp } : { sourceIp, tls };
    const issuedTo = key.issuedTo === undefined ? {} : { issuedTo: key.issuedTo };
    const session = key.session === undefined ? {} : { session: key.session };
    const refusal = isRevoked && { refusal: () => (isRevoked() ? unrecognized() : undefined) };
    const caller: Caller = {
      ...key.caller,
      proof: { kind: 'sigv4', accessKeyId, region, ...way, ...issuedTo, ...session, ...refusal },
    };
    this.#lastCallers.set(key, { caller, accessKeyId, region, sourceIp, tls });
    return caller;
  }
}

function isSameTls(one: TlsFacts | undefined, other: TlsFacts | undefined): boolean {
  return one?.tlsVersion === other?.tlsVersion && one?.cipherSuite === other?.cipherSuite;
}

/**
 * By whom signatures are counted: all that a Unix user signs with credentials that he was issued is his, or his container's, as he pays
 * (`payer-of-caller.ts`). All sessions of one role that were assumed by him, or with one access key, are one more: there are as many as
 * the configuration has roles, and who was given a session has no part in what the key itself signs.
 */
export function signerOf(
  { issuedTo, session, caller }: Pick<SigningKey, 'issuedTo' | 'session'> & { readonly caller: Pick<Caller, 'role'> },
  accessKeyId: string,
): string {
  const holder = issuedTo === undefined ? (session?.accessKeyId ?? accessKeyId) : payerOfPeer(issuedTo);
  return session === undefined ? holder : `${holder} in ${caller.role ?? accessKeyId}`;
}
