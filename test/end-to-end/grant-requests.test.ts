/** What requests about grants say, what is refused of it, and what the lists of grants show. */

import { randomBytes } from 'node:crypto';
import type { CreateGrantRequest, ListGrantsResponse } from '@aws-sdk/client-kms';
import { beforeAll, expect, test } from 'vitest';
import { account, rootArn, unixUserArn, unknownKeyId } from './support/arns.ts';
import { describeDaemon, newKey, present } from './support/daemon.ts';
import { type GrantTerms, grantNotFound, invalidGrantId, invalidToken, newGrant } from './support/grants.ts';
import { aliasesNotSupported, dryRunSucceeded, heard, invalid, problem, refusal, refused } from './support/refusals.ts';

const nobody = unixUserArn('nobody');
const daemonUser = unixUserArn('daemon');
const Plaintext = Buffer.from('granted');
const unknownGrantId = '0'.repeat(64);

describeDaemon('Requests about grants', (daemon) => {
  const grant = (keyId: string, terms: GrantTerms) => newGrant(daemon().kms, keyId, terms);
  const newBlob = async (keyId: string, EncryptionContext?: Record<string, string>): Promise<Uint8Array> =>
    present((await daemon().kms.encrypt({ KeyId: keyId, Plaintext, EncryptionContext })).CiphertextBlob);

  test('a name makes a repeated request the same grant, with a token of its own; without one each makes another', async () => {
    const { kms } = daemon();
    const key = await newKey(kms);
    const request = {
      KeyId: key.id,
      GranteePrincipal: nobody,
      Operations: ['Encrypt', 'Decrypt'],
      Constraints: { EncryptionContextSubset: { a: '1', b: '2' } },
      Name: 'backup',
    } satisfies CreateGrantRequest;
    const first = await kms.createGrant(request);
    const second = await kms.createGrant({
      ...request,
      KeyId: key.arn,
      Operations: ['Decrypt', 'Encrypt', 'Decrypt'],
      Constraints: { EncryptionContextSubset: { b: '2', a: '1' } },
    });
    expect(second.GrantId).toBe(first.GrantId);
    expect(second.GrantToken).not.toBe(first.GrantToken);
    const others = await Promise.all([
      kms.createGrant({ ...request, Operations: ['Encrypt'] }),
      kms.createGrant({ ...request, GranteePrincipal: daemonUser }),
      kms.createGrant({ ...request, RetiringPrincipal: daemonUser }),
      kms.createGrant({ ...request, Constraints: { EncryptionContextEquals: { a: '1', b: '2' } } }),
      kms.createGrant({ ...request, Name: 'Backup' }),
      kms.createGrant({ ...request, Name: undefined }),
      kms.createGrant({ ...request, Name: undefined }),
    ]);
    expect(new Set([first, ...others].map(({ GrantId }) => GrantId)).size).toBe(8);
    const atOnce = await Promise.all(Array.from({ length: 8 }, () => kms.createGrant({ ...request, Name: 'once' })));
    expect(new Set(atOnce.map(({ GrantId }) => GrantId)).size).toBe(1);

    await kms.retireGrant({ GrantToken: second.GrantToken });
    expect(await refusal(kms.retireGrant({ GrantToken: first.GrantToken }))).toEqual(invalidToken);
    expect((await kms.createGrant(request)).GrantId).not.toBe(first.GrantId);
  });

  test('a grant token that is made up, changed, of another key or of an ended grant is refused wherever one is taken', async () => {
    const { kms } = daemon();
    const key = await newKey(kms);
    const other = await newKey(kms);
    const { token } = await grant(key.id, { Operations: ['Encrypt'] });
    const elsewhere = await grant(other.id, { Operations: ['Encrypt'] });
    const ended = await grant(key.id, { Operations: ['Encrypt'] });
    await kms.revokeGrant({ KeyId: key.id, GrantId: ended.id });
    const flipped = `${token.slice(0, -1)}${token.endsWith('A') ? 'B' : 'A'}`;
    const wrong = ['x', token.slice(1), `${token}A`, flipped, randomBytes(81).toString('base64url'), ended.id];
    for (const bad of [...wrong, elsewhere.token, ended.token]) {
      const GrantTokens = [token, bad];
      expect(await refusal(kms.encrypt({ KeyId: key.id, Plaintext, GrantTokens }))).toEqual(invalidToken);
    }
    const CiphertextBlob = await newBlob(key.id);
    const GrantTokens = ['x'];
    const inputs = { KeyId: key.id, GrantTokens };
    const requests = [
      kms.decrypt({ CiphertextBlob, GrantTokens }),
      kms.describeKey(inputs),
      kms.generateDataKey({ ...inputs, KeySpec: 'AES_256' }),
      kms.generateDataKeyWithoutPlaintext({ ...inputs, KeySpec: 'AES_256' }),
      kms.reEncrypt({ CiphertextBlob, DestinationKeyId: other.id, GrantTokens }),
      kms.createGrant({ ...inputs, GranteePrincipal: nobody, Operations: ['Encrypt'] }),
      kms.retireGrant({ GrantToken: 'x' }),
    ];
    for (const request of heard(requests)) expect(await refusal(request)).toEqual(invalidToken);
    await kms.reEncrypt({ CiphertextBlob, DestinationKeyId: other.id, GrantTokens: [token, elsewhere.token] });
  });

  test('the lists of grants show each grant once, page by page, and filter', async () => {
    const { kms } = daemon();
    const keys = [await newKey(kms), await newKey(kms)] as const;
    const retiring = `arn:aws:iam::${account}:role/${randomBytes(4).toString('hex')}`;
    const made: string[] = [];
    for (let index = 0; index < 7; index++) {
      const key = keys[index % 2 === 0 ? 0 : 1];
      const GranteePrincipal = index < 4 ? nobody : rootArn;
      const { id } = await grant(key.id, {
        Operations: ['Decrypt'],
        GranteePrincipal,
        ...(index === 0 ? {} : { RetiringPrincipal: retiring }),
      });
      made.push(id);
    }
    const pages = async (send: (Marker?: string) => Promise<ListGrantsResponse>) => {
      const seen: (readonly string[])[] = [];
      for (let Marker: string | undefined; ; ) {
        const { Grants, NextMarker } = await send(Marker);
        seen.push(present(Grants).map(({ GrantId }) => present(GrantId)));
        if (NextMarker === undefined) return seen;
        Marker = NextMarker;
      }
    };
    const onFirst = [made[0], made[2], made[4], made[6]].sort();
    const seen = await pages((Marker) => kms.listGrants({ KeyId: keys[0].id, Limit: 3, Marker }));
    expect(seen.map((page) => page.length)).toEqual([3, 1]);
    expect(seen.flat()).toEqual(onFirst);
    const retirable = await pages((Marker) =>
      kms.listRetirableGrants({ RetiringPrincipal: retiring, Limit: 4, Marker }),
    );
    expect(retirable.flat()).toEqual(made.slice(1).sort());

    const list = async (filter: object) =>
      present((await kms.listGrants({ KeyId: keys[0].id, ...filter })).Grants).map(({ GrantId }) => GrantId);
    expect(await list({ GranteePrincipal: nobody })).toEqual([made[0], made[2]].sort());
    expect(await list({ GrantId: made[4] })).toEqual([made[4]]);
    expect(await list({ GrantId: made[4], GranteePrincipal: nobody })).toEqual([]);
    expect(await list({ GrantId: made[1] })).toEqual([]);
    const [first] = present((await kms.listGrants({ KeyId: keys[0].id, GrantId: made[2] })).Grants);
    expect(first).toEqual({
      KeyId: keys[0].arn,
      GrantId: made[2],
      Name: '',
      CreationDate: expect.any(Date),
      GranteePrincipal: nobody,
      RetiringPrincipal: retiring,
      IssuingAccount: rootArn,
      Operations: ['Decrypt'],
    });
    const { NextMarker } = await kms.listGrants({ KeyId: keys[0].id, Limit: 1 });
    expect(await refusal(kms.listGrants({ KeyId: keys[1].id, Marker: NextMarker }))).toEqual(
      refused('InvalidMarkerException', 'Could not deserialize marker'),
    );
  });

  test('a grant to an AWS service needs a resource and somebody to retire it, and is listed as what it is', async () => {
    const { kms } = daemon();
    const key = await newKey(kms);
    const service = 'dynamodb.us-east-1.amazonaws.com';
    const SourceArn = `arn:aws:dynamodb:us-east-1:${account}:table/ExampleTable`;
    const request = {
      KeyId: key.id,
      GranteeServicePrincipal: service,
      RetiringServicePrincipal: service,
      Operations: ['Encrypt'],
      Constraints: { SourceArn, EncryptionContextSubset: { a: 'b' } },
    } satisfies CreateGrantRequest;
    await kms.createGrant(request);
    expect((await kms.listGrants({ KeyId: key.id })).Grants).toMatchObject([
      { GranteeServicePrincipal: service, RetiringServicePrincipal: service, Constraints: request.Constraints },
    ]);
    expect(await refusal(kms.createGrant({ ...request, Constraints: {} }))).toEqual(
      refused(
        'ValidationException',
        'A SourceArn grant constraint is required when GranteeServicePrincipal is specified.',
      ),
    );
    expect(await refusal(kms.createGrant({ ...request, RetiringServicePrincipal: undefined }))).toEqual(
      refused(
        'ValidationException',
        'RetiringPrincipal or RetiringServicePrincipal is required when GranteeServicePrincipal is specified.',
      ),
    );
    const onlyServices = (member: string) =>
      refused('AccessDeniedException', `${member} can be used only by callers in a service principal.`);
    expect(await refusal(kms.listGrants({ KeyId: key.id, GranteeServicePrincipal: service }))).toEqual(
      onlyServices('GranteeServicePrincipal'),
    );
    expect(await refusal(kms.listRetirableGrants({ RetiringServicePrincipal: service }))).toEqual(
      onlyServices('RetiringServicePrincipal'),
    );
  });

  let refusing: { readonly id: string };
  beforeAll(async () => {
    refusing = await newKey(daemon().kms);
  });
  const arnRefused = (arn: string) => refused('InvalidArnException', `ARN does not refer to a valid principal: ${arn}`);
  const pairs = (count: number) => Object.fromEntries(Array.from({ length: count }, (_, index) => [`${index}`, 'x']));
  const either = (role: string) =>
    refused('ValidationException', `You can specify either ${role}Principal or ${role}ServicePrincipal, but not both.`);
  test.each<[string, object, { name: string; message: string }]>([
    [
      'no grantee',
      { GranteePrincipal: undefined },
      refused('ValidationException', 'You must specify either GranteePrincipal or GranteeServicePrincipal.'),
    ],
    ['two grantees', { GranteeServicePrincipal: 's3.amazonaws.com' }, either('Grantee')],
    ['two retirers', { RetiringPrincipal: rootArn, RetiringServicePrincipal: 's3.amazonaws.com' }, either('Retiring')],
    ['a grantee that is no ARN', { GranteePrincipal: 'nobody' }, arnRefused('nobody')],
    ['an ARN of a key as grantee', { GranteePrincipal: 'arn:aws:kms:::key/x' }, arnRefused('arn:aws:kms:::key/x')],
    ['a retirer that is no principal', { RetiringPrincipal: 'arn:aws:iam::1:root' }, arnRefused('arn:aws:iam::1:root')],
    [
      'a grantee with a wildcard',
      { GranteePrincipal: `arn:aws:iam::${account}:user/*` },
      invalid(
        `Value 'arn:aws:iam::${account}:user/*' at 'granteePrincipal' failed to satisfy constraint: Member must satisfy regular expression pattern: ^[\\w+=,.@:/-]+$`,
      ),
    ],
    [
      'operations that the key does not have',
      { Operations: ['Encrypt', 'Sign', 'GetPublicKey', 'GenerateMac'] },
      refused(
        'ValidationException',
        'Operations [Sign, GetPublicKey, GenerateMac] are not valid for a KMS key with key spec SYMMETRIC_DEFAULT and key usage ENCRYPT_DECRYPT.',
      ),
    ],
    ['no operations', { Operations: undefined }, invalid(problem.missing('operations'))],
    [
      'both constraints on the context',
      { Constraints: { EncryptionContextEquals: {}, EncryptionContextSubset: {} } },
      refused(
        'ValidationException',
        'You can specify either EncryptionContextEquals or EncryptionContextSubset, but not both.',
      ),
    ],
    [
      'nine pairs',
      { Constraints: { EncryptionContextSubset: pairs(9) } },
      refused('LimitExceededException', 'A grant constraint can have at most 8 encryption context pairs.'),
    ],
    [
      'a long value',
      { Constraints: { EncryptionContextEquals: { a: 'x'.repeat(385) } } },
      refused(
        'LimitExceededException',
        'An encryption context value in a grant constraint can have at most 384 characters.',
      ),
    ],
    [
      'a source that is no ARN',
      { Constraints: { SourceArn: 'dynamodb:table/ExampleTable' } },
      refused('InvalidArnException', 'dynamodb:table/ExampleTable is not a valid ARN'),
    ],
    ['an alias', { KeyId: 'alias/x' }, aliasesNotSupported],
    ['a long name', { Name: 'n'.repeat(257) }, invalid(problem.tooLong('n'.repeat(257), 'name', 256))],
  ])('CreateGrant refuses %s, in a dry run too', async (_, wrong, expected) => {
    const { kms } = daemon();
    const { id } = refusing;
    // The types of the SDK would not let some of these through.
    const request = { KeyId: id, GranteePrincipal: nobody, Operations: ['Encrypt'], ...wrong } as CreateGrantRequest;
    expect(await refusal(kms.createGrant(request))).toEqual(expected);
    expect(await refusal(kms.createGrant({ ...request, DryRun: true }))).toEqual(expected);
    expect((await kms.listGrants({ KeyId: id })).Grants).toEqual([]);
  });

  test('limits are taken to the last: eight pairs, 384 characters', async () => {
    const key = await newKey(daemon().kms);
    const constraint = { ...pairs(7), a: 'x'.repeat(384) };
    await grant(key.id, { Operations: ['Encrypt'], Constraints: { EncryptionContextSubset: constraint } });
    const { Grants } = await daemon().kms.listGrants({ KeyId: key.id });
    expect(present(Grants)[0]?.Constraints).toEqual({ EncryptionContextSubset: constraint });
  });

  test('RevokeGrant and RetireGrant say what is wrong with what names the grant', async () => {
    const { kms } = daemon();
    const key = await newKey(kms);
    const other = await newKey(kms);
    const { id, token } = await grant(key.id, { Operations: ['Encrypt'] });
    const oneWay = refused(
      'ValidationException',
      'You must specify either GrantToken, or both KeyId and GrantId, to identify the grant.',
    );
    expect(await refusal(kms.revokeGrant({ KeyId: key.id, GrantId: 'x' }))).toEqual(invalidGrantId);
    expect(await refusal(kms.revokeGrant({ KeyId: key.id, GrantId: unknownGrantId }))).toEqual(
      grantNotFound(unknownGrantId),
    );
    expect(await refusal(kms.revokeGrant({ KeyId: other.id, GrantId: id }))).toEqual(grantNotFound(id));
    expect(await refusal(kms.revokeGrant({ KeyId: key.id, GrantId: id, DryRun: true }))).toEqual(dryRunSucceeded);
    expect(await refusal(kms.retireGrant({ KeyId: other.id, GrantId: id }))).toEqual(grantNotFound(id));
    expect(await refusal(kms.retireGrant({ KeyId: key.id, GrantId: 'x' }))).toEqual(invalidGrantId);
    expect((await refusal(kms.retireGrant({ KeyId: unknownKeyId, GrantId: id }))).name).toBe('NotFoundException');
    for (const wrong of [{}, { GrantId: id }, { KeyId: key.id }, { GrantToken: token, KeyId: key.id }]) {
      expect(await refusal(kms.retireGrant(wrong))).toEqual(oneWay);
    }
    expect((await kms.listGrants({ KeyId: key.id })).Grants).toHaveLength(1);
  });

  test('a dry run of CreateGrant makes nothing and says that it would', async () => {
    const { kms } = daemon();
    const key = await newKey(kms);
    const request = { KeyId: key.id, GranteePrincipal: nobody, Operations: ['Encrypt' as const], DryRun: true };
    expect(await refusal(kms.createGrant(request))).toEqual(dryRunSucceeded);
    expect((await kms.listGrants({ KeyId: key.id })).Grants).toEqual([]);
  });
});
