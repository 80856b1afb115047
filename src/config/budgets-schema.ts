/**
 * What `budgets:` of `drawbridge.yaml` may say: members as in `kms/budgets.ts`, where their defaults and reasons stand.
 */

import { z } from 'zod';
import { type Budgets, defaultBudgets, maxDocumentBytes } from '../kms/budgets.ts';

const whole = (min: number, max: number) => {
  const error = `a whole number from ${min} to ${max}`;
  return z.int({ error }).min(min, { error }).max(max, { error });
};

const { connections, exchanges, handshakes, audit, refusals, quotas, memory, log } = defaultBudgets;

export const budgetsSchema = z.strictObject({
  connections: z
    .strictObject({
      total: whole(1, 65_536).default(connections.total),
      perPayer: whole(1, 65_536).default(connections.perPayer),
      reserved: whole(1, 1024).default(connections.reserved),
      maxAgeMs: whole(1_000, 86_400_000).default(connections.maxAgeMs),
      newPerSecond: whole(1, 1_000_000).default(connections.newPerSecond),
      maxRefusedPerSecond: whole(1, 1_000_000).default(connections.maxRefusedPerSecond),
    })
    .prefault({}),
  exchanges: z
    .strictObject({
      unansweredPerConnection: whole(1, 4096).default(exchanges.unansweredPerConnection),
      unansweredPerPayer: whole(1, 65_536).default(exchanges.unansweredPerPayer),
      requestBytesPerPayer: whole(256 * 1024, 2 ** 31).default(exchanges.requestBytesPerPayer),
      unreadBytesPerPayer: whole(256 * 1024, 2 ** 31).default(exchanges.unreadBytesPerPayer),
      beginsPerTurn: whole(1, 65_536).default(exchanges.beginsPerTurn),
    })
    .prefault({}),
  handshakes: z
    .strictObject({
      atOnce: whole(1, 1_000_000).default(handshakes.atOnce),
      perSecond: whole(1, 1_000_000).default(handshakes.perSecond),
      perPayerAtOnce: whole(1, 1_000_000).default(handshakes.perPayerAtOnce),
      perPayerPerSecond: whole(1, 1_000_000).default(handshakes.perPayerPerSecond),
    })
    .prefault({}),
  audit: z
    .strictObject({
      reserveBytes: whole(1024 * 1024, 1024 * 1024 * 1024).default(audit.reserveBytes),
      extraBytes: whole(64 * 1024, 1024 * 1024 * 1024).default(audit.extraBytes),
      extraBytesPerSecond: whole(1024, 1024 * 1024 * 1024).default(audit.extraBytesPerSecond),
    })
    .prefault({}),
  refusals: z
    .strictObject({
      recorded: whole(1, 1_000_000).default(refusals.recorded),
      recordedPerSecond: whole(1, 1_000_000).default(refusals.recordedPerSecond),
      looked: whole(1, 1_000_000).default(refusals.looked),
      lookedPerSecond: whole(1, 1_000_000).default(refusals.lookedPerSecond),
    })
    .prefault({}),
  quotas: z
    .strictObject({
      keys: whole(1, 10_000_000).default(quotas.keys),
      aliasesPerKey: whole(1, 100_000).default(quotas.aliasesPerKey),
      grantsPerKey: whole(1, 1_000_000).default(quotas.grantsPerKey),
      customKeyStores: whole(1, 1000).default(quotas.customKeyStores),
      policyBytes: whole(1024, maxDocumentBytes).default(quotas.policyBytes),
    })
    .prefault({}),
  memory: z
    .strictObject({
      compiledPolicyBytes: whole(1024 * 1024, 64 * 1024 ** 3).default(memory.compiledPolicyBytes),
      keysInMemory: whole(1, 10_000_000).default(memory.keysInMemory),
      packedKeyBytes: whole(0, 64 * 1024 ** 3).default(memory.packedKeyBytes),
      recordBytes: whole(1024 * 1024, 64 * 1024 ** 3).default(memory.recordBytes),
      recordBytesPerPayer: whole(1024 * 1024, 64 * 1024 ** 3).default(memory.recordBytesPerPayer),
    })
    .prefault({}),
  log: z
    .strictObject({
      linesPerMinute: whole(1, 1_000_000).default(log.linesPerMinute),
      ownLinesPerMinute: whole(1, 1_000_000).default(log.ownLinesPerMinute),
      kinds: whole(1, 65_536).default(log.kinds),
    })
    .prefault({}),
}) satisfies z.ZodType<Budgets>;
