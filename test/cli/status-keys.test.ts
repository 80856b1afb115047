import { expect, test } from 'vitest';
import { domainKeyText, keysText } from '../../src/cli/commands/status-command.ts';

test('the status counts a primary key whose deletion waits for its replicas among those pending deletion, and says so', () => {
  const report = { keys: 9, aliases: 4, damaged: 0, pendingDeletion: 2 };
  expect(keysText({ ...report, pendingReplicaDeletion: 0 })).toBe('9, 4 aliases, 0 damaged, 2 pending deletion');
  expect(keysText({ ...report, pendingReplicaDeletion: 1 })).toBe(
    '9, 4 aliases, 0 damaged, 3 pending deletion (1 after the deletion of its replicas)',
  );
});

test('the status says of one backing key that it is one', () => {
  const key = { backingKeyId: 'ab12', standing: 'current' };
  expect(domainKeyText({ ...key, backingKeys: 1 })).toBe('ab12, current, wraps 1 backing key');
  expect(domainKeyText({ ...key, backingKeys: 2 })).toBe('ab12, current, wraps 2 backing keys');
});
