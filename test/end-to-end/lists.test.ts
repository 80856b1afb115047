/** ListKeys, ListAliases, ListGrants, ListRetirableGrants, ListKeyPolicies and ListKeyRotations: limits, markers, and pages that stay right while others change things. */

import { type KMS, paginateListAliases, paginateListKeys } from '@aws-sdk/client-kms';
import { beforeAll, expect, test } from 'vitest';
import { aliasArn, keyArn, unixUserArn } from './support/arns.ts';
import { bootTimeoutMs, describeDaemon, newKey, present } from './support/daemon.ts';
import { invalid, problem, refusal } from './support/refusals.ts';

const keyCount = 104;
const aliasCount = 103;
/** A key has fifty aliases at most. */
const aliasedKeys = 3;
const grantCount = 102;

describeDaemon('Lists', (daemon) => {
  const ids: string[] = [];
  const aliasNames: string[] = [];

  beforeAll(async () => {
    const { kms } = daemon();
    await inParallel(keyCount, async () => {
      ids.push((await newKey(kms)).id);
    });
    await inParallel(aliasCount, async (index) => {
      const AliasName = `alias/list/${index}`;
      await kms.createAlias({ AliasName, TargetKeyId: present(ids[index % aliasedKeys]) });
      aliasNames.push(AliasName);
    });
    await inParallel(grantCount, async () => {
      await kms.createGrant({ KeyId: present(ids[4]), Operations: ['Encrypt'], ...grantee });
    });
  }, bootTimeoutMs);

  const grantee = { GranteePrincipal: unixUserArn('nobody'), RetiringPrincipal: unixUserArn('daemon') };
  type Entries = 'Keys' | 'Aliases' | 'Grants' | 'PolicyNames' | 'Rotations';
  type Page = { readonly [Name in Entries]?: readonly unknown[] | undefined } & {
    readonly Truncated?: boolean | undefined;
    readonly NextMarker?: string | undefined;
  };
  type List = (kms: KMS, limit: { readonly Limit?: number }) => Promise<Page>;
  const lists: Readonly<Record<string, List>> = {
    ListKeys: (kms, limit) => kms.listKeys(limit),
    ListAliases: (kms, limit) => kms.listAliases(limit),
    ListGrants: (kms, limit) => kms.listGrants({ KeyId: present(ids[4]), ...limit }),
    ListRetirableGrants: (kms, limit) => kms.listRetirableGrants({ ...limit, ...retiredBy }),
    ListKeyPolicies: (kms, limit) => kms.listKeyPolicies({ KeyId: present(ids[0]), ...limit }),
    ListKeyRotations: (kms, limit) => kms.listKeyRotations({ KeyId: present(ids[0]), ...limit }),
  };
  const retiredBy = { RetiringPrincipal: grantee.RetiringPrincipal };

  test.each<[string, Entries, number, number, number]>([
    ['ListKeys', 'Keys', keyCount, 100, 1000],
    ['ListAliases', 'Aliases', aliasCount, 50, 100],
    ['ListGrants', 'Grants', grantCount, 50, 100],
    ['ListRetirableGrants', 'Grants', grantCount, 50, 100],
  ])(
    '%s gives of its %s (there are %i) %i if no limit is asked for, and %i at most',
    async (name, member, count, usual, max) => {
      const list = present(lists[name]);
      for (const Limit of [undefined, 99, 100, 101, 103, 1000]) {
        const page = await list(daemon().kms, Limit === undefined ? {} : { Limit });
        const length = Math.min(Limit ?? usual, max, count);
        const { [member]: entries, Truncated, NextMarker } = page;
        expect([Limit, present(entries).length]).toEqual([Limit, length]);
        expect({ Truncated, hasMarker: NextMarker !== undefined }).toEqual({
          Truncated: length < count,
          hasMarker: length < count,
        });
      }
    },
  );

  test.each(Object.entries(lists))('%s refuses a limit below 1 and above 1,000', async (_, list) => {
    for (const Limit of [0, -1]) {
      expect(await refusal(list(daemon().kms, { Limit }))).toEqual(invalid(problem.tooSmall(Limit, 'limit', 1)));
    }
    expect(await refusal(list(daemon().kms, { Limit: 1001 }))).toEqual(invalid(problem.tooLarge(1001, 'limit', 1000)));
  });

  test('the last page is not truncated and has no marker', async () => {
    const page = await daemon().kms.listKeys({ Limit: 1000 });
    expect(page.Keys).toHaveLength(keyCount);
    expect(page.Truncated).toBe(false);
    expect(page).not.toHaveProperty('NextMarker');
  });

  test('a page that ends with the last key is the last page', async () => {
    const page = await daemon().kms.listKeys({ Limit: keyCount });
    expect(page.Truncated).toBe(false);
  });

  test('each key is listed with its id and its ARN', async () => {
    const { Keys } = await daemon().kms.listKeys({ Limit: 1000 });
    for (const key of present(Keys)) expect(key).toEqual({ KeyId: key.KeyId, KeyArn: keyArn(present(key.KeyId)) });
    expect(sorted(present(Keys).map((key) => present(key.KeyId)))).toEqual(sorted(ids));
  });

  test.each([1, 7, 100, 1000])('pages of %i key(s) hold every key exactly once', async (pageSize) => {
    const seen: string[] = [];
    for await (const page of paginateListKeys({ client: daemon().kms, pageSize }, {})) {
      expect(present(page.Keys).length).toBeLessThanOrEqual(pageSize);
      seen.push(...present(page.Keys).map((key) => present(key.KeyId)));
    }
    expect(sorted(seen)).toEqual(sorted(ids));
  });

  test('pages of aliases hold every alias exactly once, with its ARN, key and times', async () => {
    const seen: string[] = [];
    for await (const page of paginateListAliases({ client: daemon().kms, pageSize: 10 }, {})) {
      for (const alias of present(page.Aliases)) {
        const name = present(alias.AliasName);
        seen.push(name);
        expect(alias).toEqual({
          AliasName: name,
          AliasArn: aliasArn(name),
          TargetKeyId: ids[Number(name.slice('alias/list/'.length)) % aliasedKeys],
          CreationDate: expect.any(Date),
          LastUpdatedDate: expect.any(Date),
        });
      }
    }
    expect(sorted(seen)).toEqual(sorted(aliasNames));
  });

  test('ListAliases of one key holds the aliases of that key alone', async () => {
    const id = present(ids[0]);
    for (const KeyId of [id, keyArn(id)]) {
      const { Aliases } = await daemon().kms.listAliases({ KeyId, Limit: 100 });
      expect(sorted(present(Aliases).map((alias) => present(alias.AliasName)))).toEqual(
        sorted(aliasNames.filter((name) => Number(name.slice('alias/list/'.length)) % aliasedKeys === 0)),
      );
    }
  });

  test('ListAliases of a key without aliases is an empty list', async () => {
    const { Aliases, Truncated } = await daemon().kms.listAliases({ KeyId: present(ids[5]) });
    expect({ Aliases, Truncated }).toEqual({ Aliases: [], Truncated: false });
  });

  test('a listing of keys that began before others were made holds each old key exactly once', async () => {
    const { kms } = daemon();
    const old = new Set((await allKeys(kms)).map((key) => key));
    const seen: string[] = [];
    let marker: string | undefined;
    do {
      const page = await kms.listKeys({ Limit: 9, ...(marker === undefined ? {} : { Marker: marker }) });
      seen.push(...present(page.Keys).map((key) => present(key.KeyId)));
      marker = page.NextMarker;
      ids.push((await newKey(kms)).id);
    } while (marker !== undefined);
    expect(new Set(seen).size).toBe(seen.length);
    expect(seen.filter((key) => old.has(key))).toHaveLength(old.size);
  });

  test('a listing of aliases goes on where it was when the alias it stopped at is deleted', async () => {
    const { kms } = daemon();
    const names = Array.from({ length: 12 }, (_, index) => `alias/moving/${String(index).padStart(2, '0')}`);
    const target = present(ids[3]);
    for (const AliasName of names) await kms.createAlias({ AliasName, TargetKeyId: target });
    const first = await kms.listAliases({ KeyId: target, Limit: 4 });
    const listed = present(first.Aliases).map((alias) => present(alias.AliasName));
    for (const AliasName of listed) await kms.deleteAlias({ AliasName });
    await kms.createAlias({ AliasName: 'alias/moving/zz', TargetKeyId: target });

    const rest = await kms.listAliases({ KeyId: target, Limit: 100, Marker: present(first.NextMarker) });
    const seen = [...listed, ...present(rest.Aliases).map((alias) => present(alias.AliasName))];
    expect(new Set(seen).size).toBe(seen.length);
    for (const name of names) expect(seen).toContain(name);
  });

  test.each<[string, (kms: KMS) => Promise<unknown>, string]>([
    ['ListKeys with an empty marker', (kms) => kms.listKeys({ Marker: '' }), problem.tooShort('', 'marker', 1)],
  ])('%s is refused', async (_, list, broken) => {
    expect(await refusal(list(daemon().kms))).toEqual(invalid(broken));
  });

  test.each<[string, (kms: KMS, marker: string) => Promise<unknown>]>([
    ['ListKeys', (kms, Marker) => kms.listKeys({ Marker })],
    ['ListAliases', (kms, Marker) => kms.listAliases({ Marker })],
    ['ListKeyRotations', (kms, Marker) => kms.listKeyRotations({ KeyId: present(ids[0]), Marker })],
  ])('%s refuses a marker that it did not give', async (_, list) => {
    for (const marker of ['x', 'not a marker', 'AAAAAAAAAAAAAAAAAAAAAAAA', '!'.repeat(1024), '%00', "' OR 1=1 --"]) {
      expect((await refusal(list(daemon().kms, marker))).name).toBe('InvalidMarkerException');
    }
  });

  test('a marker of one list is not a marker of another', async () => {
    const { NextMarker } = await daemon().kms.listKeys({ Limit: 1 });
    const told = await refusal(daemon().kms.listAliases({ Marker: present(NextMarker) }));
    expect(told.name).toBe('InvalidMarkerException');
  });

  test('ListKeyPolicies names the one policy that every key has', async () => {
    const KeyId = present(ids[0]);
    for (const input of [{ KeyId }, { KeyId, Limit: 1 }, { KeyId: keyArn(KeyId), Limit: 1000 }]) {
      const { PolicyNames, Truncated, NextMarker } = await daemon().kms.listKeyPolicies(input);
      expect({ PolicyNames, Truncated, NextMarker }).toEqual({
        PolicyNames: ['default'],
        Truncated: false,
        NextMarker: undefined,
      });
    }
  });
});

const sorted = (names: readonly string[]): string[] => [...names].sort();

async function allKeys(kms: KMS): Promise<string[]> {
  const { Keys } = await kms.listKeys({ Limit: 1000 });
  return present(Keys).map((key) => present(key.KeyId));
}

async function inParallel(count: number, act: (index: number) => Promise<void>): Promise<void> {
  let next = 0;
  await Promise.all(
    Array.from({ length: 8 }, async () => {
      while (next < count) await act(next++);
    }),
  );
}
