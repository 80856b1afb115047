import { expect, test } from 'vitest';
import { keysText } from '../../src/cli/commands/status-command.ts';

test('the status counts a primary key whose deletion waits for its replicas among those pending deletion, and says so', () => {
  const report = { keys: 9, aliases: 4, damaged: 0, pendingDeletion: 2 };
  expect(keysText({ ...report, pendingReplicaDeletion: 0 })).toBe('9, 4 aliases, 0 damaged, 2 pending deletion');
  expect(keysText({ ...report, pendingReplicaDeletion: 1 })).toBe(
    '9, 4 aliases, 0 damaged, 3 pending deletion (1 after the deletion of its replicas)',
  );
});
