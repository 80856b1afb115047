/**
 * A log that nobody fills: lines of one kind and payer are written a few times a minute, then counted, and summed up.
 *
 * What others do is behind many lines (requests of theirs fail, connections are cut off), and one for each of them would let a
 * client write as much as he likes onto the disk of the journal. A kind is a level and a message, which is a text of our code
 * and never a client's, and `payer` among the fields, so that nobody's lines are counted away by what another one does. Lines
 * that name no payer are the daemon's own, and have a larger number.
 *
 * At the end of a minute one more line of each kind says how many were left out (`leftOut`).
 */

import type { LogBudget } from '../kms/budgets.ts';
import type { Logger } from '../kms/logger.ts';

const minuteMs = 60_000;
const otherKinds = 'lines of more payers and kinds than are counted apart';

interface Kind {
  lines: number;
  leftOut: number;
  readonly mostLines: number;
  readonly level: keyof Logger;
  readonly message: string;
  readonly payer: unknown;
}

export interface SummedLog extends Logger {
  /** Writes now how many were left out. */
  flush(): void;
}

export function sumUp(log: Logger, { linesPerMinute, ownLinesPerMinute, kinds: mostKinds }: LogBudget): SummedLog {
  const kinds = new Map<string, Kind>();
  let kindsOfPayers = 0;
  let timer: NodeJS.Timeout | undefined;

  function flush(): void {
    clearTimeout(timer);
    timer = undefined;
    for (const { leftOut, level, message, payer } of kinds.values()) {
      const whose = payer === undefined ? {} : { payer };
      if (leftOut > 0) log[level]({ ...whose, leftOut }, message);
    }
    kinds.clear();
    kindsOfPayers = 0;
  }

  function kindOf(level: keyof Logger, message: string, payer: unknown): Kind {
    const name = JSON.stringify([level, message, payer]);
    const known = kinds.get(name);
    if (known !== undefined) return known;
    const isOwn = payer === undefined;
    if (!isOwn && kindsOfPayers >= mostKinds) return kinds.get(otherKinds) ?? others();
    const kind: Kind = {
      lines: 0,
      leftOut: 0,
      mostLines: isOwn ? ownLinesPerMinute : linesPerMinute,
      level,
      message,
      payer,
    };
    kinds.set(name, kind);
    if (!isOwn) kindsOfPayers++;
    return kind;
  }

  /** They are counted, and none is written: the kinds that are written are bounded. */
  function others(): Kind {
    const kind: Kind = { lines: 0, leftOut: 0, mostLines: 0, level: 'warn', message: otherKinds, payer: undefined };
    kinds.set(otherKinds, kind);
    return kind;
  }

  const counted =
    (level: keyof Logger): Logger['warn'] =>
    (fields, message) => {
      const kind = kindOf(level, message, 'payer' in fields ? fields.payer : undefined);
      timer ??= setTimeout(flush, minuteMs).unref();
      if (kind.lines >= kind.mostLines) {
        kind.leftOut++;
        return;
      }
      kind.lines++;
      log[level](fields, message);
    };

  return { debug: counted('debug'), info: counted('info'), warn: counted('warn'), error: counted('error'), flush };
}
