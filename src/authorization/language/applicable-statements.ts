/**
 * What a policy says of one action on one resource, by principal: the part of a decision that is the same for every
 * request with that action.
 *
 * A policy is asked about a few dozen actions, and about many resources: an identity policy, and a key policy that many keys share, as all do
 * that have the one that CreateKey gives them. Where no statement about an action names a resource, which is the rule in key policies, the
 * answer is the same for all of them.
 * Answers are remembered, so that a policy of 32 KB decides as fast as a short one. A statement can name a thousand
 * principals, of whom few ever call, so what it says of a principal is looked up when he does. The memory is bounded in
 * proportion to the number of statements (`maxEntries`); when it is full it starts anew, so that nobody can fill it once and
 * for all.
 */

import type { CompiledStatement } from './compiled-statement.ts';
import { type FiledStatements, fileStatements } from './filed-statements.ts';

export interface StatementsByPrincipal {
  readonly anyone: FiledStatements;
  /** `undefined`: no statement names the account. */
  readonly account: FiledStatements | undefined;
  /** `undefined`: no statement names this principal. */
  readonly naming: (principal: string) => FiledStatements | undefined;
}

export interface ApplicableStatements {
  readonly denies: StatementsByPrincipal;
  readonly allows: StatementsByPrincipal;
}

/** What a few dozen answers of a policy of a few statements take, and as much for each statement as it may be in a few. */
const maxEntries = (statementCount: number): number => 1024 + 16 * statementCount;
/** Of an answer itself, in what a statement in a list takes. */
const entriesPerAnswer = 8;
/** Of a question that has an answer already: its name and its place. */
const entriesPerQuestion = 2;
/** A statement may be filed twice (`filed-statements.ts`). */
const entriesPerStatement = 2;
/** Some 40 for a place in a map, and 80 for a list. */
const bytesPerEntry = 128;

interface Answer {
  /** `undefined`: whatever the resource. */
  readonly resource: string | undefined;
  readonly applicable: ApplicableStatements;
}

export class RememberedAnswers {
  readonly #statements: readonly CompiledStatement[];
  /** By action: about every resource, or about the one that was asked about first. */
  readonly #first = new Map<string, Answer>();
  /** By action and resource: the others. */
  readonly #others = new Map<string, ApplicableStatements>();
  /** By the statements that they consist of: of many resources the answer is the same. */
  readonly #answers = new Map<string, ApplicableStatements>();
  #naming: ReadonlyMap<string, readonly CompiledStatement[]> | undefined;
  /** Of questions, and of the answers to them. */
  #questionEntries = 0;
  #answerEntries = 0;

  constructor(statements: readonly CompiledStatement[]) {
    this.#statements = statements;
  }

  /** What they take at most, now. */
  get bytes(): number {
    return (this.#questionEntries + this.#answerEntries) * bytesPerEntry;
  }

  /** What they can come to take. */
  get maxBytes(): number {
    return maxEntries(this.#statements.length) * bytesPerEntry;
  }

  applicableTo(action: string, resource: string): ApplicableStatements {
    const known = this.#first.get(action);
    if (known !== undefined && (known.resource === undefined || known.resource === resource)) return known.applicable;
    if (known === undefined) {
      const answer = this.#answer(action, resource);
      this.#first.set(action, answer);
      return answer.applicable;
    }
    const name = `${action} ${resource}`;
    const other = this.#others.get(name);
    if (other !== undefined) return other;
    const { applicable } = this.#answer(action, resource);
    this.#others.set(name, applicable);
    return applicable;
  }

  /** Actions are compared without regard to case, resources with it: IAM user guide, "Action" and "Resource". */
  #answer(action: string, resource: string): Answer {
    const lowerCaseAction = action.toLowerCase();
    const ofAction = this.#statements.filter(({ matchesAction }) => matchesAction(lowerCaseAction));
    const isOfAll = ofAction.every(({ isOfEveryResource }) => isOfEveryResource);
    const applicable = isOfAll ? ofAction : ofAction.filter(({ matchesResource }) => matchesResource(resource));
    const sorted = this.#sorted(applicable);
    this.#makeRoom(entriesPerQuestion);
    this.#questionEntries += entriesPerQuestion;
    return { resource: isOfAll ? undefined : resource, applicable: sorted };
  }

  #sorted(applicable: readonly CompiledStatement[]): ApplicableStatements {
    const name = applicable.map(({ reference }) => reference.index).join();
    const known = this.#answers.get(name);
    if (known !== undefined) return known;
    this.#makeRoomForAnswer(applicable);
    const sorted = {
      denies: this.#byPrincipal(applicable.filter(({ effect }) => effect === 'Deny')),
      allows: this.#byPrincipal(applicable.filter(({ effect }) => effect === 'Allow')),
    };
    this.#answers.set(name, sorted);
    return sorted;
  }

  #byPrincipal(statements: readonly CompiledStatement[]): StatementsByPrincipal {
    const ofAccount = statements.filter(({ principals }) => principals.account);
    const asked = new Map<string, FiledStatements | undefined>();
    let applicable: ReadonlySet<CompiledStatement> | undefined;
    return {
      anyone: fileStatements(statements.filter(({ principals }) => principals.anyone)),
      account: ofAccount.length === 0 ? undefined : fileStatements(ofAccount),
      naming: (principal) => {
        const found = this.#statementsNaming(principal);
        if (found === undefined) return undefined;
        if (asked.has(principal)) return asked.get(principal);
        applicable ??= new Set(statements);
        const about = found.filter((statement) => applicable?.has(statement));
        this.#makeRoomForAnswer(about);
        const filed = about.length === 0 ? undefined : fileStatements(about);
        asked.set(principal, filed);
        return filed;
      },
    };
  }

  #statementsNaming(principal: string): readonly CompiledStatement[] | undefined {
    this.#naming ??= byName(this.#statements);
    return this.#naming.get(principal);
  }

  #makeRoomForAnswer({ length }: readonly CompiledStatement[]): void {
    const entries = entriesPerAnswer + length * entriesPerStatement;
    this.#makeRoom(entries);
    this.#answerEntries += entries;
  }

  /** Which question has which answer is forgotten first: that is found again by a look at the statements. */
  #makeRoom(entries: number): void {
    const max = maxEntries(this.#statements.length);
    if (this.#questionEntries + this.#answerEntries + entries <= max) return;
    this.#first.clear();
    this.#others.clear();
    this.#questionEntries = 0;
    if (this.#answerEntries + entries <= max) return;
    this.#answers.clear();
    this.#answerEntries = 0;
  }
}

function byName(statements: readonly CompiledStatement[]): ReadonlyMap<string, readonly CompiledStatement[]> {
  const named = new Map<string, CompiledStatement[]>();
  for (const statement of statements) {
    for (const arn of statement.principals.named) {
      const list = named.get(arn);
      if (list === undefined) named.set(arn, [statement]);
      else list.push(statement);
    }
  }
  return named;
}
