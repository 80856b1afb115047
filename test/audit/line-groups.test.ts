import { describe, expect, it } from 'vitest';
import { LineGroups } from '../../src/audit/line-groups.ts';

describe('lines that wait to be written', () => {
  it('have the same two pieces of memory for good, whether or not a line came while the last group was being written', () => {
    const groups = new LineGroups<string>();
    const memories = new Set<Buffer>();
    const collect = (line: string) => {
      const group = groups.groupFor(line);
      memories.add(group.memory);
      groups.add(group, line, group.usedBytes + line.length);
    };
    const taken = () => {
      const group = groups.take();
      if (group === undefined) throw new TypeError('no group waits');
      return group;
    };
    for (let round = 0; round < 3; round++) {
      collect('one');
      const first = taken();
      collect('two');
      groups.giveBack(first);
      const second = taken();
      groups.giveBack(second);
    }
    expect(memories.size).toBe(2);
  });
});
