/** Many callers at once: every answer belongs to its request, and the record is complete. */

import { randomBytes } from 'node:crypto';
import { beforeAll, expect, test } from 'vitest';
import { keyArn, unknownKeyId } from './support/arns.ts';
import { auditLines } from './support/audit-trail.ts';
import { describeDaemon, newKey, present } from './support/daemon.ts';
import { incorrectKey, invalidCiphertext, keyNotFound, refusal } from './support/refusals.ts';

const callers = 64;
const operationsPerCaller = 30;

describeDaemon('64 callers at once', (daemon) => {
  const keys: { readonly id: string; readonly arn: string }[] = [];
  beforeAll(async () => {
    for (let count = 0; count < 4; count += 1) keys.push(await newKey(daemon().kms));
  });

  test('every one of a random mix of operations gets its own right answer', async () => {
    const { instance, kms } = daemon();
    const before = auditLines(instance.dir).length;
    let requests = 0;
    const count = <T>(answer: Promise<T>): Promise<T> => {
      requests += 1;
      return answer;
    };
    const pick = <T>(items: readonly T[]): T => present(items[Math.floor(Math.random() * items.length)]);

    const roundTrip = async (caller: number): Promise<void> => {
      const key = pick(keys);
      const Plaintext = randomBytes(1 + Math.floor(Math.random() * 4096));
      const EncryptionContext = { caller: String(caller), nonce: randomBytes(8).toString('hex') };
      const made = await count(kms.encrypt({ KeyId: key.id, Plaintext, EncryptionContext }));
      expect(made.KeyId).toBe(key.arn);
      const CiphertextBlob = present(made.CiphertextBlob);
      const opened = await count(kms.decrypt({ CiphertextBlob, EncryptionContext }));
      expect(opened.KeyId).toBe(key.arn);
      expect(Buffer.from(present(opened.Plaintext)).equals(Plaintext)).toBe(true);
    };
    const wrongContext = async (caller: number): Promise<void> => {
      const key = pick(keys);
      const EncryptionContext = { caller: String(caller) };
      const made = await count(kms.encrypt({ KeyId: key.id, Plaintext: Buffer.from('x'), EncryptionContext }));
      const wrong = { CiphertextBlob: present(made.CiphertextBlob), EncryptionContext: { caller: 'somebody else' } };
      expect(await refusal(count(kms.decrypt(wrong)))).toEqual(invalidCiphertext);
    };
    const wrongKey = async (): Promise<void> => {
      const [right, wrong] = [present(keys[0]), present(keys[1])];
      const made = await count(kms.encrypt({ KeyId: right.id, Plaintext: Buffer.from('x') }));
      const told = await refusal(count(kms.decrypt({ CiphertextBlob: present(made.CiphertextBlob), KeyId: wrong.id })));
      expect(told).toEqual(incorrectKey);
    };
    const dataKey = async (): Promise<void> => {
      const NumberOfBytes = 1 + Math.floor(Math.random() * 1024);
      const made = await count(kms.generateDataKey({ KeyId: pick(keys).id, NumberOfBytes }));
      const opened = await count(kms.decrypt({ CiphertextBlob: present(made.CiphertextBlob) }));
      expect(Buffer.from(present(opened.Plaintext)).equals(Buffer.from(present(made.Plaintext)))).toBe(true);
    };
    const moved = async (): Promise<void> => {
      const Plaintext = randomBytes(64);
      const made = await count(kms.encrypt({ KeyId: pick(keys).id, Plaintext }));
      const destination = pick(keys);
      const again = await count(
        kms.reEncrypt({ CiphertextBlob: present(made.CiphertextBlob), DestinationKeyId: destination.id }),
      );
      const opened = await count(kms.decrypt({ CiphertextBlob: present(again.CiphertextBlob), KeyId: destination.id }));
      expect(Buffer.from(present(opened.Plaintext)).equals(Plaintext)).toBe(true);
    };
    const random = async (): Promise<void> => {
      const NumberOfBytes = 1 + Math.floor(Math.random() * 1024);
      expect(present((await count(kms.generateRandom({ NumberOfBytes }))).Plaintext)).toHaveLength(NumberOfBytes);
    };
    const described = async (): Promise<void> => {
      const key = pick(keys);
      expect((await count(kms.describeKey({ KeyId: key.arn }))).KeyMetadata?.KeyId).toBe(key.id);
    };
    const nowhere = async (): Promise<void> => {
      expect(await refusal(count(kms.describeKey({ KeyId: unknownKeyId })))).toEqual(keyNotFound(keyArn(unknownKeyId)));
    };
    const alias = async (caller: number): Promise<void> => {
      const AliasName = `alias/caller-${caller}-${randomBytes(6).toString('hex')}`;
      const [first, second] = [pick(keys), pick(keys)];
      await count(kms.createAlias({ AliasName, TargetKeyId: first.id }));
      expect((await count(kms.describeKey({ KeyId: AliasName }))).KeyMetadata?.KeyId).toBe(first.id);
      await count(kms.updateAlias({ AliasName, TargetKeyId: second.id }));
      expect((await count(kms.describeKey({ KeyId: AliasName }))).KeyMetadata?.KeyId).toBe(second.id);
      await count(kms.deleteAlias({ AliasName }));
      expect((await refusal(count(kms.describeKey({ KeyId: AliasName })))).name).toBe('NotFoundException');
    };
    const created = async (caller: number): Promise<void> => {
      const Description = `of caller ${caller}`;
      const { KeyMetadata } = await count(kms.createKey({ Description }));
      const KeyId = present(KeyMetadata?.KeyId);
      expect((await count(kms.describeKey({ KeyId }))).KeyMetadata?.Description).toBe(Description);
    };
    // As often as they stand here: keys are made seldom, as in life.
    const mix = [
      roundTrip,
      roundTrip,
      roundTrip,
      dataKey,
      dataKey,
      moved,
      random,
      described,
      described,
      wrongContext,
      wrongKey,
      nowhere,
      alias,
    ];

    await Promise.all(
      Array.from({ length: callers }, async (_, caller) => {
        if (caller % 8 === 0) await created(caller);
        for (let done = 0; done < operationsPerCaller; done += 1) await pick(mix)(caller);
      }),
    );

    const events = auditLines(instance.dir).slice(before);
    expect(events).toHaveLength(requests);
    expect(new Set(events.map((event) => event.requestID)).size).toBe(requests);
  });
});
