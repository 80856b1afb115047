/**
 * Statements filed under what they require, so that a long policy is looked up and not gone through.
 *
 * Most conditions compare one condition key with whole texts: `"StringEquals": {"kms:EncryptionContext:app": "billing"}`.
 * Such a statement can hold only where the request has one of those texts. It is therefore filed under its text, and a
 * request asks, per condition key, for the few statements that its own values can satisfy. The file only leaves out: whether
 * a statement holds is still said by all of its tests, of which the one it is filed under is one.
 *
 * The answer is the same as that of going through the statements in the order of the document, to the statement that is
 * named.
 */

import type { CompiledStatement, RequiredTexts, StatementQuestion, StatementReference } from './compiled-statement.ts';
import { stepsPerLook } from './work-budget.ts';

export interface FiledStatements {
  /** In the order of the document: those that have to be asked one by one. */
  readonly unfiled: readonly CompiledStatement[];
  /** One for each condition key and form of comparison. */
  readonly files: readonly StatementFile[];
}

interface StatementFile extends Omit<RequiredTexts, 'forms' | 'longest'> {
  /** The first of its statements, by its place in the document. */
  readonly firstIndex: number;
  /** By the form of a required text, in the order of the document. */
  readonly statements: ReadonlyMap<string, readonly CompiledStatement[]>;
  /** A longer text of a request has no form that is filed. */
  readonly longest: number;
}

/**
 * A statement with more texts than these is asked by itself: its own set is one look-up for all of them, and files are kept
 * for each action, so that their size must stay in proportion to the number of statements.
 */
const maxFiledForms = 2;

/** @param statements In the order of the document. */
export function fileStatements(statements: readonly CompiledStatement[]): FiledStatements {
  const unfiled: CompiledStatement[] = [];
  const files: WritableFile[] = [];
  for (const statement of statements) {
    const required = requirementOf(statement);
    if (required === undefined) unfiled.push(statement);
    else addTo(files, required, statement);
  }
  return { unfiled, files };
}

/** Of several, the first: the order of the document is that in which its author expects keys to be asked for. */
function requirementOf({ tests }: CompiledStatement): RequiredTexts | undefined {
  return tests.find(({ requires }) => requires !== undefined && requires.forms.size <= maxFiledForms)?.requires;
}

interface WritableFile extends StatementFile {
  longest: number;
  readonly statements: Map<string, CompiledStatement[]>;
}

function addTo(files: WritableFile[], { forms, longest, ...by }: RequiredTexts, statement: CompiledStatement): void {
  let file = files.find(({ key, form }) => key === by.key && form === by.form);
  if (file === undefined) {
    file = { ...by, firstIndex: statement.reference.index, statements: new Map(), longest };
    files.push(file);
  }
  file.longest = Math.max(file.longest, longest);
  for (const text of forms) {
    const list = file.statements.get(text);
    if (list === undefined) file.statements.set(text, [statement]);
    else list.push(statement);
  }
}

/**
 * The first statement, in the order of the document, all of whose tests hold.
 * @param filed `undefined`: there are no statements.
 * @throws KmsError `LimitExceededException`: the budget of the question is spent.
 */
export function firstThatHolds(
  filed: FiledStatements | undefined,
  question: StatementQuestion,
): StatementReference | undefined {
  if (filed === undefined) return undefined;
  let first = firstOf(filed.unfiled, question);
  for (const file of filed.files) {
    if (first !== undefined && first.index < file.firstIndex) continue;
    const found = firstInFile(file, question);
    if (found !== undefined && (first === undefined || found.index < first.index)) first = found;
  }
  return first;
}

function firstInFile(
  { key, form, statements, longest }: StatementFile,
  question: StatementQuestion,
): StatementReference | undefined {
  const { context } = question;
  let first: StatementReference | undefined;
  for (const value of context.valuesOf(key) ?? []) {
    context.spend(stepsPerLook);
    if (value.length > longest) continue;
    context.spend(form.stepsToForm(value));
    const found = firstOf(statements.get(form.formOf(value)) ?? [], question);
    if (found !== undefined && (first === undefined || found.index < first.index)) first = found;
  }
  return first;
}

function firstOf(
  statements: readonly CompiledStatement[],
  question: StatementQuestion,
): StatementReference | undefined {
  for (const { holds, reference } of statements) {
    if (holds === undefined || holds(question)) return reference;
  }
  return undefined;
}
