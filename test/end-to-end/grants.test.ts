/** Grants: what they allow other Unix users, what they never allow, and how they begin and end. */

import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { account, unixUserArn } from './support/arns.ts';
import { auditLines } from './support/audit-trail.ts';
import { bootTimeoutMs, describeDaemon, newKey, newKeyOf, present } from './support/daemon.ts';
import { type GrantTerms, grantNotFound, invalidToken, newGrant } from './support/grants.ts';
import { deny, policy, rootMayAll } from './support/policies.ts';
import {
  accessDenied,
  deniedByCiphertext,
  dryRunSucceeded,
  identityDenied,
  refusal,
  refused,
} from './support/refusals.ts';
import type { Reply } from './support/unix-client.ts';
import { runsAsRoot, sayIfNotRoot, UnixClient, unixUsers } from './support/unix-users.ts';

const nobody = unixUserArn('nobody');
const daemonUser = unixUserArn('daemon');
const wwwData = unixUserArn('www-data');
const Plaintext = Buffer.from('granted');
const no = (expected: { name: string; message: string }) => ({ ok: false, ...expected });

function outputOf(reply: Reply): Readonly<Record<string, unknown>> {
  if (!reply.ok) throw new Error(`${reply.name}: ${reply.message}`);
  return reply.output;
}

