/**
 * Turns over a real store. Two `Turns` over one store are what two nodes are: neither waits for the other, and each has
 * folds of its own that know what it was told.
 */

import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { added, type Change, removed, replaced } from '../../src/store/records/changes.ts';
import type { KeyRecord } from '../../src/store/records/records.ts';
import { openSqliteStore, type SqliteStore } from '../../src/store/sqlite-store.ts';
import { type Decided, type Fold, Turns } from '../../src/store/turns.ts';
import { holdTurn } from '../support/held-turn.ts';
import { aliasPut, conflict, examples, formerRegion, testMacs } from './records.ts';

let folder: string;
let store: SqliteStore;
let isHsmAway = false;
beforeEach(async () => {
  folder = mkdtempSync(join(tmpdir(), 'drawbridge-store-'));
  isHsmAway = false;
  store = await openSqliteStore({
    path: join(folder, 'metadata.db'),
    formerRegion,
    macs: (messages) => (isHsmAway ? Promise.reject(new RangeError('the HSM is away')) : testMacs(messages)),
  });
  await store.write([added('key', examples.key)]);
});
afterEach(async () => {
  await store.close();
  rmSync(folder, { recursive: true });
});

/** The one KMS key as a node knows it, and all that the node was told. */
class KnownKey implements Fold {
  key: KeyRecord | undefined = examples.key;
  readonly told: Change[] = [];

  apply(changes: readonly Change[]): void {
    for (const change of changes) {
      this.told.push(change);
      if ('put' in change && change.put === 'key') this.key = change.record;
      if ('remove' in change && change.remove === 'key') this.key = undefined;
    }
  }

  /** The decision to give the key as it is known other members. */
  changing(members: Partial<Pick<KeyRecord, 'description' | 'tags'>>): Decided<KeyRecord> {
    if (this.key === undefined) throw new RangeError('there is no such key');
    const change = replaced('key', this.key, members);
    return { changes: [change], response: this.key };
  }
}

/** A node over the store: its turns, and its fold. */
function node(): { readonly turns: Turns; readonly known: KnownKey } {
  const turns = new Turns(store);
  const known = new KnownKey();
  turns.follow(known);
  return { turns, known };
}

const decided = <Response>(response: Response, ...changes: readonly Change[]): Decided<Response> => ({
  changes,
  response,
});
const nameOf = (change: Change): string =>
  'put' in change && change.put === 'alias' ? change.record.aliasName : `${'put' in change}`;

