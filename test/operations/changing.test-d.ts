/** What an operation is given has no way to change anything but by the changes that it returns: going around them does not compile. */

import type { KeyView } from '../../src/keys/key-view.ts';
import {
  type AnyChange,
  type Concluding,
  type Deciding,
  type Handling,
  operation,
  type Prepared,
  type Preparing,
} from '../../src/operations/declaration/operation.ts';
import { object } from '../../src/operations/declaration/schema.ts';
import type { Change } from '../../src/store/records/changes.ts';
import type { GrantRecord, KeyRecord } from '../../src/store/records/records.ts';

declare const change: Change;
declare const grant: GrantRecord;
declare const record: KeyRecord;
declare const view: KeyView;
declare const handling: Handling<object, 'key'>;
declare const preparing: Preparing<object, 'key'>;
declare const deciding: Deciding<object, 'key', undefined>;
declare const concluding: Concluding<object, object, undefined>;

// What every part is given to look at.
// @ts-expect-error: memory follows the disk.
view.apply([change]);
// @ts-expect-error: only a start takes what was loaded.
view.take;
// @ts-expect-error: a grant that is shown without being on disk.
view.grants.show(grant);
// @ts-expect-error: a grant that is hidden while it is on disk.
view.grants.hide(grant.grantId);
// @ts-expect-error: nobody who looks has turns.
view.turns;
// @ts-expect-error: nobody who looks has the store.
view.store;

// @ts-expect-error: a key store for whoever looks makes nothing,
view.keyStore('default').generateKey;
// @ts-expect-error: and destroys nothing.
handling.keys.key.material.keyStore.destroyKey;

// What reads or uses makes nothing; a key whose numbers are used up is rotated.
handling.life.rotate;
// @ts-expect-error: what generates is an operation that changes, and prepares.
handling.life.generate;
// @ts-expect-error: a handler has no turns.
handling.turns;
// @ts-expect-error: a handler has no store.
handling.store;
// @ts-expect-error: permissions are values that the pipeline makes.
handling.keys.key.key = undefined;

// What is prepared may be generated, and nothing else.
preparing.life.generate;
// @ts-expect-error: a rotation is a change of its own.
preparing.life.rotate;
// @ts-expect-error: a preparation has no turns.
preparing.turns;

// A change names the members that it is about.
deciding.keys.key.with({ description: 'new' });
// @ts-expect-error: a record from before the turn would put all of it back.
deciding.keys.key.with({ ...record, description: 'new' });
// @ts-expect-error: versions are the store's.
deciding.keys.key.with({ version: 2 });
// @ts-expect-error: no member of a key.
deciding.keys.key.with({ name: 'new' });

// A decision has nothing that takes time, and nothing that writes.
// @ts-expect-error: what takes the HSM long comes before the turn or after it.
deciding.life;
// @ts-expect-error: a decision has no turns.
deciding.turns;
// @ts-expect-error: a decision has no store.
deciding.store;

// A conclusion is told what was done and has no keys, which could be others by then.
// @ts-expect-error: no keys.
concluding.keys;
// @ts-expect-error: no directory.
concluding.directory;

const name = 'UpdateKeyDescription';
const shapes = { name, request: object({}), response: object({}), needs: {}, record: [] } as const;
export const decides = operation({
  ...shapes,
  effect: 'changes',
  decide: () => ({ changes: [change], response: {} }),
});

// @ts-expect-error: what changes decides.
operation({ ...shapes, effect: 'changes' });

operation({
  ...shapes,
  effect: 'changes',
  decide: () => ({ changes: [change], response: {} }),
  // @ts-expect-error: it handles nothing.
  handle: async () => ({}),
});

operation({
  ...shapes,
  effect: 'changes',
  // @ts-expect-error: a decision is synchronous, so that it is about one state of things.
  decide: async () => ({ changes: [change], response: {} }),
});

operation({
  ...shapes,
  effect: 'uses',
  handle: async () => ({}),
  // @ts-expect-error: what reads or uses decides nothing.
  decide: () => ({ changes: [change], response: {} }),
});

// @ts-expect-error: what was prepared can be undone.
export const cannotUndo: AnyChange['prepare'] = async () => ({ made: true });

export const canUndo: AnyChange['prepare'] = async (): Promise<Prepared> => ({ undo: async () => undefined });
