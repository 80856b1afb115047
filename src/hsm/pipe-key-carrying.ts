/** Keys of a domain on their way, by calls to HSM hosts: `key-carrying.ts` kept. */

import type { CallDispatcher } from './call-dispatcher.ts';
import { keyId, u32 } from './call-fields.ts';
import type { CarriedKeyOutline } from './calls.ts';
import type { KeyCarrying } from './key-carrying.ts';
import * as replies from './replies.ts';

type Requests = { [Name in keyof KeyCarrying]: Parameters<KeyCarrying[Name]>[0] };

export class PipeKeyCarrying implements KeyCarrying {
  readonly #dispatcher: Pick<CallDispatcher, 'call'>;

  constructor(dispatcher: Pick<CallDispatcher, 'call'>) {
    this.#dispatcher = dispatcher;
  }

  async generateJoiningPair({ backingKeyId, label, padding }: Requests['generateJoiningPair']): Promise<Buffer> {
    const fields = [keyId(backingKeyId), Buffer.from(label), Buffer.from(padding)];
    return await this.#dispatcher.call('generateJoiningPair', fields, ([spki]) => replies.publicKey(spki));
  }

  async give({ backingKeyId, publicKey, trustedKeyId, padding }: Requests['give']): Promise<Buffer> {
    const fields = [keyId(backingKeyId), publicKey, keyId(trustedKeyId), Buffer.from(padding)];
    return await this.#dispatcher.call('giveKey', fields, ([wrapped]) => replies.carriedKey(wrapped));
  }

  async receive({ key, joiningKeyId, wrapped, padding, keep }: Requests['receive']): Promise<void> {
    const outline: CarriedKeyOutline = { ...key, proof: key.proof.toString('base64') };
    const fields = [
      ...[keyId(joiningKeyId), Buffer.from(JSON.stringify(outline)), wrapped],
      ...[Buffer.from(padding), u32(keep ? 1 : 0)],
    ];
    await this.#dispatcher.call('receiveKey', fields, replies.nothing);
  }
}
