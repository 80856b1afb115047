/**
 * Proves who sends a signed request, in this order: the signature is complete and current, the key that it names is
 * found, the signature is this key's, and it was not taken before.
 *
 * Nothing is remembered of a request whose signature does not hold, so nobody without a secret takes up memory.
 */

import type { Realm } from '../kms/names.ts';
import type { Caller, TlsFacts } from './caller.ts';
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
  readonly realm: Realm;
  readonly findKey: FindSigningKey;
  readonly clock: () => number;
}

/** One of all listeners of a Region: what was taken by one of them is not taken again by another. */
export class RequestVerifier {
  readonly #options: RequestVerifierOptions;
  readonly #replays: ReplayMemory;

  constructor(options: RequestVerifierOptions) {
    this.#options = options;
    this.#replays = new ReplayMemory(options.clock());
  }

  /**
   * A promise only when the key has to be fetched.
   * @throws KmsError (or rejects with one) when the request does not prove who sends it.
   */
  verify(request: SignedRequestParts, service: ServiceName): Caller | Promise<Caller> {
    const { realm, findKey, clock } = this.#options;
    const claim = readSignature(request, service, new Date(clock()), realm);
    const key = findKey(claim.accessKeyId, claim.sessionToken);
    const { sourceIp, tls } = request;
    const way = tls === undefined ? { sourceIp } : { sourceIp, tls };
    if (key instanceof Promise) return key.then((found) => this.#prove(claim, found, way));
    return this.#prove(claim, key, way);
  }

  #prove(
    claim: SignatureClaim,
    key: SigningKey | undefined,
    way: { readonly sourceIp: string; readonly tls?: TlsFacts },
  ): Caller {
    if (key === undefined) throw unrecognized();
    const { accessKeyId, signedAtMs } = claim;
    let signature: Buffer;
    try {
      signature = assertSignature(claim, key.secret);
    } finally {
      if (key.issuedTo !== undefined) key.secret.wipe();
    }
    const taken = { signer: signerOf(key, accessKeyId), signature, signedAtMs };
    if (!this.#replays.admit(taken, this.#options.clock())) throw replayed(claim);
    const { isRevoked } = key;
    const issuedTo = key.issuedTo === undefined ? {} : { issuedTo: key.issuedTo };
    const refusal = isRevoked && { refusal: () => (isRevoked() ? unrecognized() : undefined) };
    return { ...key.caller, proof: { kind: 'sigv4', accessKeyId, ...way, ...issuedTo, ...refusal } };
  }
}

/** By whom signatures are counted: all that a Unix user signs with credentials that he was issued is his. */
export function signerOf({ issuedTo }: Pick<SigningKey, 'issuedTo'>, accessKeyId: string): string {
  return issuedTo === undefined ? accessKeyId : `uid ${issuedTo.uid}`;
}