sayIfNotRoot('Grants to Unix users');
describe.skipIf(!runsAsRoot)('Grants', () => {
  describeDaemon('to Unix users', (daemon) => {
    const clients: Record<'nobody' | 'daemon' | 'www-data', UnixClient> = Object.create(null);
    beforeAll(async () => {
      for (const name of ['nobody', 'daemon', 'www-data'] as const) {
        clients[name] = await UnixClient.start(daemon().socket, unixUsers[name]);
      }
    }, bootTimeoutMs);
    afterAll(async () => {
      for (const client of Object.values(clients)) await client.stop();
    });

    const grant = (keyId: string, terms: GrantTerms) => newGrant(daemon().kms, keyId, terms);
    const newBlob = async (keyId: string, EncryptionContext?: Record<string, string>): Promise<Uint8Array> =>
      present((await daemon().kms.encrypt({ KeyId: keyId, Plaintext, EncryptionContext })).CiphertextBlob);

    test('a grantee may do what the grant names, on that key, from its creation to its end, and nothing else', async () => {
      const key = await newKey(daemon().kms);
      const other = await newKey(daemon().kms);
      const encrypt = { KeyId: key.id, Plaintext };
      expect(await clients.nobody.send('Encrypt', encrypt)).toEqual(no(identityDenied(nobody, 'Encrypt', key.arn)));
      const { id, token } = await grant(key.id, { Operations: ['Encrypt', 'DescribeKey'] });
      expect(id).toMatch(/^[0-9a-f]{64}$/);
      expect(await clients.nobody.send('Encrypt', { ...encrypt, GrantTokens: [token] })).toMatchObject({ ok: true });
      const blob = outputOf(await clients.nobody.send('Encrypt', encrypt))['CiphertextBlob'];
      expect(await clients.nobody.send('DescribeKey', { KeyId: key.arn })).toMatchObject({ ok: true });

      expect(await clients.nobody.send('Decrypt', { CiphertextBlob: blob })).toEqual(
        no(deniedByCiphertext(nobody, 'Decrypt', 'identity policies')),
      );
      expect(await clients.nobody.send('Encrypt', { ...encrypt, KeyId: other.id })).toEqual(
        no(identityDenied(nobody, 'Encrypt', other.arn)),
      );
      expect(await clients.nobody.send('CreateGrant', { ...encrypt, Operations: ['Encrypt'] })).toMatchObject(
        no({ name: 'AccessDeniedException', message: expect.stringContaining('kms:CreateGrant') }),
      );
      expect(await clients.daemon.send('Encrypt', { ...encrypt, GrantTokens: [token] })).toEqual(
        no(identityDenied(daemonUser, 'Encrypt', key.arn)),
      );

      await daemon().kms.revokeGrant({ KeyId: key.id, GrantId: id });
      expect(await clients.nobody.send('Encrypt', encrypt)).toEqual(no(identityDenied(nobody, 'Encrypt', key.arn)));
      expect(await refusal(daemon().kms.revokeGrant({ KeyId: key.id, GrantId: id }))).toEqual(grantNotFound(id));
    });

    test('an explicit deny of the key policy beats a grant, before and after it was made', async () => {
      const document = policy(rootMayAll, deny(nobody, 'kms:Decrypt'));
      const key = await newKey(daemon().kms, document);
      await grant(key.id, { Operations: ['Encrypt', 'Decrypt'] });
      const blob = outputOf(await clients.nobody.send('Encrypt', { KeyId: key.id, Plaintext }))['CiphertextBlob'];
      expect(await clients.nobody.send('Decrypt', { CiphertextBlob: blob })).toEqual(
        no(deniedByCiphertext(nobody, 'Decrypt', 'key policy')),
      );
      await daemon().kms.putKeyPolicy({ KeyId: key.id, Policy: policy(rootMayAll, deny('*', 'kms:Encrypt')) });
      expect(await clients.nobody.send('Encrypt', { KeyId: key.id, Plaintext })).toEqual(
        no(accessDenied(nobody, 'Encrypt', key.arn, 'denied')),
      );
      expect(await clients.nobody.send('Decrypt', { CiphertextBlob: blob })).toMatchObject({ ok: true });
    });

    const department = { department: 'IT' };
    const constrainedKeys = new Map<string, ReturnType<typeof newKey>>();
    /** One key for each constraint, with a grant that has it. */
    function keyGrantedWith(constraint: string): ReturnType<typeof newKey> {
      const make = async () => {
        const key = await newKey(daemon().kms);
        await grant(key.id, {
          Operations: ['Encrypt', 'Decrypt', 'GenerateDataKey', 'ReEncryptFrom', 'ReEncryptTo', 'DescribeKey'],
          Constraints: { [constraint]: department },
        });
        return key;
      };
      const key = constrainedKeys.get(constraint) ?? make();
      constrainedKeys.set(constraint, key);
      return key;
    }
    test.each([
      ['EncryptionContextEquals', department, true],
      ['EncryptionContextEquals', undefined, false],
      ['EncryptionContextEquals', { department: 'HR' }, false],
      ['EncryptionContextEquals', { Department: 'IT' }, true],
      ['EncryptionContextEquals', { department: 'it' }, false],
      ['EncryptionContextEquals', { ...department, Department: 'IT' }, false],
      ['EncryptionContextEquals', { ...department, purpose: 'test' }, false],
      ['EncryptionContextSubset', department, true],
      ['EncryptionContextSubset', { ...department, purpose: 'test' }, true],
      ['EncryptionContextSubset', { DEPARTMENT: 'IT', purpose: 'test' }, true],
      ['EncryptionContextSubset', { ...department, Department: 'HR' }, false],
      ['EncryptionContextSubset', { purpose: 'IT' }, false],
      ['EncryptionContextSubset', undefined, false],
    ] as const)('a grant with %s {department: IT} meets the context %j: %s', async (constraint, context, isAllowed) => {
      const key = await keyGrantedWith(constraint);
      const CiphertextBlob = await newBlob(key.id, context);
      const requests: readonly [string, string, object][] = [
        ['Encrypt', 'Encrypt', { KeyId: key.id, Plaintext, EncryptionContext: context }],
        ['Decrypt', 'Decrypt', { KeyId: key.id, CiphertextBlob, EncryptionContext: context }],
        ['GenerateDataKey', 'GenerateDataKey', { KeyId: key.id, KeySpec: 'AES_256', EncryptionContext: context }],
        [
          'ReEncrypt',
          'ReEncryptFrom',
          {
            SourceKeyId: key.id,
            CiphertextBlob,
            DestinationKeyId: key.id,
            SourceEncryptionContext: context,
            DestinationEncryptionContext: department,
          },
        ],
        [
          'ReEncrypt',
          'ReEncryptTo',
          {
            CiphertextBlob: await newBlob(key.id, department),
            DestinationKeyId: key.id,
            SourceEncryptionContext: department,
            DestinationEncryptionContext: context,
          },
        ],
      ];
      for (const [operation, action, input] of requests) {
        expect(await clients.nobody.send(operation, input)).toMatchObject(
          isAllowed ? { ok: true } : no(identityDenied(nobody, action, key.arn)),
        );
      }
      expect(await clients.nobody.send('DescribeKey', { KeyId: key.id })).toMatchObject({ ok: true });
    });

    test('grants on keys of other kinds allow what these keys are for, operation by operation', async () => {
      const Message = Buffer.from('message');
      const MacAlgorithm = 'HMAC_SHA_256';
      const SigningAlgorithm = 'ECDSA_SHA_256';
      const hmac = await newKeyOf(daemon().kms, 'HMAC_256', 'GENERATE_VERIFY_MAC');
      const pair = await newKeyOf(daemon().kms, 'ECC_NIST_P256', 'SIGN_VERIFY');
      const { Mac } = await daemon().kms.generateMac({ KeyId: hmac.id, Message, MacAlgorithm });
      const { Signature } = await daemon().kms.sign({ KeyId: pair.id, Message, SigningAlgorithm });
      const requests = [
        [hmac, 'GenerateMac', { Message, MacAlgorithm }],
        [hmac, 'VerifyMac', { Message, MacAlgorithm, Mac }],
        [pair, 'Sign', { Message, SigningAlgorithm }],
        [pair, 'Verify', { Message, SigningAlgorithm, Signature }],
        [pair, 'GetPublicKey', {}],
      ] as const;
      for (const [key, operation, input] of requests) {
        const send = () => clients.nobody.send(operation, { KeyId: key.id, ...input });
        expect(await send()).toEqual(no(identityDenied(nobody, operation, key.arn)));
        const { id } = await grant(key.id, { Operations: [operation] });
        expect(await send()).toMatchObject({ ok: true });
        await daemon().kms.revokeGrant({ KeyId: key.id, GrantId: id });
        expect(await send()).toEqual(no(identityDenied(nobody, operation, key.arn)));
      }
      const constrained = { Operations: ['Sign' as const], Constraints: { EncryptionContextSubset: department } };
      expect(await refusal(grant(pair.id, constrained))).toEqual(
        refused(
          'ValidationException',
          'Encryption context grant constraints are valid only for symmetric encryption KMS keys.',
        ),
      );
    });

    test('a grant that is bound to a resource of an AWS service allows nobody here anything but to retire it', async () => {
      const key = await newKey(daemon().kms);
      const SourceArn = `arn:aws:dynamodb:us-east-1:${account}:table/ExampleTable`;
      const { id } = await grant(key.id, {
        Operations: ['Encrypt', 'DescribeKey', 'RetireGrant'],
        Constraints: { SourceArn },
      });
      for (const [operation, input] of [
        ['Encrypt', { KeyId: key.id, Plaintext }],
        ['DescribeKey', { KeyId: key.id }],
      ] as const) {
        expect(await clients.nobody.send(operation, input)).toEqual(no(identityDenied(nobody, operation, key.arn)));
      }
      expect(await clients.nobody.send('RetireGrant', { KeyId: key.id, GrantId: id })).toMatchObject({ ok: true });
    });

    test('a grantee with CreateGrant hands on some or all of what he has, as strictly or more so, and no more', async () => {
      const key = await newKey(daemon().kms);
      await grant(key.id, {
        Operations: ['CreateGrant', 'Encrypt', 'Decrypt'],
        Constraints: { EncryptionContextSubset: department },
      });
      const create = (terms: object) =>
        clients.nobody.send('CreateGrant', { KeyId: key.id, GranteePrincipal: daemonUser, ...terms });
      const refusedRequests: readonly object[] = [
        { Operations: ['Encrypt'] },
        { Operations: ['Encrypt'], Constraints: {} },
        { Operations: ['Encrypt'], Constraints: { EncryptionContextSubset: { department: 'HR' } } },
        { Operations: ['Encrypt'], Constraints: { EncryptionContextEquals: { purpose: 'test' } } },
        { Operations: ['Encrypt', 'GenerateDataKey'], Constraints: { EncryptionContextSubset: department } },
        { Operations: ['DescribeKey'], Constraints: { EncryptionContextSubset: department } },
        { Operations: ['RetireGrant'], Constraints: { EncryptionContextEquals: department } },
      ];
      for (const terms of refusedRequests) {
        expect(await create(terms)).toEqual(no(identityDenied(nobody, 'CreateGrant', key.arn)));
      }
      expect((await daemon().kms.listGrants({ KeyId: key.id })).Grants).toHaveLength(1);

      const Constraints = { EncryptionContextSubset: { ...department, purpose: 'test' } };
      expect(await create({ Operations: ['CreateGrant', 'Decrypt'], Constraints })).toMatchObject({ ok: true });
      const grandchild = { KeyId: key.id, GranteePrincipal: wwwData };
      expect(
        await clients.daemon.send('CreateGrant', {
          ...grandchild,
          Operations: ['Decrypt'],
          Constraints: { EncryptionContextSubset: department },
        }),
      ).toEqual(no(identityDenied(daemonUser, 'CreateGrant', key.arn)));
      const exact = { ...department, purpose: 'test', more: 'still' };
      expect(
        await clients.daemon.send('CreateGrant', {
          ...grandchild,
          Operations: ['Decrypt'],
          Constraints: { EncryptionContextEquals: exact },
        }),
      ).toMatchObject({ ok: true });

      const blob = { CiphertextBlob: await newBlob(key.id, exact), EncryptionContext: exact };
      expect(await clients['www-data'].send('Decrypt', blob)).toMatchObject({ ok: true });
      expect(await clients.daemon.send('Decrypt', blob)).toMatchObject({ ok: true });
    });

    test('who may retire a grant is said by the grant, whatever the key policy says', async () => {
      const document = policy(rootMayAll, deny('*', 'kms:RetireGrant'));
      const key = await newKey(daemon().kms, document);
      const mayNot = (principal: string) => no(identityDenied(principal, 'RetireGrant', key.arn));
      const forDaemon = await grant(key.id, { Operations: ['Encrypt'], RetiringPrincipal: daemonUser });
      const byId = { KeyId: key.arn, GrantId: forDaemon.id };
      expect(await clients.nobody.send('RetireGrant', byId)).toEqual(mayNot(nobody));
      expect(await clients.nobody.send('RetireGrant', { GrantToken: forDaemon.token })).toEqual(mayNot(nobody));
      expect(await clients['www-data'].send('RetireGrant', byId)).toEqual(mayNot(wwwData));
      expect(await clients.daemon.send('RetireGrant', { ...byId, DryRun: true })).toEqual(no(dryRunSucceeded));
      expect(await clients.daemon.send('RetireGrant', byId)).toMatchObject({ ok: true });
      expect(await clients.daemon.send('RetireGrant', byId)).toEqual(no(grantNotFound(forDaemon.id)));

      // A grant that allows RetireGrant is about itself alone.
      const own = await grant(key.id, { Operations: ['RetireGrant'] });
      const foreign = await grant(key.id, { Operations: ['RetireGrant'], GranteePrincipal: daemonUser });
      const retireForeign = { KeyId: key.id, GrantId: foreign.id };
      expect(await clients.nobody.send('RetireGrant', retireForeign)).toEqual(mayNot(nobody));
      expect(await clients.nobody.send('RetireGrant', { GrantToken: own.token })).toMatchObject({ ok: true });
      expect(await clients.nobody.send('RetireGrant', { GrantToken: own.token })).toEqual(no(invalidToken));
      await daemon().kms.retireGrant({ GrantToken: foreign.token });
      expect((await daemon().kms.listGrants({ KeyId: key.id })).Grants).toEqual([]);
    });

    test('a grantee whose grant is revoked while his own grants wait makes none of them', async () => {
      const { kms } = daemon();
      for (let round = 0; round < 4; round++) {
        const key = await newKey(kms);
        const { id } = await grant(key.id, { Operations: ['CreateGrant', 'Encrypt'] });
        const create = () =>
          clients.nobody.send('CreateGrant', { KeyId: key.id, GranteePrincipal: daemonUser, Operations: ['Encrypt'] });
        const waiting = Array.from({ length: 10 }, create);
        await kms.revokeGrant({ KeyId: key.id, GrantId: id });
        const after = present((await kms.listGrants({ KeyId: key.id })).Grants).length;
        await Promise.all(waiting);
        expect((await kms.listGrants({ KeyId: key.id })).Grants).toHaveLength(after);
        expect(await create()).toEqual(no(identityDenied(nobody, 'CreateGrant', key.arn)));
      }
    });

    test("the lists of grants are the key policy's and the account's to give", async () => {
      const key = await newKey(daemon().kms);
      const told = [
        await clients.nobody.send('ListGrants', { KeyId: key.id }),
        await clients.nobody.send('RevokeGrant', { KeyId: key.id, GrantId: '0'.repeat(64) }),
        await clients.nobody.send('ListRetirableGrants', { RetiringPrincipal: nobody }),
      ];
      expect(told).toEqual([
        no(identityDenied(nobody, 'ListGrants', key.arn)),
        no(identityDenied(nobody, 'RevokeGrant', key.arn)),
        no(identityDenied(nobody, 'ListRetirableGrants', nobody)),
      ]);
    });

    test('the audit log tells which grant was made, used and ended, and shows no token', async () => {
      const { kms, instance } = daemon();
      const key = await newKey(kms);
      const { id, token } = await grant(key.id, {
        Operations: ['Encrypt', 'RetireGrant'],
        Constraints: { EncryptionContextSubset: { Department: 'IT' } },
        RetiringPrincipal: daemonUser,
        Name: 'audited',
      });
      const context = { EncryptionContext: { Department: 'IT' }, GrantTokens: [token] };
      await clients.nobody.send('Encrypt', { KeyId: key.id, Plaintext, ...context });
      await clients.daemon.send('RetireGrant', { GrantToken: token });
      await kms.listRetirableGrants({ RetiringPrincipal: daemonUser });
      const lines = auditLines(instance.dir);
      expect(lines.at(-1)).toMatchObject({ eventName: 'ListRetirableGrants', resources: [] });
      expect(JSON.stringify(lines)).not.toContain(token);
      const about = lines.filter(({ resources }) => resources.some(({ ARN }) => ARN === key.arn));
      expect(about).toMatchObject([
        { eventName: 'CreateKey' },
        {
          eventName: 'CreateGrant',
          readOnly: false,
          requestParameters: {
            keyId: key.id,
            granteePrincipal: nobody,
            retiringPrincipal: daemonUser,
            operations: ['Encrypt', 'RetireGrant'],
            constraints: { encryptionContextSubset: { Department: 'IT' } },
            name: 'audited',
          },
          responseElements: { grantId: id },
        },
        { eventName: 'Encrypt', additionalEventData: { decision: { allowed: true, because: `grant ${id}` } } },
        {
          eventName: 'RetireGrant',
          readOnly: false,
          requestParameters: { grantId: id },
          additionalEventData: { decision: { allowed: true, because: `grant ${id}` } },
        },
      ]);
    });
  });
});