describe('turns', () => {
  test('are taken one after another, in the order in which they were asked for', async () => {
    const { turns } = node();
    const steps: string[] = [];
    const take = (name: string) =>
      turns.take(
        () => {
          steps.push(`${name} decides`);
          return decided(name, aliasPut(name));
        },
        {
          async announce() {
            // The first one takes the longest.
            for (let waits = name === 'a' ? 20 : 1; waits > 0; waits--) await new Promise(setImmediate);
            steps.push(`${name} is announced`);
          },
        },
      );
    expect(await Promise.all(['a', 'b', 'c'].map(take))).toEqual(['a', 'b', 'c']);
    expect(steps).toEqual(['a', 'b', 'c'].flatMap((name) => [`${name} decides`, `${name} is announced`]));
    expect((await store.load()).alias.map(({ aliasName }) => aliasName)).toEqual(['alias/a', 'alias/b', 'alias/c']);
  });

  test('let each decide on what the one before left, without a conflict', async () => {
    const { turns, known } = node();
    let decisions = 0;
    const raise = () =>
      turns.take(() => {
        decisions++;
        return known.changing({ description: `${known.key?.description}+` });
      });
    await Promise.all([raise(), raise(), raise()]);
    expect(decisions).toBe(3);
    expect((await store.load()).key).toEqual([
      { ...examples.key, version: 4, description: `${examples.key.description}+++` },
    ]);
  });

  test('have a change applied after it is on disk and before it is answered', async () => {
    const { turns } = node();
    const steps: string[] = [];
    const onDisk: Promise<unknown>[] = [];
    turns.follow({
      apply(changes) {
        steps.push(`applied ${changes.map(nameOf)}`);
        onDisk.push(store.reread(changes));
      },
    });
    await turns.take(() => decided(undefined, aliasPut('a'))).then(() => steps.push('answered'));
    expect(steps).toEqual(['applied alias/a', 'answered']);
    expect(await Promise.all(onDisk)).toEqual([[aliasPut('a')]]);
  });

  test('tell every fold of every change, in one piece', async () => {
    const { turns } = node();
    const told: (readonly Change[])[][] = [[], []];
    for (const each of told) turns.follow({ apply: (changes) => void each.push(changes) });
    const changes = [aliasPut('a'), removed('alias', aliasPut('a').record), aliasPut('b')];
    await turns.take(() => decided(undefined, ...changes));
    expect(told).toEqual([[changes], [changes]]);
  });

  test('write nothing, announce nothing and apply nothing for a decision without changes', async () => {
    const { turns, known } = node();
    const announced: (readonly Change[])[] = [];
    // Nothing could be written.
    isHsmAway = true;
    const response = await turns.take(() => decided('nothing to do'), {
      announce: async (changes) => void announced.push(changes),
    });
    expect(response).toBe('nothing to do');
    expect(announced).toEqual([]);
    expect(known.told).toEqual([]);
  });

  test('announce each written decision once, before anything of it is on disk', async () => {
    const { turns, known } = node();
    const announced: unknown[] = [];
    await turns.take(() => decided(undefined, aliasPut('a')), {
      async announce(changes) {
        announced.push({ changes, onDisk: await store.reread(changes), told: [...known.told] });
      },
    });
    const change = aliasPut('a');
    expect(announced).toEqual([{ changes: [change], onDisk: [removed('alias', change.record)], told: [] }]);
  });

  test('end without a change where the announcement fails, and the next one goes on', async () => {
    const { turns, known } = node();
    const failing = turns.take(() => decided(undefined, aliasPut('a')), {
      announce: () => Promise.reject(new RangeError('the log is full')),
    });
    const next = turns.take(() => decided(undefined, aliasPut('b')));
    await expect(failing).rejects.toThrow(new RangeError('the log is full'));
    await next;
    expect(known.told).toEqual([aliasPut('b')]);
    expect((await store.load()).alias.map(({ aliasName }) => aliasName)).toEqual(['alias/b']);
  });

  test('end without a change where the decision throws, and the next one goes on', async () => {
    const { turns, known } = node();
    const announced: string[] = [];
    const failing = turns.take(
      () => {
        throw new RangeError('not any more');
      },
      { announce: async () => void announced.push('failing') },
    );
    const next = turns.take(() => decided('next', aliasPut('b')));
    await expect(failing).rejects.toThrow(new RangeError('not any more'));
    expect(await next).toBe('next');
    expect(announced).toEqual([]);
    expect(known.told).toEqual([aliasPut('b')]);
    expect((await store.load()).alias.map(({ aliasName }) => aliasName)).toEqual(['alias/b']);
  });

  test('leave the folds as they were where the write fails, decide once, and the next one goes on', async () => {
    const { turns, known } = node();
    let decisions = 0;
    isHsmAway = true;
    const failing = turns.take(() => {
      decisions++;
      return decided(undefined, aliasPut('a'));
    });
    await expect(failing).rejects.toThrow(new RangeError('the HSM is away'));
    expect(decisions).toBe(1);
    expect(known.told).toEqual([]);
    isHsmAway = false;
    await turns.take(() => decided(undefined, aliasPut('b')));
    expect(known.told).toEqual([aliasPut('b')]);
    expect((await store.load()).alias.map(({ aliasName }) => aliasName)).toEqual(['alias/b']);
  });
});

