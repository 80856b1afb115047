/** AWS's quota of aliases for each KMS key: fifty. */

import { expect, test } from 'vitest';
import { describeDaemon, newKey } from './support/daemon.ts';
import { refusal, refused } from './support/refusals.ts';

describeDaemon('A key', (daemon) => {
  const keyWithAliases = async (prefix: string, count: number) => {
    const key = await newKey(daemon().kms);
    for (let index = 0; index < count; index++) {
      await daemon().kms.createAlias({ AliasName: `alias/${prefix}-${index}`, TargetKeyId: key.id });
    }
    return key;
  };
  const countOf = async (KeyId: string): Promise<number | undefined> =>
    (await daemon().kms.listAliases({ KeyId, Limit: 100 })).Aliases?.length;

  test('has at most 50 aliases: no further one is made or moved there, but its own can be put to it again', async () => {
    const { kms } = daemon();
    const full = await keyWithAliases('full', 50);
    const free = await keyWithAliases('free', 1);
    const refusals = [
      await refusal(kms.createAlias({ AliasName: 'alias/full-50', TargetKeyId: full.id })),
      await refusal(kms.updateAlias({ AliasName: 'alias/free-0', TargetKeyId: full.arn })),
    ];
    const quota = 'Aliases per key quota for this account in this region is 50, current usage is 50.';
    expect(refusals).toEqual([refused('LimitExceededException', quota), refused('LimitExceededException', quota)]);
    expect([await countOf(full.id), await countOf(free.id)]).toEqual([50, 1]);

    await kms.updateAlias({ AliasName: 'alias/full-0', TargetKeyId: full.id });
    await kms.updateAlias({ AliasName: 'alias/full-1', TargetKeyId: free.id });
    await kms.createAlias({ AliasName: 'alias/full-50', TargetKeyId: full.id });
    await kms.deleteAlias({ AliasName: 'alias/full-2' });
    await kms.updateAlias({ AliasName: 'alias/free-0', TargetKeyId: full.id });
    expect([await countOf(full.id), await countOf(free.id)]).toEqual([50, 1]);
    expect((await refusal(kms.createAlias({ AliasName: 'alias/one-more', TargetKeyId: full.id }))).name).toBe(
      'LimitExceededException',
    );
  });

  test('that has 49 aliases gets one more, however many callers want one at once', async () => {
    const { kms } = daemon();
    const key = await keyWithAliases('contended', 49);
    const elsewhere = await keyWithAliases('elsewhere', 8);
    const outcomes = await Promise.allSettled(
      Array.from({ length: 16 }, (_, index) =>
        index % 2 === 0
          ? kms.createAlias({ AliasName: `alias/new-${index}`, TargetKeyId: key.id })
          : kms.updateAlias({ AliasName: `alias/elsewhere-${(index - 1) / 2}`, TargetKeyId: key.id }),
      ),
    );
    expect(outcomes.filter(({ status }) => status === 'fulfilled')).toHaveLength(1);
    const reasons = outcomes.flatMap((outcome) => (outcome.status === 'rejected' ? [String(outcome.reason.name)] : []));
    expect(new Set(reasons)).toEqual(new Set(['LimitExceededException']));
    expect(await countOf(key.id)).toBe(50);
    expect(((await countOf(elsewhere.id)) ?? 0) >= 7).toBe(true);
  });
});
