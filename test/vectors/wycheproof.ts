/**
 * Reads Project Wycheproof's test vectors, and holds verdicts to them.
 *
 * A file is read strictly: an unknown member, an unknown result or a vector too few fails, because then the vectors say
 * something that nobody here looks at. Every vector gets a verdict. Where ours is meant to differ from the vector's, an
 * exemption says for which vectors and why, and is printed with the number of them; one that exempts nothing fails.
 */

import { readFileSync } from 'node:fs';
import { gunzipSync } from 'node:zlib';
import { expect } from 'vitest';
import { z } from 'zod';

export type Verdict = 'accepted' | 'refused';

/** Members that every vector has. */
const vectorMembers = {
  tcId: z.number(),
  comment: z.string(),
  flags: z.array(z.string()),
  result: z.enum(['valid', 'invalid', 'acceptable']),
};

export const hex = z
  .string()
  .regex(/^(?:[0-9a-f]{2})*$/)
  .transform((text) => Buffer.from(text, 'hex'));

/** A member that is there and that no test here needs: the same key in another form. */
export const unused = z.unknown();

/** The groups of a file: `group` and `vector` are the members that groups and vectors of its schema have. */
export function readWycheproof<Group extends z.ZodRawShape, Vector extends z.ZodRawShape>(
  name: string,
  group: Group,
  vector: Vector,
): WycheproofGroup<Group, Vector>[] {
  const path = new URL(`./wycheproof/${name}_test.json.gz`, import.meta.url);
  const { testGroups, numberOfTests } = fileSchema.parse(JSON.parse(gunzipSync(readFileSync(path)).toString()));
  const groupSchema = z.strictObject({ ...groupMembers, ...group });
  const vectorSchema = z.strictObject({ ...vectorMembers, ...vector });
  const groups = testGroups.map(({ tests, ...members }) => ({
    group: groupSchema.parse(members) as z.output<z.ZodObject<Group>>,
    tests: tests.map((one) => vectorSchema.parse(one) as JudgedVector & z.output<z.ZodObject<Vector>>),
  }));
  const found = groups.reduce((sum, { tests }) => sum + tests.length, 0);
  if (found !== numberOfTests) throw new Error(`${name} has ${found} vectors and says ${numberOfTests}`);
  return groups;
}

export interface WycheproofGroup<Group extends z.ZodRawShape, Vector extends z.ZodRawShape> {
  readonly group: z.output<z.ZodObject<Group>>;
  readonly tests: readonly (JudgedVector & z.output<z.ZodObject<Vector>>)[];
}

const groupMembers = { type: z.string(), source: unused };

const fileSchema = z.strictObject({
  algorithm: z.string(),
  schema: z.string(),
  numberOfTests: z.number(),
  header: z.array(z.string()),
  notes: z.record(z.string(), z.looseObject({ bugType: z.string() })),
  testGroups: z.array(z.looseObject({ tests: z.array(z.unknown()) })),
});

export interface JudgedVector {
  readonly tcId: number;
  readonly comment: string;
  readonly flags: readonly string[];
  readonly result: 'valid' | 'invalid' | 'acceptable';
}

export interface Exemption<Vector> {
  readonly applies: (vector: Vector) => boolean;
  readonly verdict: Verdict;
  /** Why ours is that, whatever the vector says. */
  readonly reason: string;
}

/** Collects the verdicts on one file over one implementation, and holds them to the vectors at the end. */
export class Judge<Vector extends JudgedVector> {
  readonly #name: string;
  readonly #exemptions: readonly Exemption<Vector>[];
  readonly #exempted = new Map<Exemption<Vector>, number>();
  readonly #wrong: object[] = [];
  #judged = 0;

  /** @param name The file and whose verdicts these are. */
  constructor(name: string, exemptions: readonly Exemption<Vector>[] = []) {
    this.#name = name;
    this.#exemptions = exemptions;
  }

  judge(vector: Vector, verdict: Verdict): void {
    this.#judged += 1;
    const exemption = this.#exemptions.find(({ applies }) => applies(vector));
    if (exemption !== undefined) this.#exempted.set(exemption, (this.#exempted.get(exemption) ?? 0) + 1);
    const { tcId, comment, flags, result } = vector;
    const expected = exemption?.verdict ?? { valid: 'accepted', invalid: 'refused', acceptable: verdict }[result];
    if (verdict !== expected) this.#wrong.push({ tcId, comment, flags, result, verdict });
  }

  /** @throws An assertion that lists every vector with the wrong verdict. */
  end(): void {
    for (const exemption of this.#exemptions) {
      const count = this.#exempted.get(exemption) ?? 0;
      if (count > 0) {
        process.stdout.write(
          `${this.#name}: ${count} of ${this.#judged} ${exemption.verdict} because ${exemption.reason}\n`,
        );
      }
    }
    expect(this.#wrong, this.#name).toEqual([]);
    expect(this.#judged, `${this.#name}: vectors judged`).toBeGreaterThan(0);
    const idle = this.#exemptions.filter((exemption) => !this.#exempted.has(exemption));
    expect(
      idle.map(({ reason }) => reason),
      `${this.#name}: exemptions of no vector`,
    ).toEqual([]);
  }
}

/** Carries out what may fail: `refused` for the failures that `isRefusal` knows; others are thrown on. */
export function verdictOf(run: () => boolean, isRefusal: (error: unknown) => boolean): Verdict {
  try {
    return run() ? 'accepted' : 'refused';
  } catch (error) {
    if (isRefusal(error)) return 'refused';
    throw error;
  }
}