describe('a turn in which another node was faster', () => {
  test('decides again on what is true now, which its folds are told of first', async () => {
    const [mine, theirs] = [node(), node()];
    await theirs.turns.take(() => theirs.known.changing({ description: 'theirs' }));
    const seen: (KeyRecord | undefined)[] = [];
    const response = await mine.turns.take(() => {
      seen.push(mine.known.key);
      return mine.known.changing({ description: 'mine' });
    });
    const theirKey = { ...examples.key, version: 2, description: 'theirs' };
    const myKey = { ...theirKey, version: 3, description: 'mine' };
    expect(seen).toEqual([examples.key, theirKey]);
    expect(response).toEqual(theirKey);
    expect(mine.known.told).toEqual([added('key', theirKey), replaced('key', theirKey, { description: 'mine' })]);
    expect((await store.load()).key).toEqual([myKey]);
  });

  test('keeps what the other one changed: a description of one and tags of another are both there', async () => {
    const [mine, theirs] = [node(), node()];
    const tags = [{ TagKey: 'team', TagValue: 'storage' }];
    await Promise.all([
      mine.turns.take(() => mine.known.changing({ description: 'mine' })),
      theirs.turns.take(() => theirs.known.changing({ tags })),
    ]);
    expect((await store.load()).key).toEqual([{ ...examples.key, version: 3, description: 'mine', tags }]);
  });

  test('may come to another decision: a record that is gone is not brought back', async () => {
    const [mine, theirs] = [node(), node()];
    await theirs.turns.take(() => decided(undefined, removed('key', examples.key)));
    await expect(mine.turns.take(() => mine.known.changing({ description: 'mine' }))).rejects.toThrow(
      new RangeError('there is no such key'),
    );
    expect(mine.known.key).toBe(undefined);
    expect((await store.load()).key).toEqual([]);
  });

  test('may find that nothing is left to do', async () => {
    const [mine, theirs] = [node(), node()];
    await theirs.turns.take(() => theirs.known.changing({ description: 'same' }));
    const decisions: number[] = [];
    await mine.turns.take(() => {
      const isDone = mine.known.key?.description === 'same';
      decisions.push(isDone ? 0 : 1);
      return isDone ? decided(examples.key) : mine.known.changing({ description: 'same' });
    });
    expect(decisions).toEqual([1, 0]);
    expect((await store.load()).key).toEqual([{ ...examples.key, version: 2, description: 'same' }]);
  });

  test('is announced again with what it decided then', async () => {
    const [mine, theirs] = [node(), node()];
    await theirs.turns.take(() => theirs.known.changing({ description: 'theirs' }));
    const announced: (number | null)[] = [];
    await mine.turns.take(() => mine.known.changing({ description: 'mine' }), {
      async announce(changes) {
        for (const change of changes) if ('put' in change) announced.push(change.replaces);
      },
    });
    expect(announced).toEqual([1, 2]);
  });

  test('gives up with the conflict where another one is faster each time, and the next one goes on', async () => {
    const [mine, theirs] = [node(), node()];
    let decisions = 0;
    const overtaken = mine.turns.take(
      () => {
        decisions++;
        return mine.known.changing({ description: 'mine' });
      },
      {
        announce: async () =>
          void (await theirs.turns.take(() => theirs.known.changing({ description: `theirs ${decisions}` }))),
      },
    );
    await expect(overtaken).rejects.toMatchObject(conflict);
    expect(decisions).toBe(5);
    expect((await store.load()).key).toEqual([{ ...examples.key, version: 6, description: 'theirs 5' }]);
    await mine.turns.take(() => mine.known.changing({ description: 'mine' }));
    expect((await store.load()).key).toEqual([{ ...examples.key, version: 7, description: 'mine' }]);
  });

  test('takes the next turn of its own node along only when it is over', async () => {
    const [mine, theirs] = [node(), node()];
    await theirs.turns.take(() => theirs.known.changing({ description: 'theirs' }));
    const seen: number[] = [];
    const take = (description: string) =>
      mine.turns.take(() => {
        seen.push(mine.known.key?.version ?? 0);
        return mine.known.changing({ description });
      });
    await Promise.all([take('first'), take('second')]);
    expect(seen).toEqual([1, 2, 3]);
    expect((await store.load()).key).toEqual([{ ...examples.key, version: 4, description: 'second' }]);
  });

  test('fails with the error of an HSM that cannot verify what is there now', async () => {
    const { turns, known } = node();
    await store.write([aliasPut('taken')]);
    isHsmAway = true;
    const turn = turns.take(() => decided(undefined, removed('alias', { ...aliasPut('taken').record, version: 2 })));
    // A removal needs no MAC, but what is there has to be verified.
    await expect(turn).rejects.toThrow(new RangeError('the HSM is away'));
    expect(known.told).toEqual([]);
  });

  test('is refused when its turn does not come in time, and is not made later; what undoes waits', async () => {
    const turns = new Turns(store, { maxWaitMs: 20 });
    const held = await holdTurn(turns, () => [aliasPut('first')]);
    const late = turns.take(() => decided(undefined, aliasPut('late')));
    const undoing = turns.take(() => decided('undone', aliasPut('undone')), { isPatient: true });
    await expect(late).rejects.toMatchObject({ name: 'StoreError', failure: 'busy' });
    await held.letGo();
    expect(await undoing).toBe('undone');
    expect((await store.load()).alias.map(({ aliasName }) => aliasName)).toEqual(['alias/first', 'alias/undone']);
  });

  test('stays when a fold fails to follow it: that is told, and the others follow', async () => {
    const failures: unknown[] = [];
    const told: unknown[] = [];
    const turns = new Turns(store, { foldFailed: (error) => failures.push(error) });
    turns.follow({
      apply() {
        throw new RangeError('a mistake of ours');
      },
    });
    turns.follow({ apply: (changes) => told.push(...changes) });
    expect(await turns.take(() => decided('done', aliasPut('a')))).toBe('done');
    expect(failures).toEqual([new RangeError('a mistake of ours')]);
    expect(told).toEqual([aliasPut('a')]);
  });
});
