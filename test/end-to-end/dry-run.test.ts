/** DryRun: it says whether the request would succeed, and otherwise what the request itself would be told. */

import { beforeAll, expect, test } from 'vitest';
import { keyArn, rootArn, unknownKeyId } from './support/arns.ts';
import { describeDaemon, newKey, present } from './support/daemon.ts';
import { examples, newSubject, onWire } from './support/examples.ts';
import { deny, policy, rootMayAll } from './support/policies.ts';
import { accessDenied, dryRunSucceeded, incorrectKey, invalidCiphertext, keyNotFound } from './support/refusals.ts';
import { call, errorIn } from './support/wire.ts';

const base64 = (bytes: Uint8Array): string => Buffer.from(bytes).toString('base64');
const EncryptionContext = { a: 'b' };
const plaintext = base64(Buffer.from('x'));

describeDaemon('DryRun', (daemon) => {
  let open: { readonly id: string; readonly arn: string };
  let closed: { readonly id: string; readonly arn: string };
  let blob: string;
  beforeAll(async () => {
    const { kms } = daemon();
    open = await newKey(kms);
    closed = await newKey(kms);
    const encrypted = await kms.encrypt({ KeyId: open.id, Plaintext: Buffer.from('x'), EncryptionContext });
    blob = base64(present(encrypted.CiphertextBlob));
    const uses = ['Encrypt', 'Decrypt', 'ReEncrypt*', 'GenerateDataKey*'].map((action) => `kms:${action}`);
    await kms.putKeyPolicy({ KeyId: closed.id, Policy: policy(rootMayAll, deny(rootArn, uses)) });
  });

  const told = async (operation: string, body: object) => {
    const answer = await call(daemon().socket, operation, body);
    expect(answer.status).toBe(400);
    return errorIn(answer);
  };
  const rehearsed = examples.filter(({ hasDryRun, isForOtherKeys }) => hasDryRun && !isForOtherKeys);

  test.each(rehearsed)('$operation with DryRun says that it would succeed, and does nothing', async (example) => {
    const { operation, input } = example;
    const body = onWire(input(await newSubject(daemon().kms, example, policy(rootMayAll))));
    expect(await told(operation, { ...body, DryRun: true })).toEqual(dryRunSucceeded);
    expect((await call(daemon().socket, operation, { ...body, DryRun: false })).status).toBe(200);
  });

  test.each(rehearsed)('$operation with DryRun says who is not allowed', async (example) => {
    const { operation, actions, input, isOnGrant } = example;
    const document = policy(rootMayAll, deny(rootArn, actions));
    const subject = await newSubject(daemon().kms, example, document);
    const [permission = ''] = actions.map((action) => action.replace('kms:', ''));
    expect(await told(operation, { ...onWire(input(subject)), DryRun: true })).toEqual(
      isOnGrant ? dryRunSucceeded : accessDenied(rootArn, permission, keyArn(subject.keyId), 'denied'),
    );
  });

  test.each(rehearsed)('$operation with DryRun says which key is not there', async (example) => {
    const { operation, input } = example;
    const subject = { ...(await newSubject(daemon().kms, example, policy(rootMayAll))), keyId: unknownKeyId };
    expect(await told(operation, { ...onWire(input(subject)), DryRun: true })).toEqual(
      keyNotFound(keyArn(unknownKeyId)),
    );
  });

  test('a dry run finds what is wrong with a request before it says that it would succeed', async () => {
    const DryRun = true;
    expect((await told('Encrypt', { KeyId: open.id, Plaintext: '', DryRun })).name).toBe('ValidationException');
    expect((await told('GenerateDataKey', { KeyId: open.id, DryRun })).name).toBe('ValidationException');
    expect(
      (await told('Encrypt', { KeyId: open.id, Plaintext: plaintext, EncryptionAlgorithm: 'RSAES_OAEP_SHA_1', DryRun }))
        .name,
    ).toBe('InvalidKeyUsageException');
    expect((await told('Encrypt', { KeyId: open.id, Plaintext: plaintext, GrantTokens: ['none'], DryRun })).name).toBe(
      'InvalidGrantTokenException',
    );
    expect(await told('Decrypt', { KeyId: closed.id, CiphertextBlob: blob, EncryptionContext, DryRun })).toEqual(
      incorrectKey,
    );
    expect(await told('Decrypt', { CiphertextBlob: plaintext, DryRun })).toEqual(invalidCiphertext);
    expect(await told('Decrypt', { CiphertextBlob: blob, EncryptionContext: { a: 'c' }, DryRun })).toEqual(
      invalidCiphertext,
    );
    expect(await told('ReEncrypt', { CiphertextBlob: blob, DestinationKeyId: open.id, DryRun })).toEqual(
      invalidCiphertext,
    );
  });

  test('with IGNORE_CIPHERTEXT only the permission is looked at, and the key must be named', async () => {
    const modified = { DryRun: true, DryRunModifiers: ['IGNORE_CIPHERTEXT'] };
    expect(await told('Decrypt', { KeyId: open.id, ...modified })).toEqual(dryRunSucceeded);
    expect(await told('Decrypt', { KeyId: open.arn, CiphertextBlob: plaintext, ...modified })).toEqual(dryRunSucceeded);
    expect(await told('Decrypt', { KeyId: closed.id, ...modified })).toEqual(
      accessDenied(rootArn, 'Decrypt', closed.arn, 'denied'),
    );
    expect((await told('Decrypt', modified)).name).toBe('ValidationException');
    const reEncrypt = { SourceKeyId: open.id, DestinationKeyId: open.id, ...modified };
    expect(await told('ReEncrypt', reEncrypt)).toEqual(dryRunSucceeded);
    expect(await told('ReEncrypt', { ...reEncrypt, SourceKeyId: closed.id })).toEqual(
      accessDenied(rootArn, 'ReEncryptFrom', closed.arn, 'denied'),
    );
    expect(await told('ReEncrypt', { ...reEncrypt, DestinationKeyId: closed.id })).toEqual(
      accessDenied(rootArn, 'ReEncryptTo', closed.arn, 'denied'),
    );
    expect((await told('ReEncrypt', { DestinationKeyId: open.id, ...modified })).name).toBe('ValidationException');
  });

  test('a ciphertext can be left out of dry runs alone, and of those that say so', async () => {
    expect((await told('Decrypt', { KeyId: open.id, DryRun: true })).name).toBe('ValidationException');
    expect((await told('Decrypt', { KeyId: open.id })).name).toBe('ValidationException');
    expect((await told('Decrypt', { KeyId: open.id, DryRunModifiers: ['IGNORE_CIPHERTEXT'] })).name).toBe(
      'ValidationException',
    );
    const unknown = await told('Decrypt', { KeyId: open.id, DryRun: true, DryRunModifiers: ['IGNORE_POLICY'] });
    expect(unknown.name).toBe('ValidationException');
    expect(unknown.message).toContain('IGNORE_CIPHERTEXT');
  });
});
